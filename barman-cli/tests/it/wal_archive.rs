//! Commands about the WAL archive as a whole, and WAL that other hosts send.

use crate::made_home;
use crate::scene::{Scene, ours, wait_until};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use test_support::{BarmanHome, CommandExt, Finished, Postgres};

/// A server that nothing needs to reach.
fn home() -> BarmanHome {
    let home = BarmanHome::new();
    home.server(
        "main",
        &[
            ("conninfo", "host=/nonexistent"),
            ("archiver", "on"),
            ("backup_method", "postgres"),
            ("streaming_conninfo", "host=/nonexistent"),
        ],
    );
    home
}

fn run(home: &BarmanHome, arguments: &[&str]) -> Finished {
    ours().command(home).env("PATH", "/nonexistent").args(arguments).finish()
}

/// A segment of a real server, under its name.
fn segment(server: &Postgres, directory: &Path) -> std::path::PathBuf {
    server.psql("create table if not exists t as select generate_series(1, 1000) i");
    let name = server.switch_wal();
    let path = directory.join(&name);
    std::fs::copy(server.data_dir().join("pg_wal").join(&name), &path).expect("the segment is there");
    path
}

/// Sends a file as Barman's own client does; its ssh is a program that runs `put-wal` here.
fn send(home: &BarmanHome, file: &Path, options: &[&str]) -> Finished {
    let bin = home.path().with_file_name("bin");
    std::fs::create_dir_all(&bin).expect("directory");
    let ssh = bin.join("ssh");
    let program = env!("CARGO_BIN_EXE_barman");
    let configuration = home.config_file();
    test_support::write_script(&ssh, &format!("exec {program} -c {} put-wal main", configuration.display()));
    let client = test_support::Barman::reference().beside("barman-wal-archive");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    Command::new(client).env("PATH", path).args(options).args(["localhost", "main"]).arg(file).finish()
}

#[test]
fn barmans_own_client_is_served() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = home();
    let directory = test_support::TempDir::new();
    let file = segment(&server, directory.path());
    let name = file.file_name().expect("a name").to_owned();
    for options in [&[][..], &["--md5"], &[]] {
        let sent = send(&home, &file, options);
        assert_eq!(sent.code, Some(0), "{options:?}: {sent:?}");
    }
    let incoming = home.path().join("main/incoming");
    assert_eq!(std::fs::read(incoming.join(&name)).expect("there"), std::fs::read(&file).expect("there"));

    let next = segment(&server, directory.path());
    let mut bytes = std::fs::read(&next).expect("there");
    bytes[8192..8192 * 2].fill(0xFF);
    std::fs::write(&next, &bytes).expect("write");
    let first = send(&home, &next, &[]);
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.stderr.contains("cannot be believed"), "{first:?}");
    let second = send(&home, &next, &[]);
    assert_eq!(second.code, Some(0), "{second:?}");
    let archived = run(&home, &["archive-wal", "main"]);
    assert!(archived.stderr.contains("archived with damage"), "{archived:?}");
    let verified = run(&home, &["verify-archive", "main"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout.contains("1 files are what was archived, 1 are not, 0 were not due"), "{verified:?}");
}

/// The server can go on with what comes behind, and its log tells what happened.
#[test]
fn a_file_that_is_archived_with_other_contents_is_refused_once() {
    let home = home();
    let directory = test_support::TempDir::new();
    let file = directory.path().join("00000002.history");
    let send_again = |contents: &str| {
        std::fs::write(&file, contents).expect("write");
        send(&home, &file, &[])
    };
    assert_eq!(send_again("1\t0/3000000\tno recovery target specified\n").code, Some(0));
    assert_eq!(run(&home, &["archive-wal", "main"]).code, Some(0));
    let other = "1\t0/4000000\tno recovery target specified\n";
    let first = send_again(other);
    assert_eq!(first.code, Some(1), "{first:?}");
    assert!(first.stderr.contains("00000002.history is archived already, with other contents"), "{first:?}");
    assert!(first.stderr.contains("HINT: PostgreSQL sends it again by itself"), "{first:?}");
    let second = send_again(other);
    assert_eq!(second.code, Some(0), "{second:?}");
    assert!(second.stderr.contains("WARNING: 00000002.history of server 'main' is archived with other"), "{second:?}");
}

#[test]
fn put_wal_answers_as_barman_does() {
    let home = home();
    let ready = run(&home, &["put-wal", "-t", "main"]);
    assert_eq!((ready.code, ready.stdout.as_str()), (Some(0), "Ready to accept WAL files for the server main\n"));
    let mut child = ours()
        .command(&home)
        .args(["put-wal", "main"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(b"no tar at all").expect("it reads");
    let finished = child.wait_with_output().expect("it ends");
    assert_eq!(finished.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&finished.stderr).contains("tar stream"), "{finished:?}");
}

#[test]
fn the_records_of_an_archive_are_made_anew() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = home();
    run(&home, &["archive-wal", "main"]);
    for _ in 0..3 {
        segment(&server, &home.path().join("main/incoming"));
    }
    assert_eq!(run(&home, &["archive-wal", "main"]).code, Some(0));
    std::fs::remove_file(home.path().join("main/wals/main-xlog.db")).expect("remove");
    std::fs::remove_dir_all(home.path().join("main/ledger")).expect("remove");
    let rebuilt = run(&home, &["rebuild-xlogdb", "main"]);
    let expected = "Rebuilding xlogdb for server main\n\
                    Done rebuilding xlogdb for server main (history: 0, backup_labels: 0, wal_file: 3)\n";
    assert_eq!(rebuilt.stdout, expected);
    let rebuilt = run(&home, &["rebuild-ledger", "main"]);
    assert_eq!(rebuilt.stdout, "Read 3 archived files of server main: 0 damaged\n");
    let verified = run(&home, &["-f", "json", "verify-archive", "--all", "main"]);
    assert_eq!(verified.stdout, r#"{"main": {"faults": [], "not_due": 0, "sound": 3, "unread": 0}}"#);
    assert_eq!(verified.code, Some(0));
}

#[test]
fn what_is_verified_when_and_what_comes_of_it() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = home();
    run(&home, &["archive-wal", "main"]);
    let sent: Vec<_> = (0..3).map(|_| segment(&server, &home.path().join("main/incoming"))).collect();
    assert_eq!(run(&home, &["archive-wal", "main"]).code, Some(0));
    let verify = |options: &[&str]| {
        let verified = run(&home, &[&["-f", "json", "verify-archive"], options, &["main"]].concat());
        let document: serde_json::Value = serde_json::from_str(&verified.stdout).expect("JSON");
        (verified.code, document["main"].clone())
    };
    let sound = |files: u32| json!({"faults": [], "not_due": 3 - files, "sound": files, "unread": 0});
    for (options, files) in [
        (&[][..], 3),
        (&[], 0),
        (&["--since", "2026-01-01 00:00:00+00:00"], 0),
        (&["--since", "2126-01-01 00:00:00+00:00"], 3),
        (&["--all"], 3),
    ] {
        assert_eq!(verify(options), (Some(0), sound(files)), "{options:?}");
    }

    let archived = |file: &Path| home.path().join("main/wals/0000000100000000").join(file.file_name().expect("a name"));
    let mut bytes = std::fs::read(archived(&sent[1])).expect("there");
    bytes[600_000] ^= 1;
    std::fs::write(archived(&sent[1]), bytes).expect("ours");
    std::fs::remove_file(archived(&sent[2])).expect("there");
    assert_eq!(verify(&[]), (Some(0), sound(0)), "nobody looked");
    // Until it is mended it is due.
    for options in [&["--all"][..], &[]] {
        let (code, found) = verify(options);
        let faults = found["faults"].as_array().expect("a list");
        let kinds: Vec<_> = faults.iter().map(|fault| (fault["name"].as_str(), fault["fault"].as_str())).collect();
        let name = |file: &Path| file.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let (changed, missing) = (name(&sent[1]), name(&sent[2]));
        let expected = [(Some(&*changed), Some("changed")), (Some(&*missing), Some("missing"))];
        assert_eq!((code, &kinds[..]), (Some(1), &expected[..]), "{options:?} {found}");
    }
    let refused = run(&home, &["verify-archive", "--since", "yesterday", "main"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("Unable to parse the time"), "{refused:?}");
}

const ARCHIVER: [(&str, &str); 2] = [("archiver", "on"), ("streaming_archiver", "off")];

/// Nothing is archived yet, and no backup was made.
#[test]
fn a_foreign_first_segment_is_refused_by_what_the_server_says() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.configure(&scene.server, &ARCHIVER);
    scene.run(&["archive-wal", "main"]);
    let incoming = scene.home.path().join("main/incoming");
    let foreign = Postgres::builder().initdb_option("--wal-segsize=1").own_system_identifier().start();
    segment(&foreign, &incoming);
    assert_eq!(scene.run(&["archive-wal", "main"]).code, Some(1), "the server is there, and is another cluster");
    let nowhere = ("conninfo", "host=127.0.0.1 port=1 user=nobody dbname=postgres");
    scene.configure(&scene.server, &[&ARCHIVER[..], &[nowhere]].concat());
    segment(&foreign, &incoming);
    assert_eq!(scene.run(&["archive-wal", "main"]).code, Some(0), "without the server the first segment decides");
}

#[test]
fn a_new_cluster_under_an_old_name_is_refused_with_the_way_out() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    let incoming = scene.home.path().join("main/incoming");
    let old = Postgres::builder().initdb_option("--wal-segsize=1").own_system_identifier().start();
    scene.configure(&old, &ARCHIVER);
    scene.succeed(&["archive-wal", "--accept-new-system", "main"]);
    segment(&old, &incoming);
    scene.succeed(&["archive-wal", "main"]);
    scene.configure(&scene.server, &ARCHIVER);
    scene.server.psql("select pg_switch_wal()");
    segment(&scene.server, &incoming);
    let refused = scene.run(&["archive-wal", "main"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--accept-new-system"), "{refused:?}");
    let accepted = scene.run(&["archive-wal", "--accept-new-system", "main"]);
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    segment(&scene.server, &incoming);
    let archived = scene.run(&["archive-wal", "main"]);
    assert_eq!(archived.code, Some(0), "{archived:?}");
}

#[test]
fn the_window_ends_where_a_segment_is_missing() {
    let scene = Scene::streaming();
    scene.succeed(&["backup", "--wait", "main"]);
    for _ in 0..3 {
        scene.archive_everything();
    }
    let before = scene.succeed(&["recovery-window", "main"]);
    assert!(before.starts_with("Server main can be recovered to any point\n  of timeline 1\n    from "), "{before}");
    assert!(!before.contains("Missing") && !before.contains("never verified"), "{before}");
    assert!(!scene.run(&["check", "main"]).stdout.contains("WAL gaps"));

    let directory = scene.home.path().join("main/wals/0000000100000000");
    let mut segments: Vec<_> =
        std::fs::read_dir(&directory).expect("there").map(|file| file.expect("file").path()).collect();
    segments.sort();
    let lost = segments[segments.len() - 2].clone();
    std::fs::remove_file(&lost).expect("removed");
    scene.succeed(&["rebuild-xlogdb", "main"]);
    let name = lost.file_name().and_then(|name| name.to_str()).expect("a name");
    let window = scene.succeed(&["recovery-window", "main"]);
    assert!(window.contains(&format!("Missing: segment {name}, since 20")), "{window}");
    assert!(window.contains("nothing behind it can be recovered on timeline 1"), "{window}");
    let json = scene.succeed(&["-f", "json", "recovery-window", "main"]);
    assert!(json.contains(&format!(r#""first_segment": "{name}""#)), "{json}");
    let check = scene.run(&["check", "main"]);
    assert!(check.stdout.contains("WAL gaps: FAILED (1 segments are missing"), "{check:?}");
}

#[test]
fn damage_and_what_was_never_verified_are_told() {
    let scene = Scene::streaming();
    scene.succeed(&["backup", "--wait", "main"]);
    for _ in 0..2 {
        scene.archive_everything();
    }
    let directory = scene.home.path().join("main/wals/0000000100000000");
    let files = std::fs::read_dir(&directory).expect("there").map(|file| file.expect("file").path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_none()).collect();
    segments.sort();
    let [.., unread, damaged] = &segments[..] else { panic!("{segments:?}") };
    std::fs::write(unread, b"\x85\x01\x0c\x03 encrypted").expect("ours");
    let mut bytes = std::fs::read(damaged).expect("there");
    // In the checksum of its first record, or what that is the rest of.
    bytes[60] ^= 1;
    std::fs::write(damaged, bytes).expect("ours");
    std::fs::remove_dir_all(scene.home.path().join("main/ledger")).expect("there");
    scene.succeed(&["rebuild-ledger", "main"]);

    let name = damaged.file_name().and_then(|name| name.to_str()).expect("a name");
    let check = scene.run(&["check", "main"]).stdout;
    assert!(check.contains(&format!("WAL damage: FAILED ({name} cannot be replayed from 0/")), "{check}");
    let window = scene.succeed(&["recovery-window", "main"]);
    assert!(window.contains("; 1 segments were never verified"), "{window}");
    let json = scene.succeed(&["-f", "json", "recovery-window", "main"]);
    assert!(json.contains(r#""unverified_segments": 1"#), "{json}");
    assert!(json.contains(&format!(r#""segment": "{name}""#)) && json.contains(r#""damaged_wal": [{"#), "{json}");
}

#[test]
fn backups_of_which_one_half_is_missing_are_told_and_do_not_count() {
    let home = made_home::home(&[("minimum_redundancy", "3")], &made_home::THREE_BACKUPS);
    let check = || run(&home, &["check", "main"]).stdout;
    assert!(!check().contains("orphan backups"), "{}", check());
    let base = home.path().join("main/base");
    std::fs::rename(base.join(made_home::TWO), base.join("20260107T000000")).expect("moved");
    let found = check();
    let hint = format!("records without data: {}; data without a record: 20260107T000000", made_home::TWO);
    assert!(found.contains(&format!("orphan backups: FAILED ({hint})")), "{found}");
    assert!(found.contains("have 2 non-incremental backups, expected at least 3"), "{found}");
}

/// A failover in segment 12, of which the old primary archived WAL up to segment 9.
#[test]
fn what_is_missing_at_the_end_of_a_timeline_that_was_left_is_named() {
    let home = made_home::home(&[], &[(made_home::ONE, 2, &[])]);
    let wals = home.path().join("main/wals");
    let first = "00000002000000000000000C";
    made_home::write(&wals.join("0000000200000000").join(first), "wal");
    made_home::write(&wals.join("00000002.history"), "1\t0/C000100\tno recovery target specified\n");
    let index = wals.join("main-xlog.db");
    let mut lines = std::fs::read_to_string(&index).expect("the index");
    for name in [first, "00000002.history"] {
        lines += &format!("{name}\t3\t1795193057.0\tNone\tNone\n");
    }
    made_home::write(&index, &lines);
    let window = run(&home, &["recovery-window", "main"]).stdout;
    let (first, last) = (made_home::segment(10), made_home::segment(11));
    assert!(window.contains(&format!("Missing: 2 segments from {first} to {last}, since 20")), "{window}");
    let json = run(&home, &["-f", "json", "recovery-window", "main"]).stdout;
    assert!(
        json.contains(&format!(r#""first_segment": "{first}", "last_segment": "{last}", "segments": 2"#)),
        "{json}"
    );
    let check = run(&home, &["check", "main"]).stdout;
    assert!(check.contains("WAL gaps: FAILED (2 segments are missing"), "{check}");
}

#[test]
fn a_gap_is_an_error_in_the_log_when_the_segment_behind_it_arrives() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let home = home();
    run(&home, &["archive-wal", "main"]);
    let incoming = home.path().join("main/incoming");
    segment(&server, &incoming);
    assert_eq!(run(&home, &["archive-wal", "main"]).code, Some(0));
    let lost = segment(&server, &incoming);
    std::fs::remove_file(&lost).expect("removed");
    segment(&server, &incoming);
    run(&home, &["archive-wal", "main"]);
    let log = std::fs::read_to_string(home.log_file()).expect("a log");
    let name = lost.file_name().and_then(|name| name.to_str()).expect("a name");
    let told: Vec<_> = log.lines().filter(|line| line.contains(name) && line.contains("ERROR")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("missing"), "{told:?}");
}

/// As where a slot was dropped, and the receiver had to begin anew behind what it missed.
#[test]
fn a_gap_is_an_error_in_the_receivers_log_when_the_segment_behind_it_arrives() {
    let scene = Scene::streaming();
    scene.archive_everything();
    scene.succeed(&["receive-wal", "--stop", "main"]);
    let inactive = "select count(*) from pg_replication_slots where not active";
    wait_until("the receiver has gone", || scene.server.psql(inactive) == "1");
    scene.server.psql("select pg_drop_replication_slot('barman')");
    let missed: Vec<_> = (0..3)
        .map(|_| {
            scene.server.psql("select pg_logical_emit_message(false, 'test', 'x')");
            scene.server.switch_wal()
        })
        .collect();
    scene.server.psql("checkpoint");
    assert!(!scene.server.data_dir().join("pg_wal").join(&missed[1]).exists(), "the server has it no more");
    scene.succeed(&["receive-wal", "--create-slot", "main"]);
    scene.succeed(&["receive-wal", "--reset", "main"]);
    scene.succeed(&["cron"]);
    scene.wait_until_streaming();
    scene.server.psql("select pg_logical_emit_message(false, 'test', 'x')");
    let next = scene.server.switch_wal();
    let told = || {
        let log = std::fs::read_to_string(scene.home.log_file()).unwrap_or_default();
        let is_gap = |line: &&str| line.contains("ERROR") && line.contains("missing in the archive");
        log.lines().filter(is_gap).map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("the segment behind the gap is archived", || {
        scene.home.path().join("main/wals/0000000100000000").join(&next).exists() && !told().is_empty()
    });
    assert!(told()[0].contains(&missed[1]) || told()[0].contains(&missed[2]), "{:?}", told());
}
