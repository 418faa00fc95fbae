//! Memory does not grow with the size of the database.

use crate::scene::{Scene, ours};
use std::process::{Child, Stdio};
use test_support::{BarmanHome, PgbenchLoad, Postgres};

#[test]
fn a_backup_needs_less_than_64_mib() {
    const LIMIT_KIB: u64 = 64 * 1024;
    let scene = Scene::of(Postgres::builder());
    scene.start_streaming();
    // About 160 MB: several times the limit would not fit by accident.
    PgbenchLoad::initialise(&scene.server, 10);
    let mut command = scene.command();
    command.args(["backup", "--immediate-checkpoint", "main"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut backup = command.spawn().expect("our program can be started");
    let peak = peak_kib_until_end(&mut backup);
    assert!(backup.wait().expect("a child can be waited for").success());
    assert!((1..LIMIT_KIB).contains(&peak), "the peak was {peak} KiB");
}

/// Segments of a gigabyte are the largest there are; several of them are compressed at a time.
#[test]
fn archiving_needs_less_than_200_mib_whatever_the_segments_length() {
    const LIMIT_KIB: u64 = 200 * 1024;
    let server = Postgres::builder().initdb_option("--wal-segsize=1024").setting("max_wal_size", "4GB").start();
    let home = BarmanHome::new();
    let options = [("conninfo", "host=/nonexistent"), ("streaming_conninfo", "host=/nonexistent")];
    let more = [("backup_method", "postgres"), ("archiver", "on"), ("compression", "gzip")];
    home.server("main", &[&options[..], &more].concat());
    let incoming = home.path().join("main/incoming");
    std::fs::create_dir_all(&incoming).expect("the home is ours");
    for _ in 0..2 {
        server.psql("create table if not exists t (i int); insert into t select generate_series(1, 1000)");
        let name = server.switch_wal();
        let segment = server.data_dir().join("pg_wal").join(&name);
        std::fs::copy(segment, incoming.join(&name)).expect("the segment is there");
    }
    let mut command = ours().command(&home);
    command.args(["archive-wal", "main"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut archiver = command.spawn().expect("our program can be started");
    let peak = peak_kib_until_end(&mut archiver);
    assert!(archiver.wait().expect("a child can be waited for").success());
    assert!((1..LIMIT_KIB).contains(&peak), "the peak was {peak} KiB");
}

/// Follows the high-water mark of a process's resident memory while it runs.
fn peak_kib_until_end(process: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", process.id());
    let mut peak = 0;
    while process.try_wait().expect("a child can be waited for").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|mark| mark.trim().strip_suffix(" kB")?.trim().parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    peak
}
