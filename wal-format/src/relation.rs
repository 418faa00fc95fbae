//! Files of relations.

use core::fmt;

use nom::Parser as _;
use nom::combinator::{map, map_opt};

use crate::native::{byte, int32};
use crate::syntax::{Parsed, expect};

/// Which files hold a relation (`RelFileLocator`, `storage/relfilelocator.h`; `RelFileNode` before 16).
///
/// Printed as `pg_waldump` does: `1663/16384/16385`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RelFileLocator {
    /// The OID of the tablespace.
    pub tablespace: u32,
    /// The OID of the database; 0 for relations that all databases share.
    pub database: u32,
    /// The number that the files are named after. It begins as the relation's OID and changes when the relation is
    /// rewritten.
    pub number: u32,
}

impl RelFileLocator {
    #[inline]
    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let fields = (int32, int32, int32);
        let locator = map(fields, |(tablespace, database, number)| Self { tablespace, database, number });
        expect("a relation's 12 bytes", locator).parse(input)
    }
}

impl fmt::Display for RelFileLocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tablespace, self.database, self.number)
    }
}

/// Which of a relation's files (`ForkNumber`, `common/relpath.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// Its contents.
    Main,
    /// The free space map.
    FreeSpaceMap,
    /// The visibility map.
    VisibilityMap,
    /// What an unlogged relation begins with after a crash.
    Init,
}

impl Fork {
    /// The fork of this number, or `None` if there is none.
    #[must_use]
    #[inline]
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Main,
            1 => Self::FreeSpaceMap,
            2 => Self::VisibilityMap,
            3 => Self::Init,
            _ => return None,
        })
    }

    /// Its number, which [`Fork::from_number`] takes.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Main => 0,
            Self::FreeSpaceMap => 1,
            Self::VisibilityMap => 2,
            Self::Init => 3,
        }
    }

    /// Its name, as it ends file names and as `pg_waldump` prints it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::FreeSpaceMap => "fsm",
            Self::VisibilityMap => "vm",
            Self::Init => "init",
        }
    }

    /// Reads it from four bytes, as an `enum` of C.
    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        expect("the number of a fork, 0 to 3", map_opt(int32, Self::from_number)).parse(input)
    }

    /// Reads it from the low half of a byte, and returns the other bits too.
    #[inline]
    pub(crate) fn parse_with_flags(input: &[u8]) -> Parsed<'_, (Self, u8)> {
        let split = |bits: u8| Some((Self::from_number((bits & 0x0F).into())?, bits & 0xF0));
        expect("the number of a fork, 0 to 3", map_opt(byte, split)).parse(input)
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
