//! The thread that turns the stream into files.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;

use barman_catalog::BackupData;
use barman_storage::{Cancel, Dir, OutFile, Published, RelativePath};
use tokio::sync::oneshot;
use wal_format::{BackupLabel, Lsn};

use super::archive::{Unpacked, Unpacker};
use super::error::BaseBackupError;
use super::manifest::{self, ManifestError};
use super::piece_reader::{Border, PieceReader};
use super::received_files::FileIndex;
use barman_catalog::ArchiveName;

/// PostgreSQL's mode for the manifest (`pg_file_create_mode`).
const MANIFEST_MODE: u32 = 0o600;
/// No backup label is longer; it has a handful of lines, one of them given by the user.
const MAX_LABEL: u64 = 64 * 1024;

/// Puts the files of one backup into its directories.
pub(super) struct Placement<'a> {
    pub(super) data: &'a BackupData,
    pub(super) cancel: &'a Cancel,
    pub(super) sync_jobs: NonZeroUsize,
    /// Where the server said that the backup starts.
    pub(super) start: Lsn,
}

/// What was put there.
#[derive(Debug)]
pub(super) struct Placed {
    /// The sum of the sizes of all files.
    pub(super) size: u64,
    /// How many files the manifest names.
    pub(super) files: u64,
    /// The text of `backup_label`.
    pub(super) label_text: String,
    /// What it says.
    pub(super) label: BackupLabel,
}

impl Placement<'_> {
    /// Unpacks all archives, compares them with the manifest, and makes everything durable.
    ///
    /// The number of files is sent to `verified` when all are written and proven equal, before they are synced.
    ///
    /// # Errors
    /// The stream is not what PostgreSQL sends or breaks off, or a file cannot be written or synced. The manifest has its
    /// name only if all went well.
    pub(super) fn run(
        &self,
        mut pieces: PieceReader,
        verified: oneshot::Sender<u64>,
    ) -> Result<Placed, BaseBackupError> {
        let Unpacked { files, bytes, links } = self.unpack(&mut pieces)?;
        self.link_tablespaces(&links)?;
        let (label_text, label) = self.label()?;
        let (files, manifest_size) = self.check_and_sync(pieces, files.into_index(), verified)?;
        Ok(Placed { size: bytes + manifest_size, files, label_text, label })
    }

    fn unpack(&self, pieces: &mut PieceReader) -> Result<Unpacked, BaseBackupError> {
        let mut unpacker = Unpacker::new(self.cancel);
        loop {
            match next_border(pieces, "an archive or the manifest")? {
                Border::Archive(name) => unpacker.unpack(name, self.root(name)?, pieces)?,
                Border::Manifest => return Ok(unpacker.finish()),
                Border::End => return Err(BaseBackupError::Sequence { expected: "a manifest", source: None }),
            }
        }
    }

    fn root(&self, archive: ArchiveName) -> Result<&Dir, BaseBackupError> {
        match archive {
            ArchiveName::Main => Ok(&self.data.data),
            ArchiveName::Tablespace(oid) => {
                self.data.tablespaces.get(&oid).ok_or(BaseBackupError::UnknownTablespace { archive })
            }
        }
    }

    /// Makes `pg_tblspc/<oid>` point to where the tablespace was put.
    fn link_tablespaces(&self, oids: &BTreeSet<u32>) -> Result<(), BaseBackupError> {
        for oid in oids {
            let Some(tablespace) = self.data.tablespaces.get(oid) else {
                // It was made since the backup began. Replaying WAL makes it again.
                tracing::info!(oid, "tablespace is newer than the backup and is not linked");
                continue;
            };
            self.data.data.symlink(tablespace.path(), &linked_path(*oid))?;
        }
        Ok(())
    }

    fn label(&self) -> Result<(String, BackupLabel), BaseBackupError> {
        let bytes = self.data.data.read(&RelativePath::literal("backup_label"), MAX_LABEL)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(BaseBackupError::LabelMissing)?;
        let label = BackupLabel::parse(&text).map_err(BaseBackupError::Label)?;
        if label.start_lsn != self.start {
            return Err(BaseBackupError::LabelStart { expected: self.start, found: label.start_lsn });
        }
        Ok((text, label))
    }

    /// Invariant 3: the manifest gets its name when everything that it names is durable.
    fn check_and_sync(
        &self,
        mut pieces: PieceReader,
        mut files: FileIndex,
        verified: oneshot::Sender<u64>,
    ) -> Result<(u64, u64), BaseBackupError> {
        let publish = |file: &mut OutFile| {
            let store = |line: &[u8]| Ok::<_, BaseBackupError>(file.write_all(line)?);
            let count = manifest::check(&mut pieces, &mut files, store)?;
            self.refuse_extra(&files)?;
            // It grows with the number of files, and so does what syncing needs.
            drop(files);
            match next_border(&mut pieces, "the end")? {
                Border::End => {}
                _ => return Err(BaseBackupError::Sequence { expected: "the end", source: None }),
            }
            // Whoever listened may have gone; the backup is worth finishing all the same.
            let _ = verified.send(count);
            self.sync()?;
            Ok((count, file.len()?))
        };
        let manifest = RelativePath::literal("backup_manifest");
        let published: Published<(u64, u64)> = self.data.data.publish_new(&manifest, MANIFEST_MODE, publish)?;
        Ok(published.into_value())
    }

    fn sync(&self) -> Result<(), BaseBackupError> {
        let mut roots = self.data.tablespaces.values().chain([&self.data.data]);
        roots.try_for_each(|root| Ok(root.sync_tree(self.sync_jobs)?))
    }

    /// Names a file that the manifest does not, which costs a walk through all of them.
    fn refuse_extra(&self, files: &FileIndex) -> Result<(), BaseBackupError> {
        if files.is_exhausted() {
            return Ok(());
        }
        let main = self.data.data_files()?.into_iter().map(|file| ArchiveName::Main.manifest_path(&file.path));
        let mut names: Vec<_> = main.collect();
        for oid in self.data.tablespaces.keys() {
            let archive = ArchiveName::Tablespace(*oid);
            names.extend(self.data.tablespace_files(*oid)?.iter().map(|file| archive.manifest_path(&file.path)));
        }
        let extra = names.iter().find(|name| files.is_unnamed(name)).map(|name| String::from_utf8_lossy(name));
        Err(ManifestError::Extra { path: extra.unwrap_or_default().into_owned() }.into())
    }
}

fn next_border(pieces: &mut PieceReader, expected: &'static str) -> Result<Border, BaseBackupError> {
    pieces.next_border().map_err(|source| BaseBackupError::Sequence { expected, source: Some(source) })
}

#[allow(clippy::expect_used, reason = "digits are a plain file name")]
fn linked_path(oid: u32) -> RelativePath {
    RelativePath::new(Path::new("pg_tblspc").join(oid.to_string())).expect("digits are a plain file name")
}

#[cfg(test)]
mod tests;
