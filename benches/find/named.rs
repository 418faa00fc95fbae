//! The real backup of a server with a table that was dropped later, and very much WAL behind that.

use std::time::Duration;

use test_support::{Barman, BarmanHome, OsUser, Postgres};
use wal_format::{SegmentName, SegmentSize};

use super::home::add_segments;

/// The restore point right before the table is dropped.
pub(crate) const BEFORE: &str = "before";

/// A home with that backup and so many segments, in which no name changes as the ledger knows.
pub(crate) fn home_with_dropped_table(segments: u64) -> BarmanHome {
    let home = BarmanHome::new();
    let incoming = home.path().join("main/incoming");
    std::fs::create_dir_all(&incoming).expect("a directory can be made");
    OsUser::of_servers().own_tree(&incoming);
    let archive_command = format!("cp %p {}/%f", incoming.display());
    let server = Postgres::builder().setting("archive_mode", "on").setting("archive_command", &archive_command).start();
    let conninfo = server.conninfo();
    let options = [
        ("archiver", "on"),
        ("backup_method", "postgres"),
        ("conninfo", conninfo.as_str()),
        ("streaming_conninfo", conninfo.as_str()),
    ];
    home.server("main", &options);
    let ours = Barman::at(benches::our_program());
    server.psql("create table orders (i int); checkpoint");
    ours.succeed(&home, &["backup", "--wait", "main"]);
    server.psql(&format!("select pg_create_restore_point('{BEFORE}')"));
    server.psql("drop table orders");
    let last = server.switch_wal();
    let archived = home.path().join("main/wals").join(&last[..16]).join(&last);
    while !archived.exists() {
        std::thread::sleep(Duration::from_millis(100));
        ours.succeed(&home, &["archive-wal", "main"]);
    }
    let last: SegmentName = last.parse().expect("a segment");
    let last = last.number(SegmentSize::DEFAULT).expect("a segment of the usual size").get();
    // The segments of a home are counted from its first one.
    add_segments(&home, last..last + segments);
    home
}
