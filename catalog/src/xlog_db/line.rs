//! One line of the index: name, size, time, compression, encryption.

use wal_format::{SegmentName, TimelineId, Timestamp, WalFileName};

use crate::python::float_repr;

/// An entry of the index: an archived file as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct XlogEntry {
    /// Which file.
    pub name: WalFileName,
    /// Its length as stored, in bytes.
    pub size: u64,
    /// When the server wrote it: seconds since 1970-01-01 UTC.
    pub modified: f64,
    /// How it is compressed, such as `gzip`.
    pub compression: Option<String>,
    /// How it is encrypted, such as `gpg`.
    pub encryption: Option<String>,
}

impl XlogEntry {
    /// Returns the line that Barman would write, with its line break.
    #[must_use]
    pub fn to_line(&self) -> String {
        let Self { name, size, modified, compression, encryption } = self;
        let or_none = |word: &Option<String>| word.clone().unwrap_or_else(|| "None".to_owned());
        let (compression, encryption) = (or_none(compression), or_none(encryption));
        format!("{name}\t{size}\t{}\t{compression}\t{encryption}\n", float_repr(*modified))
    }
}

/// A line of the index as it was read; its parts are converted when they are asked for.
///
/// An index can have millions of lines, and most questions concern the name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XlogLine<'a> {
    /// The line with its line break.
    pub raw: &'a [u8],
    /// The digits of the file's name, if a whole segment is called so.
    digits: Option<&'a SegmentDigits>,
    /// Its length as stored, in bytes.
    pub size: u64,
}

impl<'a> XlogLine<'a> {
    /// Reads the first two columns of a line, and leaves the others for whoever asks. Returns `None` if it has none, and
    /// `Some(None)` if it is blank.
    // Inlined: a command that looks through a million lines is to answer at once, and passing each by memory takes as long as
    // reading it.
    #[allow(clippy::option_option, reason = "a blank line is neither an entry nor an error")]
    #[inline(always)]
    pub(super) fn parse(raw: &'a [u8]) -> Option<Option<Self>> {
        match Self::parse_usual(raw) {
            Some(line) => Some(Some(line)),
            None => Self::parse_any(raw),
        }
    }

    /// Reads the line of a segment with a tab behind each column, which nearly all lines are.
    #[inline(always)]
    fn parse_usual(raw: &'a [u8]) -> Option<Self> {
        let (name, rest) = raw.split_first_chunk()?;
        if !is_hex(name) {
            return None;
        }
        let (size, rest) = digits(rest.strip_prefix(b"\t")?, usize::MAX)?;
        let rest = rest.strip_prefix(b"\t")?;
        rest.first().is_some_and(u8::is_ascii_digit).then_some(Self {
            raw,
            digits: Some(name),
            size: size.unsigned_abs(),
        })
    }

    #[allow(clippy::option_option, reason = "as with `parse`")]
    #[cold]
    fn parse_any(raw: &'a [u8]) -> Option<Option<Self>> {
        let Some((name, rest)) = column(raw) else { return Some(None) };
        let (size, rest) = column(rest)?;
        let size = std::str::from_utf8(size).ok()?.parse().ok()?;
        column(rest)?;
        std::str::from_utf8(name).ok()?;
        let digits: Option<&SegmentDigits> = name.try_into().ok();
        Some(Some(Self { raw, digits: digits.filter(|digits| is_hex(digits)), size }))
    }

    /// Splits a line that was read before; `None` if it was blank.
    pub(crate) fn of(raw: &'a [u8]) -> Option<Self> {
        Self::parse(raw).flatten()
    }

    /// Returns the file's name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        column(self.raw).and_then(|(name, _)| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// The columns behind the size.
    fn rest(&self) -> Option<&'a [u8]> {
        let (_, rest) = column(self.raw)?;
        column(rest).map(|(_, rest)| rest)
    }

    /// Returns when the server wrote the file: seconds since 1970-01-01 UTC.
    #[must_use]
    pub fn modified(&self) -> Option<f64> {
        let (modified, _) = column(self.rest()?)?;
        std::str::from_utf8(modified).ok()?.parse().ok().filter(|seconds: &f64| seconds.is_finite())
    }

    /// Returns the same, to the microsecond, which is as exact as Barman's floating-point numbers are; 1970 if it cannot be
    /// read.
    #[must_use]
    pub fn modified_at(&self) -> Timestamp {
        let micros = self.rest().and_then(|rest| micros(rest.trim_ascii_start()));
        Timestamp::from_unix_micros(micros.unwrap_or_else(|| rounded(self.modified().unwrap_or(0.0))))
    }

    /// Returns the name, if the file is a whole segment.
    #[must_use]
    #[inline]
    pub fn segment(&self) -> Option<SegmentName> {
        self.digits.and_then(segment)
    }

    /// Returns all of it, converted.
    #[must_use]
    pub fn to_entry(&self) -> Option<XlogEntry> {
        let (_, rest) = column(self.rest()?)?;
        let (compression, rest) = column(rest).unzip();
        let (encryption, rest) = rest.and_then(column).unzip();
        if rest.and_then(column).is_some() {
            return None;
        }
        let word = |column: Option<&[u8]>| match column {
            None | Some(b"None") => Some(None),
            Some(word) => String::from_utf8(word.to_vec()).ok().map(Some),
        };
        let (compression, encryption) = (word(compression)?, word(encryption)?);
        let (name, modified) = (self.name().parse().ok()?, self.modified()?);
        Some(XlogEntry { name, size: self.size, modified, compression, encryption })
    }
}

/// The segment that hexadecimal digits name.
#[inline]
fn segment(digits: &SegmentDigits) -> Option<SegmentName> {
    let (numbers, _) = digits.as_chunks();
    let [timeline, log, segment] = numbers else { return None };
    Some(SegmentName { timeline: TimelineId::new(hex(timeline))?, log: hex(log), segment: hex(segment) })
}

/// Whether there are only hexadecimal digits. Not with `all`, which stops at the first other: without a branch for each the
/// bytes are looked at together.
#[inline]
fn is_hex(digits: &SegmentDigits) -> bool {
    digits.iter().fold(true, |hex, byte| hex & byte.is_ascii_hexdigit())
}

/// The number that eight hexadecimal digits stand for, in either case: all digits at once, then neighbours put together.
const fn hex(digits: &[u8; 8]) -> u32 {
    let text = u64::from_be_bytes(*digits);
    let letters = text >> 6 & 0x0101_0101_0101_0101;
    let nibbles = (text & 0x0F0F_0F0F_0F0F_0F0F) + letters * 9;
    let bytes = (nibbles | nibbles >> 4) & 0x00FF_00FF_00FF_00FF;
    let halves = (bytes | bytes >> 8) & 0x0000_FFFF_0000_FFFF;
    let [b0, b1, b2, b3, ..] = (halves | halves >> 16).to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

/// A time such as `1795193057.2869148` in microseconds, without what follows these; `None` where it is written in another
/// way.
fn micros(column: &[u8]) -> Option<i64> {
    let (seconds, rest) = digits(column, usize::MAX)?;
    let (fraction, after) = digits(rest.strip_prefix(b".")?, MICROS_DIGITS)?;
    let missing = MICROS_DIGITS - (rest.len() - 1 - after.len());
    let (_, end) = digits(after, usize::MAX).unwrap_or((0, after));
    let micros = (0..missing).fold(fraction, |micros, _| micros * 10);
    let whole = end.first().is_none_or(u8::is_ascii_whitespace);
    seconds.checked_mul(1_000_000)?.checked_add(micros).filter(|_| whole)
}

/// The number that up to `most` digits stand for, at least one, and what follows them.
#[inline]
fn digits(text: &[u8], most: usize) -> Option<(i64, &[u8])> {
    let (mut number, mut rest) = (0i64, text);
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first().filter(|_| text.len() - rest.len() < most) {
        number = number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        rest = behind;
    }
    (rest.len() < text.len()).then_some((number, rest))
}

/// Digits of a second's fraction.
const MICROS_DIGITS: usize = 6;

#[allow(clippy::cast_possible_truncation, reason = "a cast of a number that is too great gives the greatest")]
fn rounded(seconds: f64) -> i64 {
    (seconds * 1e6).round() as i64
}

/// Returns the first word, and what follows it.
fn column(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// As in `000000010000000000000002`. All other names are shorter or longer.
type SegmentDigits = [u8; 24];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLES: &str = "\
000000010000000000000004\t16524\t1795193057.2869148\tgzip\tNone
000000010000000000000006.00000028.backup\t250\t1795193062.179632\tgzip\tNone
00000001000000000000000F\t698442\t1795193262.0\tzstd\tNone
000000010000000000000015\t69657\t1795193566.0\tlz4\tgpg
000000010000000000000019.partial\t16372\t1795193713.4338484\tgzip\tNone
00000002.history\t88\t1795193713.38925\tgzip\tNone
";

    fn entry(line: &str) -> Option<XlogEntry> {
        XlogLine::parse(line.as_bytes())??.to_entry()
    }

    #[test]
    fn lines_that_barman_wrote_are_written_the_same() {
        for line in SAMPLES.split_inclusive('\n') {
            assert_eq!(entry(line).unwrap().to_line(), line);
        }
    }

    #[test]
    fn older_lines_have_fewer_columns() {
        let three = entry("000000010000000000000004 16777216 1795193057").unwrap();
        assert_eq!(three.to_line(), "000000010000000000000004\t16777216\t1795193057.0\tNone\tNone\n");
        let four = entry("000000010000000000000004\t5\t1795193057.0\tbzip2\n").unwrap();
        assert_eq!(four.compression.as_deref(), Some("bzip2"));
    }

    #[test]
    fn refuses_what_is_no_entry() {
        for line in [
            "000000010000000000000004\n",
            "000000010000000000000004\t16777216\n",
            "000000010000000000000004\tmany\t1795193057.0\n",
            "000000010000000000000004\t1\tthen\n",
            "000000010000000000000004\t1\tnan\n",
            "000000010000000000000004\t1\t1.0\tNone\tNone\tmore\n",
            "notawal\t1\t1.0\tNone\tNone\n",
        ] {
            assert_eq!(entry(line), None, "{line}");
        }
        assert_eq!(XlogLine::parse(b"  \n"), Some(None));
        assert_eq!(XlogLine::parse(b"\xff\t1\t1.0\n"), None);
    }

    #[test]
    fn a_usual_line_is_read_as_any_other() {
        for line in SAMPLES.split_inclusive('\n').chain(["000000010000000000000004\t5\t\n", "0\t5\t1.0\tNone\n"]) {
            let blanks = line.replace('\t', "  ");
            assert_eq!(entry(line), entry(&blanks), "{line}");
        }
        let without_size = "000000010000000000000004\t\t1795193057.0\tNone\tNone\n";
        assert_eq!(entry(without_size), None);
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        for (text, expected) in [
            ("1795193057.2869148", 1_795_193_057_286_914),
            ("1795193057.5", 1_795_193_057_500_000),
            ("1795193057", 1_795_193_057_000_000),
            ("1.5e9", 1_500_000_000_000_000),
            ("0.000001", 1),
            ("-2.0", -2_000_000),
            ("then", 0),
        ] {
            let line = format!("000000010000000000000004\t1\t{text}\tNone\tNone\n");
            let micros = XlogLine::of(line.as_bytes()).unwrap().modified_at().unix_micros();
            assert_eq!(micros, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_segment_is_what_its_name_says(name in "[0-9A-Fa-f]{24}|[0-9A-F]{23}[G/:@`g]|[0-9A-F]{23,25}") {
            let line = format!("{name}\t1\t1.0\tNone\tNone\n");
            prop_assert_eq!(XlogLine::of(line.as_bytes()).unwrap().segment(), name.parse().ok());
        }

        #[test]
        fn times_are_those_of_floating_point_numbers(seconds in 0.0..1e10) {
            let line = format!("000000010000000000000004\t1\t{seconds}\tNone\tNone\n");
            let line = XlogLine::of(line.as_bytes()).unwrap();
            prop_assert!((line.modified_at().unix_micros() - rounded(seconds)).abs() <= 1);
        }

        #[test]
        fn parse_undoes_print(
            name in "[0-9A-F]{7}[1-9A-F][0-9A-F]{16}(\\.partial|\\.[0-9A-F]{8}\\.backup)?",
            size: u64,
            modified in 0.0..1e11,
            compression in prop::option::of("gzip|zstd|lz4"),
            encryption in prop::option::of("gpg"),
        ) {
            let name = name.parse().unwrap();
            let written = XlogEntry { name, size, modified, compression, encryption };
            prop_assert_eq!(entry(&written.to_line()), Some(written));
        }
    }
}
