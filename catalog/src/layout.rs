//! Where everything lies: the only code that joins paths of a repository.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use barman_storage::{Dir, RelativePath};
use wal_format::{SegmentName, TimelineId, WalFileName};

use crate::{BackupId, Error, Lock};

/// What follows the id in the name of a record in `meta/`.
const BACKUP_INFO_SUFFIX: &str = "-backup.info";

/// What follows the id in the name of an annotation that keeps a backup.
const KEEP_SUFFIX: &str = "-keep";

/// What follows the id in the name of a mark that a backup is being deleted.
const DELETE_MARKER_SUFFIX: &str = "-delete_this";

/// The directories of one configured server. Each is an option of its own in Barman's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLayout {
    /// Barman's name of the server; part of several file names.
    pub server: String,
    /// `backup_directory`: holds `identity.json` and `meta/`.
    pub backup_directory: PathBuf,
    /// `basebackups_directory`: a directory per backup.
    pub basebackups_directory: PathBuf,
    /// `wals_directory`: the WAL archive.
    pub wals_directory: PathBuf,
    /// `incoming_wals_directory`: where `archive_command` delivers.
    pub incoming_wals_directory: PathBuf,
    /// `streaming_wals_directory`: where the WAL receiver writes.
    pub streaming_wals_directory: PathBuf,
    /// `errors_directory`: what could not be archived.
    pub errors_directory: PathBuf,
    /// `xlogdb_directory`: holds the index of the WAL archive.
    pub xlogdb_directory: PathBuf,
    /// `barman_lock_directory`: shared by all servers.
    pub lock_directory: PathBuf,
}

impl ServerLayout {
    /// The layout of a server that configures none of its directories.
    #[must_use]
    pub fn below(barman_home: &Path, server: &str) -> Self {
        let backup_directory = barman_home.join(server);
        Self {
            server: server.to_owned(),
            basebackups_directory: backup_directory.join("base"),
            wals_directory: backup_directory.join("wals"),
            incoming_wals_directory: backup_directory.join("incoming"),
            streaming_wals_directory: backup_directory.join("streaming"),
            errors_directory: backup_directory.join("errors"),
            xlogdb_directory: backup_directory.join("wals"),
            lock_directory: barman_home.to_owned(),
            backup_directory,
        }
    }

    /// Returns every directory that must exist before work starts, in the order Barman checks them.
    #[must_use]
    pub fn directories(&self) -> [PathBuf; 9] {
        [
            self.backup_directory.clone(),
            self.basebackups_directory.clone(),
            self.wals_directory.clone(),
            self.incoming_wals_directory.clone(),
            self.streaming_wals_directory.clone(),
            self.errors_directory.clone(),
            self.meta_directory(),
            self.xlogdb_directory.clone(),
            self.lock_directory.clone(),
        ]
    }

    /// Where the records of backups are.
    pub(crate) fn meta_directory(&self) -> PathBuf {
        self.backup_directory.join("meta")
    }

    /// Where backup `id` is, for messages; the directory need not exist.
    #[must_use]
    pub fn backup_path(&self, id: &BackupId) -> PathBuf {
        self.basebackups_directory.join(id.as_str())
    }

    /// The index of the WAL archive, below `xlogdb_directory`.
    pub(crate) fn xlog_db(&self) -> Result<RelativePath, Error> {
        self.of_server(&self.xlogdb_directory, |server| format!("{server}-xlog.db"))
    }

    /// The file of a lock, below `lock_directory`.
    pub(crate) fn lock(&self, lock: &Lock) -> Result<RelativePath, Error> {
        self.of_server(&self.lock_directory, |server| match lock {
            Lock::Cron => format!(".{server}-cron.lock"),
            Lock::Backup => format!(".{server}-backup.lock"),
            Lock::BackupId(id) => format!(".{server}-{id}.lock"),
            Lock::ArchiveWal => format!(".{server}-archive-wal.lock"),
            Lock::ReceiveWal => format!(".{server}-receive-wal.lock"),
            Lock::RemoveWal => format!(".{server}-remove-wal.lock"),
            Lock::XlogDb => format!(".{server}-xlogdb.lock"),
        })
    }

    /// The lock under which Barman copies a backup from another host, below `lock_directory`; it stays when that is done.
    pub(crate) fn sync_backup_lock(&self, id: &BackupId) -> Result<RelativePath, Error> {
        self.of_server(&self.lock_directory, |server| format!(".{server}-{id}-sync-backup.lock"))
    }

    /// A file whose name contains the server's. That name comes from the configuration, where it may contain anything.
    fn of_server(&self, directory: &Path, name: impl FnOnce(&str) -> String) -> Result<RelativePath, Error> {
        let name = name(&self.server);
        let plain = RelativePath::new(&name).ok().filter(|path| path.parent().is_none());
        plain.ok_or_else(|| Error::Name { directory: directory.to_owned(), name: name.into() })
    }
}

/// Where a file is, for messages.
pub(crate) fn shown(dir: &Dir, path: &RelativePath) -> PathBuf {
    dir.path().join(path)
}

/// The cluster's identity, below `backup_directory`.
pub(crate) fn identity() -> RelativePath {
    RelativePath::literal("identity.json")
}

/// The index of the WAL archive under the name it had before Barman 3.13, below `wals_directory`.
pub(crate) fn old_xlog_db() -> RelativePath {
    RelativePath::literal("xlog.db")
}

/// The record of a backup, below `meta/`.
pub(crate) fn backup_info(id: &BackupId) -> RelativePath {
    own(format!("{id}{BACKUP_INFO_SUFFIX}"))
}

/// The id of the backup whose record has this name in `meta/`.
pub(crate) fn backup_of_info(name: &str) -> Option<BackupId> {
    name.strip_suffix(BACKUP_INFO_SUFFIX)?.parse().ok()
}

/// The record of a backup where it was before Barman 3.13.2, below `basebackups_directory`.
pub(crate) fn old_backup_info(id: &BackupId) -> RelativePath {
    own(format!("{id}/backup.info"))
}

/// The annotation that keeps a backup, below `meta/`.
pub(crate) fn keep(id: &BackupId) -> RelativePath {
    own(format!("{id}{KEEP_SUFFIX}"))
}

/// The id of the backup that an annotation of this name in `meta/` keeps.
pub(crate) fn backup_of_keep(name: &str) -> Option<BackupId> {
    name.strip_suffix(KEEP_SUFFIX)?.parse().ok()
}

/// The annotation of a backup that is being deleted, below `meta/`.
pub(crate) fn delete_marker(id: &BackupId) -> RelativePath {
    own(format!("{id}{DELETE_MARKER_SUFFIX}"))
}

/// The id of the backup whose deletion has been marked with a file of this name in `meta/`.
pub(crate) fn backup_of_delete_marker(name: &str) -> Option<BackupId> {
    name.strip_suffix(DELETE_MARKER_SUFFIX)?.parse().ok()
}

/// The annotation that keeps a backup where it was before Barman 3.13.3, below `basebackups_directory`.
pub(crate) fn old_keep(id: &BackupId) -> RelativePath {
    own(format!("{id}/annotations/keep"))
}

/// The directory of that annotation.
pub(crate) fn old_annotations(id: &BackupId) -> RelativePath {
    own(format!("{id}/annotations"))
}

/// All of a backup but its record, below `basebackups_directory`.
pub(crate) fn backup(id: &BackupId) -> RelativePath {
    own(id.to_string())
}

/// The manifest of a backup, in its data directory.
pub(crate) fn manifest() -> RelativePath {
    RelativePath::literal("backup_manifest")
}

/// The data directory within a backup.
pub(crate) fn data() -> RelativePath {
    RelativePath::literal("data")
}

/// The data directory within a backup made before Barman 1.4.
pub(crate) fn old_data() -> RelativePath {
    RelativePath::literal("pgdata")
}

/// A tablespace within a backup made before Barman 1.4.
pub(crate) fn old_tablespace(oid: u32) -> RelativePath {
    own(format!("pgdata/pg_tblspc/{oid}"))
}

/// A tablespace within a backup.
pub(crate) fn tablespace(oid: u32) -> RelativePath {
    own(oid.to_string())
}

/// An archived file, below `wals_directory`.
pub(crate) fn archived(name: &WalFileName) -> RelativePath {
    match hash_directory(name) {
        Some(directory) => directory.join(&wal_file(name)),
        None => wal_file(name),
    }
}

/// The directory of an archived file, below `wals_directory`; history files lie in `wals_directory` itself.
pub(crate) fn hash_directory(name: &WalFileName) -> Option<RelativePath> {
    name.hash_directory().map(own)
}

/// The timeline of the files in a directory of this name, if it is a hash directory.
pub(crate) fn timeline_of_hash_directory(name: &OsStr) -> Option<TimelineId> {
    let first: SegmentName = format!("{}00000000", name.to_str()?).parse().ok()?;
    Some(first.timeline)
}

/// A WAL file in `incoming/`, `streaming/` or its hash directory.
pub(crate) fn wal_file(name: &WalFileName) -> RelativePath {
    own(name.to_string())
}

/// What is known of the archived files, below `backup_directory`: beside what Barman keeps there, and not where it lists
/// files.
pub(crate) fn ledger() -> RelativePath {
    RelativePath::literal("ledger")
}

/// The journal of an archived file, below the ledger.
pub(crate) fn ledger_of(name: &WalFileName) -> RelativePath {
    hash_directory(name).unwrap_or_else(|| RelativePath::literal("histories"))
}

/// How far the ledger is known to be complete, below the ledger.
pub(crate) fn ledger_state() -> RelativePath {
    RelativePath::literal("state")
}

/// The ledger in short, below the ledger.
pub(crate) fn ledger_summary() -> RelativePath {
    RelativePath::literal("summary")
}

/// Tells whether a file of the ledger is the journal of a directory of the archive.
pub(crate) fn is_ledger_of_directory(path: &RelativePath) -> bool {
    timeline_of_hash_directory(path.file_name()).is_some()
}

/// How fast restores were, below the ledger.
pub(crate) fn ledger_rates() -> RelativePath {
    RelativePath::literal("rates")
}

/// What a sender was told to send again, below the ledger.
pub(crate) fn ledger_refused() -> RelativePath {
    RelativePath::literal("refused")
}

/// Which WAL is being removed because of its age, below `backup_directory`.
pub(crate) fn old_wal() -> RelativePath {
    RelativePath::literal("removing")
}

/// Which backup is the first one, before which WAL is being removed, below `backup_directory`.
pub(crate) fn purge_mark() -> RelativePath {
    RelativePath::literal("purging")
}

/// A path put together from ids, numbers and WAL file names alone.
#[allow(clippy::expect_used, reason = "those consist of digits, letters and single dots within the name")]
fn own(path: String) -> RelativePath {
    RelativePath::new(path).expect("ids and WAL file names are plain names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_barmans() {
        let layout = ServerLayout::below(Path::new("/srv/barman"), "main");
        let id: BackupId = "20261120T164416".parse().unwrap();
        assert_eq!(layout.xlog_db().unwrap().as_path(), Path::new("main-xlog.db"));
        for (lock, name) in [
            (Lock::Cron, ".main-cron.lock"),
            (Lock::Backup, ".main-backup.lock"),
            (Lock::BackupId(id), ".main-20261120T164416.lock"),
            (Lock::ArchiveWal, ".main-archive-wal.lock"),
            (Lock::ReceiveWal, ".main-receive-wal.lock"),
            (Lock::RemoveWal, ".main-remove-wal.lock"),
            (Lock::XlogDb, ".main-xlogdb.lock"),
        ] {
            assert_eq!(layout.lock(&lock).unwrap().as_path(), Path::new(name));
        }
        assert_eq!(backup_info(&id).as_path(), Path::new("20261120T164416-backup.info"));
        assert_eq!(backup_of_info("20261120T164416-backup.info"), Some(id));
        assert_eq!(backup_of_info("20261120T164416-keep"), None);
    }

    #[test]
    fn archived_files_lie_in_hash_directories_and_history_files_above_them() {
        for (name, path) in [
            ("0000000100000002000000AB", "0000000100000002/0000000100000002000000AB"),
            ("0000000100000002000000AB.partial", "0000000100000002/0000000100000002000000AB.partial"),
            ("000000010000000200000004.00000028.backup", "0000000100000002/000000010000000200000004.00000028.backup"),
            ("00000002.history", "00000002.history"),
        ] {
            assert_eq!(archived(&name.parse().unwrap()).as_path(), Path::new(path));
        }
    }

    #[test]
    fn a_server_name_cannot_lead_elsewhere() {
        for server in ["a/b", "/etc", "../../x", "a\0b"] {
            let layout = ServerLayout::below(Path::new("/srv/barman"), server);
            assert!(matches!(layout.xlog_db(), Err(Error::Name { .. })), "{server}");
            assert!(matches!(layout.lock(&Lock::Cron), Err(Error::Name { .. })), "{server}");
        }
    }
}
