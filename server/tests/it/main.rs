//! What a server decides without a connection: what cron starts, what is refused, what the checks of a catalog say; and
//! what is archived.

// A test's own throwaway files are not part of a catalog.
#![allow(clippy::disallowed_methods)]

mod archive_wal;
mod cron;
mod offline_checks;
mod refusals;

use barman_catalog::LocalZone;
use barman_config::{Configuration, TextFiles};
use barman_server::Server;
use replication_client::Environment;
use tempfile::TempDir;

/// A home with one server called `main`, which has these options besides the usual ones.
struct Home {
    dir: TempDir,
    server: Server,
}

impl Home {
    fn with(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let text = format!(
            "[barman]\nbarman_home = {home}\n[main]\nconninfo = host=/nowhere\nbackup_method = postgres\n{options}\n",
            home = dir.path().display()
        );
        let files = TextFiles::from([("/etc/barman.conf", text.as_str())]);
        let configuration = Configuration::load("/etc/barman.conf".as_ref(), &files).expect("the text is well formed");
        let config = configuration.servers.get("main").expect("the section is there");
        let environment = Environment::default().with_user("barman");
        let server = Server::assemble(&configuration.global, config, &environment, LocalZone::UTC);
        Self { dir, server }
    }
}
