//! What is asked of a restore.

use std::path::PathBuf;
use std::str::FromStr;

use barman_catalog::BackupId;
use barman_storage::RelativePath;

use crate::host::Host;
use crate::target::RecoveryTarget;

/// A restore as it is asked for; [`plan`](crate::plan) says whether and how it can be done.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// What to restore.
    pub backup: BackupChoice,
    /// Where to.
    pub host: Host,
    /// The new data directory there: an absolute path, missing or empty, or what an interrupted restore of the same backup left.
    pub destination: PathBuf,
    /// Whether the destination may be a data directory already, of the same cluster and with no server running: then only
    /// what differs is written, and what the backup does not have is removed.
    pub delta: bool,
    /// Where recovery is to end.
    pub target: RecoveryTarget,
    /// Start as a standby server instead of recovering once.
    pub standby_mode: bool,
    /// How the restored server gets its WAL.
    pub wal: WalSupply,
    /// Tablespaces that are to lie elsewhere than they did. Of several for one tablespace the last counts.
    pub relocations: Vec<Relocation>,
    /// The file in the data directory that takes the recovery settings.
    pub recovery_conf_file: RelativePath,
    /// The directory on this host on whose file system changed blocks of backups in archives wait for the files that they are
    /// changes of; `None` for that with the backups.
    pub scratch: Option<PathBuf>,
}

/// A recovery as it is asked for, wherever it is to take place.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryRequest<'a> {
    /// What to recover.
    pub backup: BackupChoice,
    /// Where recovery is to end.
    pub target: &'a RecoveryTarget,
    /// Whether the server starts as a standby.
    pub standby_mode: bool,
    /// How the server gets its WAL.
    pub wal: &'a WalSupply,
}

impl RestoreRequest {
    /// Returns what is asked of the recovery.
    #[must_use]
    pub fn recovery(&self) -> RecoveryRequest<'_> {
        let Self { backup, target, standby_mode, wal, .. } = self;
        RecoveryRequest { backup: *backup, target, standby_mode: *standby_mode, wal }
    }

    /// The file that takes the recovery settings unless another is asked for: PostgreSQL reads it last.
    pub const RECOVERY_CONF_FILE: &'static str = "postgresql.auto.conf";
}

/// Which backup to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupChoice {
    /// This one.
    Id(BackupId),
    /// The newest from which the target can be reached.
    Auto,
}

/// How the restored server gets the WAL that it replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalSupply {
    /// It asks Barman for each segment.
    GetWal(WalFetch),
    /// It finds there what the restore copied: beside the data for recovery to a target, in `pg_wal` otherwise.
    Copy {
        /// Where to put the segments of a recovery to a target, instead of `barman_wal` in the data directory. The end of
        /// recovery removes this directory.
        staging: Option<PathBuf>,
        /// Whether to copy segments that were never completed, too.
        partial: bool,
    },
}

/// How a restored server asks Barman for WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalFetch {
    /// On Barman's own host, by `barman get-wal`.
    Local {
        /// Barman's `barman_user`, who alone may run it.
        user: String,
    },
    /// From another host, by `barman-wal-restore` over ssh.
    Remote {
        /// The name of Barman's host, as the restored server's host knows it.
        host: String,
        /// The user to become there: Barman's `barman_user`.
        user: String,
        /// The port of its ssh server; `None` for what ssh is configured to take.
        port: Option<u16>,
    },
    /// By a command of the user's own, written as it is.
    Command(String),
}

impl WalFetch {
    /// Fetching on Barman's own host as this user.
    #[must_use]
    pub fn local(user: impl Into<String>) -> Self {
        Self::Local { user: user.into() }
    }
}

/// A tablespace that is to lie elsewhere than it did: `NAME:LOCATION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Name of the tablespace.
    pub name: String,
    /// Its new directory.
    pub location: PathBuf,
}

impl FromStr for Relocation {
    type Err = ParseRelocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((name, location)) if !name.is_empty() && !location.is_empty() => {
                Ok(Self { name: name.to_owned(), location: PathBuf::from(location) })
            }
            _ => Err(ParseRelocationError { text: text.to_owned() }),
        }
    }
}

/// The text is no relocation rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a tablespace relocation: expected NAME:LOCATION")]
pub struct ParseRelocationError {
    /// What was given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relocation_is_split_at_its_first_colon() {
        let relocation: Relocation = "tbs1:/srv/a:b".parse().unwrap();
        assert_eq!((relocation.name.as_str(), relocation.location), ("tbs1", PathBuf::from("/srv/a:b")));
        for text in ["", "tbs1", "tbs1:", ":/srv"] {
            assert!(text.parse::<Relocation>().is_err(), "{text}");
        }
    }
}
