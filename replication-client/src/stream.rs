//! From an [`Endpoint`] to bytes that flow both ways, encrypted or not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use crate::config::{Config, Host, SslMode};
use crate::connection::Transport;
use crate::conninfo;
use crate::endpoint::{self, Endpoint};
use crate::error::ErrorKind;
use crate::tls::{CertificateProblem, Tls, TlsProblem, TlsSession};

/// How to talk to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    Tls,
}

/// Bytes that flow both ways, to a server to which nothing has been said yet.
pub(crate) struct Stream {
    pub(crate) transport: Box<dyn Transport>,
    /// What the TLS handshake has shown, if there was one.
    pub(crate) tls: Option<TlsSession>,
}

/// Returns the ways to talk to a server, in the order in which to try them. On Unix sockets there is no TLS, whatever
/// `sslmode` says.
pub(crate) fn ways(mode: SslMode, endpoint: &Endpoint) -> &'static [Encryption] {
    match (endpoint, mode) {
        (Endpoint::Unix { .. }, _) | (_, SslMode::Disable) => &[Encryption::None],
        (_, SslMode::Allow) => &[Encryption::None, Encryption::Tls],
        (_, SslMode::Prefer) => &[Encryption::Tls, Encryption::None],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Encryption::Tls],
    }
}

impl Stream {
    /// Opens a socket, and starts TLS on it if that is the way.
    ///
    /// With `sslmode=prefer`, a server that has no TLS is talked to in clear text at once.
    pub(crate) async fn open(
        config: &Config,
        host: &Host,
        endpoint: &Endpoint,
        encryption: Encryption,
    ) -> Result<Self, ErrorKind> {
        match endpoint {
            Endpoint::Unix { path } => {
                let stream = endpoint::connect_unix(path).await.map_err(ErrorKind::Connect)?;
                check_peer(config, &stream)?;
                Ok(Self::plain(stream))
            }
            Endpoint::Tcp(address) => {
                let stream = endpoint::connect_tcp(*address, config.keepalives()).await.map_err(ErrorKind::Connect)?;
                match encryption {
                    Encryption::None => Ok(Self::plain(stream)),
                    Encryption::Tls => Self::encrypted(config, host, stream).await,
                }
            }
        }
    }

    fn plain(stream: impl Transport + 'static) -> Self {
        Self { transport: Box::new(stream), tls: None }
    }

    async fn encrypted(config: &Config, host: &Host, mut stream: impl Transport + 'static) -> Result<Self, ErrorKind> {
        let mode = config.tls().mode;
        if !config.tls().direct && !is_offered(&mut stream).await? {
            if mode == SslMode::Prefer {
                return Ok(Self::plain(stream));
            }
            return Err(TlsProblem::NotOffered { mode: mode.name() }.into());
        }
        let shaken = load(config, host).await?.handshake(stream).await;
        let (stream, session) = shaken.map_err(|kind| with_shown_name(kind, host))?;
        Ok(Self { transport: Box::new(stream), tls: Some(session) })
    }
}

/// What calls itself the name of a host may be a piece of a password (invariant 9).
fn with_shown_name(kind: ErrorKind, host: &Host) -> ErrorKind {
    match kind {
        ErrorKind::Tls(TlsProblem::Certificate(CertificateProblem::Name { names, .. })) => {
            CertificateProblem::Name { host: host.shown().into_owned(), names }.into()
        }
        kind => kind,
    }
}

/// Asks for TLS (`SSLRequest`). Exactly one byte of the answer is read: what comes behind it is TLS's, so nobody can slip
/// in text that would later count as the server's.
async fn is_offered(stream: &mut impl Transport) -> Result<bool, ErrorKind> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(ErrorKind::ConnectionLost)?;
    stream.flush().await.map_err(ErrorKind::ConnectionLost)?;
    match stream.read_u8().await {
        Ok(b'S') => Ok(true),
        Ok(b'N') => Ok(false),
        // Also an error message: it comes from nobody knows whom, so its words are not repeated.
        Ok(answer) => Err(TlsProblem::Answer { answer }.into()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(ErrorKind::ConnectionClosed),
        Err(error) => Err(ErrorKind::ConnectionLost(error)),
    }
}

/// Reads certificates and keys, which may be on a slow network.
async fn load(config: &Config, host: &Host) -> Result<Tls, ErrorKind> {
    let (options, name) = (config.tls().clone(), host.name().map(str::to_owned));
    let loading = tokio::task::spawn_blocking(move || Tls::load(&options, name.as_deref()));
    match loading.await {
        Ok(loaded) => Ok(loaded?),
        // The runtime is shutting down.
        Err(error) => Err(ErrorKind::ConnectionLost(std::io::Error::other(error))),
    }
}

/// Checks that the server behind a Unix socket runs as `requirepeer`: anybody may make a socket in some directories.
fn check_peer(config: &Config, stream: &UnixStream) -> Result<(), ErrorKind> {
    let Some(expected) = config.required_peer() else { return Ok(()) };
    let peer = stream.peer_cred().map_err(ErrorKind::Connect)?.uid();
    let user = nix::unistd::User::from_uid(peer.into()).map_err(|error| ErrorKind::Connect(error.into()))?;
    let found = user.map_or_else(|| peer.to_string(), |user| user.name);
    if found == expected {
        Ok(())
    } else {
        Err(ErrorKind::Peer { expected: conninfo::shown(expected).to_owned(), found })
    }
}
