//! What a person sees, and what a log keeps.

use crate::scene::Scene;
use std::process::Command;
use test_support::{CommandExt, Finished};

/// Runs our program on a terminal of its own.
fn on_a_terminal(scene: &Scene, arguments: &str) -> Finished {
    let (program, config) = (env!("CARGO_BIN_EXE_barman"), scene.home.config_file());
    let line = format!("{program} -c {} {arguments}", config.display());
    Command::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]).finish()
}

#[test]
fn progress_is_drawn_on_a_terminal_and_nowhere_else() {
    let scene = Scene::streaming();
    scene.server.psql("create table t as select repeat('x', 1000) from generate_series(1, 50000)");
    scene.archive_everything();
    let bar = |said: &Finished| said.stdout.contains(" left") || said.stderr.contains(" left");

    let seen = on_a_terminal(&scene, "backup --immediate-checkpoint main");
    assert_eq!((seen.code, bar(&seen)), (Some(0), true), "{seen:?}");
    let piped = scene.run(&["backup", "--immediate-checkpoint", "--wait", "main"]);
    assert_eq!((piped.code, bar(&piped), piped.stderr.as_str()), (Some(0), false, ""), "{piped:?}");

    let destination = scene.destination();
    let seen = on_a_terminal(&scene, &format!("restore main latest {}", destination.display()));
    assert_eq!((seen.code, bar(&seen)), (Some(0), true), "{seen:?}");
}

#[test]
fn outcomes_are_coloured_on_a_terminal_or_by_request() {
    let scene = Scene::streaming();
    scene.archive_everything();
    let green = "\x1b[32mOK\x1b[0m";
    assert!(on_a_terminal(&scene, "check main").stdout.contains(green));
    assert!(!scene.run(&["check", "main"]).stdout.contains(green));
    assert!(scene.run(&["--color", "always", "check", "main"]).stdout.contains(green));
}

#[test]
fn the_log_has_barmans_form_and_obeys_its_level() {
    let scene = Scene::streaming();
    let log = || std::fs::read_to_string(scene.home.log_file()).expect("there is a log");
    let line = log().lines().find(|line| line.contains("Replication slot 'barman' created")).map(str::to_owned);
    let line = line.expect("what the terminal shows is logged");
    let (time, rest) = line.split_at("2026-11-20 18:37:18,983".len());
    assert!(
        time.chars().enumerate().all(|(at, c)| c.is_ascii_digit() != matches!(at, 4 | 7 | 10 | 13 | 16 | 19)),
        "{line}"
    );
    assert!(rest.starts_with(" [") && rest.contains("] barman") && rest.contains(" INFO: "), "{line}");

    let before = log().len();
    scene.succeed(&["--log-level", "ERROR", "list-servers"]);
    scene.run(&["--log-level", "ERROR", "show-backup", "main", "nope"]);
    let added = log().split_off(before);
    assert!(added.contains(" ERROR: Unknown backup 'nope'") && !added.contains(" INFO: "), "{added}");
}
