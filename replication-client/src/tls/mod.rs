//! TLS as libpq does it: what is verified depends on `sslmode`, and what OpenSSL accepts is accepted.
//!
//! Mirrors `fe-secure-openssl.c`. Chains of certificates are verified by webpki, which rustls uses too; names of hosts are
//! compared by libpq's rules; and three kinds of certificates that people have, but webpki does not take, are looked at
//! here ([`trust`]): a self-signed one that is its own root, one that is marked as an authority, and one of version 1.

mod certificate;
mod client_certificate;
mod files;
mod host_name;
mod problem;
mod trust;
mod verifier;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, Error as RustlsError, SupportedProtocolVersion};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::certificate::Certificate;
use self::client_certificate::ClientCertificate;
use self::files::Identity;
pub use self::problem::{CertificateProblem, TlsFile, TlsFileProblem, TlsProblem};
use self::trust::Trust;
use self::verifier::Verifier;
use crate::config::{SslMode, TlsOptions, Versions};
use crate::connection::Transport;
use crate::error::ErrorKind;

/// The name of PostgreSQL's protocol among those that TLS can carry (ALPN).
const PROTOCOL: &[u8] = b"postgresql";

/// What is needed to speak TLS with one host, read from files.
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    certificate: Arc<ClientCertificate>,
    direct: bool,
}

/// What the handshake has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsSession {
    /// Channel binding data (`tls-server-end-point`), where the server's certificate has any.
    pub(crate) end_point: Option<Vec<u8>>,
    /// Whether the server asked for our certificate.
    pub(crate) certificate_requested: bool,
    /// Whether it got one.
    pub(crate) certificate_sent: bool,
}

impl Tls {
    /// Reads the files that `options` name. `host` is the host as the connection string calls it.
    pub(crate) fn load(options: &TlsOptions, host: Option<&str>) -> Result<Self, TlsProblem> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(options, host, &provider)?;
        let key = files::identity(options)?.map(|identity| certified_key(identity, options, &provider)).transpose()?;
        let certificate = Arc::new(ClientCertificate::new(key));
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions(options.versions));
        let mut config = builder
            .map_err(handshake)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let name = host.and_then(|host| ServerName::try_from(host.to_owned()).ok());
        config.enable_sni = options.server_name_indication && name.is_some();
        // Not sent, and not compared: the verifier knows the host.
        let name = name.unwrap_or(ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into()));
        Ok(Self { config: Arc::new(config), name, certificate, direct: options.direct })
    }

    /// Starts TLS on a connection on which nothing has been said but what asks for it.
    pub(crate) async fn handshake<T: Transport>(self, transport: T) -> Result<(TlsStream<T>, TlsSession), ErrorKind> {
        let stream = TlsConnector::from(self.config).connect(self.name, transport).await.map_err(failure)?;
        let (_, connection) = stream.get_ref();
        if self.direct && connection.alpn_protocol() != Some(PROTOCOL) {
            return Err(TlsProblem::NoAlpn.into());
        }
        let leaf = connection.peer_certificates().and_then(|chain| Certificate::parse(chain.first()?).ok());
        let session = TlsSession {
            end_point: leaf.and_then(|leaf| leaf.end_point()),
            certificate_requested: self.certificate.was_requested(),
            certificate_sent: self.certificate.was_sent(),
        };
        Ok((stream, session))
    }
}

fn verifier(options: &TlsOptions, host: Option<&str>, provider: &CryptoProvider) -> Result<Verifier, TlsProblem> {
    let algorithms = provider.signature_verification_algorithms;
    let Some(roots) = files::roots(options)? else {
        if options.mode >= SslMode::VerifyCa {
            return Err(missing_roots(options));
        }
        return Ok(Verifier { algorithms, trust: None, host: None });
    };
    let mut trust = Trust::new(&roots, algorithms);
    if trust.is_empty() {
        return Err(TlsProblem::NoRoots { mode: options.mode.name() });
    }
    for list in files::revocation_lists(&options.revoked)? {
        trust.revoke(&list).map_err(|error| unusable_list(options, &error))?;
    }
    let host = match (options.mode, host) {
        (SslMode::VerifyFull, None) => return Err(CertificateProblem::NoHostName.into()),
        (SslMode::VerifyFull, Some(host)) => Some(host.to_owned()),
        _ => None,
    };
    Ok(Verifier { algorithms, trust: Some(trust), host })
}

fn missing_roots(options: &TlsOptions) -> TlsProblem {
    match &options.roots {
        crate::config::Roots::File(Some(path)) => TlsProblem::File {
            what: TlsFile::Roots,
            path: path.clone(),
            problem: TlsFileProblem::Unreadable(io::ErrorKind::NotFound.into()),
        },
        _ => TlsProblem::NoRoots { mode: options.mode.name() },
    }
}

fn unusable_list(options: &TlsOptions, error: &webpki::Error) -> TlsProblem {
    let path = options.revoked.file.clone().or_else(|| options.revoked.directory.clone()).unwrap_or_default();
    let problem = TlsFileProblem::Content(format!("it is of a kind that cannot be checked: {error}"));
    TlsProblem::File { what: TlsFile::RevocationList, path, problem }
}

/// Puts our certificate and its key together.
fn certified_key(
    identity: Identity,
    options: &TlsOptions,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsProblem> {
    let error = |words: &str| TlsProblem::File {
        what: TlsFile::Key,
        path: options.key.clone().unwrap_or_default(),
        problem: TlsFileProblem::Content(words.to_owned()),
    };
    let key = provider.key_provider.load_private_key(identity.key);
    let key = key.map_err(|_| error("it is of a kind that is not supported, or malformed"))?;
    let leaf = identity.certificates.first().and_then(|leaf| Certificate::parse(leaf).ok());
    let fits = leaf.is_some_and(|leaf| key.public_key().is_none_or(|public| public == leaf.public_key()));
    if !fits {
        return Err(error("it is not the key of the certificate"));
    }
    Ok(CertifiedKey::new(identity.certificates, key))
}

fn versions(versions: Versions) -> Vec<&'static SupportedProtocolVersion> {
    let tls12 = versions.tls12.then_some(&rustls::version::TLS12);
    let tls13 = versions.tls13.then_some(&rustls::version::TLS13);
    tls12.into_iter().chain(tls13).collect()
}

/// Sorts what went wrong with an encrypted connection.
pub(crate) fn failure(error: io::Error) -> ErrorKind {
    match error.get_ref().and_then(|source| source.downcast_ref::<RustlsError>()) {
        None => ErrorKind::ConnectionLost(error),
        Some(RustlsError::AlertReceived(alert)) => refused(*alert).into(),
        Some(RustlsError::InvalidCertificate(problem)) => certificate_problem(problem).into(),
        Some(_) => TlsProblem::Handshake(error).into(),
    }
}

fn refused(alert: AlertDescription) -> TlsProblem {
    TlsProblem::Refused { alert: format!("{alert:?}") }
}

fn certificate_problem(error: &CertificateError) -> TlsProblem {
    let ours = match error {
        CertificateError::Other(other) => other.0.downcast_ref::<CertificateProblem>().cloned(),
        _ => None,
    };
    ours.unwrap_or_else(|| CertificateProblem::Other { reason: error.to_string() }).into()
}

fn handshake(error: RustlsError) -> TlsProblem {
    TlsProblem::Handshake(io::Error::other(error))
}

impl From<CertificateProblem> for ErrorKind {
    fn from(problem: CertificateProblem) -> Self {
        TlsProblem::from(problem).into()
    }
}
