//! Memory does not grow with the size of the database.

use crate::scene::Scene;
use std::process::{Child, Stdio};
use test_support::{PgbenchLoad, Postgres};

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
