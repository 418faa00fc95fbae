//! Where recovery stops: what to stop at, on which timeline, and what the server does then.

use std::fmt;
use std::str::FromStr;

use wal_format::{Lsn, TimelineId};

use crate::target_time::TargetTime;

/// Where recovery is to stop and what happens then; the default is the end of the archived WAL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryTarget {
    /// The point to stop at; `None` replays all WAL of the timeline.
    pub stop: Option<StopPoint>,
    /// Stop just before the target instead of just after it. PostgreSQL knows this for a time, a transaction and an LSN;
    /// with other targets it has no effect.
    pub exclusive: bool,
    /// The timeline to follow; `None` leaves it to PostgreSQL, which follows the newest one.
    pub timeline: Option<TimelineChoice>,
    /// What the server does at the target; `None` leaves it to PostgreSQL, which pauses.
    pub action: Option<TargetAction>,
}

impl RecoveryTarget {
    /// Returns whether point-in-time recovery was asked for: a stop point, a timeline or both.
    pub fn is_pitr(&self) -> bool {
        self.stop.is_some() || self.timeline.is_some()
    }

    /// Returns whether the stop point knows the difference between inclusive and exclusive.
    pub(crate) fn has_exclusive_stop(&self) -> bool {
        let has_a_before = matches!(self.stop, Some(StopPoint::Time(_) | StopPoint::Xid(_) | StopPoint::Lsn(_)));
        self.exclusive && has_a_before
    }
}

/// The point at which recovery stops, PostgreSQL's `recovery_target*` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopPoint {
    /// The last commit up to this moment (`recovery_target_time`).
    Time(TargetTime),
    /// The commit of this top-level transaction (`recovery_target_xid`).
    Xid(TargetXid),
    /// The first record that starts here or later (`recovery_target_lsn`).
    Lsn(Lsn),
    /// A point made by `pg_create_restore_point` (`recovery_target_name`).
    Name(RestorePointName),
    /// The end of the base backup (`recovery_target = 'immediate'`).
    Immediate,
}

impl StopPoint {
    /// Returns Barman's name of this kind of target.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Time(_) => "target_time",
            Self::Xid(_) => "target_xid",
            Self::Lsn(_) => "target_lsn",
            Self::Name(_) => "target_name",
            Self::Immediate => "target_immediate",
        }
    }
}

/// A transaction id as `recovery_target_xid` takes it: decimal, not zero, with or without the epoch in its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetXid(u64);

impl TargetXid {
    /// Returns what PostgreSQL compares with the transactions in WAL.
    #[allow(clippy::cast_possible_truncation, reason = "recovery_target_xid drops the epoch as well")]
    pub(crate) const fn low_half(self) -> u32 {
        self.0 as u32
    }

    /// Returns the number with its epoch, if one was given.
    pub(crate) fn with_epoch(self) -> Option<u64> {
        (self.0 > u64::from(u32::MAX)).then_some(self.0)
    }
}

impl FromStr for TargetXid {
    type Err = ParseXidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().parse() {
            // The lower half zero is InvalidTransactionId, which no transaction ever has.
            Ok(xid) if xid & u64::from(u32::MAX) != 0 => Ok(Self(xid)),
            _ => Err(ParseXidError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for TargetXid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is no transaction id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a transaction id: expected a decimal number")]
pub struct ParseXidError {
    /// What was given.
    pub text: String,
}

/// The name of a restore point: 1 to 63 bytes, what PostgreSQL's `recovery_target_name` accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestorePointName(String);

impl RestorePointName {
    /// PostgreSQL's `MAXFNAMELEN` without the final zero byte.
    const MAX_BYTES: usize = 63;

    /// Returns the name as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RestorePointName {
    type Err = ParseRestorePointNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An empty name would not be refused by PostgreSQL: it means "no target", and recovery would run to the end.
        if text.is_empty() || text.len() > Self::MAX_BYTES || text.contains('\0') {
            return Err(ParseRestorePointNameError { text: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for RestorePointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text cannot be the name of a restore point.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be the name of a restore point: expected 1 to 63 bytes, found {}", text.len())]
pub struct ParseRestorePointNameError {
    /// What was given.
    pub text: String,
}

/// The timeline to recover along, PostgreSQL's `recovery_target_timeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimelineChoice {
    /// This timeline.
    Number(TimelineId),
    /// The timeline of the base backup.
    Current,
    /// The newest timeline that PostgreSQL finds in the archive.
    Latest,
}

impl FromStr for TimelineChoice {
    type Err = ParseTimelineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "current" => return Ok(Self::Current),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let number: i64 = text.parse().map_err(|_| ParseTimelineError::NotANumber { text: text.to_owned() })?;
        u32::try_from(number)
            .ok()
            .and_then(TimelineId::new)
            .map(Self::Number)
            .ok_or_else(|| ParseTimelineError::OutOfRange { text: text.to_owned() })
    }
}

impl fmt::Display for TimelineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(timeline) => timeline.fmt(f),
            Self::Current => f.write_str("current"),
            Self::Latest => f.write_str("latest"),
        }
    }
}

/// The text names no timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTimelineError {
    /// Neither a number nor `current` nor `latest`.
    #[error("'{text}' is not a timeline: expected a number, 'current' or 'latest'")]
    NotANumber {
        /// What was given.
        text: String,
    },
    /// A number, but zero, negative or above 4294967295.
    #[error("'{text}' is not a timeline: expected a number from 1 to 4294967295")]
    OutOfRange {
        /// What was given.
        text: String,
    },
}

/// What the server does when it reaches the target, PostgreSQL's `recovery_target_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetAction {
    /// Wait, readable, for an operator.
    Pause,
    /// Stop, with the data directory ready to recover further.
    Shutdown,
    /// Open for writing on a new timeline.
    Promote,
}

impl FromStr for TargetAction {
    type Err = ParseTargetActionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pause" => Ok(Self::Pause),
            "shutdown" => Ok(Self::Shutdown),
            "promote" => Ok(Self::Promote),
            _ => Err(ParseTargetActionError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for TargetAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Shutdown => "shutdown",
            Self::Promote => "promote",
        })
    }
}

/// The text names no action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a target action: expected 'pause', 'shutdown' or 'promote'")]
pub struct ParseTargetActionError {
    /// What was given.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_positive_numbers_or_two_words() {
        let number = |n| Ok(TimelineChoice::Number(TimelineId::new(n).unwrap()));
        assert_eq!("1".parse(), number(1));
        assert_eq!("4294967295".parse(), number(u32::MAX));
        assert_eq!("current".parse(), Ok(TimelineChoice::Current));
        assert_eq!("latest".parse(), Ok(TimelineChoice::Latest));
        for text in ["0", "-1", "4294967296"] {
            let refused = Err(ParseTimelineError::OutOfRange { text: text.to_owned() });
            assert_eq!(text.parse::<TimelineChoice>(), refused, "{text}");
        }
        for text in ["", "foo", "0x1", "Latest", "1.0"] {
            let refused = Err(ParseTimelineError::NotANumber { text: text.to_owned() });
            assert_eq!(text.parse::<TimelineChoice>(), refused, "{text}");
        }
    }

    #[test]
    fn transaction_ids_are_decimal_and_never_invalid() {
        for (text, printed) in [("740", "740"), (" 3 ", "3"), ("4294967297", "4294967297")] {
            assert_eq!(text.parse::<TargetXid>().unwrap().to_string(), printed);
        }
        for text in ["", "0", "4294967296", "-1", "foo", "0x10"] {
            assert!(text.parse::<TargetXid>().is_err(), "{text}");
        }
    }

    #[test]
    fn restore_point_names_are_what_postgresql_accepts() {
        assert!("n".parse::<RestorePointName>().is_ok());
        assert!("n".repeat(63).parse::<RestorePointName>().is_ok());
        assert!("n".repeat(64).parse::<RestorePointName>().is_err());
        assert!("".parse::<RestorePointName>().is_err());
    }

    #[test]
    fn only_time_xid_and_lsn_can_be_exclusive() {
        let exclusive = |stop| RecoveryTarget { stop, exclusive: true, ..RecoveryTarget::default() };
        assert!(exclusive(Some(StopPoint::Lsn(Lsn::new(1)))).has_exclusive_stop());
        assert!(exclusive(Some(StopPoint::Xid("7".parse().unwrap()))).has_exclusive_stop());
        assert!(!exclusive(Some(StopPoint::Name("n".parse().unwrap()))).has_exclusive_stop());
        assert!(!exclusive(Some(StopPoint::Immediate)).has_exclusive_stop());
        assert!(!exclusive(None).has_exclusive_stop());
    }

    #[test]
    fn a_timeline_alone_is_a_target_and_an_action_alone_is_not() {
        let timeline = RecoveryTarget { timeline: Some(TimelineChoice::Latest), ..RecoveryTarget::default() };
        let action = RecoveryTarget { action: Some(TargetAction::Promote), ..RecoveryTarget::default() };
        assert!(timeline.is_pitr());
        assert!(!action.is_pitr());
    }
}
