//! The record at which recovery stops: what the plan names, with and without a ledger.

use barman_catalog::{Encoding, Partial};
use barman_pitr::{
    BackupChoice, PlanError, PlanWarning, PlannedStop, RecoveryTarget, RestoreRequest, StopPoint, StopReason,
    TargetTime, Unreached, WalFetch, WalSupply,
};
use barman_storage::Cancel;
use wal_format::{Lsn, Timestamp, WalFileName};

use crate::fixture::{Fixture, segment_start, write_file};
use crate::wal::{BACKUP_WITH_END, PROOF_MINUTES, commit_time, xid_of};

/// The backup, and WAL up to segment 11.
fn fixture() -> Fixture {
    let fixture = Fixture::with_backup();
    fixture.add_wal(1, 8..=11);
    fixture
}

fn later(at: Timestamp, micros: i64) -> StopPoint {
    StopPoint::Time(TargetTime::from(Timestamp::from_unix_micros(at.unix_micros() + micros)))
}

fn xid(number: impl ToString) -> StopPoint {
    StopPoint::Xid(number.to_string().parse().expect("a number"))
}

fn name(name: &str) -> StopPoint {
    StopPoint::Name(name.parse().expect("a name"))
}

fn request(fixture: &Fixture, stop: StopPoint, exclusive: bool) -> RestoreRequest {
    let target = RecoveryTarget { stop: Some(stop), exclusive, ..RecoveryTarget::default() };
    RestoreRequest { target, ..fixture.request() }
}

fn stop(fixture: &Fixture, stop: StopPoint, exclusive: bool) -> PlannedStop {
    let plan = fixture.plan(&request(fixture, stop, exclusive)).expect("a plan");
    plan.recovery.stop.expect("a record")
}

/// The last transaction that is replayed, and the first that is not.
fn ends(stop: &PlannedStop) -> (Option<u32>, Option<u32>) {
    (stop.last_transaction.map(|end| end.xid), stop.first_left_out.map(|end| end.xid))
}

fn around(before: u64) -> (Option<u32>, Option<u32>) {
    (Some(xid_of(before)), Some(xid_of(before + 1)))
}

#[track_caller]
fn unreached(fixture: &Fixture, stop: StopPoint) -> Unreached {
    match fixture.plan(&request(fixture, stop, false)) {
        Err(PlanError::Unreached(unreached)) => unreached,
        other => panic!("{other:?}"),
    }
}

/// Every kind of target, as it is in the plan.
fn check_all(fixture: &Fixture) {
    for (target, exclusive, before) in [
        (later(commit_time(8), 0), false, 8),
        (later(commit_time(8), 0), true, 7),
        (later(commit_time(8), -1), false, 7),
        (later(commit_time(8), 1), true, 8),
        (xid(xid_of(9)), false, 9),
        (xid(xid_of(9)), true, 8),
        (StopPoint::Lsn(segment_start(8)), false, 7),
        (StopPoint::Lsn(segment_start(8)), true, 7),
        (name("rp1"), false, 7),
        (name("rp10"), true, 8),
    ] {
        let found = stop(fixture, target.clone(), exclusive);
        assert_eq!(ends(&found), around(before), "{target:?} {exclusive}");
        assert_eq!(found.reason, StopReason::Target);
        // Of these only exclusive ones, and times, leave out the record that ends recovery.
        let is_before = matches!(target, StopPoint::Time(_)) || (exclusive && !matches!(target, StopPoint::Name(_)));
        assert_eq!(found.is_replayed, !is_before, "{target:?} {exclusive}");
        assert_eq!(found.replayed_to > found.at, found.is_replayed, "{target:?} {exclusive}");
    }
    let immediate = stop(fixture, StopPoint::Immediate, false);
    assert_eq!((immediate.replayed_to, ends(&immediate)), (segment_start(6), around(5)));
    let end = fixture.plan(&fixture.request()).expect("a plan").recovery.stop.expect("a record");
    assert_eq!((end.reason, end.replayed_to), (StopReason::EndOfWal, segment_start(12)));
    assert_eq!(ends(&end), (Some(xid_of(11)), None));
}

#[test]
fn every_target_names_the_record_that_postgresql_stops_at() {
    check_all(&fixture());
}

#[test]
fn the_ledger_says_the_same_and_saves_reading() {
    let fixture = fixture();
    fixture.fill_ledger();
    check_all(&fixture);
    // Nothing of what lies far from the target is opened.
    let wals = fixture.catalog.layout().wals_directory.join("0000000100000000");
    for far in ["000000010000000000000004", "000000010000000000000005", "00000001000000000000000B"] {
        std::fs::write(wals.join(far), b"unreadable").expect("file");
    }
    let get_wal = WalSupply::GetWal(WalFetch::local("barman"));
    let fetched = RestoreRequest { wal: get_wal, ..request(&fixture, xid(xid_of(8)), false) };
    let found = fixture.plan(&fetched).expect("a plan").recovery.stop.expect("a record");
    assert_eq!(ends(&found), around(8));
}

#[test]
fn an_lsn_within_a_record_means_the_next_one() {
    let fixture = fixture();
    let exact = stop(&fixture, xid(xid_of(8)), false);
    let within = stop(&fixture, StopPoint::Lsn(Lsn::new(exact.at.as_u64() - 1)), false);
    assert_eq!((within.at, within.is_replayed), (exact.at, true));
    let before = stop(&fixture, StopPoint::Lsn(exact.at), true);
    assert_eq!((before.at, before.is_replayed), (exact.at, false));
    assert_eq!(ends(&before), around(7));
}

#[test]
fn of_several_restore_points_of_a_name_the_first_counts_and_all_are_listed() {
    let fixture = fixture();
    let found = stop(&fixture, name("rp1"), false);
    let [first, second] = found.restore_points.as_slice() else { panic!("{found:?}") };
    assert_eq!((first.lsn, first.at), (found.at, commit_time(7)));
    assert_eq!(second.at, commit_time(9));
    fixture.fill_ledger();
    let known = stop(&fixture, name("rp1"), false);
    assert_eq!((known.at, ends(&known), &known.restore_points), (found.at, ends(&found), &found.restore_points));
}

#[test]
fn a_time_behind_the_last_commit_is_reached_if_the_wal_proves_that_it_has_passed() {
    let fixture = fixture();
    for with_ledger in [false, true] {
        if with_ledger {
            fixture.fill_ledger();
        }
        let proven = PROOF_MINUTES * 60_000_000;
        let wanted = request(&fixture, later(commit_time(11), proven), false);
        let plan = fixture.plan(&wanted).expect("a plan");
        let found = plan.recovery.stop.expect("a record");
        let StopReason::EquivalentLsn { lsn, .. } = found.reason else { panic!("{found:?}") };
        assert_eq!(ends(&found), (Some(xid_of(11)), None));
        assert!(found.replayed_to > lsn && found.at >= lsn);
        let settings = plan.configuration.settings;
        assert!(settings.contains(&format!("recovery_target_lsn = '{lsn}'\n")), "{settings}");
        assert!(!settings.contains("recovery_target_time") && !settings.contains("inclusive"), "{settings}");

        let missed = unreached(&fixture, later(commit_time(11), proven + 1));
        let last = Some(commit_time(11));
        assert!(
            matches!(missed, Unreached::Time { last_transaction, proven: Some(to), .. } if last_transaction == last && Some(to) > last),
            "{missed:?}"
        );
    }
}

#[test]
fn targets_that_are_not_there_are_refused_with_what_is() {
    let fixture = fixture();
    let missed = unreached(&fixture, xid(xid_of(8) + 1000));
    assert!(matches!(missed, Unreached::Xid { top_level: Some(top), .. } if top.xid == xid_of(8)), "{missed:?}");
    let missed = unreached(&fixture, xid(xid_of(11) + 1));
    assert!(matches!(missed, Unreached::Xid { below: Some(end), above: None, .. } if end.xid == xid_of(11)));
    let epoch = (1u64 << 32) + u64::from(xid_of(9));
    assert!(stop(&fixture, xid(epoch), false).is_replayed, "without a ledger nobody knows the epoch");
    fixture.fill_ledger();
    let other = unreached(&fixture, xid(epoch));
    assert!(matches!(other, Unreached::XidEpoch { found, .. } if found == u64::from(xid_of(9))), "{other:?}");
    let counted = stop(&fixture, xid(xid_of(9)), false).last_transaction.and_then(|end| end.full_xid);
    assert_eq!(counted.map(u64::from), Some(xid_of(9).into()));
    let missed = unreached(&fixture, name("rp2"));
    let Unreached::Name { known, .. } = missed else { panic!("{missed:?}") };
    let names: Vec<_> = known.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["rp1", "rp10", "rp1"]);
    assert!(
        matches!(unreached(&fixture, StopPoint::Lsn(segment_start(12))), Unreached::Lsn { end, .. } if end == segment_start(12))
    );
}

#[test]
fn a_stop_before_the_backup_is_consistent_is_refused() {
    let fixture = fixture();
    for target in [xid(xid_of(5)), StopPoint::Lsn(segment_start(5))] {
        let missed = unreached(&fixture, target);
        assert!(matches!(missed, Unreached::Inconsistent { consistent, .. } if consistent == segment_start(6)));
    }
}

/// Barman notes where the server is when it has the backup, which was then busy for a while.
#[test]
fn a_backup_is_consistent_behind_the_record_that_ends_it_not_where_its_record_in_the_catalog_says() {
    let fixture = Fixture::with_backup();
    fixture.add_wal(1, 8..=11);
    fixture.add_backup("20261120T182000", |info| {
        let number =
            |number| wal_format::SegmentNumber::new(number).name(crate::fixture::timeline(1), info.xlog_segment_size);
        let (begin, _) = BACKUP_WITH_END;
        (info.begin_wal, info.begin_xlog) = (Some(number(begin)), Some(Lsn::new(segment_start(begin).as_u64() + 40)));
        (info.end_wal, info.end_xlog) = (Some(number(10)), Some(Lsn::new(segment_start(10).as_u64() + 200)));
    });
    let plan = |stop| {
        let backup = BackupChoice::Id("20261120T182000".parse().expect("an id"));
        let plan = fixture.plan(&RestoreRequest { backup, ..request(&fixture, stop, false) });
        plan.map(|plan| plan.recovery.stop.expect("a record"))
    };
    let (_, end) = BACKUP_WITH_END;
    for with_ledger in [false, true] {
        if with_ledger {
            fixture.fill_ledger();
        }
        let immediate = plan(StopPoint::Immediate).expect("a plan");
        assert_eq!(ends(&immediate), around(end));
        assert_eq!((immediate.is_replayed, immediate.at), (false, immediate.replayed_to), "the record behind it");
        assert_eq!(ends(&plan(xid(xid_of(end + 1))).expect("a plan")), around(end + 1));
        let early = plan(xid(xid_of(end))).expect_err("the backup ends behind that transaction");
        let consistent = immediate.replayed_to;
        assert!(
            matches!(early, PlanError::Unreached(Unreached::Inconsistent { consistent: at, .. }) if at == consistent)
        );
    }
}

#[test]
fn the_wal_ends_where_it_cannot_be_believed() {
    let fixture = fixture();
    let mut damaged = crate::wal::segment(1, 9);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 100].fill(0xAA);
    fixture.add_archived("0000000100000000/000000010000000000000009", &damaged);
    for with_ledger in [false, true] {
        if with_ledger {
            fixture.fill_ledger();
        }
        assert_eq!(ends(&stop(&fixture, xid(xid_of(9)), false)).0, Some(xid_of(9)), "in front of the damage");
        assert!(matches!(unreached(&fixture, xid(xid_of(10))), Unreached::Xid { .. }));
        let end = unreached(&fixture, StopPoint::Lsn(segment_start(10)));
        assert!(matches!(end, Unreached::Lsn { end, .. } if end < segment_start(10)), "{end:?}");
    }
}

#[test]
fn the_newest_backup_that_reaches_the_target_is_chosen_for_every_kind_of_target() {
    let fixture = fixture();
    fixture.add_backup("20261120T182000", |info| {
        let number =
            |number| wal_format::SegmentNumber::new(number).name(crate::fixture::timeline(1), info.xlog_segment_size);
        (info.begin_wal, info.begin_xlog) = (Some(number(9)), Some(Lsn::new(segment_start(9).as_u64() + 40)));
        (info.end_wal, info.end_xlog) = (Some(number(9)), Some(segment_start(10)));
        let end = "2026-11-20 18:20:00+00:00";
        info.end_time = barman_catalog::BackupTime::parse(end, &barman_catalog::LocalZone::UTC).ok();
    });
    let chosen = |stop| {
        let request = RestoreRequest { backup: BackupChoice::Auto, ..request(&fixture, stop, false) };
        fixture.plan(&request).map(|plan| plan.recovery.backup.backup_id.to_string())
    };
    for (target, id) in [
        (xid(xid_of(8)), crate::fixture::BACKUP),
        (xid(xid_of(9)), crate::fixture::BACKUP),
        (xid(xid_of(10)), "20261120T182000"),
        (name("rp10"), crate::fixture::BACKUP),
        (StopPoint::Immediate, "20261120T182000"),
        (later(commit_time(8), 0), crate::fixture::BACKUP),
    ] {
        assert_eq!(chosen(target.clone()).expect("a plan"), id, "{target:?}");
    }
    assert!(matches!(chosen(xid(5)), Err(PlanError::Unreached(Unreached::Xid { .. }))));
}

#[test]
fn what_cannot_be_read_leaves_the_stop_open() {
    let fixture = fixture();
    fixture.add_archived("0000000100000000/000000010000000000000008", b"\x85\x01\x0c\x03encrypted");
    let name: WalFileName = "000000010000000000000008".parse().expect("a name");
    let found = fixture.catalog.find_wal(&name, Partial::Exclude).expect("readable").expect("there");
    assert_eq!(found.encoding, Encoding::Encrypted);
    let get_wal = WalSupply::GetWal(WalFetch::local("barman"));
    let plan =
        fixture.plan(&RestoreRequest { wal: get_wal, ..request(&fixture, xid(xid_of(9)), false) }).expect("a plan");
    assert_eq!(plan.recovery.stop, None);
    assert!(matches!(plan.warnings.as_slice(), [PlanWarning::StopUnknown { .. }]), "{:?}", plan.warnings);
}

#[test]
fn a_server_that_fetches_wal_reads_what_is_not_archived_yet() {
    let fixture = fixture();
    let mut partial = crate::wal::segment(1, 12);
    let half = partial.len() / 2;
    partial[half..].fill(0);
    let streaming = &fixture.catalog.layout().streaming_wals_directory;
    write_file(&streaming.join("00000001000000000000000C.partial"), &partial);
    let get_wal = WalSupply::GetWal(WalFetch::local("barman"));
    let copied = request(&fixture, xid(xid_of(12)), false);
    assert!(matches!(fixture.plan(&copied), Err(PlanError::Unreached(Unreached::Xid { .. }))));
    let fetched = RestoreRequest { wal: get_wal.clone(), ..copied.clone() };
    let found = fixture.plan(&fetched).expect("a plan").recovery.stop.expect("a record");
    assert_eq!(ends(&found), (Some(xid_of(12)), None));
    let standby =
        RestoreRequest { standby_mode: true, ..RestoreRequest { wal: get_wal, ..request(&fixture, xid(9999), false) } };
    let plan = fixture.plan(&standby).expect("a plan: it may come");
    assert_eq!((plan.recovery.stop, plan.warnings.as_slice()), (None, &[PlanWarning::NotYetArchived][..]));
}

/// It is written a `restore_command` that leaves unfinished segments out, for it would not look at them again.
#[test]
fn a_standby_that_fetches_wal_reads_no_segment_that_is_unfinished() {
    let fixture = fixture();
    let streaming = &fixture.catalog.layout().streaming_wals_directory;
    write_file(&streaming.join("00000001000000000000000C.partial"), &crate::wal::segment(1, 12));
    let last = |standby_mode| {
        let wal = WalSupply::GetWal(WalFetch::local("barman"));
        let plan = fixture.plan(&RestoreRequest { wal, standby_mode, ..fixture.request() }).expect("a plan");
        let stop = plan.recovery.stop.expect("the end of the archive");
        (plan.recovery.wal.last.to_string(), stop.replayed_to > segment_start(12))
    };
    assert_eq!(last(false), ("00000001000000000000000C".to_owned(), true));
    assert_eq!(last(true), ("00000001000000000000000B".to_owned(), false));
}

impl Fixture {
    /// Reads all WAL into the ledger.
    fn fill_ledger(&self) {
        let now = Timestamp::from_unix_micros(0);
        self.catalog.rebuild_ledger(now, &Cancel::new(), &mut |_| {}).expect("a ledger");
    }
}
