//! Who has a connection, asked at the port where PostgreSQL asks (RFC 1413): oidentd.

use std::net::TcpStream;
use std::process::Command;

use crate::OsUser;
use crate::daemon::Daemon;
use crate::port::Port;

/// A server that knows the user of each connection from 127.0.0.1; stops when dropped.
#[derive(Debug)]
pub struct Oidentd {
    /// None where the system already runs such a server.
    _daemon: Option<Daemon>,
    _port: Port,
}

impl Oidentd {
    /// PostgreSQL asks nowhere else (`IDENT_PORT` in `src/backend/libpq/auth.c`).
    const PORT: u16 = 113;

    /// Starts one, when no other test has one any more. Only root may: for others there is none.
    ///
    /// # Panics
    /// `oidentd` is not installed, or does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let port = Port::wait_for(Self::PORT);
        if TcpStream::connect(("127.0.0.1", Self::PORT)).is_ok() {
            return Some(Self { _daemon: None, _port: port });
        }
        let root = OsUser::current();
        (root.name() == "root").then(|| {
            let mut command = Command::new("/usr/sbin/oidentd");
            command.args(["--foreground", "--nosyslog", "--address", "127.0.0.1", "--config", "/dev/null"]);
            Self { _daemon: Some(Daemon::start_as(&root, command, &port)), _port: port }
        })
    }
}
