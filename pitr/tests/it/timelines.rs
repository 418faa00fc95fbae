//! Restores across timelines.

use barman_pitr::{
    BackupChoice, PlanError, RecoveryTarget, RestoreRequest, StopPoint, TimelineChoice, UnreachableReason, Unreached,
    WalSupply,
};

use crate::fixture::{BACKUP, Fixture, SIZE_BYTES, segment_start, timeline};

/// The backup of timeline 1 ends at segment 6. Timeline 1 was left for 2 in segment 8, and 2 for 3 in segment 10; 4 branched
/// off 1 in segment 5, during the backup. All but 4 went on to segment 12.
fn forked() -> Fixture {
    let fixture = Fixture::new();
    fixture.add_backup(BACKUP, |_| {});
    fixture.add_wal(1, 3..=12);
    fixture.add_wal(2, 8..=12);
    fixture.add_wal(3, 10..=12);
    let at = |number: u64| wal_format::Lsn::new(number * SIZE_BYTES + 256);
    fixture.add_archived("00000002.history", format!("1\t{}\tno recovery target specified\n", at(8)).as_bytes());
    let third = format!("1\t{}\tno recovery target specified\n\n2\t{}\tbefore 2026\n", at(8), at(10));
    fixture.add_archived("00000003.history", third.as_bytes());
    fixture
}

fn along(choice: Option<TimelineChoice>, stop: Option<StopPoint>) -> RecoveryTarget {
    RecoveryTarget { stop, timeline: choice, ..RecoveryTarget::default() }
}

fn number(of: u32) -> Option<TimelineChoice> {
    Some(TimelineChoice::Number(timeline(of)))
}

/// The segments that are copied: timeline and number.
fn segments(fixture: &Fixture, target: RecoveryTarget) -> Vec<(u32, u32)> {
    let plan = fixture.plan(&RestoreRequest { target, ..fixture.request() }).expect("a plan");
    let wal = plan.wal.expect("WAL");
    let numbers = wal.files().filter_map(|(name, _)| match name {
        wal_format::WalFileName::Segment(name) => Some((name.timeline.get(), name.segment)),
        _ => None,
    });
    numbers.collect()
}

/// All segments of the way from timeline 1 to 3.
fn way_to_3() -> Vec<(u32, u32)> {
    let leg = |timeline, numbers: std::ops::RangeInclusive<u32>| numbers.map(move |number| (timeline, number));
    leg(1, 4..=8).chain(leg(2, 8..=10)).chain(leg(3, 10..=12)).collect()
}

/// Without a timeline PostgreSQL follows the newest one, and Barman 3.19.1 copies that of the backup alone.
#[test]
fn targets_without_a_timeline_get_the_wal_of_the_newest() {
    let fixture = forked();
    let xid = StopPoint::Xid("740".parse().expect("a number"));
    let name = StopPoint::Name("rp1".parse().expect("a name"));
    for stop in [xid, name] {
        assert_eq!(segments(&fixture, along(None, Some(stop))), way_to_3());
    }
    assert_eq!(segments(&fixture, along(Some(TimelineChoice::Latest), None)), way_to_3());
    assert_eq!(segments(&fixture, along(number(3), None)), way_to_3());
}

#[test]
fn a_timeline_is_followed_to_its_end_and_no_other_one() {
    let fixture = forked();
    let own: Vec<_> = (4..=12).map(|number| (1, number)).collect();
    assert_eq!(segments(&fixture, along(Some(TimelineChoice::Current), None)), own);
    assert_eq!(segments(&fixture, along(number(1), None)), own);
    // Recovery as after a crash does not look at other timelines.
    assert_eq!(segments(&fixture, RecoveryTarget::default()), own);
    let to_2: Vec<_> = (4..=8).map(|number| (1, number)).chain((8..=12).map(|number| (2, number))).collect();
    assert_eq!(segments(&fixture, along(number(2), None)), to_2);
}

#[test]
fn history_files_are_always_copied() {
    let fixture = forked();
    for target in [RecoveryTarget::default(), along(None, Some(StopPoint::Immediate)), along(number(2), None)] {
        let plan = fixture.plan(&RestoreRequest { target, ..fixture.request() }).expect("a plan");
        let histories =
            plan.wal.as_ref().expect("WAL").files().filter(|(name, _)| name.to_string().ends_with(".history"));
        assert_eq!(histories.count(), 2);
    }
}

/// What `get-wal` and `show-backup` know, `restore` knows as well.
#[test]
fn history_files_that_wait_to_be_archived_count() {
    let fixture = Fixture::with_backup();
    let streaming = &fixture.catalog.layout().streaming_wals_directory;
    crate::fixture::write_file(&streaming.join("00000002.history"), format!("1\t{}\tx\n", segment_start(8)).as_bytes());
    let info = fixture.catalog.backup(&BACKUP.parse().expect("an id")).expect("a record");
    assert_eq!(fixture.catalog.reachable_timelines(&info).expect("readable"), [timeline(2)]);
    for choice in [number(2), Some(TimelineChoice::Latest)] {
        let request = RestoreRequest { target: along(choice, None), ..fixture.request() };
        let plan = fixture.plan(&request).expect("a plan");
        assert_eq!(plan.timeline(), timeline(2));
        assert!(plan.wal.expect("WAL").files().any(|(name, _)| name.to_string() == "00000002.history"));
    }
}

#[test]
fn a_listed_history_file_that_is_lost_is_an_error() {
    let fixture = forked();
    fixture.catalog.xlog_db().expect("an index");
    std::fs::remove_file(fixture.catalog.layout().wals_directory.join("00000003.history")).expect("removed");
    for choice in [number(3), Some(TimelineChoice::Latest)] {
        let request = RestoreRequest { target: along(choice, None), ..fixture.request() };
        let lost = fixture.plan(&request);
        assert!(matches!(lost, Err(PlanError::LostHistory { timeline: lost }) if lost == timeline(3)));
    }
}

#[test]
fn an_immediate_target_needs_the_wal_of_the_backup_and_the_record_behind_it() {
    let fixture = forked();
    assert_eq!(segments(&fixture, along(None, Some(StopPoint::Immediate))), [(1, 4), (1, 5), (1, 6)]);
}

#[test]
fn a_target_lsn_is_looked_for_on_the_way_to_the_newest_timeline() {
    let fixture = forked();
    let at = |number: u64| Some(StopPoint::Lsn(segment_start(number)));
    let copied = segments(&fixture, along(None, at(11)));
    assert!(copied.contains(&(3, 11)) && !copied.contains(&(1, 11)), "{copied:?}");
    let behind = RestoreRequest { target: along(None, at(13)), ..fixture.request() };
    assert!(matches!(fixture.plan(&behind), Err(PlanError::Unreached(Unreached::Lsn { .. }))));
}

#[test]
fn timelines_that_do_not_lead_on_from_the_backup_are_refused() {
    let fixture = forked();
    fixture.add_archived("00000004.history", format!("1\t{}\tx\n", segment_start(5)).as_bytes());
    fixture.add_archived("00000006.history", b"2\t0/900000\tx\n");
    let refused = |choice, requested| {
        let request = RestoreRequest { target: along(choice, None), ..fixture.request() };
        match fixture.plan(&request).expect_err("must be refused") {
            PlanError::UnreachableTimeline { reason, requested: found, .. } => {
                assert_eq!(found, requested);
                reason
            }
            error => panic!("{error:?}"),
        }
    };
    let left = UnreachableReason::LeftBeforeBackupEnd { switch_lsn: segment_start(5), backup_end: segment_start(6) };
    assert_eq!(refused(number(4), true), left);
    // PostgreSQL would choose timeline 4, too, and then not start.
    assert_eq!(refused(Some(TimelineChoice::Latest), false), left);
    assert_eq!(refused(number(6), true), UnreachableReason::NotAnAncestor);
    assert_eq!(refused(number(9), true), UnreachableReason::NoHistoryFile);
    fixture.add_archived("00000005.history", b"not a history file");
    let request = RestoreRequest { target: along(number(5), None), ..fixture.request() };
    assert!(matches!(fixture.plan(&request), Err(PlanError::History { .. })));
}

#[test]
fn a_backup_is_chosen_from_which_the_timeline_can_be_reached() {
    let fixture = forked();
    let abandoned = "20261120T180000";
    fixture.add_backup(abandoned, |info| {
        // Taken on timeline 1 after the others had left it.
        let name = |number| wal_format::SegmentNumber::new(number).name(timeline(1), info.xlog_segment_size);
        info.begin_wal = Some(name(10));
        info.end_wal = Some(name(11));
        info.end_xlog = Some(segment_start(12));
    });
    let chosen = |target| {
        let request = RestoreRequest { backup: BackupChoice::Auto, target, ..fixture.request() };
        fixture.plan(&request).expect("a plan").recovery.backup.backup_id.to_string()
    };
    assert_eq!(chosen(along(number(3), None)), BACKUP);
    assert_eq!(chosen(along(number(1), None)), abandoned);
    assert_eq!(chosen(along(None, Some(StopPoint::Lsn(segment_start(12))))), BACKUP);
}

#[test]
fn incomplete_segments_are_copied_when_they_are_asked_for() {
    let fixture = forked();
    let bytes = crate::fixture::segment_bytes(13);
    let streaming = fixture.catalog.layout().streaming_wals_directory.join("00000003000000000000000D.partial");
    crate::fixture::write_file(&streaming, &bytes);
    fixture.add_archived("0000000100000000/000000010000000000000008.partial", &bytes);
    let names = |partial| {
        let wal = WalSupply::Copy { staging: None, partial };
        let target = along(number(3), None);
        let plan = fixture.plan(&RestoreRequest { target, wal, ..fixture.request() }).expect("a plan");
        plan.wal.expect("WAL").files().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
    };
    let newest = "00000003000000000000000D".to_owned();
    assert!(!names(false).contains(&newest));
    let with_partial = names(true);
    assert!(with_partial.contains(&newest));
    // The whole one is there, too, and wins.
    assert_eq!(with_partial.iter().filter(|name| *name == "000000010000000000000008").count(), 1);
}
