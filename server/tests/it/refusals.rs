//! An option that is set and not built ends what would have to obey it, and nothing else.

use crate::Home;
use barman_config::Command;
use barman_server::Error;

#[test]
fn an_unbuilt_option_ends_the_commands_that_it_concerns() {
    let home = Home::with("archiver = on\nbackup_compression = gzip\npre_archive_script = /bin/true");
    let refused = |command| match home.server.refuse_unsupported(command) {
        Ok(()) => None,
        Err(Error::UnsupportedOption { option, .. }) => Some(option),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(refused(Command::Backup).as_deref(), Some("backup_compression"));
    assert_eq!(refused(Command::ArchiveWal).as_deref(), Some("pre_archive_script"));
    assert_eq!(refused(Command::Restore), None);
    assert_eq!(refused(Command::Show), None);
}

#[test]
fn what_lies_in_an_object_store_is_not_looked_for_here() {
    let home = Home::with("archiver = on\nbasebackups_directory = s3://bucket/base");
    let now = wal_format::Timestamp::from_unix_micros(0);
    assert!(matches!(home.server.list_backups(now), Err(Error::UnsupportedOption { .. })));
}

#[test]
fn the_primary_of_a_standby_is_not_switched_behind_its_back() {
    let home = Home::with("archiver = on\nprimary_conninfo = host=primary");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    assert!(matches!(runtime.block_on(home.server.switch_wal(false)), Err(Error::UnsupportedOption { .. })));
}
