//! Load on a server, in the background.

use std::process::{Child, Command, Stdio};

use crate::run::CommandExt;
use crate::{Postgres, pg_tool};

/// A running pgbench, killed when dropped.
///
/// A server that goes away ends it; that is not an error, since tests kill servers under load on purpose.
#[derive(Debug)]
pub struct PgbenchLoad(Child);

impl PgbenchLoad {
    /// Makes pgbench's tables, at 100 000 rows (about 15 MB) for each unit of `scale`.
    pub fn initialise(server: &Postgres, scale: u32) {
        let mut command = Command::new(pg_tool(server.major(), "pgbench"));
        command.args(["-i", "-q", "-s", &scale.to_string(), &server.conninfo()]).succeed();
    }

    /// Starts `clients` connections that change the tables until the value is dropped or [`stop`](Self::stop)ped.
    #[must_use]
    pub fn start(server: &Postgres, clients: u32) -> Self {
        let mut command = Command::new(pg_tool(server.major(), "pgbench"));
        // A day: longer than any test, and an end should the test process be killed.
        command.args(["-n", "-T", "86400", "-c", &clients.to_string(), &server.conninfo()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")))
    }

    /// Ends the load. The server still has to notice: a last transaction may commit after this returns.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for PgbenchLoad {
    fn drop(&mut self) {
        // It may have ended by itself, because the server did.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
