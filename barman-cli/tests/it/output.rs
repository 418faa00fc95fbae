//! Text and JSON are Barman's to the byte: both programs read one catalog, and what they print is compared.

use crate::made_home::{self, ONE, TWO};
use crate::scene::ours;
use std::path::Path;
use test_support::{Barman, BarmanHome};

/// One field of a record that differs from the usual.
type Field<'a> = (&'a str, &'a str);

/// A catalog as some years of use leave it: kinds, states, names, timelines, and a hole in the WAL.
fn catalog() -> BarmanHome {
    let home = BarmanHome::new();
    let server = |policy: &'static str| {
        [
            ("conninfo", "host=127.0.0.1 port=1 user=nobody"),
            ("backup_method", "postgres"),
            ("archiver", "on"),
            ("retention_policy", policy),
            ("minimum_redundancy", "1"),
        ]
    };
    home.server("main", &server("REDUNDANCY 2"));
    home.server("window", &server("RECOVERY WINDOW OF 7 DAYS"));
    let idle = [("conninfo", "host=x"), ("active", "off"), ("archiver", "on"), ("backup_method", "postgres")];
    home.server("idle", &idle);
    for name in ["main", "window"] {
        fill(&home.path().join(name));
    }
    home
}

fn fill(server: &Path) {
    let name = server.file_name().expect("a server has a name").to_str().expect("it is text");
    for directory in ["meta", "base", "wals", "incoming", "streaming", "errors"] {
        std::fs::create_dir_all(server.join(directory)).expect("the home is ours");
    }
    let record = |id: &str, wal: u32, fields: &[Field<'_>]| write_record(server, id, wal, fields);
    record("20260101T010000", 0x04, &[("backup_name", "first-full")]);
    record("20260102T010000", 0x08, &[("size", "1099511627776"), ("copy_stats", "None")]);
    record("20260103T010000", 0x0c, &[("status", "FAILED"), ("error", "failure copying files (no space)")]);
    record("20260104T010000", 0x10, &[("tablespaces", "[('tbs1', 16386, '/srv/tbs1'), ('b', 16400, '/srv/b')]")]);
    let rsync =
        [("mode", "rsync-concurrent"), ("deduplicated_size", "2785520"), ("begin_time", "2026-01-05 01:00:00.5+02:00")];
    record("20260105T010000", 0x14, &rsync);
    record("20260106T010000", 0x18, &[("status", "WAITING_FOR_WALS"), ("summarize_wal", "on"), ("version", "170004")]);
    record("20260107T010000", 0x1c, &[("status", "STARTED")]);
    std::fs::write(server.join("meta/20260101T010000-keep"), "standalone").expect("meta is ours");
    let lines = (0x04..0x1a_u32).filter(|wal| *wal != 0x0e).map(|wal| {
        let (size, time) = (16_777_216 - wal * 1000, 1_767_225_600.25 + f64::from(wal) * 977.0);
        let compression = if wal < 0x10 { "None" } else { "gzip" };
        format!("0000000100000000000000{wal:02X}\t{size}\t{time}\t{compression}\tNone\n")
    });
    let index: String = lines.collect();
    std::fs::write(server.join(format!("wals/{name}-xlog.db")), index).expect("wals is ours");
    let history = "1\t0/19000000\tno recovery target specified\n";
    std::fs::write(server.join("wals/00000002.history"), history).expect("wals is ours");
}

fn write_record(server: &Path, id: &str, wal: u32, fields: &[Field<'_>]) {
    let segment = format!("0000000100000000000000{wal:02X}");
    let (begin, end) = (format!("0/{wal:X}000028"), format!("0/{wal:X}000158"));
    let day = format!("{}-{}-{}", &id[..4], &id[4..6], &id[6..8]);
    let (begin_time, end_time) = (format!("{day} 01:00:00.005962+00:00"), format!("{day} 01:02:02.462603+00:00"));
    let usual: [Field<'_>; 32] = [
        ("backup_label", "'START WAL LOCATION: 0/4000028\\n'"),
        ("begin_offset", "40"),
        ("begin_time", &begin_time),
        ("begin_wal", &segment),
        ("begin_xlog", &begin),
        ("children_backup_ids", "None"),
        ("cluster_size", "24620745"),
        ("compression", "None"),
        ("config_file", "/srv/pgdata/postgresql.conf"),
        ("copy_stats", "{'copy_time': 2.447594, 'total_time': 2.447594}"),
        ("data_checksums", "on"),
        ("deduplicated_size", "24613711"),
        ("encryption", "None"),
        ("end_offset", "344"),
        ("end_time", &end_time),
        ("end_wal", &segment),
        ("end_xlog", &end),
        ("error", "None"),
        ("hba_file", "/srv/pgdata/pg_hba.conf"),
        ("ident_file", "/srv/pgdata/pg_ident.conf"),
        ("included_files", "['/srv/pgdata/postgresql.auto.conf']"),
        ("mode", "postgres"),
        ("parent_backup_id", "None"),
        ("pgdata", "/srv/pgdata"),
        ("server_name", server.file_name().and_then(|name| name.to_str()).expect("a server has a name")),
        ("size", "24613711"),
        ("status", "DONE"),
        ("summarize_wal", "None"),
        ("systemid", "7710294594766418489"),
        ("tablespaces", "None"),
        ("timeline", "1"),
        ("version", "150018"),
    ];
    let value = |key: &str, usual: &str| {
        fields.iter().find(|(name, _)| *name == key).map_or(usual.to_owned(), |(_, value)| (*value).to_owned())
    };
    let mut text: String = usual.iter().map(|(key, usual)| format!("{key}={}\n", value(key, usual))).collect();
    text.extend(fields.iter().filter(|(key, _)| *key == "backup_name").map(|(key, value)| format!("{key}={value}\n")));
    text.push_str("xlog_segment_size=16777216\n");
    std::fs::create_dir_all(server.join("base").join(id).join("data")).expect("base is ours");
    std::fs::write(server.join(format!("meta/{id}-backup.info")), text).expect("meta is ours");
}

#[track_caller]
fn assert_same(home: &BarmanHome, arguments: &[&str]) {
    let theirs = Barman::reference().run(home, arguments);
    let ours = ours().run(home, arguments);
    assert_eq!((ours.code, &ours.stdout), (theirs.code, &theirs.stdout), "{arguments:?}\n{ours:?}\n{theirs:?}");
}

#[test]
fn lists_are_barmans() {
    let home = catalog();
    for arguments in [
        &["list-servers"][..],
        &["list-server"],
        &["-f", "json", "list-servers"],
        &["list-backups", "all"],
        &["list-backup", "main"],
        &["list-backups", "main", "window"],
        &["-f", "json", "list-backups", "all"],
        &["list-backups", "--minimal", "main"],
        &["-f", "json", "list-backups", "--minimal", "main"],
        &["-q", "list-backups", "main"],
        &["list-backups", "nope"],
    ] {
        assert_same(&home, arguments);
    }
}

#[test]
fn an_inactive_server_alarms_nobody_by_itself() {
    assert_same(&catalog(), &["check", "--nagios", "idle"]);
}

#[test]
fn every_backup_is_shown_as_by_barman() {
    let home = catalog();
    for id in 1..=7 {
        let id = format!("2026010{id}T010000");
        assert_same(&home, &["show-backup", "main", &id]);
        assert_same(&home, &["-f", "json", "show-backup", "main", &id]);
    }
    for word in ["latest", "last", "oldest", "first", "latest-full", "last-full", "last-failed", "first-full", "nope"] {
        assert_same(&home, &["show-backup", "window", word]);
    }
}

/// Also what a backup saved, by hard links to an older one, or by leaving out what has not changed since.
#[test]
fn chains_are_shown_as_by_barman() {
    let sizes =
        |size, deduplicated, cluster| [("size", size), ("deduplicated_size", deduplicated), ("cluster_size", cluster)];
    let full = [&sizes("1000", "1000", "1000")[..], &[("children_backup_ids", TWO)]].concat();
    let incremental = |sizes: [Field<'static>; 3]| [&sizes[..], &[("parent_backup_id", ONE)]].concat();
    let rsync = |sizes: [Field<'static>; 3]| [&sizes[..], &[("mode", "rsync")]].concat();
    for other in [
        incremental(sizes("400", "400", "1000")),
        incremental(sizes("400", "400", "400")),
        rsync(sizes("400", "100", "1000")),
        rsync(sizes("400", "400", "1000")),
    ] {
        let home = made_home::home(&[], &[(ONE, 2, &full), (TWO, 4, &other)]);
        for id in [ONE, TWO] {
            assert_same(&home, &["show-backup", "main", id]);
            assert_same(&home, &["-f", "json", "show-backup", "main", id]);
        }
    }
}

#[test]
fn what_is_at_hand_can_be_peeked_at_as_with_barman() {
    let home = catalog();
    let directory = home.path().join("main/wals/0000000100000000");
    std::fs::create_dir_all(&directory).expect("wals is ours");
    for wal in [4, 5, 6, 8] {
        std::fs::write(directory.join(format!("0000000100000000000000{wal:02X}")), "x").expect("wals is ours");
    }
    for arguments in [
        &["get-wal", "--peek", "5", "main", "000000010000000000000004"][..],
        &["get-wal", "-p", "2", "main", "000000010000000000000004"],
        &["get-wal", "-p", "2", "main", "000000010000000000000007"],
        &["get-wal", "main", "000000010000000000000005"],
        &["get-wal", "--keep-compression", "main", "000000010000000000000005"],
        &["get-wal", "main", "00000001000000000000000B"],
        &["get-wal", "main", "foo"],
        &["get-wal", "--test", "main", "x"],
    ] {
        assert_same(&home, arguments);
    }
}
