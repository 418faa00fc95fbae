//! Which backup a user means.

use crate::{BackupId, BackupInfo, BackupType, Status};

/// A word that names no backup, or more than one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No backup has this id or name, or there is none that the shortcut could mean.
    #[error("unknown backup '{word}' for server '{server}'")]
    Unknown {
        /// What the user wrote.
        word: String,
        /// The server.
        server: String,
    },
    /// Several backups have this name.
    #[error("multiple backups of server '{server}' are named '{word}'")]
    Ambiguous {
        /// What the user wrote.
        word: String,
        /// The server.
        server: String,
        /// The backups of that name, ascending.
        ids: Vec<BackupId>,
    },
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] crate::Error),
}

/// What a word means among `backups`, which ascend by id: a shortcut, else an id, else a name.
///
/// Names are looked up among backups that can be restored only. `auto` is no shortcut here: only a restore knows the
/// target that it depends on.
pub(crate) fn find<'a>(backups: &'a [BackupInfo], word: &str) -> Found<'a> {
    if let Some(shortcut) = Shortcut::parse(word) {
        return shortcut.find(backups).map_or(Found::Nothing, Found::One);
    }
    if let Ok(id) = word.parse::<BackupId>() {
        return backups.iter().find(|info| info.backup_id == id).map_or(Found::Nothing, Found::One);
    }
    let named = |info: &&BackupInfo| info.status.is_copied() && info.backup_name.as_deref() == Some(word);
    match *backups.iter().filter(named).collect::<Vec<_>>() {
        [] => Found::Nothing,
        [only] => Found::One(only),
        ref several => Found::Several(several.iter().map(|info| info.backup_id).collect()),
    }
}

/// How many backups a word means.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<'a> {
    Nothing,
    One(&'a BackupInfo),
    Several(Vec<BackupId>),
}

/// Words that stand for a backup by its place in the catalog.
#[derive(Debug, Clone, Copy)]
enum Shortcut {
    Latest,
    Oldest,
    LatestFull,
    LastFailed,
}

impl Shortcut {
    /// Whole words only. Barman takes every part of `last-failed`, such as `l`, for `last-failed`.
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "latest" | "last" => Self::Latest,
            "oldest" | "first" => Self::Oldest,
            "latest-full" | "last-full" => Self::LatestFull,
            "last-failed" => Self::LastFailed,
            _ => return None,
        })
    }

    fn find(self, backups: &[BackupInfo]) -> Option<&BackupInfo> {
        let mut newest_first = backups.iter().rev();
        let copied = |info: &&BackupInfo| info.status.is_copied();
        match self {
            Self::Latest => newest_first.find(copied),
            Self::Oldest => backups.iter().find(copied),
            Self::LatestFull => newest_first.find(|info| copied(info) && stands_alone(info)),
            Self::LastFailed => newest_first.find(|info| info.status == Status::Failed),
        }
    }
}

/// Neither a part of a chain nor a set of snapshots: a copy of its own.
fn stands_alone(info: &BackupInfo) -> bool {
    !matches!(info.backup_type(), Some(BackupType::Incremental | BackupType::Snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BackupMode;

    fn backup(day: u32, status: Status, name: Option<&str>) -> BackupInfo {
        let id = format!("202601{day:02}T000000").parse().unwrap();
        let mut info = BackupInfo::new(id, "main");
        info.status = status;
        info.backup_name = name.map(str::to_owned);
        info.mode = Some(BackupMode::Postgres);
        info
    }

    fn catalog() -> Vec<BackupInfo> {
        let mut incremental = backup(5, Status::WaitingForWals, None);
        incremental.parent_backup_id = Some("20260104T000000".parse().unwrap());
        let mut snapshot = backup(6, Status::Done, None);
        snapshot.mode = Some(BackupMode::Other("snapshot-concurrent".to_owned()));
        vec![
            backup(1, Status::Failed, Some("weekly")),
            backup(2, Status::Done, Some("weekly")),
            backup(3, Status::Failed, None),
            backup(4, Status::Done, Some("twice")),
            incremental,
            snapshot,
            backup(7, Status::Done, Some("twice")),
            backup(8, Status::Started, None),
        ]
    }

    fn day(backups: &[BackupInfo], word: &str) -> Option<String> {
        match find(backups, word) {
            Found::One(info) => Some(info.backup_id.as_str()[6..8].to_owned()),
            _ => None,
        }
    }

    #[test]
    fn shortcuts_ids_and_names() {
        let mut backups = catalog();
        for (word, expected) in [
            ("latest", Some("07")),
            ("last", Some("07")),
            ("oldest", Some("02")),
            ("first", Some("02")),
            ("last-failed", Some("03")),
            ("20260101T000000", Some("01")),
            ("20260108T000000", Some("08")),
            ("20260109T000000", None),
            ("weekly", Some("02")),
            ("auto", None),
            ("", None),
        ] {
            assert_eq!(day(&backups, word).as_deref(), expected, "{word}");
        }
        backups.pop();
        backups.pop();
        for (word, expected) in [("latest", "06"), ("latest-full", "04"), ("last-full", "04")] {
            assert_eq!(day(&backups, word).as_deref(), Some(expected), "{word}");
        }
    }

    #[test]
    fn a_name_that_several_backups_have_is_ambiguous() {
        let ids = ["20260104T000000", "20260107T000000"].map(|id| id.parse().unwrap());
        assert_eq!(find(&catalog(), "twice"), Found::Several(ids.to_vec()));
    }

    #[test]
    fn parts_of_a_shortcut_are_not_the_shortcut() {
        for word in ["l", "fail", "last-", "-", "lates"] {
            assert_eq!(find(&catalog(), word), Found::Nothing, "{word}");
        }
        let named = [backup(1, Status::Done, Some("fail"))];
        assert_eq!(day(&named, "fail").as_deref(), Some("01"));
    }

    #[test]
    fn nothing_is_found_in_an_empty_catalog() {
        for word in ["latest", "oldest", "latest-full", "last-failed"] {
            assert_eq!(find(&[], word), Found::Nothing);
        }
    }
}
