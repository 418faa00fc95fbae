//! The `tablespace_map` file of a base backup.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use nom::Parser as _;
use nom::bytes::complete::{escaped_transform, is_not, tag, take};
use nom::character::complete::line_ending;
use nom::combinator::{eof, map, map_res};
use nom::multi::many_till;
use nom::sequence::separated_pair;

use crate::syntax::{Parsed, SyntaxError, decimal, expect, parse_all};

/// Where the tablespaces of a base backup lay (`do_pg_backup_start` of `access/transam/xlog.c`).
///
/// Recovery makes the links in `pg_tblspc` from it; whoever restores a tablespace elsewhere has to write it anew.
///
/// ```
/// use wal_format::TablespaceMap;
///
/// let map = TablespaceMap::parse(b"16384 /srv/fast disk\n16385 /srv/back\\\\slash\n")?;
/// let locations: Vec<_> = map.entries.iter().map(|entry| entry.location.as_str()).collect();
/// assert_eq!(locations, ["/srv/fast disk", r"/srv/back\slash"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TablespaceMap {
    /// In the order of the file.
    pub entries: Vec<TablespaceLocation>,
}

/// Where one tablespace lay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TablespaceLocation {
    /// Its `pg_tablespace.oid`, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// What the link pointed to: usually an absolute path. It may contain any character, line ends too.
    pub location: String,
}

impl TablespaceMap {
    /// Reads the content of a `tablespace_map` file and undoes its escapes.
    ///
    /// # Errors
    /// A line is not a number, a space and a path in UTF-8, or has no end.
    pub fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let (entries, _) = parse_all(text, many_till(TablespaceLocation::parse, eof))?;
        Ok(Self { entries })
    }
}

impl TablespaceLocation {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let oid = expect("the number of a tablespace", decimal);
        let pair = separated_pair(oid, expect("a space", tag(" ")), expect("a path in UTF-8", location));
        let line = (pair, expect("the end of the line", line_ending));
        map(line, |((oid, location), _)| Self { oid, location }).parse(input)
    }
}

/// A path in which a backslash makes the next character an ordinary one, so that line ends can occur.
fn location(input: &[u8]) -> Parsed<'_, String> {
    map_res(escaped_transform(is_not("\\\r\n"), '\\', take(1usize)), String::from_utf8).parse(input)
}

impl fmt::Display for TablespaceMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TablespaceLocation { oid, location } in &self.entries {
            write!(f, "{oid} ")?;
            for character in location.chars() {
                if matches!(character, '\\' | '\r' | '\n') {
                    f.write_char('\\')?;
                }
                f.write_char(character)?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn any_map() -> impl Strategy<Value = TablespaceMap> {
        let entry = (any::<u32>(), "[^\0]{1,20}").prop_map(|(oid, location)| TablespaceLocation { oid, location });
        proptest::collection::vec(entry, 0..4).prop_map(|entries| TablespaceMap { entries })
    }

    #[test]
    fn an_empty_file_has_no_tablespaces() {
        assert_eq!(TablespaceMap::parse(b""), Ok(TablespaceMap::default()));
    }

    #[test]
    fn what_is_not_a_map_is_refused_with_its_place() {
        let refusal = |text: &[u8]| TablespaceMap::parse(text).unwrap_err().to_string();
        assert_eq!(refusal(b"16384 /a\nx /b\n"), "expected the number of a tablespace at byte 9, found \"x /b\\n\"");
        assert_eq!(refusal(b"16384\n"), "expected a space at byte 5, found \"\\n\"");
        assert_eq!(refusal(b"16384 \n"), "expected a path in UTF-8 at byte 6, found \"\\n\"");
        assert_eq!(refusal(b"16384 caf\xe9\n"), "expected a path in UTF-8 at byte 6, found \"caf\\xe9\\n\"");
        assert_eq!(refusal(b"16384 /a"), "expected the end of the line at byte 8, found the end");
    }

    proptest! {
        #[test]
        fn parse_undoes_print(map in any_map()) {
            prop_assert_eq!(TablespaceMap::parse(map.to_string().as_bytes()), Ok(map));
        }

        #[test]
        fn no_bytes_panic(text: Vec<u8>, lines in "([0-9]{1,11} [a\\\\\n\r]{0,6}\n?){0,4}") {
            let _ = TablespaceMap::parse(&text);
            let _ = TablespaceMap::parse(lines.as_bytes());
        }
    }
}
