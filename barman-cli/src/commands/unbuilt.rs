//! Commands and options of Barman that are not built yet fail by name: nothing is silently ignored.

use crate::error::CommandError;
use crate::exit_code;
use std::ffi::OsString;

/// Every subcommand of Barman 3.19 that this program does not have yet.
const COMMANDS: [&str; 15] = [
    "cloud-wal-archive",
    "cloud-wal-restore",
    "config-switch",
    "config-update",
    "diagnose",
    "export-backup",
    "import-backup",
    "lock-directory-cleanup",
    "replication-status",
    "show-server",
    "show-servers",
    "status",
    "sync-backup",
    "sync-info",
    "sync-wals",
];

/// Refuses a subcommand that is not built, or that nobody knows.
pub(super) fn run(words: &[OsString]) -> Result<(), CommandError> {
    let name = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    if COMMANDS.contains(&name.as_ref()) {
        Err(CommandError::new(format!("the command '{name}' is not built yet"))
            .hinted("Barman 3.19 works on the same configuration and files and has it"))
    } else {
        Err(CommandError::new(format!("argument command: invalid choice: '{name}'"))
            .hinted("`barman --help` lists the commands")
            .exiting(exit_code::USAGE))
    }
}

/// Options of one subcommand that are not built yet: given, they end it by name.
#[derive(Debug, Default)]
pub(in crate::commands) struct UnbuiltOptions(Vec<&'static str>);

impl UnbuiltOptions {
    /// Notes that `option` was given, if it was.
    pub(in crate::commands) fn option(mut self, option: &'static str, given: bool) -> Self {
        if given {
            self.0.push(option);
        }
        self
    }

    /// Refuses the first option that was given.
    pub(in crate::commands) fn refuse(self) -> Result<(), CommandError> {
        match self.0.first() {
            Some(option) => Err(CommandError::new(format!("the option '{option}' is not built yet"))
                .hinted("Barman 3.19 works on the same configuration and files and has it")),
            None => Ok(()),
        }
    }
}
