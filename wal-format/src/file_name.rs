//! The names of files in `pg_wal` and in an archive.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use nom::Parser as _;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::{eof, map, map_opt, value};
use nom::sequence::{delimited, terminated};

use crate::segment::{SegmentNumber, SegmentSize};
use crate::syntax::{Parsed, SyntaxError, expect, hex_u32, parse_all};
use crate::{Lsn, TimelineId};

/// The name of a WAL segment, for example `000000010000000000000002`: what its 24 hexadecimal digits say.
///
/// Printed in upper case, as PostgreSQL does; either case is read, as Barman does. Which part of the log it stands for
/// depends on the segment size, and with some sizes it stands for none: see [`SegmentName::number`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The timeline that wrote it; it may begin with pages of an ancestor.
    pub timeline: TimelineId,
    /// The middle eight digits: which 4 GiB of the log.
    pub log: u32,
    /// The last eight digits: which segment within them.
    pub segment: u32,
}

impl SegmentName {
    /// The segment this name stands for in a cluster with segments of `size` (`XLogFromFileName`).
    ///
    /// # Errors
    /// No segment of that size has this name: with 16 MiB segments the last eight digits end at `000000FF`.
    pub fn number(self, size: SegmentSize) -> Result<SegmentNumber, ImpossibleSegmentName> {
        if u64::from(self.segment) < size.segments_per_log() {
            let number = u64::from(self.log) * size.segments_per_log() + u64::from(self.segment);
            Ok(SegmentNumber::new(number))
        } else {
            Err(ImpossibleSegmentName { name: self, size })
        }
    }

    /// The position of the segment's first byte.
    ///
    /// # Errors
    /// As [`SegmentName::number`].
    pub fn start(self, size: SegmentSize) -> Result<Lsn, ImpossibleSegmentName> {
        Ok(self.number(size)?.start(size))
    }

    /// The name of the following segment on the same timeline.
    ///
    /// # Errors
    /// As [`SegmentName::number`].
    pub fn next(self, size: SegmentSize) -> Result<Self, ImpossibleSegmentName> {
        Ok(self.number(size)?.next().name(self.timeline, size))
    }

    /// The directory of Barman's archive that the segment is filed in: the first sixteen digits of its name.
    #[must_use]
    pub fn hash_directory(self) -> String {
        format!("{:08X}{:08X}", self.timeline.get(), self.log)
    }

    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let name = (
            timeline,
            expect("the log's 8 hexadecimal digits", hex_u32(8, 8)),
            expect("the segment's 8 hexadecimal digits", hex_u32(8, 8)),
        );
        map(name, |(timeline, log, segment)| Self { timeline, log, segment }).parse(input)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline.get(), self.log, self.segment)
    }
}

impl FromStr for SegmentName {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::parse)
    }
}

/// A segment name that cannot occur in a cluster with segments of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WAL file name {name} cannot occur with segments of {size} bytes")]
pub struct ImpossibleSegmentName {
    /// The name.
    pub name: SegmentName,
    /// The size it was read with.
    pub size: SegmentSize,
}

/// The name of any file that PostgreSQL archives. Ordered by kind first, not as the names sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFileName {
    /// A whole segment: `000000010000000000000002`.
    Segment(SegmentName),
    /// The last, unfinished segment of a timeline that a promotion left behind, or one still being received:
    /// `000000010000000000000002.partial`.
    Partial(SegmentName),
    /// The backup history file of a base backup: `000000010000000000000002.00000028.backup`.
    BackupLabel {
        /// The segment in which the backup starts.
        segment: SegmentName,
        /// Where in that segment, in bytes from its beginning.
        offset: u32,
    },
    /// The history file of a timeline: `00000002.history`.
    History(TimelineId),
}

impl WalFileName {
    /// The directory of Barman's archive that the file is filed in; `None` for history files, which lie above them.
    #[must_use]
    pub fn hash_directory(&self) -> Option<String> {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::BackupLabel { segment, .. } => {
                Some(segment.hash_directory())
            }
            Self::History(_) => None,
        }
    }

    /// The timeline that the file is of.
    #[must_use]
    pub const fn timeline(&self) -> TimelineId {
        match self {
            Self::Segment(segment) | Self::Partial(segment) | Self::BackupLabel { segment, .. } => segment.timeline,
            Self::History(timeline) => *timeline,
        }
    }

    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        expect("a WAL file name", alt((history, of_segment))).parse(input)
    }
}

fn history(input: &[u8]) -> Parsed<'_, WalFileName> {
    map(terminated(timeline, tag(".history")), WalFileName::History).parse(input)
}

/// A segment's name with what may follow it.
fn of_segment(input: &[u8]) -> Parsed<'_, WalFileName> {
    let (rest, name) = SegmentName::parse(input)?;
    let offset = delimited(tag("."), hex_u32(8, 8), tag(".backup"));
    let suffix = alt((
        value(WalFileName::Segment(name), eof),
        value(WalFileName::Partial(name), tag(".partial")),
        map(offset, |offset| WalFileName::BackupLabel { segment: name, offset }),
    ));
    expect("the end, .partial, or .XXXXXXXX.backup", suffix).parse(rest)
}

fn timeline(input: &[u8]) -> Parsed<'_, TimelineId> {
    expect("a timeline's 8 hexadecimal digits, not all 0", map_opt(hex_u32(8, 8), TimelineId::new)).parse(input)
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(segment) => segment.fmt(f),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::BackupLabel { segment, offset } => write!(f, "{segment}.{offset:08X}.backup"),
            Self::History(timeline) => write!(f, "{:08X}.history", timeline.get()),
        }
    }
}

impl FromStr for WalFileName {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn segment(timeline: u32, log: u32, segment: u32) -> SegmentName {
        SegmentName { timeline: TimelineId::new(timeline).unwrap(), log, segment }
    }

    fn any_segment() -> impl Strategy<Value = SegmentName> {
        (1..=u32::MAX, any::<u32>(), any::<u32>()).prop_map(|(t, l, s)| segment(t, l, s))
    }

    fn any_name() -> impl Strategy<Value = WalFileName> {
        prop_oneof![
            any_segment().prop_map(WalFileName::Segment),
            any_segment().prop_map(WalFileName::Partial),
            (any_segment(), any::<u32>()).prop_map(|(segment, offset)| WalFileName::BackupLabel { segment, offset }),
            (1..=u32::MAX).prop_map(|t| WalFileName::History(TimelineId::new(t).unwrap())),
        ]
    }

    #[test]
    fn each_kind_of_name_is_read() {
        let name = segment(0x10, 0xA, 0xFE);
        for (text, expected) in [
            ("000000100000000A000000FE", WalFileName::Segment(name)),
            ("000000100000000A000000FE.partial", WalFileName::Partial(name)),
            ("000000100000000A000000FE.00000028.backup", WalFileName::BackupLabel { segment: name, offset: 0x28 }),
            ("00000010.history", WalFileName::History(TimelineId::new(16).unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(expected));
            assert_eq!(text.to_ascii_uppercase().replace("PARTIAL", "partial").to_lowercase().parse(), Ok(expected));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn other_files_are_refused() {
        for text in [
            "",
            "archive_status",
            "00000001",
            "00000000000000000000000A",
            "00000000.history",
            "000000010000000000000002.part",
            "000000010000000000000002.PARTIAL",
            "000000010000000000000002.partial.gz",
            "000000010000000000000002.0000028.backup",
            "000000010000000000000002\n",
            "00000001000000000000000G",
            "00000001.history.tmp",
            "000000010000000000000002.00000028.backup.partial",
        ] {
            assert!(text.parse::<WalFileName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_where_the_name_goes_wrong() {
        let refusal = |text: &str| text.parse::<WalFileName>().unwrap_err().to_string();
        assert_eq!(
            refusal("0000000100000000000000XY"),
            "expected the segment's 8 hexadecimal digits at byte 16, found \"000000XY\""
        );
        assert_eq!(
            refusal("000000010000000000000002.tmp"),
            "expected the end, .partial, or .XXXXXXXX.backup at byte 24, found \".tmp\""
        );
    }

    #[test]
    fn the_hash_directory_is_the_first_half_of_the_name() {
        let directory = |text: &str| text.parse::<WalFileName>().unwrap().hash_directory();
        assert_eq!(directory("000000010000000A000000FE").as_deref(), Some("000000010000000A"));
        assert_eq!(directory("000000010000000A000000FE.00000028.backup").as_deref(), Some("000000010000000A"));
        assert_eq!(directory("00000002.history"), None);
    }

    #[test]
    fn the_next_name_crosses_into_the_next_log() {
        let size = SegmentSize::DEFAULT;
        assert_eq!(segment(3, 1, 0xFF).next(size), Ok(segment(3, 2, 0)));
        assert_eq!(segment(3, 1, 0xFE).next(size), Ok(segment(3, 1, 0xFF)));
    }

    #[test]
    fn a_name_beyond_its_segment_size_is_impossible() {
        let name = segment(1, 0, 0x100);
        assert!(name.number(SegmentSize::new(1 << 20).unwrap()).is_ok());
        let error = name.number(SegmentSize::DEFAULT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "WAL file name 000000010000000000000100 cannot occur with segments of 16777216 bytes"
        );
    }

    proptest! {
        #[test]
        fn parse_undoes_print(name in any_name()) {
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<WalFileName>();
        }

        #[test]
        fn what_is_read_is_printed_alike(text in "[0-9A-F]{8}([0-9A-F]{16})?(\\.partial|\\.history|\\.0000[0-9A-F]{4}\\.backup)?") {
            if let Ok(name) = text.parse::<WalFileName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
