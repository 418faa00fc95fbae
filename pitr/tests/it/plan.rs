//! What can be planned, and why not.

use std::path::{Path, PathBuf};

use barman_catalog::LocalZone;
use barman_catalog::{BackupMode, Status};
use barman_pitr::{
    BackupChoice, ChainBreak, PlanError, PlanWarning, RecoveryTarget, RestoreRequest, Signal, StopPoint, StopReason,
    TargetTime, TimelineChoice, Unreached, UnsupportedBackup, WalFetch, WalSupply,
};
use barman_storage::RelativePath;
use wal_format::Lsn;

use crate::fixture::{BACKUP, Fixture, SIZE_BYTES, listing, segment_start, tablespace, timeline, write_file};
use crate::wal::xid_of;

fn time(text: &str) -> StopPoint {
    StopPoint::Time(TargetTime::parse(text, &LocalZone::UTC).expect("a time"))
}

fn name() -> StopPoint {
    StopPoint::Name("rp1".parse().expect("a name"))
}

fn get_wal() -> WalSupply {
    WalSupply::GetWal(WalFetch::local("barman"))
}

/// The error, for a request that must be refused, with nothing created.
#[track_caller]
fn refusal(fixture: &Fixture, request: &RestoreRequest) -> PlanError {
    // Locks and the index of the archive are the catalog's business.
    let all =
        || listing(fixture.root()).into_iter().filter(|path| !path.ends_with(".lock") && !path.contains("/wals/"));
    let before: Vec<_> = all().collect();
    let error = fixture.plan(request).expect_err("must be refused");
    assert_eq!(all().collect::<Vec<_>>(), before);
    error
}

macro_rules! assert_refused {
    ($fixture:expr, $request:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = refusal(&$fixture, &$request);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
    };
}

#[test]
fn a_plain_restore_copies_the_wal_since_the_backup_and_sets_nothing() {
    let fixture = Fixture::with_backup();
    let plan = fixture.plan(&fixture.request()).expect("a plan");
    let wal = plan.wal.as_ref().expect("WAL");
    let names: Vec<_> = wal.files().map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        names,
        [
            "000000010000000000000004",
            "000000010000000000000005",
            "000000010000000000000006",
            "000000010000000000000007"
        ]
    );
    assert_eq!(wal.destination, fixture.destination().join("pg_wal"));
    assert_eq!((plan.configuration.settings.as_str(), plan.configuration.signal), ("", None));
    assert_eq!(plan.timeline(), timeline(1));
    assert_eq!(plan.wal_bytes(), 4 * SIZE_BYTES);
    assert_eq!(plan.warnings, []);
}

#[test]
fn the_signal_and_the_settings_follow_from_what_is_asked_for() {
    let fixture = Fixture::with_backup();
    let staged = format!(
        "restore_command = 'cp {0}/barman_wal/%f %p'\nrecovery_end_command = 'rm -fr {0}/barman_wal'\n",
        fixture.destination().display()
    );
    let fetched = |command: &str| {
        format!("# The 'barman get-wal' command must run as 'barman' user\nrestore_command = '{command}'\n")
    };
    let once = "barman get-wal --feed %p -P main %f || exit $(($? == 1 ? 1 : 255))";
    let following = "barman get-wal --feed %p main %f";
    let plain = fixture.request();
    let to_name = fixture.request_to(name());
    let target = "recovery_target_name = 'rp1'\n";
    for (request, signal, settings) in [
        (plain.clone(), None, String::new()),
        (RestoreRequest { standby_mode: true, ..plain.clone() }, Some(Signal::Standby), String::new()),
        (RestoreRequest { wal: get_wal(), ..plain.clone() }, Some(Signal::Recovery), fetched(once)),
        (RestoreRequest { wal: get_wal(), standby_mode: true, ..plain }, Some(Signal::Standby), fetched(following)),
        (to_name.clone(), Some(Signal::Recovery), format!("{staged}{target}")),
        (
            RestoreRequest { wal: get_wal(), ..to_name.clone() },
            Some(Signal::Recovery),
            format!("{}{target}", fetched(once)),
        ),
        // Barman writes no restore_command here, and the standby never finds the WAL that was copied for it.
        (RestoreRequest { standby_mode: true, ..to_name }, Some(Signal::Standby), format!("{staged}{target}")),
    ] {
        let plan = fixture.plan(&request).expect("a plan");
        assert_eq!(plan.configuration.signal, signal, "{request:?}");
        assert_eq!(plan.configuration.settings, settings, "{request:?}");
        assert_eq!(plan.wal.is_none(), request.wal == get_wal());
    }
}

#[test]
fn what_an_operator_should_know_is_in_the_plan() {
    let fixture = Fixture::with_backup();
    let warnings = |request: &RestoreRequest| fixture.plan(request).expect("a plan").warnings;
    assert_eq!(warnings(&fixture.request_to(time("2026-11-20 17:00:00"))), [PlanWarning::ZoneAssumed]);
    assert_eq!(warnings(&fixture.request_to(time("2026-11-20 17:00:00Z"))), []);
    let standby = RestoreRequest { standby_mode: true, ..fixture.request() };
    assert_eq!(warnings(&standby), [PlanWarning::StandbyWithoutRestoreCommand]);

    fixture.add_wal(1, [9, 11]);
    fixture.add_archived("0000000100000000/00000001000000000000000A", b"cut short");
    drop(fixture.catalog.xlog_db().expect("an index"));
    fixture.lose_wal(0xB);
    let warnings = warnings(&fixture.request());
    assert!(
        matches!(warnings.as_slice(), [PlanWarning::WrongSize { found: 9, .. }, PlanWarning::LostWal { .. }, PlanWarning::MissingWal(hole)]
            if hole.first.to_string() == "000000010000000000000008" && hole.count == 1),
        "{warnings:?}"
    );
}

#[test]
fn what_is_only_in_the_index_ends_recovery() {
    let fixture = Fixture::with_backup();
    fixture.add_wal(1, 8..=12);
    drop(fixture.catalog.xlog_db().expect("an index"));
    (9..=11).for_each(|number| fixture.lose_wal(number));
    let first = "000000010000000000000009".parse().expect("a segment");
    let lost = PlanWarning::LostWal { first, count: 3 };
    let plan = fixture.plan(&fixture.request()).expect("a plan");
    assert_eq!(plan.warnings.iter().filter(|warning| **warning == lost).count(), 1, "{:?}", plan.warnings);
    assert_eq!(plan.recovery.warnings, [lost]);
    assert_eq!(plan.recovery.wal.last.to_string(), "000000010000000000000008");

    // What lies behind it cannot be reached, whatever the ledger knows of that.
    let target = StopPoint::Lsn(Lsn::new(12 * SIZE_BYTES + 100));
    assert_refused!(fixture, fixture.request_to(target), PlanError::MissingWal { missing }
        if missing.count == 3 && missing.first.to_string() == "000000010000000000000009");
}

#[test]
fn recovery_ends_at_the_first_segment_that_is_not_whole_whatever_lies_behind() {
    let fixture = Fixture::with_backup();
    let file = |number: u64| format!("0000000100000000/0000000100000000000000{number:02X}");
    (8..=40).for_each(|number| fixture.add_archived(&file(number), b""));
    drop(fixture.catalog.xlog_db().expect("an index"));
    // What lies between is not even opened.
    for number in 9..=35 {
        let path = fixture.catalog.layout().wals_directory.join(file(number));
        std::fs::remove_file(&path).expect("file");
        std::fs::create_dir(&path).expect("directory");
    }
    let request = RestoreRequest { wal: get_wal(), ..fixture.request() };
    let plan = fixture.plan(&request).expect("a plan");
    let stop = plan.recovery.stop.expect("a record");
    assert_eq!((stop.reason, stop.last_transaction.map(|end| end.xid)), (StopReason::EndOfWal, Some(xid_of(7))));
    assert!(stop.replayed_to <= segment_start(8), "{stop:?}");

    std::fs::write(fixture.catalog.layout().wals_directory.join(file(5)), b"").expect("file");
    for request in [request.clone(), RestoreRequest { wal: get_wal(), ..fixture.request_to(StopPoint::Immediate) }] {
        assert_refused!(fixture, request, PlanError::Unreached(Unreached::Broken { segment, .. })
            if segment.to_string() == "000000010000000000000005");
    }
}

#[test]
fn a_destination_with_something_in_it_is_refused() {
    let fixture = Fixture::with_backup();
    write_file(&fixture.destination().join("file"), b"");
    assert_refused!(fixture, fixture.request(), PlanError::DestinationNotEmpty { path } if *path == fixture.destination());
}

#[test]
fn an_empty_destination_will_do() {
    let fixture = Fixture::with_backup();
    std::fs::create_dir(fixture.destination()).expect("directory");
    assert!(fixture.plan(&fixture.request()).is_ok());
}

#[test]
fn unusable_destinations_are_refused() {
    let fixture = Fixture::with_backup();
    let to = |destination: &str| RestoreRequest { destination: PathBuf::from(destination), ..fixture.request() };
    assert_refused!(fixture, to("relative/path"), PlanError::UnusablePath { .. });
    assert_refused!(fixture, to("/srv/a\nb"), PlanError::UnusablePath { .. });
    assert_refused!(fixture, to("/srv/host:path"), PlanError::ColonInDestination { .. });
}

#[test]
fn tablespaces_go_where_they_were_or_where_they_are_told_to() {
    let fixture = Fixture::new();
    let original = fixture.root().join("tbs1");
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(&original)]));
    fixture.add_wal(1, 4..=5);
    let location = |relocations: &[&str]| {
        let relocations = relocations.iter().map(|rule| rule.parse().expect("a rule")).collect();
        let request = RestoreRequest { relocations, ..fixture.request() };
        fixture.plan(&request).map(|plan| plan.tablespaces[0].location.clone())
    };
    assert_eq!(location(&[]).expect("a plan"), original);
    assert_eq!(location(&["tbs1:/srv/a", "tbs1:/srv/b"]).expect("a plan"), Path::new("/srv/b"));
    assert!(matches!(
        location(&["nope:/srv/a"]),
        Err(PlanError::UnknownTablespace { name, known }) if name == "nope" && known == ["tbs1"]
    ));
    assert!(matches!(location(&["tbs1:relative"]), Err(PlanError::UnusablePath { .. })));
    write_file(&original.join("PG_15_202209061/file"), b"of another cluster");
    assert!(matches!(location(&[]), Err(PlanError::TablespaceNotEmpty { path, .. }) if path == original));
}

#[test]
fn directories_within_each_other_are_refused() {
    let fixture = Fixture::new();
    fixture.add_backup(BACKUP, |info| info.tablespaces = Some(vec![tablespace(Path::new("/nowhere/tbs1"))]));
    fixture.add_wal(1, 4..=5);
    let destination = fixture.destination();
    for location in [destination.clone(), destination.join("base"), fixture.root().join("restored-too")] {
        let relocations = vec![format!("tbs1:{}", location.display()).parse().expect("a rule")];
        let nested = location.starts_with(&destination);
        let plan = fixture.plan(&RestoreRequest { relocations, ..fixture.request() });
        assert_eq!(matches!(plan, Err(PlanError::Overlap { .. })), nested, "{plan:?}");
    }
}

#[test]
fn the_directory_for_wal_must_be_one_that_may_vanish() {
    let fixture = Fixture::with_backup();
    let staged_in = |staging: PathBuf| RestoreRequest {
        wal: WalSupply::Copy { staging: Some(staging), partial: false },
        ..fixture.request_to(name())
    };
    let outside = fixture.root().join("wal");
    let plan = fixture.plan(&staged_in(outside.clone())).expect("a plan");
    assert_eq!(plan.wal.expect("WAL").destination, outside);
    assert!(plan.configuration.settings.contains(&format!("rm -fr {}'", outside.display())));

    write_file(&outside.join("somebody's file"), b"");
    assert_refused!(fixture, staged_in(outside), PlanError::StagingNotEmpty { .. });
    assert_refused!(fixture, staged_in(fixture.root().to_owned()), PlanError::Overlap { .. });
    assert_refused!(fixture, staged_in(fixture.destination()), PlanError::Overlap { .. });
    for within in ["base", "base/5", "global/wal", "pg_wal", "postgresql.conf"] {
        assert_refused!(fixture, staged_in(fixture.destination().join(within)), PlanError::Overlap { .. });
    }
    assert!(fixture.plan(&staged_in(fixture.destination().join("new"))).is_ok());
    assert_refused!(fixture, staged_in(PathBuf::from("relative/path")), PlanError::UnusablePath { .. });
}

#[test]
fn an_action_needs_a_target() {
    let fixture = Fixture::with_backup();
    let target = RecoveryTarget { action: "promote".parse().ok(), ..RecoveryTarget::default() };
    assert_refused!(fixture, RestoreRequest { target, ..fixture.request() }, PlanError::ActionWithoutTarget);
}

#[test]
fn the_file_for_settings_needs_a_directory() {
    let fixture = Fixture::with_backup();
    let into = |file| RestoreRequest { recovery_conf_file: RelativePath::literal(file), ..fixture.request_to(name()) };
    assert!(fixture.plan(&into("new.conf")).is_ok());
    assert!(fixture.plan(&into("global/new.conf")).is_ok());
    assert_refused!(fixture, into("conf.d/new.conf"), PlanError::NoConfigurationDirectory { .. });
}

#[test]
fn a_target_before_the_end_of_the_backup_is_refused() {
    let fixture = Fixture::with_backup();
    let at = |stop| fixture.request_to(stop);
    assert_refused!(fixture, at(time("2026-11-20 16:44:19.462602Z")), PlanError::TimeBeforeBackupEnd { .. });
    assert!(fixture.plan(&at(time("2026-11-20 16:44:19.462603Z"))).is_ok());
    // PostgreSQL stops at the first record that begins there or later, and the backup's last one begins just before its end.
    assert!(fixture.plan(&at(StopPoint::Lsn(Lsn::new(segment_start(6).as_u64() - 1)))).is_ok());
    let early = at(StopPoint::Lsn(segment_start(5)));
    assert_refused!(fixture, early, PlanError::Unreached(Unreached::Inconsistent { .. }));
}

#[test]
fn a_target_behind_the_archive_is_refused_unless_a_standby_waits_for_it() {
    let fixture = Fixture::with_backup();
    let behind = fixture.request_to(StopPoint::Lsn(segment_start(8)));
    let is_end = |found: &Unreached| matches!(found, Unreached::Lsn { end, .. } if *end == segment_start(8));
    assert_refused!(fixture, behind, PlanError::Unreached(found) if is_end(found));
    let fetched = RestoreRequest { wal: get_wal(), ..behind };
    assert_refused!(fixture, fetched, PlanError::Unreached(found) if is_end(found));
    // A standby waits until it is there.
    assert!(fixture.plan(&RestoreRequest { standby_mode: true, ..fetched }).is_ok());
    let last = fixture.request_to(StopPoint::Lsn(Lsn::new(segment_start(8).as_u64() - 4000)));
    assert!(fixture.plan(&last).is_ok());
}

#[test]
fn missing_wal_that_recovery_cannot_do_without_is_refused() {
    let fixture = Fixture::new();
    fixture.add_backup(BACKUP, |info| info.status = Status::WaitingForWals);
    fixture.add_wal(1, [4, 7, 8]);
    assert_refused!(fixture, fixture.request(), PlanError::MissingWal { missing } if missing.count == 1);
    fixture.add_wal(1, [5]);
    assert!(fixture.plan(&fixture.request()).is_ok());
    let in_hole = fixture.request_to(StopPoint::Lsn(segment_start(6)));
    assert_refused!(fixture, in_hole, PlanError::Unreached(Unreached::Lsn { .. }));
}

#[test]
fn wal_in_a_form_that_cannot_be_read_is_refused_by_name() {
    let fixture = Fixture::with_backup();
    fixture.add_archived("0000000100000000/000000010000000000000006", b"\x85\x01\x0c\x03encrypted");
    assert_refused!(fixture, fixture.request(), PlanError::EncodedWal { encoding, .. } if encoding == "gpg");
    assert!(fixture.plan(&RestoreRequest { wal: get_wal(), ..fixture.request() }).is_ok());
}

#[test]
fn backups_that_cannot_be_restored_are_refused() {
    let refused = |change: fn(&mut barman_catalog::BackupInfo)| {
        let fixture = Fixture::new();
        fixture.add_backup(BACKUP, change);
        fixture.add_wal(1, 4..=5);
        refusal(&fixture, &fixture.request())
    };
    for status in [Status::Empty, Status::Started, Status::Failed, Status::Syncing] {
        let fixture = Fixture::new();
        fixture.add_backup(BACKUP, |info| info.status = status);
        assert_refused!(fixture, fixture.request(), PlanError::NotDone { status: found, .. } if *found == status);
    }
    let unsupported = |error| match error {
        PlanError::UnsupportedBackup { kind, .. } => kind,
        error => panic!("{error:?}"),
    };
    let archive = |error| matches!(error, PlanError::LostFile { path, .. } if path == Path::new("base.tar"));
    assert!(archive(refused(|info| info.compression = Some("gzip".to_owned()))));
    let encrypted = refused(|info| {
        info.compression = Some("gzip".to_owned());
        info.encryption = Some("gpg".to_owned());
    });
    assert!(matches!(encrypted, PlanError::NoPassphrase { .. }));
    let orphan = refused(|info| info.parent_backup_id = "20261119T000000".parse().ok());
    assert!(matches!(orphan, PlanError::BrokenChain { reason: ChainBreak::Gone, .. }), "{orphan:?}");
    let circle = refused(|info| info.parent_backup_id = Some(info.backup_id));
    assert!(matches!(circle, PlanError::BrokenChain { reason: ChainBreak::Circle, .. }), "{circle:?}");
    let snapshot = refused(|info| info.mode = Some(BackupMode::Other("snapshot-concurrent".to_owned())));
    assert_eq!(unsupported(snapshot), UnsupportedBackup::Snapshot);

    assert!(matches!(refused(|info| info.version = Some(90_624)), PlanError::UnsupportedVersion { .. }));
    assert!(matches!(refused(|info| info.version = None), PlanError::IncompleteRecord { field: "version", .. }));
    assert!(matches!(refused(|info| info.end_wal = None), PlanError::IncompleteRecord { field: "end_wal", .. }));
}

#[test]
fn incremental_backups_on_top_of_something_else_are_refused() {
    const PARENT: &str = "20261119T000000";
    const LABEL: &str = "START WAL LOCATION: 0/400028 (file 000000010000000000000004)\n\
        CHECKPOINT LOCATION: 0/400080\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
        START TIME: 2026-11-20 16:44:17 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n\
        INCREMENTAL FROM LSN: 0/400028\nINCREMENTAL FROM TLI: 1\n";
    let refused = |change: fn(&mut barman_catalog::BackupInfo)| {
        let fixture = Fixture::new();
        fixture.add_backup(PARENT, change);
        fixture.add_backup(BACKUP, |info| {
            info.parent_backup_id = PARENT.parse().ok();
            info.backup_label = Some(LABEL.to_owned());
        });
        fixture.add_wal(1, 4..=5);
        refusal(&fixture, &fixture.request())
    };
    let reason = |error| match error {
        PlanError::BrokenChain { reason, .. } => reason,
        error => panic!("{error:?}"),
    };
    let failed = refused(|info| info.status = Status::Failed);
    assert_eq!(reason(failed), ChainBreak::NotDone(Status::Failed));
    assert_eq!(reason(refused(|info| info.systemid = "1".parse().ok())), ChainBreak::OtherCluster);
    assert_eq!(reason(refused(|info| info.version = Some(160_004))), ChainBreak::OtherCluster);
    let other = |reason| matches!(reason, ChainBreak::OtherBackup { lsn, .. } if lsn == Lsn::new(0x40_0028));
    assert!(other(reason(refused(|info| info.begin_xlog = Some(Lsn::new(0x40_0029))))));
    let encrypted = refused(|info| {
        info.compression = Some("gzip".to_owned());
        info.encryption = Some("gpg".to_owned());
    });
    assert!(matches!(encrypted, PlanError::NoPassphrase { id } if id.to_string() == PARENT));
}

#[test]
fn an_unknown_backup_is_refused() {
    let fixture = Fixture::new();
    let error = refusal(&fixture, &fixture.request());
    assert!(matches!(error, PlanError::Catalog(barman_catalog::Error::NoBackup { .. })), "{error:?}");
}

#[test]
fn a_backup_that_is_not_what_its_manifest_says_is_refused() {
    let fixture = Fixture::with_backup();
    let table = fixture.data_of(BACKUP).join("base/5/16384");
    std::fs::write(&table, b"a longer table").expect("file");
    assert_refused!(fixture, fixture.request(), PlanError::WrongSize { expected: 7, found: 14, .. });
    std::fs::remove_file(&table).expect("file");
    assert_refused!(fixture, fixture.request(), PlanError::LostFile { path, .. } if path == Path::new("base/5/16384"));
    std::os::unix::fs::symlink("/etc/passwd", &table).expect("link");
    assert_refused!(fixture, fixture.request(), PlanError::UnexpectedKind { .. });
    std::fs::write(fixture.data_of(BACKUP).join("backup_manifest"), b"{}").expect("file");
    assert_refused!(fixture, fixture.request(), PlanError::UnexpectedKind { .. } | PlanError::Manifest { .. });
}

#[test]
fn a_backup_without_manifest_can_be_restored_but_not_one_without_control_file() {
    let fixture = Fixture::with_backup();
    std::fs::remove_file(fixture.data_of(BACKUP).join("backup_manifest")).expect("file");
    let plan = fixture.plan(&fixture.request()).expect("a plan");
    assert!(plan.data.files.iter().all(|file| file.checksum.is_none()));
    std::fs::remove_file(fixture.data_of(BACKUP).join("global/pg_control")).expect("file");
    assert_refused!(fixture, fixture.request(), PlanError::LostFile { .. });
}

/// Three backups: the first ends at segment 6, the second at 9, the third at 12; an hour lies between them.
fn three_backups() -> Fixture {
    let fixture = Fixture::new();
    for (index, id) in ["20261120T150000", "20261120T160000", "20261120T170000"].into_iter().enumerate() {
        fixture.add_backup(id, |info| {
            let later = 3 * u64::try_from(index).expect("small");
            let number =
                |number| wal_format::SegmentNumber::new(number + later).name(timeline(1), info.xlog_segment_size);
            info.begin_wal = Some(number(4));
            info.end_wal = Some(number(5));
            info.end_xlog = Some(segment_start(6 + later));
            let end = format!("2026-11-20 {}:05:00+00:00", 17 + index);
            info.end_time = barman_catalog::BackupTime::parse(&end, &barman_catalog::LocalZone::UTC).ok();
        });
    }
    fixture.add_wal(1, 4..=20);
    fixture
}

#[test]
fn the_newest_backup_before_the_target_is_chosen() {
    let fixture = three_backups();
    let chosen = |target: RecoveryTarget| {
        let request = RestoreRequest { backup: BackupChoice::Auto, target, ..fixture.request() };
        fixture.plan(&request).map(|plan| plan.recovery.backup.backup_id.to_string())
    };
    let stop = |stop| RecoveryTarget { stop: Some(stop), ..RecoveryTarget::default() };
    let along = |timeline| RecoveryTarget { timeline: Some(timeline), ..RecoveryTarget::default() };
    for (target, id) in [
        (RecoveryTarget::default(), "20261120T170000"),
        (stop(time("2026-11-20 19:05:00Z")), "20261120T170000"),
        (stop(time("2026-11-20 19:04:59.999999Z")), "20261120T160000"),
        (stop(time("2026-11-20 17:05:00Z")), "20261120T150000"),
        (stop(StopPoint::Lsn(segment_start(12))), "20261120T170000"),
        (stop(StopPoint::Lsn(segment_start(11))), "20261120T160000"),
        (along(TimelineChoice::Latest), "20261120T170000"),
        (along(TimelineChoice::Number(timeline(1))), "20261120T170000"),
    ] {
        assert_eq!(chosen(target.clone()).expect("a plan"), id, "{target:?}");
    }
    for target in [
        stop(time("2026-11-20 17:04:59Z")),
        stop(StopPoint::Lsn(segment_start(5))),
        along(TimelineChoice::Number(timeline(2))),
    ] {
        assert!(matches!(chosen(target), Err(PlanError::NoCandidate { .. })));
    }
    assert_eq!(chosen(along(TimelineChoice::Current)).expect("a plan"), "20261120T170000");
}

#[test]
fn backups_that_were_not_completed_are_not_chosen() {
    let fixture = three_backups();
    fixture.add_backup("20261120T180000", |info| info.status = Status::Failed);
    let request = RestoreRequest { backup: BackupChoice::Auto, ..fixture.request() };
    assert_eq!(fixture.plan(&request).expect("a plan").recovery.backup.backup_id.to_string(), "20261120T170000");
}
