//! What arrives in two directories.

use crate::Home;
use barman_storage::Cancel;
use wal_format::Timestamp;

const HISTORY: &str = "1\t0/3000000\tno recovery target specified\n";

#[test]
fn an_error_in_streaming_keeps_nothing_waiting_in_incoming() {
    let home = Home::with("archiver = on\nstreaming_archiver = on\nslot_name = barman");
    home.server.catalog().create_directories().expect("the home is ours");
    let main = home.dir.path().join("main");
    std::fs::write(main.join("streaming/00000002.history"), HISTORY).expect("the home is ours");
    std::fs::write(main.join("incoming/00000003.history"), HISTORY).expect("the home is ours");
    // What has the name in the archive is a link to itself: nobody can open it.
    let archived = main.join("wals/00000002.history");
    std::os::unix::fs::symlink(&archived, &archived).expect("the home is ours");

    let failed = home.server.archive_wal(None, Timestamp::from_unix_micros(0), &Cancel::new(), &mut |_| {});
    assert!(failed.expect_err("one file cannot be archived").to_string().contains("00000002.history"));
    assert!(main.join("streaming/00000002.history").exists());
    assert!(main.join("wals/00000003.history").exists() && !main.join("incoming/00000003.history").exists());
}
