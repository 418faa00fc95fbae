//! The two directories in which WAL arrives, and what is due in them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use barman_storage::{Dir, Entry, Kind, RelativePath};
use wal_format::WalFileName;

use crate::{Error, ServerLayout};

/// Where WAL arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalSource {
    /// `streaming/`: the WAL receiver writes there.
    Streaming,
    /// `incoming/`: PostgreSQL's `archive_command` delivers there.
    Incoming,
}

impl WalSource {
    /// Its directory, which need not exist.
    pub(crate) fn directory(self, layout: &ServerLayout) -> &Path {
        match self {
            Self::Streaming => &layout.streaming_wals_directory,
            Self::Incoming => &layout.incoming_wals_directory,
        }
    }
}

/// As Barman's messages call them.
impl fmt::Display for WalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Streaming => "streaming",
            Self::Incoming => "file archival",
        })
    }
}

/// A WAL file that waits to be archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) name: WalFileName,
    /// Its name as delivered: the hexadecimal digits may be in lower case.
    pub(crate) path: RelativePath,
}

/// What one run does with a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// To be archived, in this order.
    pub(crate) files: Vec<Candidate>,
    /// Left for the next run, in this order.
    pub(crate) later: Vec<Candidate>,
    /// Not WAL.
    pub(crate) unknown: Vec<OsString>,
    /// Everything there is, what is left for later included.
    pub(crate) candidates: usize,
}

impl Batch {
    /// Counts what is there, temporary files aside.
    pub(crate) fn waiting(dir: &Dir) -> Result<usize, Error> {
        let entries = dir.entries()?;
        Ok(entries.iter().filter(|entry| !is_hidden(&entry.name) && !is_temporary(&entry.name)).count())
    }

    /// Looks through a directory.
    pub(crate) fn collect(source: WalSource, dir: &Dir, limit: Option<NonZeroUsize>) -> Result<Self, Error> {
        Ok(Self::of(source, dir.entries()?, limit))
    }

    /// Decides what is due. `entries` are sorted by name.
    ///
    /// Unlike with Barman, what is not WAL takes no place in the batch: enough of it could keep WAL waiting for ever.
    fn of(source: WalSource, entries: Vec<Entry>, limit: Option<NonZeroUsize>) -> Self {
        let mut batch = Self::default();
        for entry in entries.into_iter().filter(|entry| !is_hidden(&entry.name)) {
            batch.candidates += 1;
            match entry.name.to_str().and_then(|name| name.parse().ok()) {
                _ if is_temporary(&entry.name) => {}
                Some(name) if entry.kind == Kind::File => batch.files.push(Candidate { name, path: entry.path() }),
                _ => batch.unknown.push(entry.name),
            }
        }
        if source == WalSource::Streaming {
            batch.hold_back();
        }
        let length = batch.files.len();
        batch.later = batch.files.split_off(limit.map_or(length, |limit| limit.get().min(length)));
        batch
    }

    /// Leaves what the receiver may still be writing: the newest `.partial` file, or without any the newest segment, so
    /// that a receiver which starts again finds where it was.
    fn hold_back(&mut self) {
        let newest = |wanted: fn(&WalFileName) -> bool| self.files.iter().rposition(|file| wanted(&file.name));
        let partial = newest(|name| matches!(name, WalFileName::Partial(_)));
        let held = partial.or_else(|| newest(|name| matches!(name, WalFileName::Segment(_))));
        if let Some(held) = held {
            self.files.remove(held);
        }
    }
}

/// As with a shell's `*`: what begins with a dot is somebody's temporary file.
fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(source: WalSource, names: &[&str], limit: usize) -> Batch {
        let entry = |name: &&str| Entry { name: name.into(), kind: Kind::File };
        Batch::of(source, names.iter().map(entry).collect(), NonZeroUsize::new(limit))
    }

    fn names(batch: &Batch) -> Vec<String> {
        batch.files.iter().map(|file| file.name.to_string()).collect()
    }

    const ONE: &str = "000000010000000000000001";
    const TWO: &str = "000000010000000000000002";
    const ONE_PARTIAL: &str = "000000010000000000000001.partial";
    const TWO_PARTIAL: &str = "000000010000000000000002.partial";
    const HISTORY: &str = "00000002.history";

    #[test]
    fn the_newest_partial_file_stays_and_older_ones_go() {
        let found = batch(WalSource::Streaming, &[ONE, TWO_PARTIAL], 0);
        assert_eq!((names(&found), found.candidates), (vec![ONE.to_owned()], 2));
        assert_eq!(names(&batch(WalSource::Streaming, &[ONE_PARTIAL, TWO_PARTIAL], 0)), [ONE_PARTIAL]);
        assert_eq!(names(&batch(WalSource::Streaming, &[ONE_PARTIAL, TWO], 0)), [TWO]);
    }

    #[test]
    fn without_a_partial_file_the_newest_segment_stays() {
        assert_eq!(names(&batch(WalSource::Streaming, &[ONE, TWO, HISTORY], 0)), [ONE, HISTORY]);
        assert_eq!(names(&batch(WalSource::Streaming, &[HISTORY], 0)), [HISTORY]);
    }

    #[test]
    fn everything_delivered_goes_in_order() {
        let all = [ONE, ONE_PARTIAL, TWO, HISTORY];
        assert_eq!(names(&batch(WalSource::Incoming, &all, 0)), all);
        assert_eq!(names(&batch(WalSource::Incoming, &all, 2)), all[..2]);
    }

    #[test]
    fn temporary_files_wait_and_others_are_unknown() {
        let found = batch(WalSource::Incoming, &[".12-x", ONE, "notawal", "x.tmp"], 1);
        assert_eq!(names(&found), [ONE]);
        assert_eq!(found.unknown, ["notawal"]);
        assert_eq!(found.candidates, 3);
    }

    #[test]
    fn a_directory_with_the_name_of_a_segment_is_unknown() {
        let entries = vec![Entry { name: ONE.into(), kind: Kind::Directory }];
        assert_eq!(Batch::of(WalSource::Incoming, entries, None).unknown, [ONE]);
    }

    #[test]
    fn lower_case_digits_are_read() {
        let found = batch(WalSource::Incoming, &["00000001000000000000000a"], 0);
        assert_eq!(names(&found), ["00000001000000000000000A"]);
        assert_eq!(found.files[0].path.to_string(), "00000001000000000000000a");
    }
}
