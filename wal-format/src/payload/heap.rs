//! Records about rows (`Heap` and `Heap2`, `access/heapam_xlog.h`).

use nom::Parser as _;

use super::Payload;
use super::list::List;
use crate::native::{byte, int16, int32, padding};
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, expect};
use crate::{RelFileLocator, ResourceManager};

/// Bits of `info` that say what happened; the other of the four says that the page is made anew.
const KIND_MASK: u8 = 0x70;
const INSERT: u8 = 0x00;
const DELETE: u8 = 0x10;
const UPDATE: u8 = 0x20;
const HOT_UPDATE: u8 = 0x40;

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const TRUNCATE: u8 = 0x30;
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

/// Where a version of a row lies (`ItemPointerData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowPlace {
    /// The block.
    pub block: u32,
    /// The line pointer in it, counted from one.
    pub offset: u16,
}

/// The versions of one row that a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVersions {
    /// The table's files.
    pub relation: RelFileLocator,
    /// The version that ends; `None` of a row that is inserted.
    pub old: Option<RowPlace>,
    /// The version that begins; `None` of a row that is deleted.
    pub new: Option<RowPlace>,
}

impl Record<'_> {
    /// Reads which versions of a row end and begin (`xl_heap_insert`, `xl_heap_delete`, `xl_heap_update`); `None` if the
    /// record is about anything but a single row.
    ///
    /// # Errors
    /// It is not laid out as its version lays it out.
    pub fn row_versions(&self) -> Result<Option<RowVersions>, SyntaxError> {
        if self.header.manager != ResourceManager::HEAP {
            return Ok(None);
        }
        let contents = self.contents()?;
        let data = contents.main_data();
        let mut blocks = contents.blocks();
        let Some(first) = blocks.next() else { return Ok(None) };
        let place = |block, offset| Some(RowPlace { block, offset });
        let read = match self.header.info & KIND_MASK {
            INSERT => int16(data).map(|(_, offset)| (None, place(first.block, offset))),
            DELETE => (int32, int16).parse(data).map(|(_, (_xmax, offset))| (place(first.block, offset), None)),
            UPDATE | HOT_UPDATE => {
                // The old version lies in a block of its own where the two are apart.
                let old_block = blocks.next().map_or(first.block, |second| second.block);
                let fields = (int32, int16, int16, int32, int16).parse(data);
                fields.map(|(_, (_xmax, old, _flags, _new_xmax, new))| (place(old_block, old), place(first.block, new)))
            }
            _ => return Ok(None),
        };
        let (old, new) = read.map_err(|error| crate::syntax::syntax_error(data, error))?;
        Ok(Some(RowVersions { relation: first.relation, old, new }))
    }
}

/// A version of a row that was changed where it lies, whatever becomes of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPlaceChange<'a> {
    /// The table's files.
    pub relation: RelFileLocator,
    /// The version.
    pub place: RowPlace,
    /// Its columns since then; empty if the page's image is there instead.
    pub data: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads which version of a row was changed in place (`xl_heap_inplace`); `None` if the record is about anything else.
    ///
    /// # Errors
    /// It is not laid out as its version lays it out.
    pub fn in_place_change(&self) -> Result<Option<InPlaceChange<'a>>, SyntaxError> {
        const IN_PLACE: u8 = 0x70;
        if self.header.manager != ResourceManager::HEAP || self.header.info & KIND_MASK != IN_PLACE {
            return Ok(None);
        }
        let contents = self.contents()?;
        let data = contents.main_data();
        let (_, offset) = int16(data).map_err(|error| crate::syntax::syntax_error(data, error))?;
        let change = contents.blocks().next().map(|block| InPlaceChange {
            relation: block.relation,
            place: RowPlace { block: block.block, offset },
            data: block.data,
        });
        Ok(change)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordHeader;
    use crate::{Lsn, PgMajor, TimelineId};
    use alloc::vec::Vec;

    const RELATION: RelFileLocator = RelFileLocator { tablespace: 1663, database: 5, number: 1259 };

    /// A record about rows of [`RELATION`] in these blocks.
    fn versions(info: u8, blocks: &[u32], main_data: &[u8]) -> Option<RowVersions> {
        read(info, blocks, main_data, |record| record.row_versions().unwrap())
    }

    fn read<T>(info: u8, blocks: &[u32], main_data: &[u8], read: impl FnOnce(&Record<'_>) -> T) -> T {
        let mut bytes = [0; RecordHeader::LEN].to_vec();
        for (id, block) in blocks.iter().enumerate() {
            let (id, same_relation) = (u8::try_from(id).unwrap(), if id > 0 { 0x80 } else { 0 });
            bytes.extend([id, same_relation, 0, 0]);
            let relation = [RELATION.tablespace, RELATION.database, RELATION.number].map(u32::to_ne_bytes).concat();
            bytes.extend(if id == 0 { relation } else { Vec::new() });
            bytes.extend(block.to_ne_bytes());
        }
        bytes.extend([255, u8::try_from(main_data.len()).unwrap()]);
        bytes.extend(main_data);
        let manager = ResourceManager::HEAP;
        let header = RecordHeader { total_len: 0, xid: 7, prev: Lsn::new(0), info, manager, checksum: 0 };
        let (start, end) = (Lsn::new(0), Lsn::new(0));
        let record = Record { start, end, timeline: TimelineId::FIRST, major: PgMajor::V15, header, bytes: &bytes };
        read(&record)
    }

    fn at(block: u32, offset: u16) -> Option<RowPlace> {
        Some(RowPlace { block, offset })
    }

    #[test]
    fn the_versions_of_a_row_lie_where_the_record_says() {
        let places = |found: Option<RowVersions>| found.map(|found| (found.relation, found.old, found.new));
        let offset = |offset: u16| offset.to_ne_bytes().to_vec();
        let inserted = versions(0x80, &[3], &[offset(9), alloc::vec![0]].concat());
        assert_eq!(places(inserted), Some((RELATION, None, at(3, 9))));
        let xmax = 70u32.to_ne_bytes().to_vec();
        let deleted = versions(DELETE, &[3], &[xmax.clone(), offset(4), alloc::vec![0, 0]].concat());
        assert_eq!(places(deleted), Some((RELATION, at(3, 4), None)));
        let update = [xmax.clone(), offset(4), alloc::vec![0, 0], xmax, offset(11)].concat();
        assert_eq!(places(versions(HOT_UPDATE, &[3], &update)), Some((RELATION, at(3, 4), at(3, 11))));
        assert_eq!(places(versions(UPDATE, &[8, 3], &update)), Some((RELATION, at(3, 4), at(8, 11))));
        assert_eq!(versions(0x60, &[3], &[]), None);
    }

    #[test]
    fn a_row_that_was_changed_in_place_has_no_other_version() {
        let in_place = |info| {
            let place =
                |record: &Record<'_>| record.in_place_change().unwrap().map(|change| (change.relation, change.place));
            read(info, &[3], &9u16.to_ne_bytes(), place)
        };
        assert_eq!(in_place(0x70), Some((RELATION, RowPlace { block: 3, offset: 9 })));
        assert_eq!(in_place(0x60), None);
        assert_eq!(versions(0x70, &[3], &9u16.to_ne_bytes()), None);
    }
}
