//! What records mean: those that backups and recovery ask about.

mod database;
mod heap;
mod list;
mod log;
mod statistics;
mod storage;
mod transaction;

use nom::Parser;
use nom::combinator::map;

pub use database::{DatabaseCopy, DatabaseDirectory, DatabaseDrop, RelationMapUpdate};
pub use heap::{HeapTruncate, InPlaceChange, RowChange, RowChangeKind, RowPlace, RowVersions};
pub use list::{Element, List};
pub use log::{Checkpoint, EndOfRecovery, OverwriteContrecord, ParameterChange, RestorePoint, WalLevel};
pub use statistics::{DroppedStatistics, StatisticsEntry};
pub use storage::StorageTruncate;
pub use transaction::{InvalidationMessage, Prepare, TransactionEnd, TransactionOrigin};

use crate::record::Record;
use crate::syntax::{Mismatch, SyntaxError, syntax_error};
use crate::{Fork, Lsn, RelFileLocator, ResourceManager};

/// The meaning of a record. Nothing is copied; lists are read while they are walked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Payload<'a> {
    /// A checkpoint (`XLOG_CHECKPOINT_SHUTDOWN` and `XLOG_CHECKPOINT_ONLINE`).
    Checkpoint(Checkpoint),
    /// Where recovery from the next checkpoint begins, 17 and later (`XLOG_CHECKPOINT_REDO`).
    CheckpointRedo {
        /// `wal_level` from here on.
        wal_level: WalLevel,
    },
    /// The end of a recovery that wrote no checkpoint: a timeline begins (`XLOG_END_OF_RECOVERY`).
    EndOfRecovery(EndOfRecovery),
    /// A named restore point (`XLOG_RESTORE_POINT`).
    RestorePoint(RestorePoint<'a>),
    /// The segment ends here (`XLOG_SWITCH`).
    Switch,
    /// Settings that standbys depend on changed (`XLOG_PARAMETER_CHANGE`).
    ParameterChange(ParameterChange),
    /// A base backup ended: recovery from it is consistent from here on (`XLOG_BACKUP_END`).
    BackupEnd {
        /// Where that backup started.
        start_lsn: Lsn,
    },
    /// The rest of a record was lost in a crash (`XLOG_OVERWRITE_CONTRECORD`).
    OverwriteContrecord(OverwriteContrecord),
    /// `full_page_writes` changed (`XLOG_FPW_CHANGE`).
    FullPageWrites {
        /// What it is from here on.
        on: bool,
    },
    /// A transaction committed, prepared before or not (`XLOG_XACT_COMMIT` and `XLOG_XACT_COMMIT_PREPARED`).
    Commit(TransactionEnd<'a>),
    /// A transaction was rolled back, prepared before or not (`XLOG_XACT_ABORT` and `XLOG_XACT_ABORT_PREPARED`).
    Abort(TransactionEnd<'a>),
    /// A transaction was prepared to be committed (`XLOG_XACT_PREPARE`).
    Prepare(Prepare<'a>),
    /// Transactions became known as subtransactions of another (`XLOG_XACT_ASSIGNMENT`).
    Assignment {
        /// The transaction that they are part of.
        top_level_xid: u32,
        /// The subtransactions.
        subxids: List<'a, u32>,
    },
    /// What other sessions have to forget, before the transaction has ended (`XLOG_XACT_INVALIDATIONS`); written at
    /// `wal_level = logical` only, 14 and later.
    Invalidations(List<'a, InvalidationMessage>),
    /// The file of a relation was created (`XLOG_SMGR_CREATE`).
    StorageCreate {
        /// The relation.
        relation: RelFileLocator,
        /// The fork.
        fork: Fork,
    },
    /// The files of a relation were cut (`XLOG_SMGR_TRUNCATE`).
    StorageTruncate(StorageTruncate),
    /// A database was created by copying a directory (`XLOG_DBASE_CREATE_FILE_COPY`; before 15 `XLOG_DBASE_CREATE`).
    DatabaseCopy(DatabaseCopy),
    /// A database was created; its blocks follow in records of their own (`XLOG_DBASE_CREATE_WAL_LOG`, 15 and later).
    DatabaseCreate(DatabaseDirectory),
    /// A database was dropped (`XLOG_DBASE_DROP`).
    DatabaseDrop(DatabaseDrop<'a>),
    /// A tablespace was created (`XLOG_TBLSPC_CREATE`).
    TablespaceCreate {
        /// Its OID.
        tablespace: u32,
        /// Its directory, in the encoding of the server's file system.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::text"))]
        path: &'a [u8],
    },
    /// A tablespace was dropped (`XLOG_TBLSPC_DROP`).
    TablespaceDrop {
        /// Its OID.
        tablespace: u32,
    },
    /// A relation map was written (`XLOG_RELMAP_UPDATE`).
    RelationMapUpdate(RelationMapUpdate<'a>),
    /// Tables were truncated; written at `wal_level = logical` only (`XLOG_HEAP_TRUNCATE`).
    HeapTruncate(HeapTruncate<'a>),
    /// Rows of a table were inserted, updated or deleted.
    Rows(RowChange),
    /// Something else: the record's header has the resource manager and the info bits that tell what.
    Other,
}

impl<'a> Record<'a> {
    /// Reads what the record means.
    ///
    /// # Errors
    /// It is of a kind that this crate knows, but not laid out as its version lays them out.
    pub fn decode(&self) -> Result<Payload<'a>, SyntaxError> {
        match self.header.manager {
            ResourceManager::XLOG => log::decode(self),
            ResourceManager::TRANSACTION => transaction::decode(self),
            ResourceManager::STORAGE => storage::decode(self),
            ResourceManager::DATABASE => database::decode(self),
            ResourceManager::TABLESPACE => database::decode_tablespace(self),
            ResourceManager::REL_MAP => database::decode_relation_map(self),
            ResourceManager::HEAP => heap::decode(self),
            ResourceManager::HEAP2 => heap::decode_heap2(self),
            _ => Ok(Payload::Other),
        }
    }

    /// Runs `parser` over the main data. Like PostgreSQL, it may leave bytes behind: padding, and what a later minor
    /// version appended.
    fn parse_main<T>(
        &self,
        parser: impl Parser<&'a [u8], Output = T, Error = Mismatch<'a>>,
        payload: impl FnMut(T) -> Payload<'a>,
    ) -> Result<Payload<'a>, SyntaxError> {
        let data = self.contents()?.main_data();
        match map(parser, payload).parse(data) {
            Ok((_, payload)) => Ok(payload),
            Err(error) => Err(syntax_error(data, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordHeader;
    use crate::testing::WalBuilder;
    use crate::{Item, PgMajor, RecordReader, SegmentSize, Source, TimelineId, Timestamp};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// What is made of a record of 15 with this main data.
    fn decoded<T>(manager: ResourceManager, info: u8, data: &[u8], check: impl FnOnce(Payload<'_>) -> T) -> T {
        let mut wal = WalBuilder::new(WalBuilder::layout(SegmentSize::DEFAULT, 8192));
        wal.record(manager, info, data);
        let mut reader = RecordReader::new(wal.start(), TimelineId::FIRST, SegmentSize::DEFAULT, Source::Open);
        let Ok(Some(Item::Record(record))) = reader.next(&mut wal.bytes()) else { panic!("no record") };
        check(record.decode().unwrap())
    }

    #[test]
    fn a_commit_that_replication_brought_names_its_origin() {
        let mut data = 1_000_000i64.to_ne_bytes().to_vec();
        // A prepared transaction with a name and an origin.
        data.extend(0xB0u32.to_ne_bytes());
        data.extend(742u32.to_ne_bytes());
        data.extend(b"gid\0");
        data.extend(0x300_0000u64.to_ne_bytes());
        data.extend(2_000_000i64.to_ne_bytes());
        decoded(ResourceManager::TRANSACTION, 0xB0, &data, |payload| {
            let Payload::Commit(end) = payload else { panic!("{payload:?}") };
            let at = Timestamp::from_pg_micros;
            assert_eq!((end.xid, end.at, end.gid, end.prepared), (742, at(1_000_000), Some(&b"gid"[..]), true));
            assert_eq!(end.origin, Some(TransactionOrigin { lsn: Lsn::new(0x300_0000), at: at(2_000_000) }));
        });
    }

    #[test]
    fn invalidation_messages_are_told_apart() {
        let message = |id: i8, first: u32, second: u32| {
            [&[id as u8, 0, 0, 0][..], &first.to_ne_bytes(), &second.to_ne_bytes(), &[0; 4]].concat()
        };
        let messages = [message(7, 5, 9), message(-2, 5, 16384), message(-4, 5, 0), message(-9, 0, 0)];
        let mut data = 0i64.to_ne_bytes().to_vec();
        data.extend(8u32.to_ne_bytes());
        data.extend(4u32.to_ne_bytes());
        data.extend(messages.concat());
        decoded(ResourceManager::TRANSACTION, 0x80, &data, |payload| {
            let Payload::Commit(end) = payload else { panic!("{payload:?}") };
            let expected = [
                InvalidationMessage::CatalogCache { cache: 7, database: 5, hash: 9 },
                InvalidationMessage::Relation { database: 5, relation: 16384 },
                InvalidationMessage::RelationMap { database: 5 },
                InvalidationMessage::Unknown { id: -9 },
            ];
            assert_eq!(end.invalidations.iter().collect::<Vec<_>>(), expected);
        });
    }

    #[test]
    fn dropped_statistics_have_the_length_of_their_version() {
        let commit = |items: &[u32]| {
            let mut data = [0; RecordHeader::LEN].to_vec();
            data.extend([255, u8::try_from(16 + 4 * items.len()).unwrap()]);
            data.extend(0i64.to_ne_bytes());
            data.extend(0x100u32.to_ne_bytes());
            data.extend(2u32.to_ne_bytes());
            data.extend(items.iter().flat_map(|item| item.to_ne_bytes()));
            data
        };
        let entry = |kind, object| StatisticsEntry { kind, database: 5, object };
        for (major, items, expected) in [
            (PgMajor::V15, &[2, 5, 16384, 3, 5, 16385][..], [entry(2, 16384), entry(3, 16385)]),
            (PgMajor::V18, &[2, 5, 16384, 0, 3, 5, 7, 1], [entry(2, 16384), entry(3, (1 << 32) + 7)]),
        ] {
            let data = commit(items);
            let Ok(Payload::Commit(end)) = record(&data, ResourceManager::TRANSACTION, 0x80, major).decode() else {
                panic!("{major}")
            };
            assert_eq!(end.dropped_statistics.iter().collect::<Vec<_>>(), expected);
            assert_eq!((end.dropped_statistics.len(), end.dropped_statistics.is_empty()), (2, false));
        }
    }

    #[test]
    fn subtransactions_are_assigned() {
        let data = [742u32, 2, 743, 744].map(u32::to_ne_bytes).concat();
        decoded(ResourceManager::TRANSACTION, 0x50, &data, |payload| {
            let Payload::Assignment { top_level_xid: 742, subxids } = payload else { panic!("{payload:?}") };
            assert_eq!(subxids.iter().collect::<Vec<_>>(), [743, 744]);
        });
    }

    #[test]
    fn a_record_replaces_another() {
        let data = [0x123_4560u64.to_ne_bytes(), 5i64.to_ne_bytes()].concat();
        decoded(ResourceManager::XLOG, 0xD0, &data, |payload| {
            let expected = OverwriteContrecord { overwritten: Lsn::new(0x123_4560), at: Timestamp::from_pg_micros(5) };
            assert_eq!(payload, Payload::OverwriteContrecord(expected));
        });
    }

    #[test]
    fn a_count_beyond_the_record_is_refused() {
        let mut data = [0; RecordHeader::LEN].to_vec();
        data.extend([255, 16]);
        data.extend(0i64.to_ne_bytes());
        data.extend(2u32.to_ne_bytes());
        data.extend(u32::MAX.to_ne_bytes());
        let record = record(&data, ResourceManager::TRANSACTION, 0x80, PgMajor::V15);
        let error = record.decode().unwrap_err();
        assert_eq!(error.expected, "as many elements as announced");
    }

    fn record(bytes: &[u8], manager: ResourceManager, info: u8, major: PgMajor) -> Record<'_> {
        let header = RecordHeader { total_len: 0, xid: 0, prev: Lsn::new(0), info, manager, checksum: 0 };
        Record { start: Lsn::new(0), end: Lsn::new(0), timeline: TimelineId::FIRST, major, header, bytes }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            mut data in prop::collection::vec(any::<u8>(), 0..200),
            manager in 0..22u8,
            info: u8,
            major in prop::sample::select(&PgMajor::ALL[..]),
        ) {
            let len = u8::try_from(data.len()).unwrap();
            let mut bytes = [0; RecordHeader::LEN].to_vec();
            bytes.extend([255, len]);
            bytes.append(&mut data);
            if let Ok(payload) = record(&bytes, ResourceManager::new(manager), info, major).decode() {
                // Walks through every list.
                let shown = alloc::format!("{payload:?}");
                prop_assert!(!shown.is_empty());
            }
        }
    }
}
