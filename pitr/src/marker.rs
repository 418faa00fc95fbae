//! The file by which an unfinished restore is recognised, so that it can be continued.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use barman_catalog::BackupId;
use barman_storage::{Dir, RelativePath};
use wal_format::crc32c;

/// Its name in every directory that a restore fills.
pub(crate) const NAME: &str = ".barman-restore";

const FORMAT: &str = "barman-restore 1";
const MODE: u32 = 0o600;

/// Longer than any: the path is the only part without a bound of its own.
const LONGEST_BYTES: u64 = 64 << 10;

/// What is being restored into a directory. As text, a line for each:
///
/// ```text
/// barman-restore 1
/// server main
/// backup 20261120T164417
/// destination /srv/restored
/// crc32c 1B0A2F0C
/// ```
///
/// The last line is the checksum of those before it. `distrusted`, a line before that, is there after a sync has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) server: String,
    pub(crate) backup: BackupId,
    /// The data directory that all belongs to.
    pub(crate) destination: PathBuf,
    /// Whether a sync failed: what is there may be on the disk or not, whatever reading it says (invariant 2).
    pub(crate) distrusted: bool,
}

/// Why a marker says nothing.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct MarkerError {
    reason: String,
}

impl Marker {
    /// Returns the text of the marker of a directory; `None` if it has none.
    pub(crate) fn text_in(dir: &Dir) -> Result<Option<Vec<u8>>, barman_storage::Error> {
        dir.read(&RelativePath::literal(NAME), LONGEST_BYTES)
    }

    /// Reads the text of a marker.
    pub(crate) fn of_text(text: &[u8]) -> Result<Self, MarkerError> {
        Self::parse(&String::from_utf8_lossy(text))
    }

    /// Leaves the marker in a directory; it is durable on return.
    pub(crate) fn write(&self, dir: &Dir) -> Result<(), barman_storage::Error> {
        dir.replace(&RelativePath::literal(NAME), MODE, self.text().as_bytes())
    }

    pub(crate) fn remove(dir: &Dir) -> Result<(), barman_storage::Error> {
        dir.remove_file(&RelativePath::literal(NAME))?;
        dir.sync()
    }

    /// Whether both are of the same restore.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        (&self.server, self.backup, &self.destination) == (&other.server, other.backup, &other.destination)
    }

    pub(crate) fn text(&self) -> String {
        let Self { server, backup, destination, distrusted } = self;
        let mut text = format!("{FORMAT}\nserver {server}\nbackup {backup}\ndestination {}\n", destination.display());
        if *distrusted {
            text.push_str("distrusted\n");
        }
        let checksum = crc32c(text.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "crc32c {checksum:08X}");
        text
    }

    fn parse(text: &str) -> Result<Self, MarkerError> {
        let format = text.lines().next().unwrap_or_default();
        if format != FORMAT {
            return Err(error(format!("its format is '{format}', expected '{FORMAT}'")));
        }
        let start = text.rfind("crc32c ").ok_or_else(|| error("it has no checksum"))?;
        let (body, checksum) = text.split_at(start);
        if checksum.trim_end() != format!("crc32c {:08X}", crc32c(body.as_bytes())) {
            return Err(error("its checksum is wrong"));
        }
        let value = |key: &str| {
            let line = body.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.ok_or_else(|| error(format!("it has no {key}")))
        };
        Ok(Self {
            server: value("server")?.to_owned(),
            backup: value("backup")?.parse().map_err(|_| error("its backup id is none"))?,
            destination: Path::new(value("destination")?).to_owned(),
            distrusted: body.lines().any(|line| line == "distrusted"),
        })
    }
}

/// Whether this is the name of a marker, or of what is left of writing one.
pub(crate) fn belongs_to_marker(name: &OsStr) -> bool {
    name.to_string_lossy().contains(NAME)
}

fn error(reason: impl Into<String>) -> MarkerError {
    MarkerError { reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(distrusted: bool) -> Marker {
        let backup = "20261120T164417".parse().unwrap();
        Marker { server: "main".to_owned(), backup, destination: PathBuf::from("/srv/a b"), distrusted }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for distrusted in [false, true] {
            let marker = marker(distrusted);
            assert_eq!(Marker::parse(&marker.text()).unwrap(), marker);
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_format_says_nothing() {
        let text = marker(false).text();
        let refused = |text: &str| Marker::parse(text).expect_err("must be refused").to_string();
        assert_eq!(
            refused(&text.replace("restore 1", "restore 2")),
            format!("its format is 'barman-restore 2', expected '{FORMAT}'")
        );
        assert_eq!(refused(&text.replace("main", "mane")), "its checksum is wrong");
        assert_eq!(refused(text.split("crc32c").next().unwrap()), "it has no checksum");
        for end in 0..text.len() - 1 {
            assert!(Marker::parse(&text[..end]).is_err(), "{end}");
        }
    }
}
