//! What a policy will hold in the long run, and when the disk will be full.

use std::collections::BTreeSet;

use wal_format::Timestamp;

use crate::candidate::{Candidate, State, Target};
use crate::plan::Request;
use crate::verdict::{Status, UnknownZone, verdicts_by};

/// What is to be expected if everything goes on as in the last weeks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// What happens in a day; `None` where there is too little to tell: fewer than two full backups, or no WAL.
    pub rates: Option<Rates>,
    /// Bytes that backups and WAL take now.
    pub held_bytes: u64,
    /// Bytes that they will take at most, once the policy removes as much as comes. `None` if that does not happen as far as
    /// is looked: [`HORIZON_DAYS`], and no more than [`HORIZON_BACKUPS`].
    pub steady_bytes: Option<u64>,
    /// When the disk will be full; `None` if not as far as is looked.
    pub full_at: Option<Timestamp>,
}

/// What happens in a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Bytes of WAL, as stored.
    pub wal_bytes_per_day: f64,
    /// Full backups, as often as the newest ones were taken.
    pub backups_per_day: f64,
    /// The mean size of those.
    pub backup_bytes: f64,
}

/// How far into the future is looked: ten years.
pub const HORIZON_DAYS: u32 = 3653;

/// How many backups to come are followed: a daily one is for all of [`HORIZON_DAYS`], an hourly one for half a year.
pub const HORIZON_BACKUPS: u32 = 4000;

/// From how many of the newest full backups rates are taken.
const RECENT_BACKUPS: usize = 10;

/// From the WAL of how many days the rate is taken.
const RECENT_WAL_DAYS: f64 = 14.0;

const DAY_MICROS: f64 = 86_400e6;

/// Says what the rules will hold if backups and WAL go on as they do, with `free_bytes` left on the disk.
///
/// # Errors
/// The rules name a zone that is unknown.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
pub fn forecast<Id: Ord + Clone>(request: &Request<'_, Id>, free_bytes: u64) -> Result<Forecast, UnknownZone> {
    let of_wal = request.wal.iter().map(|wal| wal.size);
    let held_bytes = request.backups.iter().map(|backup| backup.size).chain(of_wal).fold(0, u64::saturating_add);
    let mut forecast = Forecast { rates: rates(request), held_bytes, steady_bytes: None, full_at: None };
    if let Some(rates) = forecast.rates {
        let mut future = Future::new(request, &rates);
        future.run(request, &mut forecast, free_bytes)?;
    }
    Ok(forecast)
}

/// The full backups of the newest [`RECENT_BACKUPS`], and the WAL of the last days.
fn rates<Id: Ord>(request: &Request<'_, Id>) -> Option<Rates> {
    let mut full: Vec<_> = request.backups.iter().filter(|backup| backup.candidate.root.is_none()).collect();
    full.sort_by(|a, b| b.candidate.id.cmp(&a.candidate.id));
    let ends = full.iter().filter_map(|backup| Some((end_of(&backup.candidate)?, backup.size)));
    let recent: Vec<_> = ends.take(RECENT_BACKUPS).collect();
    let (newest, oldest) = (recent.first()?.0, recent.last()?.0);
    let days = days_between(oldest, newest);
    let count = recent.len() as f64;
    let newest_wal = request.wal.iter().map(|wal| wal.modified).max()?;
    let recent_wal = request.wal.iter().filter(|wal| days_between(wal.modified, newest_wal) <= RECENT_WAL_DAYS);
    let (bytes, oldest_wal) = recent_wal
        .fold((0u64, newest_wal), |(bytes, oldest), wal| (bytes.saturating_add(wal.size), oldest.min(wal.modified)));
    let wal_days = days_between(oldest_wal, newest_wal);
    (days > 0.0 && wal_days > 0.0).then(|| Rates {
        wal_bytes_per_day: bytes as f64 / wal_days,
        backups_per_day: (count - 1.0) / days,
        backup_bytes: recent.iter().map(|(_, size)| *size as f64).sum::<f64>() / count,
    })
}

/// A server that takes a backup at equal intervals from now on, and deletes what its rules do not need.
struct Future {
    rates: Rates,
    /// Days between two backups.
    interval: f64,
    /// What is kept: the past ones by their age, then those to come.
    backups: Vec<(Candidate<u64>, f64)>,
    next: u64,
}

impl Future {
    fn new<Id: Ord>(request: &Request<'_, Id>, rates: &Rates) -> Self {
        let mut past: Vec<_> = request.backups.iter().filter(|backup| backup.candidate.root.is_none()).collect();
        past.sort_by(|a, b| a.candidate.id.cmp(&b.candidate.id));
        let candidate = |(id, backup): (u64, &&crate::Backup<Id>)| {
            let Candidate { state, keep, .. } = backup.candidate;
            (Candidate { id, state, keep, root: None }, backup.size as f64)
        };
        let backups: Vec<_> = (0..).zip(&past).map(candidate).collect();
        Self { rates: *rates, interval: 1.0 / rates.backups_per_day, next: backups.len() as u64, backups }
    }

    /// Lets time pass to the end of the horizon.
    fn run<Id>(
        &mut self,
        request: &Request<'_, Id>,
        forecast: &mut Forecast,
        free_bytes: u64,
    ) -> Result<(), UnknownZone> {
        let limit = forecast.held_bytes.saturating_add(free_bytes) as f64;
        let mut peaks: Vec<f64> = Vec::new();
        let steps = (f64::from(HORIZON_DAYS) / self.interval).min(f64::from(HORIZON_BACKUPS)) as u64;
        for step in 1..=steps {
            let now = after(request.now, step as f64 * self.interval);
            let bytes = self.step(request, now)?;
            if forecast.full_at.is_none() && bytes > limit {
                forecast.full_at = Some(now);
            }
            peaks.push(bytes);
        }
        // Two halves of what comes late: if the later is no higher, nothing grows any more.
        let late = peaks.get(peaks.len() / 2..).unwrap_or_default();
        let (earlier, later) = late.split_at(late.len() / 2);
        let highest = |peaks: &[f64]| peaks.iter().copied().fold(0.0, f64::max);
        let is_steady = !earlier.is_empty() && highest(later) <= highest(earlier) * 1.01;
        forecast.steady_bytes = is_steady.then(|| highest(late) as u64);
        Ok(())
    }

    /// Takes one more backup, and deletes what the rules do not need; returns the bytes held just before that.
    fn step<Id>(&mut self, request: &Request<'_, Id>, now: Timestamp) -> Result<f64, UnknownZone> {
        let state = State::Done { end_time: now };
        self.backups.push((Candidate { id: self.next, state, keep: None, root: None }, self.rates.backup_bytes));
        self.next += 1;
        let bytes = self.backups.iter().map(|(_, bytes)| bytes).sum::<f64>() + self.wal_bytes(request, now);
        let candidates: Vec<_> = self.backups.iter().map(|(candidate, _)| *candidate).collect();
        let verdicts = verdicts_by(request.rules, &candidates, request.minimum_redundancy, now, request.zones)?;
        let obsolete = verdicts.iter().filter(|verdict| verdict.status == Status::Obsolete);
        let obsolete: BTreeSet<_> = obsolete.map(|verdict| verdict.id).collect();
        self.backups.retain(|(candidate, _)| !obsolete.contains(&candidate.id));
        Ok(bytes)
    }

    /// The WAL since the oldest backup behind which any is kept.
    fn wal_bytes<Id>(&self, request: &Request<'_, Id>, now: Timestamp) -> f64 {
        let followed = self.backups.iter().filter(|(candidate, _)| candidate.kept(now) != Some(Target::Standalone));
        let oldest = followed.filter_map(|(candidate, _)| end_of(candidate)).min().unwrap_or(now);
        let window = request.rules.wal.map(|window| window.start(now));
        let since = window.map_or(oldest, |start| after(start, -self.interval).max(oldest));
        days_between(since, now) * self.rates.wal_bytes_per_day
    }
}

fn end_of<Id>(candidate: &Candidate<Id>) -> Option<Timestamp> {
    match candidate.state {
        State::Done { end_time } => Some(end_time),
        State::Other => None,
    }
}

fn days_between(earlier: Timestamp, later: Timestamp) -> f64 {
    later.pg_micros().saturating_sub(earlier.pg_micros()) as f64 / DAY_MICROS
}

fn after(moment: Timestamp, days: f64) -> Timestamp {
    Timestamp::from_pg_micros(moment.pg_micros().saturating_add((days * DAY_MICROS) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::{Backup, Stage};
    use crate::rules::Rules;
    use crate::wal::ArchivedWal;
    use wal_format::{SegmentNumber, SegmentSize, TimelineId, TimelineTree, WalFileName};

    const NOW_DAY: i64 = 30;

    fn day(day: f64) -> Timestamp {
        after(Timestamp::from_pg_micros(0), day)
    }

    /// 20 daily backups of 1000 bytes, and 24 segments of 10 bytes a day.
    fn forecast_of(rules: &str, free_bytes: u64) -> Forecast {
        let backup = |id: i64| Backup {
            candidate: Candidate { id, state: State::Done { end_time: day(id as f64) }, keep: None, root: None },
            stage: Stage::Done,
            timeline: None,
            begin_wal: None,
            end_wal: None,
            end_lsn: None,
            size: 1000,
            marked: false,
            in_use: false,
        };
        let backups: Vec<_> = (NOW_DAY - 19..=NOW_DAY).map(backup).collect();
        let wal = |hour: u64| ArchivedWal {
            name: WalFileName::Segment(SegmentNumber::new(hour).name(TimelineId::FIRST, SegmentSize::DEFAULT)),
            size: 10,
            modified: day(hour as f64 / 24.0),
        };
        let wal: Vec<_> = (11 * 24..=30 * 24).map(wal).collect();
        let rules: Rules = rules.parse().unwrap();
        let request = Request {
            rules: &rules,
            minimum_redundancy: 0,
            now: day(NOW_DAY as f64),
            backups: &backups,
            wal: &wal,
            damage: &[],
            timelines: &TimelineTree::default(),
            segment_size: SegmentSize::DEFAULT,
            zones: &|zone: &str, _| (zone == "UTC").then_some(0),
        };
        forecast(&request, free_bytes).unwrap()
    }

    #[test]
    fn rates_are_those_of_the_last_weeks() {
        let rates = forecast_of("REDUNDANCY 3", 0).rates.unwrap();
        assert!((rates.backups_per_day - 1.0).abs() < 1e-9 && (rates.backup_bytes - 1000.0).abs() < 1e-9, "{rates:?}");
        assert!((rates.wal_bytes_per_day - 240.0).abs() < 1.0, "{rates:?}");
    }

    #[track_caller]
    fn check_steady(rules: &str, expected: u64) {
        let steady = forecast_of(rules, u64::MAX).steady_bytes.unwrap();
        assert!(steady.abs_diff(expected) * 20 < expected, "{rules}: {steady}, expected about {expected}");
    }

    #[test]
    fn a_steady_state_is_the_backups_kept_one_more_and_the_wal_since_the_oldest() {
        check_steady("REDUNDANCY 10", 11 * 1000 + 10 * 240);
        check_steady("RECOVERY WINDOW OF 20 DAYS", 22 * 1000 + 21 * 240);
        check_steady("REDUNDANCY 100 WAL FOR 7 DAYS", 101 * 1000 + 8 * 240);
        // Twelve months of WAL are what such a policy costs without a window for WAL.
        check_steady("KEEP 7 DAILY 12 MONTHLY IN UTC", 19 * 1000 + 350 * 240);
    }

    #[test]
    fn a_disk_that_is_too_small_fills_and_one_that_is_not_does_not() {
        let held = forecast_of("REDUNDANCY 30", 0).held_bytes;
        let steady = forecast_of("REDUNDANCY 30", u64::MAX).steady_bytes.unwrap();
        assert_eq!(forecast_of("REDUNDANCY 30", steady - held + 1).full_at, None);
        let full = forecast_of("REDUNDANCY 30", 3000).full_at.unwrap();
        assert!((2.0..4.0).contains(&days_between(day(NOW_DAY as f64), full)), "{full:?}");
    }

    #[test]
    fn what_is_kept_for_longer_than_the_horizon_never_becomes_steady() {
        assert_eq!(forecast_of("RECOVERY WINDOW OF 5000 DAYS", u64::MAX).steady_bytes, None);
    }

    #[test]
    fn too_little_to_tell_is_no_forecast() {
        let rules: Rules = "REDUNDANCY 1".parse().unwrap();
        let request = Request::<u64> {
            rules: &rules,
            minimum_redundancy: 0,
            now: day(1.0),
            backups: &[],
            wal: &[],
            damage: &[],
            timelines: &TimelineTree::default(),
            segment_size: SegmentSize::DEFAULT,
            zones: &|_: &str, _| None,
        };
        let forecast = forecast(&request, 100).unwrap();
        assert_eq!((forecast.rates, forecast.steady_bytes, forecast.full_at), (None, None, None));
    }
}
