//! Incremental backups, some or all of them in archives. What real ones are made of is tested in `barman-cli`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barman_catalog::Status;
use barman_pitr::{
    BackupChoice, ChainBreak, PassedOverReason, PlanError, PlanWarning, RestoreEvent, RestoreRequest, Standing,
};

use crate::archives::{empty_target, made, pack_backup};
use crate::fixture::{BACKUP, Fixture, TABLESPACE, manifest_text, tablespace, write_file};
use crate::remote::{Ssh, Tree, carried_out, cut_before_its_end, is_finished, tree};

/// The backups of [`chain`], the full one first.
pub(crate) const CHAIN: [&str; 3] = ["20261118T000000", "20261119T000000", BACKUP];

const BLOCK_BYTES: usize = 8192;
const CONTROL_FILE: &[u8] = include_bytes!("../../../wal-format/testdata/17/pg_control.stopped");

const TABLE: &str = "base/5/16384";
/// Made after the full backup.
const NEW_TABLE: &str = "base/5/20000";
const ELSEWHERE: &str = "PG_17_202406281/5/16390";

/// Blocks, each of one letter.
fn blocks(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| [letter; BLOCK_BYTES]).collect()
}

/// A file of a table that was cut to so many blocks, and has these that changed.
fn changes(truncation: u32, changed: &[(u32, &str)]) -> Vec<u8> {
    let numbers = changed.iter().map(|(number, _)| *number);
    let head = [0xD3AE_1F0D, u32::try_from(changed.len()).expect("few"), truncation];
    let mut file: Vec<u8> = head.into_iter().chain(numbers).flat_map(u32::to_ne_bytes).collect();
    if !changed.is_empty() {
        file.resize(BLOCK_BYTES, 0);
    }
    changed.iter().for_each(|(_, letter)| file.extend(blocks(letter)));
    file
}

fn incremental(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').expect("a directory");
    format!("{directory}/INCREMENTAL.{name}")
}

/// A home with a full backup and two on top of it, of a server with a tablespace, whose place is below the target.
pub(crate) fn chain(place: &str) -> Fixture {
    let fixture = Fixture::new();
    let location = fixture.target().join(place);
    for (index, id) in CHAIN.iter().enumerate() {
        fixture.add_backup(id, |info| {
            info.version = Some(170_002);
            info.tablespaces = Some(vec![tablespace(&location)]);
            if let Some(parent) = index.checked_sub(1) {
                info.parent_backup_id = CHAIN[parent].parse().ok();
                info.backup_label = Some(LABEL.to_owned());
            }
        });
        let top = fixture.data_of(id).with_file_name("");
        std::fs::remove_dir_all(top.join(TABLESPACE.to_string()).join("PG_15_202209061")).expect("directory");
        let (data, elsewhere) = (Path::new("data"), PathBuf::from(TABLESPACE.to_string()));
        let files = match index {
            0 => vec![(data.join(TABLE), blocks("aaaa")), (elsewhere.join(ELSEWHERE), blocks("ttt"))],
            1 => vec![
                (data.join(incremental(TABLE)), changes(4, &[(1, "b"), (3, "b")])),
                (data.join(NEW_TABLE), blocks("nn")),
                (elsewhere.join(incremental(ELSEWHERE)), changes(3, &[])),
            ],
            _ => vec![
                (data.join(incremental(TABLE)), changes(4, &[(4, "c"), (3, "c")])),
                (data.join(incremental(NEW_TABLE)), changes(2, &[(0, "d")])),
                (elsewhere.join(incremental(ELSEWHERE)), changes(3, &[(2, "u")])),
            ],
        };
        if index > 0 {
            std::fs::remove_file(top.join(data).join(TABLE)).expect("file");
        }
        write_file(&top.join("data/global/pg_control"), CONTROL_FILE);
        files.iter().for_each(|(path, contents)| write_file(&top.join(path), contents));
        make_manifest(&top);
    }
    fixture.add_wal(1, 4..=7);
    fixture
}

const LABEL: &str = "START WAL LOCATION: 0/400028 (file 000000010000000000000004)\n\
    CHECKPOINT LOCATION: 0/400080\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
    START TIME: 2026-11-20 16:44:17 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n\
    INCREMENTAL FROM LSN: 0/400028\nINCREMENTAL FROM TLI: 1\n";

/// Describes what is in the directory of a backup.
fn make_manifest(top: &Path) {
    let manifest = top.join("data/backup_manifest");
    std::fs::remove_file(&manifest).expect("file");
    let mut files = BTreeMap::new();
    for (directory, below) in [("data", String::new()), ("16386", format!("pg_tblspc/{TABLESPACE}/"))] {
        let directory = top.join(directory);
        for (path, (_, contents)) in tree(&directory) {
            let is_file = directory.join(&path).symlink_metadata().expect("metadata").is_file();
            files.extend(is_file.then(|| (format!("{below}{}", path.display()), contents)));
        }
    }
    write_file(&manifest, manifest_text(&files).as_bytes());
}

fn assert_whole(fixture: &Fixture) {
    let read = |path: PathBuf| std::fs::read(path).expect("a file");
    assert!(read(fixture.destination().join(TABLE)) == blocks("abacc"));
    assert!(read(fixture.destination().join(NEW_TABLE)) == blocks("dn"));
    assert!(read(fixture.target().join("tbs1").join(ELSEWHERE)) == blocks("ttu"));
}

/// Every choice of what is in archives.
#[test]
fn what_is_in_archives_is_put_together_as_what_is_in_files() {
    let mut expected = None;
    for choice in 0..1 << CHAIN.len() {
        let fixture = chain("tbs1");
        let ssh = Ssh::new();
        let packed: Vec<_> = CHAIN.into_iter().enumerate().filter(|(index, _)| (choice >> index) & 1 == 1).collect();
        packed.iter().for_each(|(_, id)| pack_backup(&fixture, id, "none"));
        let scratch = fixture.root().join("scratch");
        let request = RestoreRequest { scratch: Some(scratch.clone()), ..fixture.request() };
        let plan = fixture.plan(&request).expect("a plan");
        let has_changes_in_archives = packed.iter().any(|(index, _)| *index > 0);
        assert_eq!(plan.scratch.is_some(), has_changes_in_archives, "{packed:?}");
        assert_eq!(plan.space.iter().any(|space| space.places.contains(&scratch)), has_changes_in_archives);
        for request in [request.clone(), ssh.request(&request)] {
            fixture.restored(&request);
            assert_whole(&fixture);
            let made = made(&fixture);
            let expected = expected.get_or_insert_with(|| made.clone());
            assert_eq!(made.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{packed:?}");
            assert!(without_places(made) == without_places(expected.clone()), "{packed:?}: permissions or contents");
            // Over an older directory, too.
            write_file(&fixture.destination().join(TABLE), &blocks("zzzzz"));
            fixture.restored(&RestoreRequest { delta: true, ..request });
            assert_whole(&fixture);
            empty_target(&fixture);
        }
        assert_eq!(scratch.exists(), has_changes_in_archives);
        assert!(std::fs::read_dir(&scratch).map_or(0, Iterator::count) == 0, "nothing stays");
    }
}

/// Each fixture has a place of its own, which links and settings name.
fn without_places(mut made: Tree) -> Tree {
    made.retain(|path, _| !path.starts_with("restored/pg_tblspc"));
    made
}

/// Invariant 4, for each part of a file.
#[test]
fn a_damaged_part_leaves_nothing_that_starts() {
    for (id, path) in [(CHAIN[0], TABLE.to_owned()), (CHAIN[1], incremental(TABLE)), (CHAIN[2], incremental(TABLE))] {
        let fixture = chain("tbs1");
        let file = fixture.data_of(id).join(&path);
        let mut bytes = std::fs::read(&file).expect("a file");
        *bytes.last_mut().expect("a byte") ^= 1;
        write_file(&file, &bytes);
        CHAIN.iter().for_each(|id| pack_backup(&fixture, id, "gzip"));
        let error = fixture.restore(&fixture.plan(&fixture.request()).expect("a plan")).expect_err("must fail");
        let text = error.to_string();
        assert!(text.contains(&format!("{id}/data/base.tar.gz/{path}")) && text.contains("is damaged"), "{text}");
        assert!(!fixture.destination().join("global/pg_control").exists(), "{id}");
    }
}

/// Invariants 4 and 7, where all of it is in archives: each attempt begins anew.
#[test]
fn a_connection_may_be_cut_at_any_time() {
    let fixture = chain("tbs1");
    let ssh = Ssh::new();
    CHAIN.iter().for_each(|id| pack_backup(&fixture, id, "none"));
    let request = ssh.request(&fixture.request());
    for number in 1.. {
        let plan = fixture.plan(&request).expect("a plan");
        ssh.cut(number);
        let (restored, _) = carried_out(&fixture, &plan, 0);
        ssh.cut(0);
        if is_finished(restored, number) {
            break;
        }
        if !fixture.destination().join("global/pg_control").exists() {
            let plan = fixture.plan(&request).expect("a plan");
            assert!(number < 4 || matches!(plan.standing, Standing::Interrupted { .. }), "{number}");
            // Once more within one attempt: what is kept by then is not kept twice.
            ssh.cut(10);
            let (restored, _) = carried_out(&fixture, &plan, 1);
            restored.expect("a restore");
            ssh.cut(0);
        }
        assert_whole(&fixture);
        empty_target(&fixture);
    }
    assert!(made(&fixture).contains_key(Path::new("restored/global/pg_control")));
}

/// All archives are read again, but what was put together and is there is not sent.
#[test]
fn what_is_there_of_a_chain_is_not_sent_again() {
    let fixture = chain("tbs1");
    let ssh = Ssh::new();
    CHAIN.iter().for_each(|id| pack_backup(&fixture, id, "none"));
    let request = ssh.request(&fixture.request());
    cut_before_its_end(&fixture, &ssh, &request);
    write_file(&fixture.destination().join(NEW_TABLE), &blocks("zz"));
    let (restored, events) = carried_out(&fixture, &fixture.plan(&request).expect("a plan"), 0);
    restored.expect("a restore");
    assert_whole(&fixture);
    assert!(events.contains(&RestoreEvent::Kept { bytes: blocks("abacc").len() as u64 }), "{events:?}");
    assert!(!events.contains(&RestoreEvent::Kept { bytes: blocks("dn").len() as u64 }), "{events:?}");
}

/// What the newest backups build on is gone, or was never finished: an older one is taken, and it is said why.
#[test]
fn a_broken_chain_is_passed_over() {
    let [full, first, second] = CHAIN.map(|id| id.parse().expect("an id"));
    let fixture = chain("tbs1");
    let request = RestoreRequest { backup: BackupChoice::Auto, ..fixture.request() };
    let planned = || fixture.plan(&request).expect("a plan");
    assert_eq!((planned().recovery.backup.backup_id, planned().warnings), (second, Vec::new()));

    let mut record = fixture.catalog.backup(&first).expect("a record");
    record.status = Status::Failed;
    fixture.catalog.save(&record).expect("a record");
    let passed_over = |reason| {
        let reason = PassedOverReason::BrokenChain { child: second, parent: first, reason };
        vec![PlanWarning::PassedOver { id: second, reason }]
    };
    assert_eq!(planned().recovery.backup.backup_id, full);
    assert_eq!(planned().warnings, passed_over(ChainBreak::NotDone(Status::Failed)));

    std::fs::remove_file(fixture.root().join(format!("home/main/meta/{first}-backup.info"))).expect("a record");
    assert_eq!(planned().recovery.backup.backup_id, full);
    assert_eq!(planned().warnings, passed_over(ChainBreak::Gone));

    // Where there is none to fall back to, the newest says what is wrong.
    std::fs::remove_file(fixture.root().join(format!("home/main/meta/{full}-backup.info"))).expect("a record");
    let refused = fixture.plan(&request).expect_err("nothing is left");
    assert!(matches!(refused, PlanError::BrokenChain { id, .. } if id == second), "{refused:?}");
}
