//! Timeline history files: from which timelines another one descends.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use nom::Parser as _;
use nom::branch::alt;
use nom::character::complete::{one_of, space0, space1};
use nom::combinator::{eof, rest, value};
use nom::sequence::preceded;

use crate::syntax::{Parsed, SyntaxError, expect, parse_all};
use crate::{Lsn, TimelineId};

/// From which timelines a timeline descends, and where each of them was left: the content of a `.history` file
/// (`access/timeline.c`).
///
/// ```
/// use wal_format::{Lsn, TimelineHistory, TimelineId};
///
/// let third = TimelineId::new(3).ok_or("timeline 0")?;
/// let history = TimelineHistory::parse(third, b"1\t0/3017F60\tno recovery target specified\n\n2\t0/5000000\t\n")?;
/// assert_eq!(history.timeline_at(Lsn::new(0x3017F5F)), TimelineId::FIRST);
/// assert_eq!(history.timeline_at(Lsn::new(0x5000000)), third);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimelineHistory {
    /// The timeline that the file is of, the last in the line.
    pub timeline: TimelineId,
    /// Its ancestors, oldest first; empty for a timeline that `initdb` started.
    pub entries: Vec<HistoryEntry>,
}

/// One ancestor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HistoryEntry {
    /// The ancestor.
    pub parent: TimelineId,
    /// The switchpoint: WAL before it is the ancestor's, WAL from it on is not.
    pub switch_lsn: Lsn,
    /// Why, in PostgreSQL's words and one line. Never interpreted; bytes that are not UTF-8 are replaced.
    pub reason: String,
}

impl TimelineHistory {
    /// The history of a timeline without ancestors, for which PostgreSQL writes no file.
    #[must_use]
    pub const fn without_ancestors(timeline: TimelineId) -> Self {
        Self { timeline, entries: Vec::new() }
    }

    /// Reads the history file of `timeline`, by the rules of `readTimeLineHistory`: empty lines and comments (`#`) count
    /// for nothing, and the numbers of the ancestors increase and stay below the timeline's own.
    ///
    /// # Errors
    /// A line is something else, or an ancestor is out of order.
    pub fn parse(timeline: TimelineId, text: &[u8]) -> Result<Self, SyntaxError> {
        let mut history = Self::without_ancestors(timeline);
        let mut offset = 0;
        for line in text.split(|&byte| byte == b'\n') {
            history.add_line(line).map_err(|error| error.further_on(offset))?;
            offset += line.len() + 1;
        }
        Ok(history)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), SyntaxError> {
        let content = line.trim_ascii_start();
        if content.is_empty() || content.starts_with(b"#") {
            return Ok(());
        }
        let entry = parse_all(line, preceded(space0, HistoryEntry::parse))?;
        let parent = entry.parent;
        if self.entries.last().is_none_or(|elder| elder.parent < parent) && parent < self.timeline {
            self.entries.push(entry);
            Ok(())
        } else {
            Err(SyntaxError::new(line, 0, "a timeline above the one before and below the file's own"))
        }
    }

    /// The timeline that the byte at `lsn` was written on, in the life that led to this timeline
    /// (`tliOfPointInHistory`). At a switchpoint that is the later one.
    #[must_use]
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        let left_later = |entry: &&HistoryEntry| lsn < entry.switch_lsn;
        self.entries.iter().find(left_later).map_or(self.timeline, |entry| entry.parent)
    }

    /// Where the line leaves `parent`, or `None` if it does not: `parent` is no ancestor, or is this timeline itself.
    #[must_use]
    pub fn switch_lsn(&self, parent: TimelineId) -> Option<Lsn> {
        self.entries.iter().find(|entry| entry.parent == parent).map(|entry| entry.switch_lsn)
    }
}

impl HistoryEntry {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let reason = expect("white space", alt((value(&[][..], eof), preceded(one_of(" \t\r"), rest))));
        let (remainder, (parent, _, switch_lsn, reason)) =
            (TimelineId::parse, expect("white space", space1), Lsn::parse, reason).parse(input)?;
        let reason = String::from_utf8_lossy(reason).into_owned();
        Ok((remainder, Self { parent, switch_lsn, reason }))
    }
}

/// As PostgreSQL 13 to 18 write it: an empty line between the ancestors, positions without padding.
impl fmt::Display for TimelineHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, HistoryEntry { parent, switch_lsn, reason }) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            writeln!(f, "{separator}{parent}\t{switch_lsn}\t{reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec;
    use proptest::prelude::*;

    fn timeline(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn entry(parent: u32, switch_lsn: u64, reason: &str) -> HistoryEntry {
        HistoryEntry { parent: timeline(parent), switch_lsn: Lsn::new(switch_lsn), reason: reason.into() }
    }

    fn parse(own: u32, text: &str) -> Result<Vec<HistoryEntry>, SyntaxError> {
        TimelineHistory::parse(timeline(own), text.as_bytes()).map(|history| history.entries)
    }

    fn any_history() -> impl Strategy<Value = TimelineHistory> {
        let ancestors = proptest::collection::btree_map(1..1000u32, (any::<u64>(), "[^\n]{0,20}"), 0..5);
        ancestors.prop_map(|ancestors| TimelineHistory {
            timeline: timeline(1000),
            entries: ancestors.into_iter().map(|(parent, (lsn, reason))| entry(parent, lsn, &reason)).collect(),
        })
    }

    #[test]
    fn comments_empty_lines_and_missing_reasons_are_fine() {
        let text = "# by hand\n\n  \n  1\t0/5000000\n2 \t A/0C\tat restore point \"x\"\r\n";
        let expected = vec![entry(1, 0x500_0000, ""), entry(2, 0xA_0000_000C, "at restore point \"x\"\r")];
        assert_eq!(parse(7, text), Ok(expected));
        assert_eq!(parse(7, ""), Ok(vec![]));
    }

    #[test]
    fn timelines_are_decimal_here() {
        assert_eq!(parse(17, "10\t0/1\t\n"), Ok(vec![entry(10, 1, "")]));
        assert!(parse(17, "0A\t0/1\t\n").is_err());
    }

    #[test]
    fn ancestors_out_of_order_are_refused() {
        for (own, text) in
            [(3, "2\t0/1\t\n1\t0/2\t\n"), (3, "1\t0/1\t\n1\t0/2\t\n"), (3, "3\t0/1\t\n"), (3, "4\t0/1\t\n")]
        {
            assert!(parse(own, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_counts_from_the_start_of_the_file() {
        let error = parse(9, "1\t0/5000000\tok\n2\tnonsense\n").unwrap_err();
        assert_eq!(error.to_string(), "expected a WAL position such as 16/B374D848 at byte 17, found \"nonsense\"");
    }

    #[test]
    fn a_switchpoint_belongs_to_the_later_timeline() {
        let entries = vec![entry(1, 100, ""), entry(2, 200, "")];
        let history = TimelineHistory { timeline: timeline(5), entries };
        for (lsn, expected) in [(0, 1), (99, 1), (100, 2), (199, 2), (200, 5), (u64::MAX, 5)] {
            assert_eq!(history.timeline_at(Lsn::new(lsn)), timeline(expected), "{lsn}");
        }
        assert_eq!(history.switch_lsn(timeline(2)), Some(Lsn::new(200)));
        assert_eq!(history.switch_lsn(timeline(5)), None);
        assert_eq!(history.switch_lsn(timeline(3)), None);
    }

    proptest! {
        #[test]
        fn parse_undoes_print(history in any_history()) {
            let text = history.to_string();
            prop_assert_eq!(TimelineHistory::parse(history.timeline, text.as_bytes()), Ok(history));
        }

        #[test]
        fn no_bytes_panic(text: Vec<u8>, lines in "([0-9]{1,3}[\t ][0-9A-F]{0,9}/[0-9A-F]{0,9}[\t\n#]?){0,4}") {
            let _ = TimelineHistory::parse(TimelineId::FIRST, &text);
            let _ = TimelineHistory::parse(timeline(500), lines.as_bytes());
        }
    }
}
