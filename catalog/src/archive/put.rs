//! Taking WAL that a PostgreSQL host sends: a tar stream of files and their checksums, as `barman-wal-archive` writes it.
//!
//! Whoever sends it gets to know whether it arrived, and can send it again. So this is the one way in where damage is
//! refused once (invariant 5): what was damaged on its way comes whole the second time. What comes again with the same bytes
//! is what PostgreSQL has, and goes to the archive, marked; its archiving is never blocked for good.
//!
//! For the same reason a file that is archived with other contents is refused once. PostgreSQL's log and `check` tell of it
//! then, and `errors/` has it; refused each time, it would keep all later WAL on the server, until that has no room left. When
//! it comes again, it is not archived either, but PostgreSQL is told that it can go on: its bytes lie in `errors/`, durably.

mod checksums;
mod incoming;
mod passing;

use std::io::{self, Read};

use barman_storage::{Dir, PublishError, RelativePath};
use tar::EntryType;
use wal_format::{Lsn, SystemId, Timestamp, WalFileName};

use crate::archive::ingest::{Neighbours, judge_arrival};
use crate::catalog::DIRECTORY_MODE;
use crate::journal::{FieldWriter, Format, Journal};
use crate::{Catalog, Content, Error, Verdict, layout};

use checksums::{Algorithm, Checksums};
use incoming::{Received, Stored};

/// Names, lengths and checksums of files that were refused once.
const REFUSED: Format = Format { name: *b"WALR", version: 1 };

/// Why nothing of a stream was taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutWalError {
    /// A file without a checksum.
    #[error("Missing checksum for file '{file}'")]
    MissingChecksum {
        /// Its name.
        file: String,
    },
    /// A file that is not what was sent.
    #[error("Bad file checksum '{found}' (should be {expected}) for file '{file}'")]
    BadChecksum {
        /// Its name.
        file: String,
        /// What was sent, as hexadecimal digits.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// A checksum without a file.
    #[error("Checksum without corresponding file '{file}'")]
    MissingFile {
        /// Its name.
        file: String,
    },
    /// Something else than a file.
    #[error("Unsupported file type 'b'{kind}'' for file '{file}'")]
    FileType {
        /// Its name.
        file: String,
        /// The type, as tar calls it.
        kind: char,
    },
    /// A name that is no plain name.
    #[error("Unsupported filename '{file}'")]
    FileName {
        /// The name.
        file: String,
    },
    /// The stream is no tar archive, or was cut.
    #[error("cannot read the tar stream")]
    Stream(#[source] io::Error),
    /// WAL that does not belong here: of another cluster, or not what its name says.
    #[error("{reason}")]
    Foreign {
        /// What is wrong, its causes included.
        reason: String,
        /// The cluster that the WAL here is of, if it is another one.
        expected: Option<SystemId>,
    },
    /// WAL that cannot be believed, for the first time.
    #[error("{file} is damaged: WAL at {at} cannot be believed: {what}")]
    Damaged {
        /// Its name.
        file: WalFileName,
        /// Where.
        at: Lsn,
        /// What is wrong there.
        what: String,
    },
    /// Other contents under the same name wait to be archived.
    #[error(
        "{file} already waits to be archived, with other contents: the file has been moved to the errors directory"
    )]
    Conflict {
        /// Its name.
        file: String,
        /// The checksum of what waits.
        stored: String,
        /// The checksum of what came.
        found: String,
    },
    /// Other contents are archived under the same name.
    #[error("{file} is archived already, with other contents: the file has been moved to the errors directory")]
    ArchivedOtherwise {
        /// Its name.
        file: String,
    },
    /// The repository cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] Error),
}

/// What is worth telling although the stream is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutWalNote {
    /// A line among the checksums that is none.
    BadChecksumLine(String),
    /// WAL that cannot be believed came the second time, and is taken.
    Damaged(WalFileName),
    /// A file that is archived with other contents came again; the first time it was kept in `errors/`, and lies there.
    KeptInErrors(String),
}

impl From<barman_storage::Error> for PutWalError {
    fn from(error: barman_storage::Error) -> Self {
        Self::Catalog(error.into())
    }
}

impl From<PublishError> for PutWalError {
    fn from(error: PublishError) -> Self {
        Self::Catalog(error.into())
    }
}

impl Catalog {
    /// Stores the files of a tar stream in `incoming/`, durably (invariant 1), or none of them. `connected` is the cluster that
    /// WAL must be of where nothing that is recorded says so, as far as the caller knows.
    ///
    /// # Errors
    /// The stream cannot be read, a file is not what its checksum says, or it does not belong here.
    pub fn put_wal(
        &self,
        stream: &mut dyn Read,
        connected: Option<SystemId>,
        now: Timestamp,
        note: &mut dyn FnMut(PutWalNote),
    ) -> Result<(), PutWalError> {
        let incoming = Dir::create(&self.layout().incoming_wals_directory, DIRECTORY_MODE).map_err(Error::from)?;
        let system = self.system_id(connected)?;
        let mut received = Received::new(&incoming, system);
        let mut checksums = Checksums::default();
        let mut archive = tar::Archive::new(&mut *stream);
        for entry in archive.entries().map_err(PutWalError::Stream)? {
            let mut entry = entry.map_err(PutWalError::Stream)?;
            let name = plain_name(&entry)?;
            match Algorithm::of_list(&name) {
                Some(algorithm) => checksums.read(algorithm, &mut entry, note)?,
                None => received.store(name, &mut entry)?,
            }
        }
        take_padding(stream);
        for file in received.files() {
            checksums.check(&incoming, file)?;
        }
        checksums.finish()?;
        let doubtful = received.files().iter().filter(|file| !file.is_sound);
        self.judge_received(&incoming, doubtful, system, note)?;
        received.publish(self, now, note)
    }

    /// Refuses what does not belong here, and damage that comes for the first time.
    fn judge_received<'f>(
        &self,
        incoming: &Dir,
        files: impl Iterator<Item = &'f Stored>,
        system: Option<SystemId>,
        note: &mut dyn FnMut(PutWalNote),
    ) -> Result<(), PutWalError> {
        let mut neighbours = Neighbours::default();
        for file in files {
            let Ok(name) = file.name.parse::<WalFileName>() else { continue };
            let place = (incoming, &file.temporary());
            let facts = match judge_arrival(self, &mut neighbours, place, name, system)? {
                Ok(facts) => facts,
                Err(refusal) => {
                    let (reason, expected) = (refusal.explain(), refusal.expected_system());
                    return Err(PutWalError::Foreign { reason, expected });
                }
            };
            let Some(facts) = facts else { continue };
            // A record that begins before the segment never holds it back: it may be the other half that is wrong.
            let own = |at: Lsn| facts.segment_start().is_none_or(|start| at >= start);
            if let (Verdict::Damaged { at, what }, Some(content)) = (&facts.verdict, facts.raw)
                && own(*at)
            {
                if !self.was_refused(name, content)? {
                    return Err(PutWalError::Damaged { file: name, at: *at, what: what.clone() });
                }
                note(PutWalNote::Damaged(name));
            }
        }
        Ok(())
    }

    /// Tells whether the same bytes were refused before; from now on they were.
    fn was_refused(&self, name: WalFileName, content: Content) -> Result<bool, Error> {
        let dir = self.backup_dir()?.create_subdir(&layout::ledger(), DIRECTORY_MODE)?;
        let journal = Journal::new(&dir, layout::ledger_refused(), REFUSED);
        let mut fields = FieldWriter::default();
        fields.bytes(name.to_string().as_bytes()).number(content.bytes).number(content.crc32c.into());
        let entry = fields.finish();
        let _lock = self.lock_xlog_db()?;
        let mut known = false;
        let mut extent = journal.read(|other| {
            known |= other == entry.as_slice();
            Ok(())
        })?;
        if !known {
            journal.append(&mut extent, &[entry])?;
        }
        Ok(known)
    }
}

/// Takes what fills the last record of the tar format up: a sender that finds nobody reading it (`EPIPE`) takes all that it
/// sent for lost. Nothing in it counts, so that it need not come whole.
fn take_padding(stream: &mut dyn Read) {
    let _ = io::copy(stream, &mut io::sink());
}

/// The name of a member, which must be a regular file without a directory.
fn plain_name(entry: &tar::Entry<'_, impl Read>) -> Result<String, PutWalError> {
    let file = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    if file.contains('/') {
        return Err(PutWalError::FileName { file });
    }
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => match RelativePath::new(&file) {
            Ok(_) => Ok(file),
            Err(_) => Err(PutWalError::FileName { file }),
        },
        other => Err(PutWalError::FileType { file, kind: other.as_byte().into() }),
    }
}
