//! Records about transactions (`Transaction`, `access/rmgrdesc/xactdesc.c`).

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::{cond, map};

use super::Payload;
use super::list::{Element, List, align, c_string};
use super::statistics::DroppedStatistics;
use crate::native::{byte, flag, int16, int32, int64, padding, timestamp};
use crate::record::Record;
use crate::syntax::{Parsed, SyntaxError, expect};
use crate::{Lsn, PgMajor, RelFileLocator, Timestamp};

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    const KIND_MASK: u8 = 0x70;
    const COMMIT: u8 = 0x00;
    const PREPARE: u8 = 0x10;
    const ABORT: u8 = 0x20;
    const COMMIT_PREPARED: u8 = 0x30;
    const ABORT_PREPARED: u8 = 0x40;
    const ASSIGNMENT: u8 = 0x50;
    const INVALIDATIONS: u8 = 0x60;
    let (major, header) = (record.major, record.header);
    let end = |input| TransactionEnd::parse(input, header.info, header.xid, major);
    match header.info & KIND_MASK {
        COMMIT | COMMIT_PREPARED => record.parse_main(end, Payload::Commit),
        ABORT | ABORT_PREPARED => record.parse_main(end, Payload::Abort),
        ASSIGNMENT => record
            .parse_main((expect("a top-level transaction", int32), List::parse_counted), |(top_level_xid, subxids)| {
                Payload::Assignment { top_level_xid, subxids }
            }),
        INVALIDATIONS => record.parse_main(List::parse_counted, Payload::Invalidations),
        PREPARE => record.parse_main(|input| Prepare::parse(input, major), Payload::Prepare),
        _ => Ok(Payload::Other),
    }
}

/// How a transaction ended (`xl_xact_commit`, `xl_xact_abort`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TransactionEnd<'a> {
    /// The transaction; 0 if it wrote nothing that needed a number. Of a prepared one, the transaction that was prepared,
    /// not the one that ended it.
    pub xid: u32,
    /// When.
    pub at: Timestamp,
    /// The name under which it was prepared, if the record has it; see `prepared`.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::optional_text"))]
    pub gid: Option<&'a [u8]>,
    /// Whether it was prepared before.
    pub prepared: bool,
    /// The OID of the database it ran in, if the record has it.
    pub database: Option<u32>,
    /// The OID of that database's default tablespace, if the record has it.
    pub tablespace: Option<u32>,
    /// Its subtransactions that ended with it.
    pub subxids: List<'a, u32>,
    /// The relations whose files are removed now.
    pub dropped: List<'a, RelFileLocator>,
    /// What goes from the cumulative statistics with it.
    pub dropped_statistics: DroppedStatistics<'a>,
    /// What other sessions have to forget.
    pub invalidations: List<'a, InvalidationMessage>,
    /// Whether the files have to be removed that new sessions read the catalogs' descriptions from.
    pub drops_relcache_files: bool,
    /// Whether a commit must be on disk before anybody hears of it, whatever `synchronous_commit` says.
    pub must_sync: bool,
    /// Where it came from, if replication brought it.
    pub origin: Option<TransactionOrigin>,
}

/// Which of these parts the record has (`xinfo`, `access/xact.h`).
mod part {
    pub(super) const DATABASE: u32 = 1 << 0;
    pub(super) const SUBTRANSACTIONS: u32 = 1 << 1;
    pub(super) const DROPPED_RELATIONS: u32 = 1 << 2;
    pub(super) const INVALIDATIONS: u32 = 1 << 3;
    pub(super) const PREPARED: u32 = 1 << 4;
    pub(super) const ORIGIN: u32 = 1 << 5;
    pub(super) const GID: u32 = 1 << 7;
    pub(super) const DROPPED_STATISTICS: u32 = 1 << 8;
    // These two say something by themselves.
    pub(super) const DROPS_RELCACHE_FILES: u32 = 1 << 30;
    pub(super) const MUST_SYNC: u32 = 1 << 31;
}

impl<'a> TransactionEnd<'a> {
    fn parse(input: &'a [u8], info: u8, xid: u32, major: PgMajor) -> Parsed<'a, Self> {
        const HAS_PARTS: u8 = 0x80;
        let (input, at) = expect("the time of a transaction's end", timestamp).parse(input)?;
        // Most have none of them, and there are very many.
        if info & HAS_PARTS == 0 {
            return Ok((input, Self::without_parts(xid, at)));
        }
        let (input, parts) = expect("the parts of a record", int32).parse(input)?;
        let has = |part| parts & part != 0;
        let database = expect("a database", (int32, int32));
        let (input, database) = cond(has(part::DATABASE), database).parse(input)?;
        let (input, subxids) = cond(has(part::SUBTRANSACTIONS), List::parse_counted).parse(input)?;
        let (input, dropped) = cond(has(part::DROPPED_RELATIONS), List::parse_counted).parse(input)?;
        let statistics_len = major.facts().statistics_len.filter(|_| has(part::DROPPED_STATISTICS));
        let statistics = |input| statistics_len.map(|len| DroppedStatistics::parse_counted(input, len)).transpose();
        let (input, dropped_statistics) = statistics(input)?.unwrap_or((input, DroppedStatistics::NONE));
        let (input, invalidations) = cond(has(part::INVALIDATIONS), List::parse_counted).parse(input)?;
        let prepared = has(part::PREPARED);
        let (input, prepared_xid) = cond(prepared, expect("a prepared transaction", int32)).parse(input)?;
        let (input, gid) = cond(prepared && has(part::GID), c_string).parse(input)?;
        let (input, origin) = cond(has(part::ORIGIN), TransactionOrigin::parse).parse(input)?;
        let end = Self {
            gid,
            prepared,
            database: database.map(|(database, _)| database),
            tablespace: database.map(|(_, tablespace)| tablespace),
            subxids: subxids.unwrap_or(List::EMPTY),
            dropped: dropped.unwrap_or(List::EMPTY),
            dropped_statistics,
            invalidations: invalidations.unwrap_or(List::EMPTY),
            drops_relcache_files: has(part::DROPS_RELCACHE_FILES),
            must_sync: has(part::MUST_SYNC),
            origin: origin.flatten(),
            ..Self::without_parts(prepared_xid.unwrap_or(xid), at)
        };
        Ok((input, end))
    }

    const fn without_parts(xid: u32, at: Timestamp) -> Self {
        Self {
            xid,
            at,
            gid: None,
            prepared: false,
            database: None,
            tablespace: None,
            subxids: List::EMPTY,
            dropped: List::EMPTY,
            dropped_statistics: DroppedStatistics::NONE,
            invalidations: List::EMPTY,
            drops_relcache_files: false,
            must_sync: false,
            origin: None,
        }
    }
}

/// Where a replicated transaction was first committed (`xl_xact_origin`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TransactionOrigin {
    /// The position of its commit there.
    pub lsn: Lsn,
    /// When that was.
    pub at: Timestamp,
}

impl TransactionOrigin {
    /// `None` where there was none, which a prepared transaction says with zeros.
    fn parse(input: &[u8]) -> Parsed<'_, Option<Self>> {
        let fields = expect("the origin of a transaction", (int64, timestamp));
        map(fields, |(lsn, at)| Lsn::from_pg(lsn).map(|lsn| Self { lsn, at })).parse(input)
    }
}

/// A transaction that was prepared to be committed (`xl_xact_prepare`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Prepare<'a> {
    /// The transaction.
    pub xid: u32,
    /// When.
    pub at: Timestamp,
    /// The name it is to be committed under.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::text"))]
    pub gid: &'a [u8],
    /// The OID of the database it ran in.
    pub database: u32,
    /// The OID of the role it ran as.
    pub owner: u32,
    /// Its subtransactions.
    pub subxids: List<'a, u32>,
    /// The relations whose files are removed if it commits.
    pub dropped_on_commit: List<'a, RelFileLocator>,
    /// The relations whose files are removed if it is rolled back.
    pub dropped_on_abort: List<'a, RelFileLocator>,
    /// What goes from the cumulative statistics if it commits.
    pub statistics_on_commit: DroppedStatistics<'a>,
    /// What goes from the cumulative statistics if it is rolled back.
    pub statistics_on_abort: DroppedStatistics<'a>,
    /// What other sessions have to forget if it commits.
    pub invalidations: List<'a, InvalidationMessage>,
    /// Where it came from, if replication brought it.
    pub origin: Option<TransactionOrigin>,
}

impl<'a> Prepare<'a> {
    fn parse(input: &'a [u8], major: PgMajor) -> Parsed<'a, Self> {
        let item_len = major.facts().statistics_len;
        let name = "a prepared transaction";
        let (input, (_magic, _len, xid, database, at, owner)) =
            expect(name, (int32, int32, int32, int32, timestamp, int32)).parse(input)?;
        let (input, (subxids, on_commit, on_abort)) = expect(name, (int32, int32, int32)).parse(input)?;
        let (input, statistics) = cond(item_len.is_some(), expect(name, (int32, int32))).parse(input)?;
        let (input, (messages, _flag, (), gid_len)) = expect(name, (int32, flag, padding(1), int16)).parse(input)?;
        let (input, origin) = TransactionOrigin::parse(input)?;
        // Everything before has a multiple of 8 bytes; everything behind is padded to that.
        let (input, gid) = expect("a prepared transaction's name", take(gid_len)).parse(input)?;
        let (input, ()) = align(gid.len()).parse(input)?;
        let (input, subxids) = List::parse_aligned(subxids).parse(input)?;
        let (input, dropped_on_commit) = List::parse_aligned(on_commit).parse(input)?;
        let (input, dropped_on_abort) = List::parse_aligned(on_abort).parse(input)?;
        let (of_commit, of_abort) = statistics.unwrap_or_default();
        let (input, statistics_on_commit) = aligned_statistics(input, of_commit, item_len)?;
        let (input, statistics_on_abort) = aligned_statistics(input, of_abort, item_len)?;
        let (input, invalidations) = List::parse_aligned(messages).parse(input)?;
        let gid = gid.strip_suffix(b"\0").unwrap_or(gid);
        let prepare = Self {
            xid,
            at,
            gid,
            database,
            owner,
            subxids,
            dropped_on_commit,
            dropped_on_abort,
            statistics_on_commit,
            statistics_on_abort,
            invalidations,
            origin,
        };
        Ok((input, prepare))
    }
}

/// Reads entries that padding aligns what follows; there are none in versions without a length of them.
fn aligned_statistics(input: &[u8], count: u32, item_len: Option<usize>) -> Parsed<'_, DroppedStatistics<'_>> {
    let Some(item_len) = item_len else { return Ok((input, DroppedStatistics::NONE)) };
    let (input, statistics) = DroppedStatistics::parse(count, item_len).parse(input)?;
    let (input, ()) = align(statistics.byte_len()).parse(input)?;
    Ok((input, statistics))
}

/// What other sessions have to forget (`SharedInvalidationMessage`, `storage/sinval.h`). A database of 0 stands for what
/// all databases share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum InvalidationMessage {
    /// Rows of a system catalog.
    CatalogCache {
        /// Which cache: numbers differ between versions.
        cache: u8,
        /// The OID of the database.
        database: u32,
        /// The hash of the rows' key.
        hash: u32,
    },
    /// All rows of a system catalog.
    Catalog {
        /// The OID of the database.
        database: u32,
        /// The OID of the catalog.
        catalog: u32,
    },
    /// The description of a relation.
    Relation {
        /// The OID of the database.
        database: u32,
        /// The OID of the relation; 0 for all.
        relation: u32,
    },
    /// The files of a relation.
    Storage(RelFileLocator),
    /// The relation map.
    RelationMap {
        /// The OID of the database.
        database: u32,
    },
    /// Snapshots of a catalog.
    Snapshot {
        /// The OID of the database.
        database: u32,
        /// The OID of the catalog.
        relation: u32,
    },
    /// What logical decoding publishes of a relation, since 18.
    RelationSync {
        /// The OID of the database.
        database: u32,
        /// The OID of the relation; 0 for all.
        relation: u32,
    },
    /// A message that this crate does not know.
    Unknown {
        /// Its number.
        id: i8,
    },
}

impl Element for InvalidationMessage {
    const LEN: usize = 16;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (_, (id, (), database, second)) = (byte, padding(3), int32, int32).parse(bytes).ok()?;
        Some(match id.cast_signed() {
            0.. => Self::CatalogCache { cache: id, database, hash: second },
            -1 => Self::Catalog { database, catalog: second },
            -2 => Self::Relation { database, relation: second },
            -3 => Self::Storage(RelFileLocator::read(bytes.get(4..)?)?),
            -4 => Self::RelationMap { database },
            -5 => Self::Snapshot { database, relation: second },
            -6 => Self::RelationSync { database, relation: second },
            id => Self::Unknown { id },
        })
    }
}
