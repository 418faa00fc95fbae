//! PostgreSQL's rule of where recovery stops (`recoveryStopsBefore` and `recoveryStopsAfter` in `xlogrecovery.c`).

use wal_format::{Lsn, Payload, Record, Timestamp};

use super::TransactionPoint;
use crate::target::{RecoveryTarget, StopPoint};

/// What a record says that recovery may stop at, or that tells the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// A top-level transaction was committed or rolled back, prepared before or not.
    TransactionEnd(TransactionPoint, Subtransactions),
    /// A restore point was made.
    RestorePoint { name: Vec<u8>, at: Timestamp },
    /// The backup ended that begins at this position.
    BackupEnd { start: Lsn },
    /// It was this late, at least.
    Clock(Timestamp),
    /// Anything else.
    Other,
}

/// The subtransactions that ended with a transaction.
pub(crate) type Subtransactions = Vec<u32>;

impl Mark {
    /// Reads a record. One that cannot be read is nothing to PostgreSQL either: it would stop there with a panic.
    pub(crate) fn of(record: &Record<'_>) -> Self {
        let end = |end: &wal_format::TransactionEnd<'_>, committed| {
            let point = TransactionPoint { lsn: record.start, xid: end.xid, full_xid: None, at: end.at, committed };
            Self::TransactionEnd(point, end.subxids.iter().collect())
        };
        match record.decode() {
            Ok(Payload::Commit(commit)) => end(&commit, true),
            Ok(Payload::Abort(abort)) => end(&abort, false),
            Ok(Payload::RestorePoint(point)) => Self::RestorePoint { name: point.name.to_vec(), at: point.at },
            Ok(Payload::BackupEnd { start_lsn }) => Self::BackupEnd { start: start_lsn },
            Ok(Payload::Checkpoint(checkpoint)) => Self::Clock(of_seconds(checkpoint.unix_time)),
            Ok(Payload::EndOfRecovery(end)) => Self::Clock(end.at),
            Ok(Payload::Prepare(prepare)) => Self::Clock(prepare.at),
            _ => Self::Other,
        }
    }

    /// The moment that the record names.
    pub(crate) const fn time(&self) -> Option<Timestamp> {
        match self {
            Self::TransactionEnd(TransactionPoint { at, .. }, _) | Self::RestorePoint { at, .. } | Self::Clock(at) => {
                Some(*at)
            }
            Self::BackupEnd { .. } | Self::Other => None,
        }
    }

    /// The transaction that ended.
    pub(crate) const fn transaction(&self) -> Option<TransactionPoint> {
        match self {
            Self::TransactionEnd(point, _) => Some(*point),
            _ => None,
        }
    }
}

/// The moment that begins a second.
pub(crate) fn of_seconds(unix_time: i64) -> Timestamp {
    Timestamp::from_unix_micros(unix_time.saturating_mul(1_000_000))
}

/// A record, as far as recovery asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where it begins (`ReadRecPtr`).
    pub(crate) start: Lsn,
    /// Where the next one may begin (`EndRecPtr`).
    pub(crate) end: Lsn,
    /// Whether it speaks of transactions (`RM_XACT_ID`).
    pub(crate) of_transactions: bool,
    pub(crate) mark: Mark,
}

/// When recovery to a target stops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopRule<'a> {
    stop: &'a StopPoint,
    inclusive: bool,
    /// Once records up to here are replayed the backup is consistent (`CheckRecoveryConsistency`).
    pub(crate) consistent: Lsn,
}

impl<'a> StopRule<'a> {
    /// The rule of this target; `None` if it has no point to stop at.
    pub(crate) fn of(target: &'a RecoveryTarget, consistent: Lsn) -> Option<Self> {
        let stop = target.stop.as_ref()?;
        Some(Self { stop, inclusive: !target.exclusive, consistent })
    }

    /// Whether recovery stops without replaying this record.
    pub(crate) fn stops_before(&self, step: &Step) -> bool {
        match (self.stop, &step.mark) {
            (StopPoint::Lsn(target), _) => !self.inclusive && step.start >= *target,
            (StopPoint::Time(target), Mark::TransactionEnd(end, _)) if self.inclusive => end.at > target.instant(),
            (StopPoint::Time(target), Mark::TransactionEnd(end, _)) => end.at >= target.instant(),
            (StopPoint::Xid(target), Mark::TransactionEnd(end, _)) => !self.inclusive && end.xid == target.low_half(),
            (StopPoint::Immediate, _) => step.start >= self.consistent,
            _ => false,
        }
    }

    /// Whether recovery stops when it has replayed this record.
    pub(crate) fn stops_after(&self, step: &Step) -> bool {
        match (self.stop, &step.mark) {
            (StopPoint::Lsn(target), _) => self.inclusive && step.start >= *target,
            (StopPoint::Xid(target), Mark::TransactionEnd(end, _)) => self.inclusive && end.xid == target.low_half(),
            (StopPoint::Name(target), Mark::RestorePoint { name, .. }) => name.as_slice() == target.as_str().as_bytes(),
            // Behind other records nobody looks; the next one is read, and not replayed.
            (StopPoint::Immediate, _) => step.of_transactions && step.end >= self.consistent,
            _ => false,
        }
    }

    /// What recovery looks for.
    pub(crate) const fn stop(&self) -> &'a StopPoint {
        self.stop
    }

    pub(crate) const fn is_inclusive(&self) -> bool {
        self.inclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TargetTime;

    const CONSISTENT: Lsn = Lsn::new(0x500);

    fn at(seconds: i64) -> Timestamp {
        of_seconds(seconds)
    }

    fn step(lsn: u64, mark: Mark) -> Step {
        let of_transactions = matches!(mark, Mark::TransactionEnd(..));
        Step { start: Lsn::new(lsn), end: Lsn::new(lsn + 0x40), of_transactions, mark }
    }

    fn end(lsn: u64, xid: u32, seconds: i64, committed: bool) -> Step {
        let point = TransactionPoint { lsn: Lsn::new(lsn), xid, full_xid: None, at: at(seconds), committed };
        step(lsn, Mark::TransactionEnd(point, vec![xid + 1]))
    }

    fn point(lsn: u64, name: &str) -> Step {
        step(lsn, Mark::RestorePoint { name: name.as_bytes().to_vec(), at: at(30) })
    }

    /// A history in which times and numbers do not ascend.
    fn history() -> Vec<Step> {
        vec![
            step(0x600, Mark::Other),
            end(0x640, 11, 20, true),
            end(0x680, 10, 10, false),
            end(0x6C0, 12, 20, true),
            point(0x700, "twice"),
            end(0x740, 14, 30, true),
            point(0x780, "twice"),
            step(0x7C0, Mark::Clock(at(90))),
        ]
    }

    /// Where recovery of the history stops, and whether it replays that record.
    fn stops(stop: StopPoint, exclusive: bool) -> Option<(u64, bool)> {
        let target = RecoveryTarget { stop: Some(stop), exclusive, ..RecoveryTarget::default() };
        let rule = StopRule::of(&target, CONSISTENT).unwrap();
        history().iter().find_map(|step| match step {
            step if rule.stops_before(step) => Some((step.start.as_u64(), false)),
            step if rule.stops_after(step) => Some((step.start.as_u64(), true)),
            _ => None,
        })
    }

    fn time(seconds: i64) -> StopPoint {
        StopPoint::Time(TargetTime::from(at(seconds)))
    }

    #[test]
    fn a_time_stops_before_the_first_later_end_in_the_order_of_the_log() {
        assert_eq!(stops(time(9), false), Some((0x640, false)));
        assert_eq!(stops(time(10), false), Some((0x640, false)), "the end at 10 comes too late in the log");
        assert_eq!(stops(time(20), false), Some((0x740, false)), "all ends of that very moment are replayed");
        assert_eq!(stops(time(20), true), Some((0x640, false)), "none of them is");
        assert_eq!(stops(time(30), false), None, "a restore point and a checkpoint are no ends");
        assert_eq!(stops(time(30), true), Some((0x740, false)));
    }

    #[test]
    fn a_transaction_stops_after_its_end_or_before_it() {
        let xid = |text: &str| StopPoint::Xid(text.parse().unwrap());
        assert_eq!(stops(xid("10"), false), Some((0x680, true)), "rolled back");
        assert_eq!(stops(xid("12"), true), Some((0x6C0, false)));
        assert_eq!(stops(xid("13"), false), None, "a subtransaction");
        assert_eq!(stops(xid("4294967308"), false), Some((0x6C0, true)), "PostgreSQL drops the epoch");
    }

    #[test]
    fn an_lsn_stops_at_the_first_record_from_there_on() {
        let lsn = |lsn| StopPoint::Lsn(Lsn::new(lsn));
        assert_eq!(stops(lsn(0x641), false), Some((0x680, true)));
        assert_eq!(stops(lsn(0x680), true), Some((0x680, false)));
        assert_eq!(stops(lsn(0x7C1), false), None);
    }

    #[test]
    fn a_name_stops_after_the_first_of_its_restore_points_whatever_is_said_of_exclusive() {
        let name = |name: &str| StopPoint::Name(name.parse().unwrap());
        assert_eq!(stops(name("twice"), false), Some((0x700, true)));
        assert_eq!(stops(name("twice"), true), Some((0x700, true)));
        assert_eq!(stops(name("twic"), false), None);
    }

    /// A base backup of a primary ends with a record that is not of transactions.
    #[test]
    fn immediate_stops_before_the_record_behind_the_end_of_the_backup_unless_a_transaction_ends_there() {
        let stops_at = |consistent| {
            let target = RecoveryTarget { stop: Some(StopPoint::Immediate), ..RecoveryTarget::default() };
            let rule = StopRule::of(&target, Lsn::new(consistent)).unwrap();
            let history = history();
            let first = history.iter().find(|step| rule.stops_before(step) || rule.stops_after(step)).unwrap();
            (first.start.as_u64(), !rule.stops_before(first))
        };
        assert_eq!(stops_at(0x600), (0x600, false), "consistent from the start");
        assert_eq!(stops_at(0x640), (0x640, false), "the record before is of no transaction");
        assert_eq!(stops_at(0x6C0), (0x680, true), "the end of a transaction");
        assert_eq!(stops_at(0x740), (0x740, false), "a restore point");
    }
}
