//! The record at which recovery stops, found before anything is copied.
//!
//! PostgreSQL says only at the end of a recovery whether there was a target to be reached. Here its rule is applied
//! beforehand ([`rule`]) to the WAL that recovery will read ([`wal_row`]): the ledger tells which segments can hold the
//! record, and only those are read ([`segment_reader`]).

pub(crate) mod rule;
pub(crate) mod search;
pub(crate) mod segment_reader;
pub(crate) mod wal_row;

use std::num::NonZeroU64;

use wal_format::{Lsn, SegmentName, TimelineId, Timestamp};

use crate::target::TargetXid;
use crate::target_time::TargetTime;

/// Where recovery stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStop {
    /// Why there.
    pub reason: StopReason,
    /// The record at which recovery stops: PostgreSQL's log calls it `redo done at`.
    pub at: Lsn,
    /// Whether that record is replayed; if not, it is the first one that is left out.
    pub is_replayed: bool,
    /// Where the last record ends that is replayed: `pg_last_wal_replay_lsn()`.
    pub replayed_to: Lsn,
    /// The timeline of that record.
    pub timeline: TimelineId,
    /// The last end of a transaction that is replayed; `None` if the backup holds all there is.
    pub last_transaction: Option<TransactionPoint>,
    /// The first end of a transaction that is left out; `None` if the WAL holds no other.
    pub first_left_out: Option<TransactionPoint>,
    /// The restore points of the name that was asked for, in order. The first one counts.
    pub restore_points: Vec<NamedPoint>,
}

/// Why recovery stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It reaches the target.
    Target,
    /// It reaches a position that stands for the target time: nothing was committed between the two, and the WAL proves that
    /// the time has passed. PostgreSQL alone would look for a later commit, find none, and fail.
    EquivalentLsn {
        /// What the settings carry in place of the time.
        lsn: Lsn,
        /// The time that the WAL proves.
        proven: Timestamp,
    },
    /// There is no more WAL.
    EndOfWal,
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPoint {
    /// Where its record begins.
    pub lsn: Lsn,
    /// The top-level transaction; 0 if it had no number.
    pub xid: u32,
    /// The same as the cluster counts it, with its epoch; `None` while no checkpoint has told that.
    pub full_xid: Option<NonZeroU64>,
    /// When.
    pub at: Timestamp,
    /// Whether it was committed; otherwise it was rolled back.
    pub committed: bool,
}

impl TransactionPoint {
    /// The same with its epoch: `next_xid` is the next transaction of a checkpoint near by, if there is one.
    pub(crate) fn counted(self, next_xid: Option<u64>) -> Self {
        let of = |next_xid| NonZeroU64::new(barman_catalog::XidRange::of(self.xid).full(next_xid)?.0);
        Self { full_xid: next_xid.filter(|_| self.xid != 0).and_then(of), ..self }
    }
}

/// A restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPoint {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// Where its record begins.
    pub lsn: Lsn,
    /// When it was made.
    pub at: Timestamp,
}

/// Why a target cannot be reached, and what can be instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreached {
    /// Nothing in the WAL is as late.
    #[error("the WAL ends before target time {target}")]
    Time {
        /// The target.
        target: TargetTime,
        /// The latest time at which a transaction ended.
        last_transaction: Option<Timestamp>,
        /// The latest time that the WAL proves.
        proven: Option<Timestamp>,
    },
    /// No top-level transaction of this number ends in the WAL.
    #[error("no transaction {target} ends in the WAL behind the backup")]
    Xid {
        /// The target.
        target: TargetXid,
        /// The transaction that it was a part of.
        top_level: Option<TransactionPoint>,
        /// The transaction with the next lower number that ends near by.
        below: Option<TransactionPoint>,
        /// The transaction with the next higher number that ends near by.
        above: Option<TransactionPoint>,
    },
    /// PostgreSQL would stop at a transaction that shares the lower half of its number with the target.
    #[error("the first transaction that PostgreSQL takes for {target} is {found}")]
    XidEpoch {
        /// The target.
        target: TargetXid,
        /// The transaction, with its epoch.
        found: u64,
    },
    /// There is no restore point of this name.
    #[error("no restore point '{name}' is in the WAL behind the backup")]
    Name {
        /// The target.
        name: String,
        /// The restore points that there are.
        known: Vec<NamedPoint>,
    },
    /// No record begins at this position or behind it.
    #[error("target LSN {target} is behind the last record of the archived WAL, which ends at {end}")]
    Lsn {
        /// The target.
        target: Lsn,
        /// Where the WAL ends.
        end: Lsn,
    },
    /// A segment is damaged, or was never completed, which the backup needs to be consistent.
    #[error("the WAL ends at {end}, before the end of the backup at {consistent}: segment {segment} is not whole")]
    Broken {
        /// The segment.
        segment: SegmentName,
        /// Where the last record ends that can be replayed.
        end: Lsn,
        /// Where the backup is consistent.
        consistent: Lsn,
    },
    /// Recovery would stop before the backup is consistent, and PostgreSQL refuses that.
    #[error("recovery would stop at {stop}, before the end of the backup at {consistent}")]
    Inconsistent {
        /// Where it would stop.
        stop: Lsn,
        /// From where on it could.
        consistent: Lsn,
    },
}
