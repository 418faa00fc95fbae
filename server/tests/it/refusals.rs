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
