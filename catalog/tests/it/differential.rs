//! Random catalogs on which Barman and we enforce a policy or delete a backup: what is said and what is left is the same.
//!
//! `RETENTION_CATALOGS` says how many, `RETENTION_SEED` which: see `scripts/retention-differential`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use barman_catalog::{
    BackupId, BackupInfo, BackupTime, Catalog, DeleteEvent, DeleteOptions, LocalZone, NoHooks, ServerLayout, Status,
    WalStats, deletion_order,
};
use barman_retention::{Occasion, Policy, Request, Rules, Unit, Window, plan};
use barman_storage::Cancel;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use test_support::{Barman, BarmanHome};
use wal_format::{SegmentNumber, SegmentSize, TimelineId, TimelineTree, Timestamp, WalFileName};

use crate::repository::{backup, id};

const SIZE: SegmentSize = SegmentSize::DEFAULT;
const HALF_HOUR_MICROS: i64 = 1_800_000_000;
/// The first segment that any test has. Names are in two directories: 255 is the last number of the first one.
const FIRST_SEGMENT: u64 = 240;

/// A server, and what is asked of Barman and of us.
#[derive(Debug, Clone)]
struct Scene {
    question: Question,
    /// By id, ascending.
    backups: Vec<Drawn>,
    /// In the order of the index.
    wal: Vec<String>,
}

#[derive(Debug, Clone)]
enum Question {
    Enforce {
        policy: Policy,
        minimum_redundancy: u32,
    },
    /// Delete the backup of this index, modulo their number.
    Delete(usize),
}

#[derive(Debug, Clone)]
struct Drawn {
    status: Status,
    keep: Option<&'static str>,
    timeline: u32,
    begin: u64,
    /// How many segments it needs beyond the first.
    length: u64,
    /// Distance of its end from now, in half hours: no edge moves while the test runs.
    half_hours_ago: i64,
    /// How far ahead of UTC the clock was that wrote its times.
    offset_seconds: i32,
    parent: Option<usize>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let unit = prop_oneof![4 => Just(Unit::Day), 1 => Just(Unit::Week), 1 => Just(Unit::Month)];
    let window = (0..6u32, unit).prop_map(|(count, unit)| Policy::RecoveryWindow(Window { count, unit }));
    let policy = prop_oneof![(1..5u32).prop_map(Policy::Redundancy), window];
    let question = prop_oneof![
        3 => (policy, prop_oneof![2 => Just(0), 1 => 0..4u32])
            .prop_map(|(policy, minimum_redundancy)| Question::Enforce { policy, minimum_redundancy }),
        1 => (0..100usize).prop_map(Question::Delete),
    ];
    (question, vec(drawn(), 0..9), vec(wal(), 0..50), any::<bool>()).prop_map(|(question, backups, mut wal, sorted)| {
        if sorted {
            wal.sort();
        }
        let mut seen = std::collections::BTreeSet::new();
        wal.retain(|name| seen.insert(name.clone()));
        Scene { question, backups: repaired(backups), wal }
    })
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let status = prop_oneof![
        7 => Just(Status::Done),
        1 => Just(Status::Failed),
        1 => Just(Status::WaitingForWals),
        1 => Just(Status::Started),
    ];
    let keep = prop_oneof![5 => Just(None), 1 => Just(Some("full")), 3 => Just(Some("standalone"))];
    let hours = prop_oneof![3 => 0..24 * 8i64, 1 => 0..24 * 40i64];
    let offset = prop_oneof![3 => Just(0), 1 => Just(7200), 1 => Just(-12_600)];
    let timeline = prop_oneof![4 => Just(1u32), 2 => Just(2), 1 => Just(3)];
    let parent = prop_oneof![3 => Just(None), 1 => (0..9usize).prop_map(Some)];
    (status, keep, timeline, 0..30u64, 0..3u64, hours, offset, parent).prop_map(
        |(status, keep, timeline, begin, length, hours, offset_seconds, parent)| Drawn {
            status,
            keep,
            timeline,
            begin: FIRST_SEGMENT + begin,
            length,
            half_hours_ago: 2 * hours + 1,
            offset_seconds,
            parent,
        },
    )
}

/// Mostly segments; some are missing, since each is drawn by itself.
fn wal() -> impl Strategy<Value = String> {
    let name = |timeline, number: u64| {
        SegmentNumber::new(FIRST_SEGMENT + number).name(TimelineId::new(timeline).expect("not 0"), SIZE).to_string()
    };
    let timeline = prop_oneof![4 => Just(1u32), 2 => Just(2), 1 => Just(3)];
    let suffix = prop_oneof![8 => Just(""), 1 => Just(".00000028.backup"), 1 => Just(".partial")];
    prop_oneof![
        20 => (timeline, 0..34u64, suffix).prop_map(move |(timeline, number, suffix)| name(timeline, number) + suffix),
        1 => (2..4u32).prop_map(|timeline| format!("{timeline:08X}.history")),
    ]
}

/// Makes parents earlier backups, and drops what Barman refuses: keeping an incremental or an incomplete backup. Mostly,
/// later backups need later WAL.
fn repaired(mut backups: Vec<Drawn>) -> Vec<Drawn> {
    if backups.first().is_some_and(|first| first.length > 0) {
        backups.sort_by_key(|backup| (backup.timeline, backup.begin));
    }
    for (index, backup) in backups.iter_mut().enumerate() {
        backup.parent = backup.parent.filter(|_| index > 0).map(|parent| parent % index);
        if backup.parent.is_some() || backup.status != Status::Done {
            backup.keep = None;
        }
    }
    backups
}

fn id_of(index: usize) -> BackupId {
    id(&format!("202601{:02}T000000", index + 1))
}

impl Scene {
    fn root(&self, index: usize) -> usize {
        self.backups[index].parent.map_or(index, |parent| self.root(parent))
    }

    fn record(&self, server: &str, index: usize, now: Timestamp) -> BackupInfo {
        let drawn = &self.backups[index];
        let timeline = TimelineId::new(drawn.timeline).expect("not 0");
        let name = |number| SegmentNumber::new(number).name(timeline, SIZE).to_string();
        let mut info =
            backup(id_of(index).as_str(), &name(drawn.begin), &name(drawn.begin + drawn.length), drawn.status);
        let end = Timestamp::from_pg_micros(now.pg_micros() - drawn.half_hours_ago * HALF_HOUR_MICROS);
        let time = |moment| BackupTime::at_offset(moment, drawn.offset_seconds);
        info.server_name = Some(server.to_owned());
        info.xlog_segment_size = SIZE;
        info.end_time = time(end);
        info.begin_time = time(Timestamp::from_pg_micros(end.pg_micros() - 1_000_000));
        (info.size, info.deduplicated_size, info.cluster_size) = (Some(1), Some(1), Some(1));
        info.size = u64::try_from(index).ok().map(|index| 100 + index);
        info.version = Some(170_002);
        info.pgdata = Some("/srv/pgdata".to_owned());
        info.summarize_wal = Some("on".to_owned());
        info.parent_backup_id = drawn.parent.map(id_of);
        let children = self.backups.iter().enumerate().filter(|(_, child)| child.parent == Some(index));
        info.children_backup_ids = children.map(|(child, _)| id_of(child)).collect();
        info
    }

    fn write(&self, home: &BarmanHome, server: &str, now: Timestamp) {
        // An active server: of an inactive one Barman would believe that its backups are exclusive ones, and remove all
        // WAL with the last. Nothing answers at its address.
        let nowhere = "host=127.0.0.1 port=1 user=nobody dbname=postgres".to_owned();
        let mut options = vec![("conninfo", nowhere.clone()), ("streaming_conninfo", nowhere)];
        options.extend([("archiver", "on".to_owned()), ("backup_method", "postgres".to_owned())]);
        if let Question::Enforce { policy, minimum_redundancy } = &self.question {
            options.push(("retention_policy", policy.to_string()));
            options.push(("minimum_redundancy", minimum_redundancy.to_string()));
        }
        let options: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
        home.server(server, &options);
        let directory = home.path().join(server);
        let catalog = catalog(home, server);
        catalog.create_directories().expect("directories");
        for index in 0..self.backups.len() {
            catalog.save(&self.record(server, index, now)).expect("save");
            write(&directory.join(format!("base/{}/data/PG_VERSION", id_of(index))), "17\n");
            if let Some(keep) = self.backups[index].keep {
                write(&directory.join(format!("meta/{}-keep", id_of(index))), keep);
            }
        }
        let mut lines = String::new();
        for name in &self.wal {
            let hash = if name.ends_with(".history") { String::new() } else { format!("{}/", &name[..16]) };
            // No two neighbours have the same size.
            let size = name.bytes().map(usize::from).sum::<usize>() % 50 + 1;
            write(&directory.join(format!("wals/{hash}{name}")), &"w".repeat(size));
            writeln!(lines, "{name}\t{size}\t1795193057.0\tNone\tNone").expect("a String");
        }
        write(&directory.join(format!("wals/{server}-xlog.db")), &lines);
    }

    /// What Barman is asked.
    fn order(&self, server: &str) -> String {
        match self.deleted() {
            None => format!("{server}\n"),
            Some(index) => format!("{server} {}\n", id_of(index)),
        }
    }

    fn deleted(&self) -> Option<usize> {
        match self.question {
            Question::Enforce { .. } => None,
            Question::Delete(drawn) => Some(drawn % self.backups.len().max(1)),
        }
    }

    /// What a manual deletion needs to be allowed: a backup that nobody keeps.
    fn is_allowed(&self) -> bool {
        self.deleted().is_none_or(|index| self.backups.get(index).is_some_and(|backup| backup.keep.is_none()))
    }

    /// Without sizes if the index is not in order: Barman counts no WAL behind the first name that is beyond the range.
    fn comparable<'a>(&self, said: &'a str) -> Vec<&'a str> {
        let is_sorted = self.wal.is_sorted();
        said.lines().filter(|line| is_sorted || !line.starts_with("size ")).collect()
    }

    /// The one difference of verdicts: see `docs/differences.md`.
    fn has_standalone_root(&self) -> bool {
        let is_below_standalone = |index: usize| {
            self.backups[index].parent.is_some() && self.backups[self.root(index)].keep == Some("standalone")
        };
        matches!(self.question, Question::Enforce { policy: Policy::RecoveryWindow(_), .. })
            && (0..self.backups.len()).any(is_below_standalone)
    }
}

fn catalog(home: &BarmanHome, server: &str) -> Catalog {
    Catalog::open(ServerLayout::below(&home.path(), server), LocalZone::UTC)
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("below a home")).expect("directory");
    std::fs::write(path, text).expect("write");
}

/// Everything below a directory but the locks: path and contents.
fn contents(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let name = path.strip_prefix(directory).expect("below it").display().to_string();
        if path.is_dir() {
            found.insert(name, String::new());
            pending.extend(std::fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
        } else if !name.ends_with(".lock") {
            found.insert(name, std::fs::read_to_string(&path).expect("text"));
        }
    }
    found
}

/// What Barman says of each server.
fn ask_barman(home: &BarmanHome, orders: &str) -> BTreeMap<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/barman_retention.py");
    let orders_file = home.path().join("orders");
    std::fs::write(&orders_file, orders).expect("write");
    let mut python = Barman::reference().python();
    python.arg(script).arg(home.config_file()).stdin(std::fs::File::open(&orders_file).expect("open"));
    let output = python.stderr(Stdio::piped()).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut answers = BTreeMap::new();
    for answer in text.split("## ").skip(1) {
        let (server, said) = answer.split_once('\n').expect("a line");
        let without_times = |line: &str| line.split(" (start time").next().unwrap_or_default().to_owned() + "\n";
        answers.insert(server.to_owned(), said.lines().map(without_times).collect());
    }
    answers
}

/// What we do, in the words of Barman.
fn answer(catalog: &Catalog, server: &str, scene: &Scene, now: Timestamp) -> String {
    let records = catalog.backups().expect("records");
    let catalog_before = catalog.archived_wal().expect("index");
    let wanted: Vec<_> = match &scene.question {
        Question::Delete(_) => {
            let order = deletion_order(&records, &id_of(scene.deleted().expect("a deletion")));
            order.into_iter().map(|id| (id, Occasion::Command)).collect()
        }
        Question::Enforce { policy, minimum_redundancy } => {
            let plan = plan(&Request {
                rules: &Rules::from(*policy),
                minimum_redundancy: *minimum_redundancy,
                now,
                backups: &catalog.retention_backups(&records).expect("annotations"),
                wal: &catalog.archived_wal().expect("index"),
                damage: &[],
                timelines: &TimelineTree::default(),
                segment_size: SIZE,
                zones: &|_: &str, _| None,
            });
            plan.expect("no zones").deletions.into_iter().map(|id| (id, Occasion::Policy)).collect()
        }
    };
    let planned = catalog.plan_deletion(&wanted, now).expect("a plan");
    let (mut said, mut removed) = (sizes(catalog), Vec::new());
    let cancel = Cancel::new();
    let options = DeleteOptions { now, hooks: &NoHooks, cancel: &cancel };
    let mut event = |event: DeleteEvent<'_>| match event {
        DeleteEvent::Begun(info) => {
            let id = info.backup_id;
            if scene.deleted().is_none() {
                writeln!(said, "Enforcing retention policy: removing backup {id} for server {server}").expect("text");
            }
            writeln!(said, "Deleting backup {id} for server {server}").expect("text");
        }
        DeleteEvent::Wal(names) => {
            said.push_str("Delete associated WAL segments:\n");
            names.iter().for_each(|name| writeln!(said, "\t{name}").expect("text"));
            removed.extend(names.iter().copied());
        }
        DeleteEvent::Deleted(info) => writeln!(said, "Deleted backup {}", info.backup_id).expect("text"),
        other => panic!("{other:?}"),
    };
    catalog.delete_backups(&wanted, &options, &mut event).expect("deleted");
    said.push_str(&sizes(catalog));
    // What a dry run says is what happens.
    let bytes = |name: &WalFileName| catalog_before.iter().find(|wal| wal.name == *name).map_or(0, |wal| wal.size);
    assert_eq!(
        planned.iter().map(|planned| planned.wal_bytes).sum::<u64>(),
        removed.iter().map(bytes).sum::<u64>(),
        "{scene:#?}"
    );
    assert_eq!(planned.into_iter().flat_map(|planned| planned.wal).collect::<Vec<_>>(), removed, "{scene:#?}");
    said
}

/// The sizes of every backup that is copied, as the script prints Barman's.
fn sizes(catalog: &Catalog) -> String {
    let records = catalog.backups().expect("records");
    let mut stats = catalog.wal_stats(&records).expect("index");
    let mut lines = String::new();
    for info in records.iter().filter(|info| info.status.is_copied()) {
        let WalStats { wal_num, wal_size, wal_until_next_num, wal_until_next_size, .. } =
            stats.remove(&info.backup_id).unwrap_or_default();
        let (id, size) = (info.backup_id, info.size.unwrap_or(0));
        writeln!(lines, "size {id} {size} {wal_num} {wal_size} {wal_until_next_num} {wal_until_next_size}")
            .expect("text");
    }
    lines
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn random_catalogs_are_left_as_barman_leaves_them() {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("RETENTION_SEED").unwrap_or(0).to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let mut scenes = (0..number("RETENTION_CATALOGS").unwrap_or(200))
        .map(|index| (format!("s{index:05}"), scenes().new_tree(&mut runner).expect("a scene").current()))
        .collect::<BTreeMap<_, _>>();
    scenes.retain(|_, scene| scene.is_allowed() && !scene.has_standalone_root());
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let now = Timestamp::from_unix_micros(i64::try_from(since_epoch.as_micros()).expect("before 294247"));
    let (theirs, ours) = (BarmanHome::new(), BarmanHome::new());
    for (server, scene) in &scenes {
        scene.write(&theirs, server, now);
        scene.write(&ours, server, now);
    }
    let orders: String = scenes.iter().map(|(server, scene)| scene.order(server)).collect();
    let said = ask_barman(&theirs, &orders);
    let (mut backups, mut wal) = (0, 0);
    for (server, scene) in &scenes {
        let answer = answer(&catalog(&ours, server), server, scene, now);
        assert_eq!(scene.comparable(&answer), scene.comparable(&said[server]), "{scene:#?}");
        let left = |home: &BarmanHome| contents(&home.path().join(server));
        assert_eq!(left(&ours), left(&theirs), "{scene:#?}");
        backups += answer.matches("Deleted backup").count();
        wal += answer.matches("\n\t").count();
    }
    assert!(backups > scenes.len() / 3 && wal > scenes.len(), "too few cases: {backups} backups, {wal} files");
}
