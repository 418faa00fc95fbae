//! A server with WAL to catch up with, and the programs that do so.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{PgbenchLoad, Postgres, pg_tool};

pub(crate) struct Ground {
    server: Postgres,
    /// The first segment to receive, and the last one.
    first: String,
    last: String,
    /// Where the last one ends.
    end: String,
}

impl Ground {
    /// Writes about 550 MB: enough for starting a program and connecting not to count.
    pub(crate) fn new() -> Self {
        let builder = Postgres::builder().setting("wal_keep_size", "4GB").setting("max_wal_size", "4GB");
        let server = builder.setting("checkpoint_timeout", "1d").setting("autovacuum", "off").start();
        server.switch_wal();
        let first = server.psql("select pg_walfile_name(pg_current_wal_lsn())");
        PgbenchLoad::initialise(&server, 40);
        let last = server.switch_wal();
        let end = server.psql("select pg_current_wal_lsn()");
        Self { server, first, last, end }
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        let number = |name: &str| u64::from_str_radix(&name[16..], 16).expect("hexadecimal digits");
        (number(&self.last) - number(&self.first) + 1) * (16 << 20)
    }

    pub(crate) fn directories(&self, parent: &Path) -> Directories {
        let dir = parent.join(format!("bench-receive-{}", std::process::id()));
        Directories { dir, first: self.first.clone() }
    }

    pub(crate) fn discard(&self) -> Command {
        ours(&["discard", &self.server.conninfo(), &self.first, &self.end])
    }
}

/// The program of this benchmark, as one of its sides.
pub(crate) fn ours(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program is a file"));
    command.args(arguments);
    command
}

/// Where WAL is received; removed when dropped.
pub(crate) struct Directories {
    dir: PathBuf,
    first: String,
}

impl Directories {
    /// An empty directory in which receiving begins with the first segment, for both sides.
    fn fresh(&self) -> PathBuf {
        let _ = std::fs::remove_dir_all(&self.dir);
        let streaming = self.streaming();
        std::fs::create_dir_all(&streaming).expect("it can be made");
        std::fs::write(streaming.join(format!("{}.partial", self.first)), "").expect("it can be written");
        streaming
    }

    fn streaming(&self) -> PathBuf {
        self.dir.join("main/streaming")
    }

    pub(crate) fn ours(&self, ground: &Ground) -> Command {
        ours(&["ours", &ground.server.conninfo(), text(&self.fresh()), &ground.last])
    }

    /// The least that a receiver does.
    pub(crate) fn write(&self, ground: &Ground) -> Command {
        ours(&["write", &ground.server.conninfo(), text(&self.fresh()), &ground.first, &ground.end])
    }

    pub(crate) fn pg_receivewal(&self, ground: &Ground, synced: bool) -> Command {
        let mut command = Command::new(pg_tool(15, "pg_receivewal"));
        command.args(["--no-loop", "-d", &ground.server.conninfo(), "--endpos", &ground.end, "-D"]).arg(self.fresh());
        if !synced {
            command.arg("--no-sync");
        }
        command
    }

    /// Archives what the last receiver left.
    pub(crate) fn archive(&self) -> Command {
        ours(&["archive", text(&self.dir)])
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
