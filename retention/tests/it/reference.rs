//! Random catalogs, judged by Barman and by us.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use barman_retention::{Candidate, Keep, Policy, Reason, State, Status, Timestamp, Unit, Verdict, Window, verdicts};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use test_support::{Barman, BarmanHome};

/// How many catalogs are judged.
const CATALOGS: usize = 150;

const HOUR_MICROS: i64 = 3_600_000_000;

/// One server: its policy and its backups, oldest first.
#[derive(Debug, Clone)]
struct Catalog {
    policy: Policy,
    minimum_redundancy: u32,
    backups: Vec<Backup>,
}

#[derive(Debug, Clone)]
struct Backup {
    status: &'static str,
    keep: Option<Keep>,
    /// Distance of its end from now. Half hours, so that no edge moves while the test runs.
    half_hours_ago: i64,
    /// For an incremental backup: which of the backups before it is the parent.
    parent: Option<usize>,
}

fn catalogs() -> impl Strategy<Value = Catalog> {
    let unit = prop_oneof![4 => Just(Unit::Day), 1 => Just(Unit::Week), 1 => Just(Unit::Month)];
    let window = (0..6u32, unit).prop_map(|(count, unit)| Policy::RecoveryWindow(Window { count, unit }));
    let policy = prop_oneof![2 => (0..5u32).prop_map(Policy::Redundancy), 3 => window];
    (policy, prop_oneof![Just(0), 0..5u32], vec(backups(), 0..9)).prop_map(
        |(policy, minimum_redundancy, mut backups)| {
            for index in 0..backups.len() {
                repair_parent(index, &mut backups);
            }
            Catalog { policy, minimum_redundancy, backups }
        },
    )
}

fn backups() -> impl Strategy<Value = Backup> {
    let status =
        prop_oneof![6 => Just("DONE"), 1 => Just("FAILED"), 1 => Just("WAITING_FOR_WALS"), 1 => Just("STARTED")];
    let keep = prop_oneof![4 => Just(None), 1 => Just(Some(Keep::FULL)), 2 => Just(Some(Keep::STANDALONE))];
    let hours = prop_oneof![3 => 0..24 * 8i64, 1 => 0..24 * 40i64];
    let parent = prop_oneof![2 => Just(None), 1 => (0..9usize).prop_map(Some)];
    (status, keep, hours, parent).prop_map(|(status, keep, hours, parent)| Backup {
        status,
        keep,
        half_hours_ago: 2 * hours + 1,
        parent,
    })
}

/// Makes the parent one of the earlier backups, and drops what Barman refuses: keeping an incremental backup.
fn repair_parent(index: usize, backups: &mut [Backup]) {
    let backup = &mut backups[index];
    backup.parent = backup.parent.filter(|_| index > 0).map(|parent| parent % index);
    if backup.parent.is_some() || backup.status != "DONE" {
        backup.keep = None;
    }
}

fn id(index: usize) -> String {
    format!("202601{:02}T000000", index + 1)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_unix_micros(i64::try_from(since_epoch.as_micros()).unwrap())
}

impl Catalog {
    fn root(&self, index: usize) -> usize {
        self.backups[index].parent.map_or(index, |parent| self.root(parent))
    }

    fn end_time(&self, index: usize, now: Timestamp) -> Timestamp {
        Timestamp::from_pg_micros(now.pg_micros() - self.backups[index].half_hours_ago * HOUR_MICROS / 2)
    }

    fn candidates(&self, now: Timestamp) -> Vec<Candidate<String>> {
        let candidate = |index: usize| Candidate {
            id: id(index),
            state: match self.backups[index].status {
                "DONE" => State::Done { end_time: self.end_time(index, now) },
                _ => State::Other,
            },
            keep: self.backups[index].keep,
            root: self.backups[index].parent.map(|_| id(self.root(index))),
        };
        (0..self.backups.len()).map(candidate).collect()
    }

    /// What Barman's list shows: valid backups look like those that are not considered.
    fn shown(&self, now: Timestamp) -> BTreeMap<String, String> {
        let shown = |status| if status == Status::Valid { Status::None } else { status }.to_string();
        let verdicts = verdicts(&self.policy, &self.candidates(now), self.minimum_redundancy, now);
        verdicts.into_iter().map(|verdict| (verdict.id, shown(verdict.status))).collect()
    }

    /// The one difference: incremental backups of a full one that is kept as standalone, and reaches the window, are
    /// needed for what only they reach. For Barman they are obsolete.
    fn is_needed_by_window(&self, id: &str, now: Timestamp) -> bool {
        let mut candidates = self.candidates(now);
        let root = candidates.iter().find(|candidate| candidate.id == id).and_then(|candidate| candidate.root.clone());
        let Some(root) = candidates.iter_mut().find(|candidate| Some(&candidate.id) == root.as_ref()) else {
            return false;
        };
        let root = (root.id.clone(), root.keep.take());
        let verdicts = verdicts(&self.policy, &candidates, self.minimum_redundancy, now);
        let reaches = |verdict: &Verdict<String>| matches!(verdict.reason, Reason::ReachesWindow { .. });
        root.1 == Some(Keep::STANDALONE) && verdicts.iter().any(|verdict| verdict.id == root.0 && reaches(verdict))
    }

    fn write(&self, server: &str, meta: &Path, now: Timestamp) {
        write_dir(meta);
        for index in 0..self.backups.len() {
            write_file(&meta.join(format!("{}-backup.info", id(index))), &self.backup_info(server, index, now));
            match self.backups[index].keep {
                Some(Keep::FULL) => write_file(&meta.join(format!("{}-keep", id(index))), "full"),
                Some(Keep::STANDALONE) => write_file(&meta.join(format!("{}-keep", id(index))), "standalone"),
                _ => {}
            }
        }
    }

    fn backup_info(&self, server: &str, index: usize, now: Timestamp) -> String {
        let backup = &self.backups[index];
        let children = self.backups.iter().enumerate().filter(|(_, child)| child.parent == Some(index));
        let children: Vec<_> = children.map(|(child, _)| id(child)).collect();
        let none_or = |text: String| if text.is_empty() { "None".to_owned() } else { text };
        let end_micros = self.end_time(index, now).unix_micros();
        let mut text = String::new();
        for (key, value) in [
            ("server_name", server.to_owned()),
            ("status", backup.status.to_owned()),
            ("parent_backup_id", none_or(backup.parent.map(id).unwrap_or_default())),
            ("children_backup_ids", none_or(children.join(","))),
            ("end_time", utc(end_micros)),
            ("begin_time", utc(end_micros - 1_000_000)),
        ] {
            writeln!(text, "{key}={value}").unwrap();
        }
        text + "mode=postgres\nversion=170002\nsystemid=1\ntimeline=1\nsize=1\ndeduplicated_size=1\ncluster_size=1\n\
                begin_wal=000000010000000000000001\nend_wal=000000010000000000000001\nbegin_xlog=0/1000028\n\
                end_xlog=0/1000100\nbegin_offset=40\nend_offset=256\npgdata=/p\nsummarize_wal=on\n"
    }
}

/// `YYYY-MM-DD HH:MM:SS+00:00`, by the `date` program: no time zone rules here.
fn utc(unix_micros: i64) -> String {
    let seconds = format!("@{}", unix_micros / 1_000_000);
    let output = std::process::Command::new("date").args(["-u", "-d", &seconds, "+%Y-%m-%d %H:%M:%S+00:00"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a throwaway directory")]
fn write_dir(path: &Path) {
    std::fs::create_dir_all(path).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a throwaway file")]
fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn make_server(home: &BarmanHome, name: &str, catalog: &Catalog, now: Timestamp) {
    let (policy, minimum) = (catalog.policy.to_string(), catalog.minimum_redundancy.to_string());
    home.server(name, &[("active", "off"), ("retention_policy", &policy), ("minimum_redundancy", &minimum)]);
    catalog.write(name, &home.path().join(name).join("meta"), now);
    write_dir(&home.path().join(name).join("wals"));
}

/// The retention status of every backup that the list shows with one, by server.
fn barmans(home: &BarmanHome) -> BTreeMap<String, BTreeMap<String, String>> {
    let list = Barman::reference().succeed(home, &["-f", "json", "list-backups", "all"]);
    let servers: BTreeMap<String, serde_json::Value> = serde_json::from_str(&list).unwrap();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let backup = |entry: &serde_json::Value| Some((text(&entry["backup_id"])?, text(&entry["retention_status"])?));
    let backups = |entries: &serde_json::Value| entries.as_array().unwrap().iter().filter_map(backup).collect();
    servers
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, list)| (name.clone(), backups(list)))
        .collect()
}

#[test]
fn random_catalogs_are_judged_as_barman_judges_them() {
    let mut runner = TestRunner::deterministic();
    let servers: BTreeMap<String, Catalog> =
        (0..CATALOGS).map(|n| (format!("s{n:03}"), catalogs().new_tree(&mut runner).unwrap().current())).collect();
    let home = BarmanHome::new();
    let now = now();
    servers.iter().for_each(|(name, catalog)| make_server(&home, name, catalog, now));
    let barmans = barmans(&home);
    for (name, catalog) in &servers {
        let mut ours = catalog.shown(now);
        let mut theirs = barmans.get(name).cloned().unwrap_or_default();
        for (id, status) in theirs.iter_mut().filter(|(id, _)| catalog.is_needed_by_window(id, now)) {
            assert_eq!(status, "OBSOLETE", "no difference any more? {id} {catalog:#?}");
            status.replace_range(.., "-");
        }
        // Of an unfinished backup Barman's list shows nothing but that it is unfinished.
        let mut done = (0..catalog.backups.len()).filter(|index| catalog.backups[*index].status == "DONE").map(id);
        assert!(done.all(|id| theirs.contains_key(&id)), "{catalog:#?}");
        ours.retain(|id, _| theirs.contains_key(id));
        assert_eq!(ours, theirs, "{catalog:#?}");
    }
    assert!(barmans.values().flat_map(BTreeMap::values).any(|status| status == "OBSOLETE*"), "too few cases");
}
