//! A backup compared with its manifest, as `pg_verifybackup --no-parse-wal` does it, and manifests for backups without.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use barman_storage::{Cancel, Dir, Kind, Operation, PublishError};
use wal_format::{
    Checksum, ChecksumAlgorithm, Hasher, Manifest, ManifestFile, ManifestWriter, SystemId, Timestamp, WalRange,
};

use crate::{BackupData, BackupFile, BackupInfo, Catalog, Error, layout};

/// Files that change without the backup being worse for it; PostgreSQL's own program looks at none of them.
const IGNORED: [&str; 5] = ["backup_manifest", "pg_wal", "postgresql.auto.conf", "recovery.signal", "standby.signal"];

/// A file of a backup that is not what the manifest says, in the words of `pg_verifybackup`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackupFault {
    /// Its length is another one.
    #[error("\"{}\" has size {found} on disk but size {expected} in the manifest", path.display())]
    Size {
        /// Which.
        path: PathBuf,
        /// In the manifest.
        expected: u64,
        /// On disk.
        found: u64,
    },
    /// Its contents are.
    #[error("checksum mismatch for file \"{}\"", path.display())]
    Checksum {
        /// Which.
        path: PathBuf,
    },
    /// Nobody knows where it comes from.
    #[error("\"{}\" is present on disk but not in the manifest", path.display())]
    Unlisted {
        /// Which.
        path: PathBuf,
    },
    /// It is not there.
    #[error("\"{}\" is present in the manifest but not on disk", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// It is neither file nor directory.
    #[error("\"{}\" is not a file or directory", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
    },
}

impl Catalog {
    /// Compares every file of a backup in the plain format with its manifest, and shows what differs to `found`. What
    /// differs in length is found before any contents are read. Meanwhile nobody deletes the backup (invariant 6).
    ///
    /// # Errors
    /// The backup is being deleted or changed; there is no manifest, or it or a file cannot be read.
    pub fn verify_backup(
        &self,
        info: &BackupInfo,
        cancel: &Cancel,
        found: &mut dyn FnMut(&BackupFault),
    ) -> Result<(), Error> {
        let _lease = self.lease_unless_in_use(&info.backup_id)?;
        let backup = self.backup_data(info)?;
        let mut listed = read_manifest(&backup.data)?;
        let mut to_read = Vec::new();
        for (path, file) in files_by_manifest_path(&backup)? {
            match (listed.remove(&path), file.kind) {
                (_, Kind::Directory) => {}
                (_, Kind::Symlink | Kind::Other) => found(&BackupFault::Kind { path }),
                (None, Kind::File) => found(&BackupFault::Unlisted { path }),
                (Some((expected, _)), Kind::File) if expected != file.size => {
                    found(&BackupFault::Size { path, expected, found: file.size });
                }
                (Some((_, checksum)), Kind::File) => to_read.extend(checksum.map(|checksum| (path, file, checksum))),
            }
        }
        listed.into_keys().for_each(|path| found(&BackupFault::Missing { path }));
        for (path, file, expected) in to_read {
            if checksum_of(&file, expected.algorithm(), cancel)?.is_none_or(|checksum| checksum != expected) {
                found(&BackupFault::Checksum { path });
            }
        }
        Ok(())
    }

    /// Writes a manifest, with SHA-256, of a backup in the plain format that has none. Returns where it is. Meanwhile nobody
    /// deletes the backup (invariant 6).
    ///
    /// # Errors
    /// The backup is being deleted or changed; there is one, a file cannot be read, or the manifest not be written.
    pub fn generate_manifest(&self, info: &BackupInfo, cancel: &Cancel) -> Result<PathBuf, Error> {
        /// That of every other file of a data directory.
        const MODE: u32 = 0o600;
        let _lease = self.lease_unless_in_use(&info.backup_id)?;
        let backup = self.backup_data(info)?;
        let (name, path) = (layout::manifest(), layout::shown(&backup.data, &layout::manifest()));
        if backup.data.stat(&name)?.is_some() {
            return Err(Error::ManifestExists { path });
        }
        let text = manifest_of(&backup, info, cancel)?;
        match backup.data.publish_new(&name, MODE, |file| Ok::<_, PublishError>(file.write_all(&text)?)) {
            Err(PublishError::Conflict { .. }) => Err(Error::ManifestExists { path }),
            published => Ok(published.map(|_| path)?),
        }
    }
}

/// Lengths and checksums, by path; without what is ignored.
fn read_manifest(data: &Dir) -> Result<BTreeMap<PathBuf, (u64, Option<Checksum>)>, Error> {
    let path = layout::shown(data, &layout::manifest());
    let text = match data.open_file(&layout::manifest()) {
        Err(error) if error.is_not_found() => return Err(Error::NoManifest { path }),
        opened => opened?,
    };
    let manifest = Manifest::read(text).map_err(|source| Error::Manifest { path, source })?;
    let listed = manifest.files.into_iter().filter(|file| !is_ignored(&file.path));
    Ok(listed.map(|file| (file.path, (file.size, file.checksum))).collect())
}

fn is_ignored(path: &Path) -> bool {
    IGNORED.iter().any(|ignored| path.starts_with(ignored))
}

/// What a killed run has written of a manifest: the next one, which is being written, takes its place.
fn is_begun_manifest(path: &Path) -> bool {
    let name = path.as_os_str().as_bytes();
    name.strip_prefix(b".backup_manifest").is_some_and(|rest| rest.ends_with(b".tmp"))
}

/// Everything in a backup that a manifest has a say in, under the names that it has there.
fn files_by_manifest_path(backup: &BackupData) -> Result<Vec<(PathBuf, BackupFile)>, Error> {
    let tablespaces = Path::new("pg_tblspc");
    let is_link = |file: &BackupFile| file.kind == Kind::Symlink && file.path.as_path().parent() == Some(tablespaces);
    let data = backup.data_files()?.into_iter().filter(|file| !is_link(file));
    let mut files: Vec<_> = data.map(|file| (file.path.as_path().to_owned(), file)).collect();
    for oid in backup.tablespaces.keys() {
        let place = tablespaces.join(oid.to_string());
        files.extend(backup.tablespace_files(*oid)?.into_iter().map(|file| (place.join(file.path.as_path()), file)));
    }
    files.retain(|(path, _)| !is_ignored(path));
    Ok(files)
}

fn checksum_of(file: &BackupFile, algorithm: ChecksumAlgorithm, cancel: &Cancel) -> Result<Option<Checksum>, Error> {
    const BUFFER: usize = 256 * 1024;
    let (mut opened, mut hasher, mut buffer) = (file.open()?, Hasher::new(algorithm), vec![0; BUFFER]);
    loop {
        cancel.check()?;
        let read = opened.read(&mut buffer);
        match read.map_err(|error| barman_storage::Error::new(Operation::Read, file.path.as_path(), error))? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
}

fn manifest_of(backup: &BackupData, info: &BackupInfo, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let memory =
        |error| barman_storage::Error::new(Operation::Write, layout::shown(&backup.data, &layout::manifest()), error);
    let mut writer = ManifestWriter::new(Vec::new(), system_id(info)).map_err(memory)?;
    let mut files = files_by_manifest_path(backup)?;
    files.retain(|(path, file)| file.kind == Kind::File && !is_begun_manifest(path));
    for (path, file) in files {
        let checksum = checksum_of(&file, ChecksumAlgorithm::Sha256, cancel)?;
        let modified = Gmt(file.modified()?).to_string();
        writer.file(&ManifestFile { path, size: file.size, modified, checksum }).map_err(memory)?;
    }
    Ok(writer.finish(&wal_range(info).into_iter().collect::<Vec<_>>()).map_err(memory)?)
}

/// What manifests name from PostgreSQL 17 on.
fn system_id(info: &BackupInfo) -> Option<SystemId> {
    info.systemid.filter(|_| info.version.is_some_and(|version| version >= 170_000))
}

fn wal_range(info: &BackupInfo) -> Option<WalRange> {
    Some(WalRange { timeline: info.timeline?, start: info.begin_xlog?, end: info.end_xlog? })
}

/// `2026-11-20 18:47:03 GMT`
struct Gmt(Timestamp);

impl fmt::Display for Gmt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = jiff::Timestamp::from_microsecond(self.0.unix_micros()).unwrap_or_default();
        write!(f, "{}", at.strftime("%Y-%m-%d %H:%M:%S GMT"))
    }
}

impl BackupFile {
    fn modified(&self) -> Result<Timestamp, Error> {
        let seconds = self.stat()?.map_or(0, |stat| stat.modified_seconds);
        Ok(Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000)))
    }
}
