//! A program that serves for as long as a test needs it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::OsUser;
use crate::port::Port;

/// A program that listens on a port of 127.0.0.1; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts `command` as the user of the servers; see [`start_as`](Self::start_as).
    pub(crate) fn start(command: Command, port: &Port) -> Self {
        Self::start_as(&OsUser::of_servers(), command, port)
    }

    /// Starts `command`, which stays in the foreground, and waits until it takes connections.
    ///
    /// # Panics
    /// It is not installed, ends, or does not listen within half a minute.
    pub(crate) fn start_as(user: &OsUser, mut command: Command, port: &Port) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        user.run(&mut command);
        let started = command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let mut daemon = Self(started);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port.number())).is_err() {
            let ended = daemon.0.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            assert!(Instant::now() < deadline, "{command:?} does not listen on port {}", port.number());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
