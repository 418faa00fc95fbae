//! Homes made by hand, on which Barman and we are compared: no server is needed for what concerns the catalog alone.

use crate::scene::ours;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use test_support::{Barman, BarmanHome, Finished};

/// A backup of the tests: id, first segment, and fields of its record that differ from the usual.
pub(crate) type Backup<'a> = (&'a str, u32, &'a [(&'a str, &'a str)]);

pub(crate) const ONE: &str = "20260101T000000";
pub(crate) const TWO: &str = "20260102T000000";
pub(crate) const THREE: &str = "20260103T000000";

pub(crate) const THREE_BACKUPS: [Backup<'_>; 3] = [(ONE, 2, &[]), (TWO, 4, &[]), (THREE, 6, &[])];

/// A chain of incremental backups, and a full one after it.
pub(crate) const CHAIN: [Backup<'_>; 4] = [
    (ONE, 2, &[("children_backup_ids", "20260102T000000,20260103T000000")]),
    (TWO, 4, &[("parent_backup_id", ONE)]),
    (THREE, 6, &[("parent_backup_id", ONE)]),
    ("20260104T000000", 8, &[]),
];

/// A home with the server `main`: these backups, and WAL from segment 1 to 9.
pub(crate) fn home(options: &[(&str, &str)], backups: &[Backup<'_>]) -> BarmanHome {
    let home = BarmanHome::new();
    let nowhere = "host=127.0.0.1 port=1 user=nobody dbname=postgres";
    let common =
        [("conninfo", nowhere), ("streaming_conninfo", nowhere), ("backup_method", "postgres"), ("archiver", "on")];
    home.server("main", &[&common[..], options].concat());
    let server = home.path().join("main");
    for (id, begin, fields) in backups {
        let info = record(*begin, fields);
        write(&server.join(format!("meta/{id}-backup.info")), &info);
        write(&server.join(format!("base/{id}/data/PG_VERSION")), "17\n");
    }
    let mut index = String::new();
    for number in 1..=9 {
        let name = segment(number);
        write(&server.join(format!("wals/0000000100000000/{name}")), "wal");
        writeln!(index, "{name}\t3\t1795193057.0\tNone\tNone").expect("a String");
    }
    write(&server.join("wals/main-xlog.db"), &index);
    for directory in ["incoming", "streaming", "errors"] {
        std::fs::create_dir_all(server.join(directory)).expect("directory");
    }
    home
}

/// A home whose rules are in our own file. Segment 9 was written an hour ago, each one before it a day earlier.
pub(crate) fn with_rules(rules: &str, backups: &[Backup<'_>]) -> BarmanHome {
    let home = home(&[], backups);
    write(&home.config_file().with_extension("retention"), &format!("[main]\nretention = {rules}\n"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let line = |number: u32| {
        let written = now - 3600 - 86_400 * u64::from(9 - number);
        format!("{}\t4\t{written}.0\tNone\tNone\n", segment(number))
    };
    write(&home.path().join("main/wals/main-xlog.db"), &(1..=9).map(line).collect::<String>());
    home
}

pub(crate) fn segment(number: u32) -> String {
    format!("0000000100000000{number:08X}")
}

pub(crate) fn record(begin: u32, fields: &[(&str, &str)]) -> String {
    let (begin_wal, end_wal) = (segment(begin), segment(begin + 1));
    let day = format!("2026-01-0{} 00:00", begin / 2);
    let (begin_time, end_time) = (format!("{day}:00+00:00"), format!("{day}:10+00:00"));
    let usual = [
        ("server_name", "main"),
        ("status", "DONE"),
        ("mode", "postgres"),
        ("version", "170002"),
        ("systemid", "1"),
        ("timeline", "1"),
        ("size", "3"),
        ("deduplicated_size", "3"),
        ("cluster_size", "3"),
        ("begin_wal", &begin_wal),
        ("end_wal", &end_wal),
        ("begin_time", &begin_time),
        ("end_time", &end_time),
        ("begin_xlog", "0/1000028"),
        ("end_xlog", "0/1000100"),
        ("begin_offset", "40"),
        ("end_offset", "256"),
        ("pgdata", "/srv/pgdata"),
        ("summarize_wal", "on"),
        ("parent_backup_id", "None"),
        ("children_backup_ids", "None"),
    ];
    let mut values: BTreeMap<&str, &str> = usual.into_iter().collect();
    values.extend(fields.iter().copied());
    values.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("below a home")).expect("directory");
    std::fs::write(path, text).expect("write");
}

/// The names of all files of the server.
pub(crate) fn files(home: &BarmanHome) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![home.path().join("main")]);
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("list").map(|entry| entry.expect("entry").path()));
        } else {
            found.push(path.strip_prefix(home.path()).expect("below").display().to_string());
        }
    }
    found.sort();
    found
}

/// What was said, without the time of day; of Barman's dump of an object, the server alone; without our hints.
pub(crate) fn shown(finished: &Finished) -> (Option<i32>, String, String) {
    let line = |line: &str| match (line.split_once(" (start time"), line.split_once("Cannot delete backup (")) {
        (Some((start, _)), _) => format!("{start}\n"),
        (_, Some((start, object))) => format!("{start}Cannot delete backup ({}\n", &object[..4]),
        _ => format!("{line}\n"),
    };
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with("HINT: ")).map(line).collect();
    (finished.code, lines(&finished.stdout), lines(&finished.stderr))
}

/// Runs a command of Barman's and the same of ours, each on a home of its own.
#[track_caller]
pub(crate) fn check_same(
    options: &[(&str, &str)],
    backups: &[Backup<'_>],
    prepare: impl Fn(&BarmanHome),
    command: &[&str],
) {
    let [theirs, ours_home] = [home(options, backups), home(options, backups)];
    prepare(&theirs);
    prepare(&ours_home);
    let expected = Barman::reference().run(&theirs, command);
    let found = ours().run(&ours_home, command);
    assert_eq!(shown(&found), shown(&expected), "{command:?}");
    assert_eq!(files(&ours_home), files(&theirs), "{command:?}");
    let index = |home: &BarmanHome| std::fs::read(home.path().join("main/wals/main-xlog.db")).expect("the index");
    assert_eq!(index(&ours_home), index(&theirs), "{command:?}");
}

pub(crate) fn nothing(_: &BarmanHome) {}
