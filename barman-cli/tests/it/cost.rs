//! What commands cost, in system calls: that is the same on a busy machine.

use crate::made_home::{home, record, write};
use crate::scene::ours;
use test_support::{BarmanHome, system_calls};

#[test]
fn each_backup_more_takes_few_system_calls() {
    const MORE: usize = 200;
    let homes = [with_backups(50), with_backups(50 + MORE)];
    // To open a record, to ask what it is, to read it and find its end, and to close it, before which a program that is built
    // for tests asks whether it is open; to look for an annotation in the old place, and whether there is data.
    const EACH: usize = 9;
    for command in [&["list-backups", "main"][..], &["show-backup", "main", "latest"], &["check", "main"]] {
        let [few, many] = homes.each_ref().map(|home| system_calls(ours().command(home).args(command)));
        let more = many - few;
        // Directories are listed, and memory is asked for.
        assert!((MORE..=MORE * EACH + MORE / 2).contains(&more), "{command:?}: {more} calls more");
    }
}

fn with_backups(number: usize) -> BarmanHome {
    let home = home(&[("retention_policy", "REDUNDANCY 2")], &[]);
    for second in 0..number {
        let id = format!("20260101T{second:06}");
        write(&home.path().join(format!("main/meta/{id}-backup.info")), &record(2, &[]));
        std::fs::create_dir_all(home.path().join(format!("main/base/{id}/data"))).expect("the home is ours");
    }
    home
}
