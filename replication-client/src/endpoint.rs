//! [`Endpoint`]: one address of a server, and how to open a socket to it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream, lookup_host};

use crate::config::{Host, Keepalives};
use crate::conninfo;

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// An address of a host.
    Tcp(SocketAddr),
    /// The socket file in a directory, or in Linux's abstract name space where it begins with `@`.
    Unix { path: String },
}

impl Endpoint {
    /// Returns the addresses of a host, in the order in which to try them.
    pub(crate) async fn resolve(host: &Host) -> io::Result<Vec<Self>> {
        if let Some(directory) = host.socket_directory() {
            return Ok(vec![Self::Unix { path: format!("{directory}/.s.PGSQL.{}", host.port()) }]);
        }
        // Of an address, nobody is asked.
        let to_resolve = host.to_resolve();
        let addresses = lookup_host((&*to_resolve, host.port())).await?;
        Ok(addresses.map(Self::Tcp).collect())
    }

    /// Returns the server in words, for messages; `host` is what it is an address of.
    pub(crate) fn describe(&self, host: &Host) -> Arc<str> {
        match self {
            _ if host.is_concealed() => host.to_string().into(),
            Self::Tcp(address) if host.shown() == address.ip().to_string() => {
                format!("host \"{}\", port {}", address.ip(), address.port()).into()
            }
            Self::Tcp(address) => {
                format!("host \"{}\" ({}), port {}", host.shown(), address.ip(), address.port()).into()
            }
            Self::Unix { path } => format!("socket \"{}\"", conninfo::shown(path)).into(),
        }
    }
}

/// Opens a TCP socket.
pub(crate) async fn connect_tcp(address: SocketAddr, keepalives: Keepalives) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Status updates are small and urgent.
    stream.set_nodelay(true)?;
    watch(&stream, keepalives)?;
    Ok(stream)
}

/// Opens a Unix socket.
pub(crate) async fn connect_unix(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(socket_name(path)).await
}

/// A name in the abstract name space begins with a NUL character.
fn socket_name(path: &str) -> PathBuf {
    match path.strip_prefix('@') {
        Some(name) => format!("\0{name}").into(),
        None => path.into(),
    }
}

/// Has the operating system watch over the connection: a peer that vanished without a word is noticed by nothing else.
fn watch(stream: &TcpStream, keepalives: Keepalives) -> io::Result<()> {
    if let Some(timeout) = keepalives.user_timeout {
        sockopt::set_tcp_user_timeout(stream, u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))?;
    }
    if !keepalives.enabled {
        return Ok(());
    }
    sockopt::set_socket_keepalive(stream, true)?;
    if let Some(idle) = keepalives.idle {
        sockopt::set_tcp_keepidle(stream, idle)?;
    }
    if let Some(interval) = keepalives.interval {
        sockopt::set_tcp_keepintvl(stream, interval)?;
    }
    if let Some(count) = keepalives.count {
        sockopt::set_tcp_keepcnt(stream, count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::environment::Environment;

    fn config(conninfo: &str) -> Config {
        Config::from_conninfo(conninfo, &Environment::default().with_user("barman")).unwrap()
    }

    async fn described(conninfo: &str) -> Vec<String> {
        let config = config(conninfo);
        let host = &config.hosts()[0];
        let endpoints = Endpoint::resolve(host).await.unwrap();
        endpoints.iter().map(|endpoint| endpoint.describe(host).to_string()).collect()
    }

    #[tokio::test]
    async fn a_directory_means_a_socket_and_anything_else_a_host() {
        for (conninfo, expected) in [
            ("", r#"socket "/var/run/postgresql/.s.PGSQL.5432""#),
            ("host=/tmp port=5433", r#"socket "/tmp/.s.PGSQL.5433""#),
            ("host=@abstract", r#"socket "@abstract/.s.PGSQL.5432""#),
            ("host=127.0.0.1", r#"host "127.0.0.1", port 5432"#),
            ("host=::1 port=1", r#"host "::1", port 1"#),
            ("host=db.invalid hostaddr=10.0.0.5", r#"host "db.invalid" (10.0.0.5), port 5432"#),
            ("hostaddr=10.0.0.5", r#"host "10.0.0.5", port 5432"#),
            (
                "postgresql://u:p@127.0.0.1:12/w@db1/x",
                r#"host "***", not shown because of an "@" that is not written %40"#,
            ),
        ] {
            assert_eq!(described(conninfo).await, [expected], "{conninfo}");
        }
    }

    #[tokio::test]
    async fn the_zone_of_an_address_is_an_interface() {
        let endpoints = Endpoint::resolve(&config("hostaddr=fe80::1%lo").hosts()[0]).await.unwrap();
        let scope = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(SocketAddr::V6(address)) => address.scope_id(),
            other => panic!("{other:?}"),
        };
        assert_eq!(endpoints.iter().map(scope).collect::<Vec<_>>(), [1]);
        assert!(Endpoint::resolve(&config("hostaddr=fe80::1%nowhere").hosts()[0]).await.is_err());
    }

    #[tokio::test]
    async fn the_operating_system_watches_as_it_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let options = "keepalives_idle=5 keepalives_interval=6 keepalives_count=7 tcp_user_timeout=8000";
        watch(&stream, config(options).keepalives()).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap().as_secs(), 5);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap().as_secs(), 6);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 7);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 8000);

        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        watch(&stream, config("keepalives=0 keepalives_idle=5").keepalives()).unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
    }

    #[tokio::test]
    async fn a_socket_can_be_in_the_abstract_name_space() {
        let host = format!("@replication-client-{}", std::process::id());
        let _listener = tokio::net::UnixListener::bind(socket_name(&format!("{host}/.s.PGSQL.5432"))).unwrap();
        for endpoint in Endpoint::resolve(&config(&format!("host={host}")).hosts()[0]).await.unwrap() {
            let Endpoint::Unix { path } = endpoint else { panic!("{endpoint:?}") };
            connect_unix(&path).await.unwrap();
        }
    }
}
