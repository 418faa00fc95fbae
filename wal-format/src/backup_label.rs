//! The `backup_label` file of a base backup.

use alloc::string::String;
use core::fmt;

use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_until};
use nom::combinator::{map, map_res, opt, value};
use nom::sequence::delimited;

use crate::syntax::{Mismatch, Parsed, SyntaxError, expect, parse_all};
use crate::{Lsn, SegmentName, TimelineId};

/// What `backup_label` says: where recovery of a base backup has to begin (`build_backup_content` of
/// `access/transam/xlogbackup.c`).
///
/// ```
/// use wal_format::{BackupLabel, BackupSource};
/// # let text = include_str!("../testdata/15/backup_label");
///
/// let label = BackupLabel::parse(text)?;
/// assert_eq!(label.start_lsn, "0/2000028".parse()?);
/// assert_eq!(label.from, BackupSource::Primary);
/// assert_eq!(label.label, "nightly backup");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BackupLabel {
    /// The redo point: recovery needs all WAL from here on.
    pub start_lsn: Lsn,
    /// The segment that holds it.
    pub start_wal: SegmentName,
    /// The checkpoint record that recovery reads first; behind the redo point.
    pub checkpoint_lsn: Lsn,
    /// How the backup was taken.
    pub method: BackupMethod,
    /// What kind of server it was taken from.
    pub from: BackupSource,
    /// When it began, in the server's `log_timezone`: `2026-11-20 18:47:03 UTC`. Not fit for arithmetic, because
    /// abbreviations of time zones are ambiguous.
    pub start_time: String,
    /// What the user called it.
    pub label: String,
    /// The timeline on which it began.
    pub start_timeline: TimelineId,
    /// The backup that this incremental one builds on.
    pub incremental_from: Option<IncrementalFrom>,
}

/// How a backup was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum BackupMethod {
    /// By `BASE_BACKUP` or between `pg_backup_start` and `pg_backup_stop`; the only method since PostgreSQL 15.
    Streamed,
    /// By an exclusive `pg_start_backup`.
    PgStartBackup,
}

/// What kind of server a backup was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum BackupSource {
    /// A server that accepts writes.
    Primary,
    /// A server in recovery.
    Standby,
}

/// Where the backup started that an incremental one builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct IncrementalFrom {
    /// Its `start_lsn`.
    pub lsn: Lsn,
    /// Its `start_timeline`.
    pub timeline: TimelineId,
}

impl BackupLabel {
    /// Reads the content of a `backup_label` file.
    ///
    /// PostgreSQL does not escape the user's label: one of several lines is read as such, up to the line of the start
    /// timeline.
    ///
    /// # Errors
    /// The lines are not those that PostgreSQL writes, in its order.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        parse_all(text.as_bytes(), Self::lines)
    }

    fn lines(input: &[u8]) -> Parsed<'_, Self> {
        let (rest, (start_lsn, start_wal)) = start(input)?;
        let (rest, checkpoint_lsn) = line("CHECKPOINT LOCATION", Lsn::parse).parse(rest)?;
        let (rest, method) = line("BACKUP METHOD", method).parse(rest)?;
        let (rest, from) = line("BACKUP FROM", source).parse(rest)?;
        let (rest, start_time) = line("START TIME", text_until("\n")).parse(rest)?;
        let (rest, label) = line("LABEL", text_until("\nSTART TIMELINE: ")).parse(rest)?;
        let (rest, start_timeline) = line("START TIMELINE", TimelineId::parse).parse(rest)?;
        let (rest, incremental_from) = opt(incremental_from).parse(rest)?;
        let label = Self {
            start_lsn,
            start_wal,
            checkpoint_lsn,
            method,
            from,
            start_time,
            label,
            start_timeline,
            incremental_from,
        };
        Ok((rest, label))
    }
}

/// One line: its key, what `parser` makes of the rest, and its end.
fn line<'a, P>(key: &'static str, parser: P) -> impl Parser<&'a [u8], Output = P::Output, Error = Mismatch<'a>>
where
    P: Parser<&'a [u8], Error = Mismatch<'a>>,
{
    delimited(
        (expect(key, tag(key)), expect("a colon and a space", tag(": "))),
        parser,
        expect("the end of the line", tag("\n")),
    )
}

fn start(input: &[u8]) -> Parsed<'_, (Lsn, SegmentName)> {
    let file = delimited(expect(" (file ", tag(" (file ")), SegmentName::parse, expect(")", tag(")")));
    line("START WAL LOCATION", (Lsn::parse, file)).parse(input)
}

fn method(input: &[u8]) -> Parsed<'_, BackupMethod> {
    let methods = alt((
        value(BackupMethod::Streamed, tag("streamed")),
        value(BackupMethod::PgStartBackup, tag("pg_start_backup")),
    ));
    expect("streamed or pg_start_backup", methods).parse(input)
}

fn source(input: &[u8]) -> Parsed<'_, BackupSource> {
    // Before 14 a primary is called master.
    let primary = value(BackupSource::Primary, alt((tag("primary"), tag("master"))));
    let standby = value(BackupSource::Standby, tag("standby"));
    expect("primary or standby", alt((primary, standby))).parse(input)
}

fn text_until<'a>(end: &'static str) -> impl Parser<&'a [u8], Output = String, Error = Mismatch<'a>> {
    map_res(take_until(end), |text: &[u8]| core::str::from_utf8(text).map(String::from))
}

fn incremental_from(input: &[u8]) -> Parsed<'_, IncrementalFrom> {
    let lines = (line("INCREMENTAL FROM LSN", Lsn::parse), line("INCREMENTAL FROM TLI", TimelineId::parse));
    map(lines, |(lsn, timeline)| IncrementalFrom { lsn, timeline }).parse(input)
}

/// As PostgreSQL 14 to 18 write it: positions without padding. 13 calls a primary master.
impl fmt::Display for BackupLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "START WAL LOCATION: {} (file {})", self.start_lsn, self.start_wal)?;
        writeln!(f, "CHECKPOINT LOCATION: {}", self.checkpoint_lsn)?;
        writeln!(f, "BACKUP METHOD: {}", self.method)?;
        writeln!(f, "BACKUP FROM: {}", self.from)?;
        writeln!(f, "START TIME: {}", self.start_time)?;
        writeln!(f, "LABEL: {}", self.label)?;
        writeln!(f, "START TIMELINE: {}", self.start_timeline)?;
        if let Some(IncrementalFrom { lsn, timeline }) = self.incremental_from {
            writeln!(f, "INCREMENTAL FROM LSN: {lsn}")?;
            writeln!(f, "INCREMENTAL FROM TLI: {timeline}")?;
        }
        Ok(())
    }
}

impl fmt::Display for BackupMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streamed => "streamed",
            Self::PgStartBackup => "pg_start_backup",
        })
    }
}

impl fmt::Display for BackupSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Standby => "standby",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    const LABEL: &str = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: standby
START TIME: 2026-11-20 18:47:03 UTC
LABEL: nightly backup
START TIMELINE: 1
";

    fn any_label() -> impl Strategy<Value = BackupLabel> {
        let positions = (any::<u64>(), any::<u64>(), any::<u32>(), 1..=u32::MAX);
        let words = (any::<bool>(), any::<bool>(), "[^\n]{0,30}", "[^:]{0,30}");
        let incremental = proptest::option::of((any::<u64>(), 1..=u32::MAX));
        (positions, words, incremental).prop_map(|((start, checkpoint, segment, timeline), words, incremental)| {
            let start_timeline = TimelineId::new(timeline).unwrap();
            let (streamed, primary, start_time, label) = words;
            BackupLabel {
                start_lsn: Lsn::new(start),
                start_wal: SegmentName { timeline: start_timeline, log: segment, segment },
                checkpoint_lsn: Lsn::new(checkpoint),
                method: if streamed { BackupMethod::Streamed } else { BackupMethod::PgStartBackup },
                from: if primary { BackupSource::Primary } else { BackupSource::Standby },
                start_time,
                label,
                start_timeline,
                incremental_from: incremental.map(|(lsn, timeline)| IncrementalFrom {
                    lsn: Lsn::new(lsn),
                    timeline: TimelineId::new(timeline).unwrap(),
                }),
            }
        })
    }

    #[test]
    fn a_label_of_several_lines_is_read_whole() {
        let text = LABEL.replace("nightly backup", "one\nLABEL: two\n");
        assert_eq!(BackupLabel::parse(&text).unwrap().label, "one\nLABEL: two\n");
    }

    #[test]
    fn version_13_calls_a_primary_master() {
        let from = |word| BackupLabel::parse(&LABEL.replace("FROM: standby", word)).map(|label| label.from).ok();
        assert_eq!(from("FROM: master"), Some(BackupSource::Primary));
        assert_eq!(from("FROM: primary"), Some(BackupSource::Primary));
        assert_eq!(from("FROM: replica"), None);
    }

    #[test]
    fn a_refusal_names_the_missing_line() {
        let text = LABEL.replace("CHECKPOINT LOCATION", "Checkpoint location");
        assert_eq!(
            BackupLabel::parse(&text).unwrap_err().to_string(),
            "expected CHECKPOINT LOCATION at byte 62, found \"Checkpoint location: 0/2...\""
        );
    }

    #[test]
    fn a_cut_or_extended_file_is_refused() {
        for len in 0..LABEL.len() {
            assert!(BackupLabel::parse(&LABEL[..len]).is_err(), "{len}");
        }
        assert!(BackupLabel::parse(&alloc::format!("{LABEL}INCREMENTAL FROM LSN: 0/2000028\n")).is_err());
    }

    proptest! {
        #[test]
        fn parse_undoes_print(label in any_label()) {
            prop_assert_eq!(BackupLabel::parse(&label.to_string()), Ok(label));
        }

        #[test]
        fn no_text_panics(text: String, at in 0..LABEL.len(), replacement: char) {
            let _ = BackupLabel::parse(&text);
            let mut changed = String::from(LABEL);
            changed.replace_range(at..=at, replacement.encode_utf8(&mut [0; 4]));
            let _ = BackupLabel::parse(&changed);
        }
    }
}
