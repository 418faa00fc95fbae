//! Records about rows (`Heap` and `Heap2`, `access/heapam_xlog.h`).

use nom::Parser as _;

use super::Payload;
use super::list::List;
use crate::RelFileLocator;
use crate::native::{byte, int16, int32, padding};
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, expect};

/// Bits of `info` that say what happened; the other of the four says that the page is made anew.
const KIND_MASK: u8 = 0x70;

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const INSERT: u8 = 0x00;
    const DELETE: u8 = 0x10;
    const UPDATE: u8 = 0x20;
    const TRUNCATE: u8 = 0x30;
    const HOT_UPDATE: u8 = 0x40;
    match record.header.info & KIND_MASK {
        INSERT => row_change(record, RowChangeKind::Insert, 1),
        DELETE => row_change(record, RowChangeKind::Delete, 1),
        UPDATE | HOT_UPDATE => row_change(record, RowChangeKind::Update, 1),
        TRUNCATE => record.parse_main(HeapTruncate::parse, Payload::HeapTruncate),
        _ => Ok(Payload::Other),
    }
}

pub(super) fn decode_heap2<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const MULTI_INSERT: u8 = 0x50;
    if record.header.info & KIND_MASK != MULTI_INSERT {
        return Ok(Payload::Other);
    }
    let data = record.contents()?.main_data();
    let count = expect("a number of rows", (byte, padding(1), int16)).parse(data);
    match count {
        Ok((_, (_flags, (), rows))) => row_change(record, RowChangeKind::Insert, rows),
        Err(error) => Err(crate::syntax::syntax_error(data, error)),
    }
}

/// Rows of a table that one record changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RowChange {
    /// The table's files.
    pub relation: RelFileLocator,
    /// What was done.
    pub kind: RowChangeKind,
    /// To how many rows.
    pub rows: u16,
}

/// What was done to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[allow(missing_docs, reason = "the names say it all")]
pub enum RowChangeKind {
    Insert,
    Update,
    Delete,
}

/// The first block is that of the row, of its new version where there are two.
fn row_change<'a>(record: &Record<'a>, kind: RowChangeKind, rows: u16) -> Result<Payload<'a>, SyntaxError> {
    let block = record.contents()?.blocks().next();
    let block = block.ok_or_else(|| SyntaxError::new(&[], 0, "the block of a row"))?;
    Ok(Payload::Rows(RowChange { relation: block.relation, kind, rows }))
}

/// Tables were truncated (`xl_heap_truncate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HeapTruncate<'a> {
    /// The OID of the database.
    pub database: u32,
    /// The OIDs of the tables.
    pub relations: List<'a, u32>,
    /// Whether tables that refer to them were truncated with them.
    pub cascade: bool,
    /// Whether their sequences begin again.
    pub restart_sequences: bool,
}

impl<'a> HeapTruncate<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, (database, count, flags, ())) =
            expect("a truncation", (int32, int32, byte, padding(3))).parse(input)?;
        let (input, relations) = List::parse(count).parse(input)?;
        let (cascade, restart_sequences) = (flags & 1 != 0, flags & 2 != 0);
        Ok((input, Self { database, relations, cascade, restart_sequences }))
    }
}
