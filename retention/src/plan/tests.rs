//! Plans as a whole: what the verdicts, the WAL and the recovery window have to do with each other.

use proptest::collection::vec;
use proptest::prelude::*;
use wal_format::{Lsn, SegmentName, SegmentNumber, TimelineHistory};

use super::*;
use crate::calendar::tests::{rome, utc};
use crate::candidate::{Candidate, Keep};

const SIZE: SegmentSize = SegmentSize::DEFAULT;
/// In these tests a segment is written in an hour, a backup begins at the start of one and ends in its middle.
const HOUR_MICROS: i64 = 3_600_000_000;

fn hour(hours: u64) -> Timestamp {
    Timestamp::from_pg_micros(i64::try_from(hours).unwrap() * HOUR_MICROS)
}

fn half_past(hours: u64) -> Timestamp {
    Timestamp::from_pg_micros(hour(hours).pg_micros() + HOUR_MICROS / 2)
}

fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number).unwrap()
}

fn segment(tli: u32, number: u64) -> SegmentName {
    SegmentNumber::new(number).name(timeline(tli), SIZE)
}

/// A complete backup of one segment, called after it.
fn done(tli: u32, number: u64) -> Backup<u64> {
    Backup {
        candidate: Candidate { id: number, state: State::Done { end_time: half_past(number) }, keep: None, root: None },
        stage: Stage::Done,
        timeline: Some(timeline(tli)),
        begin_wal: Some(segment(tli, number)),
        end_wal: Some(segment(tli, number)),
        end_lsn: Some(Lsn::new((number << 24) + 0x80_0000)),
        size: 1000,
        marked: false,
        in_use: false,
    }
}

fn kept(number: u64, keep: Keep) -> Backup<u64> {
    let mut backup = done(1, number);
    backup.candidate.keep = Some(keep);
    backup
}

fn marked(number: u64) -> Backup<u64> {
    Backup { marked: true, ..done(1, number) }
}

fn at_stage(number: u64, stage: Stage) -> Backup<u64> {
    let mut backup = Backup { stage, ..done(1, number) };
    backup.candidate.state = State::Other;
    backup
}

fn archived(tli: u32, numbers: impl IntoIterator<Item = u64>) -> Vec<ArchivedWal> {
    let wal = |number: u64| ArchivedWal {
        name: WalFileName::Segment(segment(tli, number)),
        size: 10,
        modified: hour(number + 1),
    };
    numbers.into_iter().map(wal).collect()
}

const NOTHING: [u64; 0] = [];

/// A server and what is asked of it.
#[derive(Debug, Clone)]
struct Scene {
    rules: Rules,
    minimum_redundancy: u32,
    now: Timestamp,
    backups: Vec<Backup<u64>>,
    wal: Vec<ArchivedWal>,
    timelines: TimelineTree,
}

impl Scene {
    /// Timeline 1 with all WAL from the beginning to `now`.
    fn new(rules: &str, now: u64, backups: &[Backup<u64>]) -> Self {
        Self {
            rules: rules.parse().unwrap(),
            minimum_redundancy: 0,
            now: hour(now),
            backups: backups.to_vec(),
            wal: archived(1, 0..now),
            timelines: TimelineTree::default(),
        }
    }

    fn request(&self) -> Request<'_, u64> {
        Request {
            rules: &self.rules,
            minimum_redundancy: self.minimum_redundancy,
            now: self.now,
            backups: &self.backups,
            wal: &self.wal,
            damage: &[],
            timelines: &self.timelines,
            segment_size: SIZE,
            zones: &rome,
        }
    }

    fn plan(&self) -> Plan<u64> {
        plan(&self.request()).unwrap()
    }

    fn old_wal(&self) -> Freed<Timestamp> {
        old_wal(&self.request())
    }

    /// The same server without what somebody began to delete, and what cannot be restored without that.
    fn without_marked(&self) -> Self {
        let is_marked = |id: u64| self.backups.iter().any(|backup| backup.candidate.id == id && backup.marked);
        let is_whole = |b: &&Backup<u64>| !b.marked && !b.candidate.root.is_some_and(is_marked);
        Self { backups: self.backups.iter().filter(is_whole).cloned().collect(), ..self.clone() }
    }

    /// The same server once `plan` is carried out.
    fn after(&self, plan: &Plan<u64>) -> Self {
        let goes = |wal: &ArchivedWal| {
            let place = Place::of(&wal.name);
            let within = |range: &&WalRange<u64>| place >= Place::of(&range.first) && place <= Place::of(&range.last);
            plan.wal.iter().filter(|range| range.rule.is_removal()).any(|range| within(&range))
        };
        Self {
            rules: self.rules.clone(),
            backups: self.backups.iter().filter(|b| !plan.deletions.contains(&b.candidate.id)).cloned().collect(),
            wal: self.wal.iter().filter(|wal| !goes(wal)).copied().collect(),
            timelines: self.timelines.clone(),
            ..*self
        }
    }
}

/// `from-to:fate` for segments of timeline 1.
fn fates(plan: &Plan<u64>) -> String {
    let number = |name: &WalFileName| match name {
        WalFileName::Segment(name) => name.number(SIZE).unwrap().get(),
        other => panic!("{other}"),
    };
    let fate = |range: &WalRange<u64>| match &range.rule {
        WalRule::FreedWith(id) => format!("-{id}"),
        WalRule::BeforeWalWindow { .. } => "-".to_owned(),
        WalRule::NeededBy(id) => format!("={id}"),
        WalRule::Since(id) => format!(">{id}"),
        WalRule::NoBackup => "?".to_owned(),
        WalRule::History => "h".to_owned(),
    };
    let shown = |range: &WalRange<u64>| format!("{}-{}:{}", number(&range.first), number(&range.last), fate(range));
    plan.wal.iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_file_has_a_fate_and_a_reason() {
    let scene = Scene::new("REDUNDANCY 2", 50, &[done(1, 10), done(1, 20), done(1, 30)]);
    let plan = scene.plan();
    assert_eq!(plan.deletions, [10]);
    assert_eq!(fates(&plan), "0-19:-10 20-20:=20 21-29:>20 30-30:=30 31-49:>30");
    assert_eq!((plan.freed_bytes, plan.kept_bytes), (1000 + 200, 2000 + 300));
    assert_eq!(plan.before.intervals[0].start_time, half_past(10));
    assert_eq!(plan.after.intervals[0].start_time, half_past(20));
}

#[test]
fn history_files_stay() {
    let mut scene = Scene::new("REDUNDANCY 1", 30, &[done(1, 10), done(1, 20)]);
    scene.wal.push(ArchivedWal { name: "00000002.history".parse().unwrap(), size: 10, modified: hour(1) });
    scene.wal.push(ArchivedWal { name: "00000003.history".parse().unwrap(), size: 10, modified: hour(1) });
    let plan = scene.plan();
    let last = plan.wal.last().unwrap();
    assert_eq!((last.files, &last.rule), (2, &WalRule::History));
    assert_eq!((last.first.to_string(), last.last.to_string()), ("00000002.history".into(), "00000003.history".into()));
}

#[test]
fn wal_for_a_shorter_time_makes_older_backups_standalone() {
    let backups = [done(1, 10), done(1, 20), done(1, 30), done(1, 90)];
    let scene = Scene::new("REDUNDANCY 4 WAL FOR 1 DAY", 100, &backups);
    let plan = scene.plan();
    // 76 is reached from backup 30.
    assert_eq!(fates(&plan), "0-9:- 10-10:=10 11-19:- 20-20:=20 21-29:- 30-30:=30 31-89:>30 90-90:=90 91-99:>90");
    assert_eq!(plan.standalone, [10, 20]);
    assert!(plan.after.broken.is_empty());
    assert!(plan.after.reaches_time(half_past(10)) && !plan.after.reaches_time(hour(12)));
    assert!(plan.after.reaches_time(hour(76)) && plan.after.reaches_time(hour(31)));
}

#[test]
fn wal_behind_what_a_user_keeps_in_full_stays_whatever_the_window() {
    let scene = Scene::new("REDUNDANCY 3 WAL FOR 1 DAY", 100, &[done(1, 10), kept(20, Keep::FULL), done(1, 60)]);
    assert_eq!(fates(&scene.plan()), "0-9:- 10-10:=10 11-19:- 20-20:=20 21-59:>20 60-60:=60 61-99:>60");
    let scene = Scene::new(
        "REDUNDANCY 3 WAL FOR 1 DAY",
        100,
        &[done(1, 10), kept(20, Keep::FULL.until(hour(100))), done(1, 60)],
    );
    assert_eq!(scene.plan().standalone, [10, 20]);
    let scene = Scene::new(
        "REDUNDANCY 3 WAL FOR 1 DAY",
        100,
        &[done(1, 10), kept(20, Keep::FULL.until(hour(101))), done(1, 60)],
    );
    assert_eq!(scene.plan().standalone, [10]);
}

#[test]
fn wal_of_a_backup_that_is_not_finished_stays_whatever_the_window() {
    for stage in [Stage::Started, Stage::WaitingForWals, Stage::Syncing] {
        let scene = Scene::new("REDUNDANCY 3 WAL FOR 1 DAY", 100, &[done(1, 10), at_stage(20, stage), done(1, 60)]);
        assert_eq!(scene.plan().standalone, [10], "{stage:?}");
    }
    let scene = Scene::new("REDUNDANCY 3 WAL FOR 1 DAY", 100, &[at_stage(20, Stage::Started)]);
    assert_eq!(fates(&scene.plan()), "0-19:? 20-20:=20 21-99:>20");
}

#[test]
fn a_wal_window_that_no_backup_reaches_cuts_nothing() {
    let scene = Scene::new("REDUNDANCY 3 WAL FOR 1 DAY", 100, &[done(1, 80)]);
    assert_eq!(fates(&scene.plan()), "0-79:? 80-80:=80 81-99:>80");
}

/// barman#712: WAL fills the disk of a server that only receives WAL.
#[test]
fn wal_only_servers_have_a_window_too() {
    let scene = Scene::new("REDUNDANCY 1 WAL FOR 1 DAY", 100, &[]);
    // Segment 75 was finished in hour 76, as the window begins.
    assert_eq!(fates(&scene.plan()), "0-74:- 75-99:?");
    let scene = Scene { wal: archived(1, [3, 80, 5]), ..scene };
    assert_eq!(fates(&scene.plan()), "3-5:- 80-80:?");
    let scene = Scene::new("RECOVERY WINDOW OF 1 DAYS", 100, &[at_stage(20, Stage::Failed)]);
    assert_eq!(fates(&scene.plan()), "0-99:?", "Barman's own policies say nothing of it");
}

/// A segment that arrived late does not make a hole in what is kept.
#[test]
fn a_wal_only_server_keeps_all_behind_the_first_that_is_young_enough() {
    let mut scene = Scene::new("REDUNDANCY 1 WAL FOR 1 DAY", 100, &[]);
    scene.wal[50].modified = hour(90);
    assert_eq!(fates(&scene.plan()), "0-49:- 50-99:?");
}

#[test]
fn a_limit_warns_and_deletes_nothing() {
    let over = |rules: &str| Scene::new(rules, 50, &[done(1, 10)]).plan().bytes_over_limit;
    assert_eq!(over("REDUNDANCY 1 LIMIT 1500 B"), None);
    assert_eq!(over("REDUNDANCY 1 LIMIT 1499 B"), Some(1));
    assert_eq!(over("REDUNDANCY 1"), None);
}

#[test]
fn what_is_left_of_an_interrupted_deletion_goes() {
    let scene = Scene::new("REDUNDANCY 3", 50, &[marked(10), done(1, 20)]);
    let plan = scene.plan();
    assert_eq!(plan.deletions, [10]);
    assert_eq!(plan.verdicts[1].reason, Reason::DeletionBegun);
}

/// In Barman a leftover marker on the newest backup deletes it, whatever minimum redundancy says.
#[test]
fn a_leftover_marker_overrides_neither_minimum_redundancy_nor_keep() {
    let mut scene = Scene::new("REDUNDANCY 3", 50, &[done(1, 10), marked(20)]);
    for (minimum, deletions) in [(0, vec![20]), (1, vec![20]), (2, vec![])] {
        scene.minimum_redundancy = minimum;
        assert_eq!(scene.plan().deletions, deletions, "minimum redundancy {minimum}");
    }
    let keep = Backup { marked: true, ..kept(20, Keep::STANDALONE) };
    assert_eq!(Scene::new("REDUNDANCY 3", 50, &[done(1, 10), keep]).plan().deletions, NOTHING);
}

/// pgbackrest#1280, barman#370: a backup that is to outlive the policy.
#[test]
fn a_backup_is_kept_until_its_day_and_then_as_any_other() {
    let at =
        |now| Scene::new("REDUNDANCY 1", now, &[kept(10, Keep::FULL.until(hour(50))), done(1, 20)]).plan().deletions;
    assert_eq!(at(49), NOTHING);
    assert_eq!(at(50), [10]);
    let young = Scene::new("REDUNDANCY 2", 60, &[kept(10, Keep::FULL.until(hour(50))), done(1, 20)]);
    assert_eq!(young.plan().deletions, NOTHING, "the policy still needs it");
}

/// barman#1054: "obsolete backups not deleted". Increments do not count towards minimum redundancy, so it holds everything, and
/// the plan says so.
#[test]
fn minimum_redundancy_that_holds_everything_says_so() {
    const WEEK: u64 = 7 * 24;
    let increment = |number, root| {
        let mut backup = done(1, number);
        backup.candidate.root = Some(root);
        backup
    };
    let weeks = (0..5).flat_map(|week| [done(1, week * WEEK), increment(week * WEEK + 24, week * WEEK)]);
    let mut scene = Scene::new("RECOVERY WINDOW OF 2 WEEKS", 5 * WEEK, &weeks.collect::<Vec<_>>());
    assert_eq!(scene.plan().deletions, [0, 24, WEEK, WEEK + 24]);
    scene.minimum_redundancy = 14;
    let plan = scene.plan();
    assert_eq!(plan.deletions, NOTHING);
    let reason = plan.verdicts.iter().find(|verdict| verdict.id == 0).unwrap().reason;
    assert_eq!(reason, Reason::HeldByMinimumRedundancy { position: 5, minimum_redundancy: 14 });
}

/// wal-g#636: "deletes the latest backups after upgrade". A new timeline, or a new cluster, starts over with low names.
#[test]
fn wal_of_a_new_timeline_is_not_taken_for_old() {
    let mut scene = Scene::new("REDUNDANCY 1", 50, &[done(1, 10), done(2, 30)]);
    scene.wal = [archived(1, 0..31), archived(2, 30..50)].concat();
    scene.timelines = TimelineTree::new([TimelineHistory::parse(timeline(2), b"1\t0/1E000000\tx\n").unwrap()]).unwrap();
    let plan = scene.plan();
    assert_eq!(plan.deletions, [10]);
    assert_eq!((plan.after.intervals.len(), plan.after.intervals[0].timeline), (1, timeline(2)));
    assert!(
        plan.wal
            .iter()
            .filter(|range| range.rule.is_removal())
            .all(|range| range.last.to_string().as_str() < "00000002")
    );
}

/// barman#274, pgbackrest#2353, #2562: "the window keeps too many". One backup from before the window is needed to reach its beginning.
#[test]
fn a_window_keeps_one_backup_more_than_there_are_days_and_says_why() {
    let days: Vec<_> = (0..10).map(|day| done(1, day * 24)).collect();
    let plan = Scene::new("RECOVERY WINDOW OF 3 DAYS", 9 * 24 + 1, &days).plan();
    assert_eq!(plan.verdicts.iter().filter(|verdict| verdict.status == Status::Valid).count(), 3 + 1);
    let reaching = plan.verdicts.iter().find(|verdict| verdict.id == 6 * 24).unwrap();
    assert!(matches!(reaching.reason, Reason::ReachesWindow { .. }));
}

#[test]
fn a_clock_that_is_behind_stops_everything() {
    let mut scene = Scene::new("REDUNDANCY 1", 50, &[done(1, 10), done(1, 20)]);
    let end = half_past(20).pg_micros();
    for (seconds_before, stops) in
        [(CLOCK_SKEW_SECONDS - 1, false), (CLOCK_SKEW_SECONDS, false), (CLOCK_SKEW_SECONDS + 1, true)]
    {
        scene.now = Timestamp::from_pg_micros(end - seconds_before * 1_000_000);
        let stop = Stop::ClockBehind { now: scene.now, newest_backup: half_past(20) };
        assert_eq!(scene.plan().stop, stops.then_some(stop), "{seconds_before}");
    }
}

#[test]
fn a_clock_that_is_far_ahead_stops_windows_and_nothing_else() {
    let newest = hour(50);
    let at = |rules: &str, seconds: i64| {
        let now = Timestamp::from_pg_micros(newest.pg_micros() + seconds * 1_000_000);
        Scene { now, ..Scene::new(rules, 50, &[done(1, 10), done(1, 20)]) }.plan().stop
    };
    let month = LONGEST_SILENCE_SECONDS;
    assert_eq!(at("RECOVERY WINDOW OF 1 DAYS", month), None);
    assert!(matches!(at("RECOVERY WINDOW OF 1 DAYS", month + 1), Some(Stop::ClockAhead { .. })));
    assert_eq!(at("RECOVERY WINDOW OF 2 MONTHS", month + 1), None, "the window still holds what is new");
    assert_eq!(at("RECOVERY WINDOW OF 2 MONTHS", 2 * month), None);
    assert!(matches!(at("RECOVERY WINDOW OF 2 MONTHS", 2 * month + 1), Some(Stop::ClockAhead { .. })));
    assert_eq!(at("REDUNDANCY 1", 100 * month), None, "no clock decides here");
    assert_eq!(at("KEEP 1 DAILY IN UTC", 100 * month), None);
}

#[test]
fn a_silent_server_of_which_nothing_goes_is_no_reason_to_stop() {
    let now = Timestamp::from_pg_micros(hour(50).pg_micros() + (LONGEST_SILENCE_SECONDS + 1) * 1_000_000);
    let scene = Scene { now, ..Scene::new("RECOVERY WINDOW OF 1 DAYS", 50, &[done(1, 10)]) };
    assert_eq!(scene.plan().stop, None);
}

#[test]
fn redundancy_0_is_refused_unless_minimum_redundancy_raises_it() {
    let mut scene = Scene::new("REDUNDANCY 0", 50, &[done(1, 10)]);
    assert_eq!(scene.plan().stop, Some(Stop::KeepsNothing));
    scene.minimum_redundancy = 1;
    assert_eq!(scene.plan().stop, None);
    scene = Scene::new("REDUNDANCY 0 AND RECOVERY WINDOW OF 1 DAYS", 50, &[done(1, 10)]);
    assert_eq!(scene.plan().stop, None);
}

#[test]
fn an_unknown_zone_is_an_error_even_without_backups() {
    let scene = Scene::new("REDUNDANCY 1", 50, &[]);
    let rules: Rules = "KEEP 1 DAILY IN Mars/Olympus".parse().unwrap();
    let request = Request {
        rules: &rules,
        minimum_redundancy: 0,
        now: scene.now,
        backups: &scene.backups,
        wal: &[],
        damage: &[],
        timelines: &scene.timelines,
        segment_size: SIZE,
        zones: &rome,
    };
    assert_eq!(plan(&request), Err(UnknownZone { name: "Mars/Olympus".to_owned() }));
}

/// The backups of these ends that `rules` keeps.
#[track_caller]
fn check_kept(rules: &str, ends: &[&str], expected: &[&str]) {
    let backup = |(id, end): (u64, &&str)| {
        let mut backup = done(1, id);
        backup.candidate.state = State::Done { end_time: utc(end) };
        backup
    };
    let backups: Vec<_> = (0..).zip(ends).map(backup).collect();
    let plan = Scene { now: utc("2026-12-31 12:00:00"), ..Scene::new(rules, 50, &backups) }.plan();
    let index = |id: u64| usize::try_from(id).unwrap();
    let kept =
        plan.verdicts.iter().rev().filter(|verdict| verdict.status != Status::Obsolete).map(|v| ends[index(v.id)]);
    assert_eq!(kept.collect::<Vec<_>>(), expected, "{rules}");
}

#[test]
fn the_newest_backup_of_each_day_is_kept() {
    let ends = ["2026-03-01 10:00:00", "2026-03-01 22:59:59", "2026-03-01 23:00:00", "2026-03-04 12:00:00"];
    check_kept("KEEP 2 DAILY IN Europe/Rome", &ends, &ends[2..]);
    check_kept("KEEP 3 DAILY IN Europe/Rome", &ends, &ends[1..]);
    check_kept("KEEP 3 DAILY IN UTC", &ends, &ends[2..]);
    check_kept("KEEP 1 DAILY IN UTC", &ends, &ends[3..]);
}

/// pgbackrest#2847, #744, barman#370.
#[test]
fn sons_fathers_and_grandfathers() {
    let ends = [
        "2024-12-31 12:00:00",
        "2025-06-15 12:00:00",
        "2025-12-30 12:00:00",
        "2026-11-30 12:00:00",
        "2026-12-05 12:00:00",
        "2026-12-13 12:00:00",
        "2026-12-20 12:00:00",
        "2026-12-29 12:00:00",
        "2026-12-30 12:00:00",
    ];
    check_kept("KEEP 2 DAILY IN UTC", &ends, &ends[7..]);
    check_kept("KEEP 3 WEEKLY IN UTC", &ends, &[ends[5], ends[6], ends[8]]);
    check_kept("KEEP 2 MONTHLY IN UTC", &ends, &[ends[3], ends[8]]);
    check_kept("KEEP 3 YEARLY IN UTC", &ends, &[ends[0], ends[2], ends[8]]);
    check_kept(
        "KEEP 2 DAILY 3 WEEKLY 2 MONTHLY 3 YEARLY IN UTC",
        &ends,
        &[ends[0], ends[2], ends[3], ends[5], ends[6], ends[7], ends[8]],
    );
}

#[test]
fn a_calendar_month_is_as_long_as_it_is() {
    let ends = ["2026-11-29 12:00:00", "2026-11-30 11:59:59", "2026-12-10 12:00:00"];
    // From noon of December 31 back to noon of November 30, to the second.
    check_kept("RECOVERY WINDOW OF 1 CALENDAR MONTHS IN UTC", &ends, &ends[1..]);
    let ends = ["2026-11-29 12:00:00", "2026-11-30 12:00:00", "2026-12-10 12:00:00"];
    check_kept("RECOVERY WINDOW OF 1 CALENDAR MONTHS IN UTC", &ends, &ends);
    // Barman's month has 31 days.
    check_kept("RECOVERY WINDOW OF 1 MONTHS", &ends[..], &ends);
    let ends = ["2026-11-29 12:00:00", "2026-11-30 11:59:59", "2026-11-30 12:00:00", "2026-12-10 12:00:00"];
    check_kept("RECOVERY WINDOW OF 1 MONTHS", &ends, &ends[1..]);
}

#[test]
fn a_window_is_exact_to_the_second_across_a_change_of_clocks() {
    // A week of 7 × 24 hours, although clocks were put back by an hour in it.
    let at = |end: &str| {
        let mut older = done(1, 1);
        older.candidate.state = State::Done { end_time: utc("2026-10-01 00:00:00") };
        let mut newer = done(1, 2);
        newer.candidate.state = State::Done { end_time: utc(end) };
        Scene { now: utc("2026-10-28 12:00:00"), ..Scene::new("RECOVERY WINDOW OF 1 WEEK", 3, &[older, newer]) }
            .plan()
            .deletions
    };
    assert_eq!(at("2026-10-21 11:59:59"), [1]);
    assert_eq!(at("2026-10-21 12:00:00"), NOTHING);
    assert_eq!(at("2026-10-21 12:00:01"), NOTHING);
}

/// A server whose WAL may have gaps and whose backups may be in any state.
fn any_scene() -> impl Strategy<Value = Scene> {
    let keep = prop_oneof![
        5 => Just(None),
        1 => Just(Some(Keep::FULL)),
        2 => Just(Some(Keep::STANDALONE)),
        1 => (0..120u64).prop_map(|until| Some(Keep::FULL.until(hour(until)))),
        1 => (0..120u64).prop_map(|until| Some(Keep::STANDALONE.until(hour(until)))),
    ];
    let stage = prop_oneof![8 => Just(Stage::Done), 1 => Just(Stage::Failed), 1 => Just(Stage::WaitingForWals), 1 => Just(Stage::Started)];
    let backup = (1..90u64, stage, keep, prop::bool::weighted(0.1), prop::bool::weighted(0.2));
    let rules = prop_oneof![
        (1..4u32).prop_map(|n| format!("REDUNDANCY {n}")),
        (0..4u32).prop_map(|n| format!("RECOVERY WINDOW OF {n} DAYS")),
        (1..4u32, 1..3u32).prop_map(|(d, w)| format!("KEEP {d} DAILY {w} WEEKLY IN Europe/Rome")),
        (0..2u32, 1..4u32).prop_map(|(n, d)| format!("RECOVERY WINDOW OF {n} DAYS AND KEEP {d} DAILY IN UTC")),
    ];
    let wal_days = prop::option::weighted(0.4, 1..4u32);
    (rules, wal_days, 0..4u32, vec(backup, 0..9), vec(1..100u64, 0..4), prop::option::of(20..80u64)).prop_map(
        |(rules, wal_days, minimum_redundancy, drawn, gaps, switch)| {
            let suffix = wal_days.map(|days| format!(" WAL FOR {days} DAYS")).unwrap_or_default();
            let mut scene = Scene { minimum_redundancy, ..Scene::new(&(rules + &suffix), 100, &[]) };
            let tli = |number: u64| if switch.is_some_and(|switch| number >= switch) { 2 } else { 1 };
            let mut drawn = drawn;
            drawn.sort_by_key(|(number, ..)| *number);
            drawn.dedup_by_key(|(number, ..)| *number);
            let mut root = None;
            for (number, stage, keep, marked, incremental) in drawn {
                let mut backup = Backup { stage, marked, ..done(tli(number), number) };
                backup.candidate.root = root.filter(|_| incremental);
                if stage != Stage::Done {
                    backup.candidate.state = State::Other;
                }
                if backup.candidate.root.is_none() {
                    backup.candidate.keep = keep.filter(|_| stage == Stage::Done);
                    root = Some(number);
                }
                scene.backups.push(backup);
            }
            let numbers = (0..100u64).filter(|number| !gaps.contains(number));
            scene.wal = numbers.flat_map(|number| archived(tli(number), [number])).collect();
            if let Some(switch) = switch {
                let text = format!("1\t0/{:X}\tx\n", switch << 24);
                let history = TimelineHistory::parse(timeline(2), text.as_bytes()).unwrap();
                scene.timelines = TimelineTree::new([history]).unwrap();
            }
            scene
        },
    )
}

/// Rules that keep as much and more: each number in them is so much greater.
fn longer(rules: &Rules, more: u32) -> Rules {
    let window = |window: Window| Window { count: window.count + more, ..window };
    let keep = rules.keep.iter().map(|rule| match rule {
        KeepRule::Barman(Policy::Redundancy(count)) => KeepRule::Barman(Policy::Redundancy(count + more)),
        KeepRule::Barman(Policy::RecoveryWindow(of)) => KeepRule::Barman(Policy::RecoveryWindow(window(*of))),
        KeepRule::CalendarMonths { count, zone } => {
            KeepRule::CalendarMonths { count: count + more, zone: zone.clone() }
        }
        KeepRule::Periods { counts, zone } => KeepRule::Periods {
            counts: counts.iter().map(|(period, count)| (*period, count + more)).collect(),
            zone: zone.clone(),
        },
    });
    Rules { keep: keep.collect(), wal: rules.wal.map(window), limit: rules.limit }
}

/// The window that the rules promise, if they promise one.
fn promised(rules: &Rules) -> Option<Window> {
    let windows = rules.keep.iter().filter_map(|rule| match rule {
        KeepRule::Barman(Policy::RecoveryWindow(window)) => Some(*window),
        _ => None,
    });
    let longest = windows.max_by_key(|window| window.count)?;
    Some(rules.wal.into_iter().chain([longest]).min_by_key(|window| window.count).unwrap_or(longest))
}

proptest! {
    #[test]
    fn no_point_that_is_promised_becomes_unreachable(scene in any_scene()) {
        let plan = scene.plan();
        let before = scene.without_marked().plan().before;
        if let Some(window) = promised(&scene.rules) {
            let start = window.start(scene.now).pg_micros();
            for point in (0..).map(|n| start + n * HOUR_MICROS / 4).take_while(|point| *point <= scene.now.pg_micros()) {
                let point = Timestamp::from_pg_micros(point);
                prop_assert!(!before.reaches_time(point) || plan.after.reaches_time(point), "{point:?} {plan:#?}");
            }
        }
    }

    #[test]
    fn what_stays_can_be_restored_if_it_could(scene in any_scene()) {
        let plan = scene.plan();
        for broken in &plan.after.broken {
            prop_assert!(plan.before.broken.contains(broken), "{broken:?} {plan:#?}");
        }
    }

    #[test]
    fn what_is_kept_in_full_keeps_every_point_behind_it(scene in any_scene()) {
        let plan = scene.plan();
        let full = |backup: &&Backup<u64>| backup.candidate.keep.is_some_and(|keep| keep.target == Target::Full && keep.holds(scene.now));
        if let Some(first) = scene.backups.iter().filter(full).map(|backup| backup.candidate.id).min() {
            let from_it = Scene { backups: scene.backups.iter().filter(|b| b.candidate.id == first).cloned().collect(), ..scene.clone() };
            for interval in &from_it.plan().before.intervals {
                prop_assert!(plan.after.reaches(interval.timeline, interval.start_lsn), "{interval:?} {plan:#?}");
                prop_assert!(plan.after.reaches(interval.timeline, Lsn::new(interval.end_lsn.as_u64() - 1)), "{interval:?} {plan:#?}");
            }
        }
    }

    #[test]
    fn the_window_afterwards_is_the_window_of_what_is_left(scene in any_scene()) {
        let plan = scene.plan();
        prop_assert_eq!(&scene.after(&plan).plan().before, &plan.after);
    }

    #[test]
    fn carrying_a_plan_out_twice_changes_nothing(scene in any_scene()) {
        let plan = scene.plan();
        let again = scene.after(&plan).plan();
        prop_assert!(again.deletions.is_empty(), "{plan:#?} {again:#?}");
        let removed: Vec<_> = again.wal.iter().filter(|range| range.rule.is_removal()).collect();
        prop_assert!(removed.is_empty(), "{plan:#?} {again:#?}");
    }

    #[test]
    fn a_new_backup_makes_no_promised_point_unreachable(scene in any_scene()) {
        let mut later = scene.without_marked();
        let tli = if later.timelines == TimelineTree::default() { 1 } else { 2 };
        later.backups.push(done(tli, 99));
        let (plan, before) = (later.plan(), later.plan().before);
        if let Some(window) = promised(&scene.rules) {
            let start = window.start(later.now);
            for point in (0..100).map(half_past).filter(|point| *point >= start && before.reaches_time(*point)) {
                prop_assert!(plan.after.reaches_time(point), "{point:?} {plan:#?}");
            }
        }
    }

    /// Who restores a backup, or takes an incremental one on top of it, needs it and any WAL behind it; whatever else goes
    /// meanwhile, nothing of that does.
    #[test]
    fn what_is_in_use_stays_with_every_point_that_it_reaches(scene in any_scene(), used in vec(any::<bool>(), 9)) {
        let mut scene = scene;
        for (backup, used) in scene.backups.iter_mut().zip(used) {
            backup.in_use = used && backup.stage == Stage::Done && !backup.marked;
        }
        let mut remaining = Remaining::new(&scene.backups, scene.now);
        let mut freed = Freed::default();
        let plan = scene.plan();
        let used = |id: &u64| scene.backups.iter().any(|backup| backup.candidate.id == *id && backup.in_use);
        for id in plan.deletions.iter().filter(|id| !used(id)) {
            remaining.delete(id, Occasion::Policy).into_iter().for_each(|removal| freed.add(&hour(0), removal));
        }
        let left = Scene { backups: remaining.backups().cloned().collect(), ..scene.clone() };
        let old = left.old_wal();
        let stays = |wal: &&ArchivedWal| freed.why(&wal.name).is_none() && old.why(&wal.name).is_none();
        let wal: Vec<_> = scene.wal.iter().filter(stays).copied().collect();
        for backup in scene.backups.iter().filter(|backup| backup.in_use) {
            let alone = |wal: &[ArchivedWal]| {
                Scene { backups: vec![*backup], wal: wal.to_vec(), ..scene.clone() }.plan().before.intervals
            };
            prop_assert_eq!(alone(&wal), alone(&scene.wal), "{:?}", plan);
        }
    }

    #[test]
    fn more_retention_never_keeps_less(scene in any_scene(), more in 1..3u32) {
        let longer = Scene { rules: longer(&scene.rules, more), ..scene.clone() };
        let (less, more) = (scene.plan(), longer.plan());
        prop_assert!(more.deletions.iter().all(|id| less.deletions.contains(id)), "{} {} {less:#?} {more:#?}", scene.rules, longer.rules);
        let goes = |plan: &Plan<u64>| -> std::collections::BTreeSet<String> {
            let left = scene.after(plan).wal;
            scene.wal.iter().filter(|wal| !left.contains(wal)).map(|wal| wal.name.to_string()).collect()
        };
        // Behind a backup that stays only under the longer rules, WAL from before the WAL window may be cut: none of it is promised.
        if scene.rules.wal.is_none() || more.deletions == less.deletions {
            prop_assert!(goes(&more).is_subset(&goes(&less)), "{} {} {less:#?} {more:#?}", scene.rules, longer.rules);
            for interval in &less.after.intervals {
                prop_assert!(more.after.reaches(interval.timeline, interval.start_lsn), "{interval:?} {more:#?}");
            }
        }
    }

    #[test]
    fn every_file_is_counted_once(scene in any_scene()) {
        let plan = scene.plan();
        prop_assert_eq!(plan.wal.iter().map(|range| range.files).sum::<u64>(), scene.wal.len() as u64);
        let bytes = scene.wal.iter().map(|wal| wal.size).sum::<u64>() + scene.backups.iter().map(|b| b.size).sum::<u64>();
        prop_assert_eq!(plan.kept_bytes + plan.freed_bytes, bytes);
    }
}
