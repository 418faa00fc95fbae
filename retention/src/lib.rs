//! Which backups may go? Deleting one too many loses a recovery point for good, so the question is answered by pure
//! functions here: policy, backups and the time go in; a verdict with its reason comes out for every backup.
//!
//! ```
//! use barman_retention::{Candidate, Policy, Reason, State, Status, Timestamp, verdicts};
//!
//! let policy: Policy = "recovery window of 7 days".parse()?;
//! assert_eq!(policy.to_string(), "RECOVERY WINDOW OF 7 DAYS");
//!
//! let day = |n: i64| Timestamp::from_unix_micros(n * 86_400_000_000);
//! let backup = |id, ended| Candidate { id, state: State::Done { end_time: day(ended) }, keep: None, root: None };
//! let verdicts = verdicts(&policy, &[backup("a", 1), backup("b", 8), backup("c", 19)], 0, day(20));
//!
//! // Day 13 is reached from backup b, so a is not needed any more.
//! let status: Vec<_> = verdicts.iter().map(|verdict| (verdict.id, verdict.status)).collect();
//! assert_eq!(status, [("c", Status::Valid), ("b", Status::Valid), ("a", Status::Obsolete)]);
//! assert_eq!(verdicts[1].reason, Reason::ReachesWindow { window_start: day(13) });
//! # Ok::<(), barman_retention::ParsePolicyError>(())
//! ```
//!
//! The rules are those of Barman 3.19: [`Policy`] is its `retention_policy`, [`Status`] what its `list-backups` shows.
//! [`Rules`] are what goes beyond: periods of a calendar, windows for WAL, limits. [`plan`] says of every backup and every
//! range of WAL whether it stays or goes, and which rule says so; [`Remaining`] says what WAL goes when backups are deleted
//! one by one; [`recovery_window`] says what can be recovered, and nothing else does; [`forecast`] looks ahead.
//!
//! [`Candidate`] and [`Backup`] are generic over the identifier: nothing here knows of files or catalogs. Time is an
//! argument, and so are the rules of time zones ([`Zones`]).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]

mod calendar;
mod candidate;
mod coverage;
mod forecast;
mod plan;
mod policy;
mod removal;
mod rules;
mod verdict;
mod wal;
mod window;

pub use calendar::{Period, Zones};
pub use candidate::{Backup, Candidate, Keep, Stage, State, Target};
pub use coverage::{Coverage, DamagedWal, MissingWal, RunContents, WalRun};
pub use forecast::{Forecast, HORIZON_BACKUPS, HORIZON_DAYS, Rates, forecast};
pub use plan::{CLOCK_SKEW_SECONDS, LONGEST_SILENCE_SECONDS, Plan, Request, Stop, WalRange, WalRule, old_wal, plan};
pub use policy::{ParsePolicyError, Policy, Unit, Window};
pub use removal::{Freed, Occasion, Remaining, Removal};
pub use rules::{KeepRule, Rules};
pub use verdict::{Reason, Status, UnknownZone, Verdict, verdicts, verdicts_by};
pub use wal::ArchivedWal;
pub use wal_format::Timestamp;
pub use window::{Broken, Gap, Interval, RecoveryWindow, recovery_window};
