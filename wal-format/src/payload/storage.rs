//! Records about relations' files (`Storage`, `catalog/storage_xlog.h`).

use nom::Parser as _;
use nom::combinator::map;

use super::Payload;
use crate::native::int32;
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, expect};
use crate::{Fork, RelFileLocator};

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const CREATE: u8 = 0x10;
    const TRUNCATE: u8 = 0x20;
    match record.header.kind() {
        CREATE => record.parse_main((RelFileLocator::parse, Fork::parse), |(relation, fork)| Payload::StorageCreate {
            relation,
            fork,
        }),
        TRUNCATE => record.parse_main(StorageTruncate::parse, Payload::StorageTruncate),
        _ => Ok(Payload::Other),
    }
}

/// The files of a relation were cut (`xl_smgr_truncate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct StorageTruncate {
    /// The relation.
    pub relation: RelFileLocator,
    /// How many blocks of the main fork are left.
    pub blocks: u32,
    /// Whether the main fork is cut.
    pub main: bool,
    /// Whether the visibility map is cut to match.
    pub visibility_map: bool,
    /// Whether the free space map is cut to match.
    pub free_space_map: bool,
}

impl StorageTruncate {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let fields = (int32, RelFileLocator::parse, int32);
        map(expect("a truncation", fields), |(blocks, relation, flags)| Self {
            relation,
            blocks,
            main: flags & 1 != 0,
            visibility_map: flags & 2 != 0,
            free_space_map: flags & 4 != 0,
        })
        .parse(input)
    }
}
