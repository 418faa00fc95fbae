//! Records about the log itself (`XLOG`, `access/rmgrdesc/xlogdesc.c`).

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::{map, map_opt};

use super::Payload;
use crate::native::{flag, int32, int64, lsn, padding, timestamp};
use crate::record::{Record, xlog};
use crate::syntax::{Parsed, SyntaxError, expect};
use crate::{Lsn, PgMajor, TimelineId, Timestamp};

pub(super) fn decode<'a>(record: &Record<'a>) -> Result<Payload<'a>, SyntaxError> {
    let major = record.major;
    match record.header.kind() {
        kind @ (xlog::CHECKPOINT_SHUTDOWN | xlog::CHECKPOINT_ONLINE) => {
            let is_shutdown = kind == xlog::CHECKPOINT_SHUTDOWN;
            record.parse_main(|input| Checkpoint::parse(input, major, is_shutdown), Payload::Checkpoint)
        }
        xlog::CHECKPOINT_REDO => record.parse_main(WalLevel::parse, |wal_level| Payload::CheckpointRedo { wal_level }),
        xlog::END_OF_RECOVERY => record.parse_main(|input| EndOfRecovery::parse(input, major), Payload::EndOfRecovery),
        xlog::RESTORE_POINT => record.parse_main(RestorePoint::parse, Payload::RestorePoint),
        xlog::SWITCH => Ok(Payload::Switch),
        xlog::PARAMETER_CHANGE => record.parse_main(ParameterChange::parse, Payload::ParameterChange),
        xlog::BACKUP_END => {
            let start = expect("the start of a backup", lsn);
            record.parse_main(start, |start_lsn| Payload::BackupEnd { start_lsn })
        }
        xlog::OVERWRITE_CONTRECORD => record.parse_main(OverwriteContrecord::parse, Payload::OverwriteContrecord),
        xlog::FPW_CHANGE => record.parse_main(expect("a setting", flag), |on| Payload::FullPageWrites { on }),
        _ => Ok(Payload::Other),
    }
}

/// A checkpoint (`CheckPoint`, `catalog/pg_control.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Checkpoint {
    /// Whether the server shut down: nothing was written after it began.
    pub is_shutdown: bool,
    /// Where recovery from it begins.
    pub redo: Lsn,
    /// The timeline it is on.
    pub timeline: TimelineId,
    /// The timeline before it, if it is the first record of a new one; otherwise the same.
    pub previous_timeline: TimelineId,
    /// Whether `full_page_writes` is on.
    pub full_page_writes: bool,
    /// `wal_level`, since 17.
    pub wal_level: Option<WalLevel>,
    /// Whether logical decoding is on, since 19.
    pub logical_decoding: Option<bool>,
    /// The next transaction, counted since the beginning of the cluster: the upper half is the epoch.
    pub next_xid: u64,
    /// The next OID.
    pub next_oid: u32,
    /// The next multixact.
    pub next_multixact: u32,
    /// The next offset of multixact members; it has 64 bits since 19.
    pub next_multixact_offset: u64,
    /// The oldest transaction that may stand in a table.
    pub oldest_xid: u32,
    /// The database that has it.
    pub oldest_xid_database: u32,
    /// The oldest multixact that may stand in a table.
    pub oldest_multixact: u32,
    /// The database that has it.
    pub oldest_multixact_database: u32,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub unix_time: i64,
    /// The oldest transaction whose commit time is known; 0 for none.
    pub oldest_commit_timestamp_xid: u32,
    /// The newest one.
    pub newest_commit_timestamp_xid: u32,
    /// The oldest transaction that still ran; 0 at a shutdown and where no standby needs it.
    pub oldest_active_xid: u32,
}

impl Checkpoint {
    /// Reads it as `major` lays it out, its padding included.
    pub(crate) fn parse(input: &[u8], major: PgMajor, is_shutdown: bool) -> Parsed<'_, Self> {
        let facts = major.facts();
        let (input, (redo, timeline, previous_timeline, full_page_writes, ())) =
            (lsn, TimelineId::decode, TimelineId::decode, flag, padding(3)).parse(input)?;
        let (input, wal_level) = if facts.checkpoint_has_wal_level {
            map(WalLevel::parse, Some).parse(input)?
        } else {
            map(padding(4), |()| None).parse(input)?
        };
        let (input, logical_decoding) = if facts.checkpoint_is_wide {
            map((flag, padding(7)), |(on, ())| Some(on)).parse(input)?
        } else {
            (input, None)
        };
        let (input, (next_xid, next_oid, next_multixact)) = (int64, int32, int32).parse(input)?;
        let (input, next_multixact_offset) =
            if facts.checkpoint_is_wide { int64(input)? } else { map(int32, u64::from).parse(input)? };
        let (input, (oldest_xid, oldest_xid_database, oldest_multixact, oldest_multixact_database)) =
            (int32, int32, int32, int32).parse(input)?;
        let (input, ()) = padding(if facts.checkpoint_is_wide { 0 } else { 4 }).parse(input)?;
        let (input, (unix_time, oldest_commit_timestamp_xid, newest_commit_timestamp_xid, oldest_active_xid, ())) =
            (map(int64, u64::cast_signed), int32, int32, int32, padding(4)).parse(input)?;
        let checkpoint = Self {
            is_shutdown,
            redo,
            timeline,
            previous_timeline,
            full_page_writes,
            wal_level,
            logical_decoding,
            next_xid,
            next_oid,
            next_multixact,
            next_multixact_offset,
            oldest_xid,
            oldest_xid_database,
            oldest_multixact,
            oldest_multixact_database,
            unix_time,
            oldest_commit_timestamp_xid,
            newest_commit_timestamp_xid,
            oldest_active_xid,
        };
        Ok((input, checkpoint))
    }
}

/// `wal_level` (`access/xlog.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum WalLevel {
    /// Enough for crash recovery.
    Minimal,
    /// Enough for archiving and standbys.
    Replica,
    /// Enough for logical decoding.
    Logical,
}

impl WalLevel {
    pub(crate) fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let level = |number| match number {
            0 => Some(Self::Minimal),
            1 => Some(Self::Replica),
            2 => Some(Self::Logical),
            _ => None,
        };
        expect("a wal_level, 0 to 2", map_opt(int32, level)).parse(input)
    }
}

/// The end of a recovery, in place of a checkpoint (`xl_end_of_recovery`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EndOfRecovery {
    /// When.
    pub at: Timestamp,
    /// The timeline that begins.
    pub timeline: TimelineId,
    /// The one it leaves.
    pub previous_timeline: TimelineId,
    /// `wal_level`, since 17.
    pub wal_level: Option<WalLevel>,
}

impl EndOfRecovery {
    fn parse(input: &[u8], major: PgMajor) -> Parsed<'_, Self> {
        let (input, (at, timeline, previous_timeline)) =
            expect("the end of a recovery", (timestamp, TimelineId::decode, TimelineId::decode)).parse(input)?;
        let (input, wal_level) = if major.facts().end_of_recovery_has_wal_level {
            map(WalLevel::parse, Some).parse(input)?
        } else {
            (input, None)
        };
        Ok((input, Self { at, timeline, previous_timeline, wal_level }))
    }
}

/// A named restore point (`xl_restore_point`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RestorePoint<'a> {
    /// When it was made.
    pub at: Timestamp,
    /// Its name, at most 63 bytes, in the encoding of the database it was made in.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialized::text"))]
    pub name: &'a [u8],
}

impl<'a> RestorePoint<'a> {
    fn parse(input: &'a [u8]) -> Parsed<'a, Self> {
        /// `MAXFNAMELEN`: the rest of the buffer is filled with zeros.
        const BUFFER: usize = 64;
        let until_zero = |name: &'a [u8]| name.split(|&byte| byte == 0).next();
        let name = map_opt(take(BUFFER), until_zero);
        map(expect("a restore point", (timestamp, name)), |(at, name)| Self { at, name }).parse(input)
    }
}

/// Settings that must not be lower on a standby (`xl_parameter_change`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ParameterChange {
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
}

impl ParameterChange {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let fields = (int32, int32, int32, int32, int32, WalLevel::parse, flag, flag);
        let (input, (connections, processes, senders, prepared, locks, wal_level, wal_log_hints, timestamps)) =
            expect("a parameter change", fields).parse(input)?;
        let change = Self {
            max_connections: connections,
            max_worker_processes: processes,
            max_wal_senders: senders,
            max_prepared_transactions: prepared,
            max_locks_per_transaction: locks,
            wal_level,
            wal_log_hints,
            track_commit_timestamp: timestamps,
        };
        Ok((input, change))
    }
}

/// A record whose rest was lost (`xl_overwrite_contrecord`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverwriteContrecord {
    /// Where that record begins.
    pub overwritten: Lsn,
    /// When it was replaced.
    pub at: Timestamp,
}

impl OverwriteContrecord {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let fields = expect("an overwritten record", (lsn, timestamp));
        map(fields, |(overwritten, at)| Self { overwritten, at }).parse(input)
    }
}
