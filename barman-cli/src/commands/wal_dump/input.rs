//! Files that WAL is read from.

use crate::error::CommandError;
use barman_catalog::Encoding;
use barman_storage::codec::{Decoder, Format};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;
use wal_format::{PageHeaderError, SegmentHeader, SegmentHeaderError, SegmentName, TimelineId, WalFileName};

/// A file that begins as a segment does.
pub(super) struct Input {
    pub(super) header: SegmentHeader,
    /// Which segment its name says it is, if it says so.
    pub(super) name: Option<SegmentName>,
    /// Whether its name says that PostgreSQL has not finished it.
    pub(super) is_partial: bool,
    /// Its contents, decompressed, from the beginning: no more than a segment has.
    pub(super) contents: Box<dyn Read>,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, CommandError> {
        let unreadable = |error: io::Error| unreadable(path, &error);
        let mut file = File::open(path).map_err(unreadable)?;
        let mut head = Vec::new();
        file.by_ref().take(Format::HEAD_LEN as u64).read_to_end(&mut head).map_err(unreadable)?;
        let (format, is_encrypted) = (Format::detect(&head), Encoding::detect(&head) == Encoding::Encrypted);
        let whole = Cursor::new(head).chain(file);
        if is_encrypted {
            return Err(CommandError::new(format!("{} is encrypted", path.display()))
                .hinted("decrypt it first: `gpg --decrypt` writes what can be read"));
        }
        match format {
            Some(format) => {
                let decoder = Decoder::new(format, BufReader::with_capacity(1 << 17, whole)).map_err(unreadable)?;
                Self::begin(path, Box::new(decoder))
            }
            None => Self::begin(path, Box::new(whole)),
        }
    }

    fn begin(path: &Path, mut contents: Box<dyn Read>) -> Result<Self, CommandError> {
        let mut head = Vec::new();
        let read = contents.by_ref().take(SegmentHeader::LEN as u64).read_to_end(&mut head);
        read.map_err(|error| unreadable(path, &error))?;
        let header = SegmentHeader::parse(&head).map_err(|error| no_segment(path, &head, &error))?;
        let (name, is_partial) = named(path);
        let contents = Cursor::new(head).chain(contents).take(header.segment_size.bytes());
        Ok(Self { header, name, is_partial, contents: Box::new(contents) })
    }

    /// The timeline of the segment: by its name, else that of its first page.
    pub(super) fn timeline(&self) -> TimelineId {
        self.name.map_or(self.header.timeline, |name| name.timeline)
    }
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    let plain = CommandError::from_error(error);
    let named = plain.about(&format!("cannot read {}", path.display()));
    match error.kind() {
        io::ErrorKind::NotFound => named.hinted("name WAL files, such as those below `wals/`, in the order of the log"),
        io::ErrorKind::IsADirectory => named.hinted("name the files in it"),
        _ => named,
    }
}

/// The segment that a file's name stands for, whatever is behind it, such as `.gz`; and whether `.partial` is.
fn named(path: &Path) -> (Option<SegmentName>, bool) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut parts = name.split('.');
    let segment = match parts.next().unwrap_or_default().parse() {
        Ok(WalFileName::Segment(segment)) => Some(segment),
        _ => None,
    };
    (segment, parts.next() == Some("partial"))
}

fn no_segment(path: &Path, head: &[u8], error: &SegmentHeaderError) -> CommandError {
    let path = path.display();
    if head.iter().all(|byte| *byte == 0) {
        return CommandError::new(format!("{path} holds no WAL: it begins with zeros"))
            .hinted("PostgreSQL and its receivers make a file before they write to it");
    }
    let described = CommandError::from_error(error).about(&format!("{path} is no WAL segment"));
    match error {
        SegmentHeaderError::Page(PageHeaderError::ForeignByteOrder { .. }) => {
            described.hinted("read it on a machine of the byte order that it was written with")
        }
        SegmentHeaderError::Page(PageHeaderError::Magic(_) | PageHeaderError::TooShort { .. }) => {
            described.hinted("expected a segment of PostgreSQL 13 to 19, plain or compressed")
        }
        _ => described.hinted("expected a whole file of `pg_wal` or `wals`, from its beginning"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_segment_it_is_whatever_is_behind_it() {
        let segment = "000000020000000A000000FF".parse().ok();
        for (name, expected) in [
            ("000000020000000A000000FF", (segment, false)),
            ("/wals/000000020000000A000000FF.partial", (segment, true)),
            ("000000020000000A000000FF.partial.gz", (segment, true)),
            ("000000020000000A000000FF.zst", (segment, false)),
            ("copy of a segment", (None, false)),
            ("00000002.history", (None, false)),
        ] {
            assert_eq!(named(Path::new(name)), expected, "{name}");
        }
    }
}
