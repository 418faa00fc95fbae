//! Bad input: one line that says where, what was expected and what was found, a hint, and Barman's exit code.

use crate::scene::{Scene, ours, wait_until};
use test_support::{BarmanHome, CommandExt, Finished, Postgres};

/// Asserts that a command failed with exactly this error line, and that a hint follows it.
#[track_caller]
fn assert_fails(finished: &Finished, code: i32, error: &str) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let at = lines.iter().position(|line| *line == format!("ERROR: {error}"));
    let at = at.unwrap_or_else(|| panic!("no line 'ERROR: {error}' in {finished:?}"));
    assert!(lines.get(at + 1).is_some_and(|line| line.starts_with("HINT: ")), "no hint after it: {finished:?}");
}

#[test]
fn a_server_that_is_not_configured() {
    let home = BarmanHome::new();
    for command in
        [&["check", "nope"][..], &["list-backups", "nope"], &["backup", "nope"], &["restore", "nope", "x", "y"]]
    {
        assert_fails(&ours().run(&home, command), 1, "Unknown server 'nope'");
    }
}

#[test]
fn a_configuration_that_is_missing_or_malformed() {
    let home = BarmanHome::new();
    std::fs::write(home.config_file(), "[barman]\nbarman_home = /x\nno equals sign here\n").expect("the home is ours");
    let finished = ours().run(&home, &["list-servers"]);
    assert_eq!(finished.code, Some(1));
    let place = format!("{}, line 3", home.config_file().display());
    assert!(finished.stderr.contains(&place), "{finished:?}");

    std::fs::remove_file(home.config_file()).expect("it is there");
    let finished = ours().run(&home, &["list-servers"]);
    let expected = format!("Configuration file '{}' does not exist", home.config_file().display());
    assert_eq!((finished.code, finished.stderr.contains(&expected)), (Some(1), true), "{finished:?}");
}

#[test]
fn a_server_that_is_down() {
    let mut scene = Scene::of(Postgres::builder());
    scene.server.stop(test_support::StopMode::Fast);
    for command in [&["backup", "main"][..], &["switch-wal", "main"], &["receive-wal", "main"], &["check", "main"]] {
        let finished = scene.run(command);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains("refused"), "the reason is named: {finished:?}");
    }
    assert_eq!(scene.run(&["check", "--nagios", "main"]).code, Some(2));
}

#[test]
fn a_wrong_password() {
    let scene = Scene::of(Postgres::builder().password_roles());
    let conninfo = format!("{} password=wrong", scene.server.conninfo_as("scram"));
    scene.configure(&scene.server, &[("conninfo", &conninfo), ("streaming_conninfo", &conninfo)]);
    let finished = scene.run(&["switch-wal", "main"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("authentication"), "{finished:?}");
    assert!(!finished.stderr.contains("wrong"), "the password is not shown: {finished:?}");
}

#[test]
fn a_password_of_the_configuration_is_neither_an_argument_nor_in_the_log() {
    // Which no other test has.
    const PASSWORD: &str = "sehr-geheim";
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1").password_roles());
    scene.server.psql(&format!("alter role scram superuser password '{PASSWORD}'"));
    let conninfo = format!("{} password='{PASSWORD}'", scene.server.conninfo_as("scram"));
    scene.configure(&scene.server, &[("conninfo", &conninfo), ("streaming_conninfo", &conninfo)]);
    let config = std::fs::read_to_string(scene.home.config_file()).expect("it was written");
    let verbose = config.replacen("[barman]\n", "[barman]\nlog_level = DEBUG\n", 1);
    std::fs::write(scene.home.config_file(), verbose).expect("it is ours");
    // The receiver runs in the background, with processes of its own.
    scene.start_streaming();
    let seen = arguments_of_processes();
    assert!(seen.contains("receive-wal"), "{seen}");
    assert!(!seen.contains(PASSWORD), "{seen}");
    let mut said = scene.succeed(&["backup", "--wait", "main"]);
    for command in [&["check", "main"][..], &["show-servers", "main"], &["-f", "json", "show-servers", "main"]] {
        let finished = scene.run(command);
        said += &format!("{}{}", finished.stdout, finished.stderr);
    }
    // One connection breaks, and one is refused.
    scene.server.psql("alter role scram password 'another'; select pg_terminate_backend(pid) from pg_stat_replication");
    let refused = scene.run(&["switch-wal", "main"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    said += &refused.stderr;
    let log = || std::fs::read_to_string(scene.home.log_file()).expect("there is a log");
    wait_until("the receiver has tried again", || log().contains("authentication failed"));
    assert!(!said.contains(PASSWORD), "{said}");
    assert!(!log().contains(PASSWORD), "{}", log());
    let grep = std::process::Command::new("grep").args(["-rF", PASSWORD]).arg(scene.home.path().join("main")).finish();
    assert_eq!(grep.code, Some(1), "{grep:?}");
}

/// What `ps` would show of all processes.
fn arguments_of_processes() -> String {
    let processes = std::fs::read_dir("/proc").expect("there is one").filter_map(|entry| Some(entry.ok()?.path()));
    let arguments = processes.filter_map(|process| std::fs::read(process.join("cmdline")).ok());
    arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ") + "\n").collect()
}

#[test]
fn a_slot_that_is_missing_or_in_use() {
    let scene = Scene::of(Postgres::builder());
    let finished = scene.run(&["receive-wal", "main"]);
    assert_fails(&finished, 1, "replication slot 'barman' doesn't exist");
    scene.start_streaming();
    let finished = scene.run(&["receive-wal", "main"]);
    assert_fails(&finished, 1, "Another receive-wal process is already running for server main.");
    let finished = scene.run(&["receive-wal", "--create-slot", "main"]);
    assert_fails(&finished, 1, "Replication slot 'barman' already exists");
    let skipped = scene.succeed(&["receive-wal", "--create-slot", "--if-not-exists", "main"]);
    let exists = "Replication slot 'barman' already exists and --if-not-exists was specified. Skipping creation";
    assert!(skipped.contains(exists), "{skipped}");
    let finished = scene.run(&["receive-wal", "--drop-slot", "main"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("is active"), "{finished:?}");
}

#[test]
fn a_backup_that_is_not_there_or_a_target_before_its_end() {
    let scene = Scene::streaming();
    scene.server.psql("create table t ()");
    scene.succeed(&["backup", "--wait", "main"]);
    let destination = scene.destination();
    let destination = destination.to_str().expect("the path is text");
    let restore = |options: &[&str], id: &str| scene.run(&[&["restore"], options, &["main", id, destination]].concat());

    assert_fails(&restore(&[], "nope"), 1, "Unknown backup 'nope' for server 'main'");
    let finished = restore(&["--target-time", "2020-01-01 00:00:00+00:00"], "latest");
    assert!(finished.stderr.contains("is before the backup end time"), "{finished:?}");
    let finished = restore(&["--target-lsn", "0/1"], "latest");
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let finished = restore(&["--target-xid", "7", "--target-name", "x"], "latest");
    assert_fails(&finished, 1, "You cannot specify multiple targets for the recovery operation");
    assert!(!std::path::Path::new(destination).exists(), "nothing was created");

    let inside = scene.home.path().join("main/base/inside");
    let finished = scene.run(&["restore", "main", "latest", inside.to_str().expect("the path is text")]);
    assert!(finished.code == Some(1) && finished.stderr.contains("part of the backups"), "{finished:?}");

    scene.succeed(&["restore", "main", "latest", destination]);
    let finished = restore(&[], "latest");
    assert!(finished.stderr.contains("is not empty"), "{finished:?}");
}

#[test]
fn an_option_that_is_not_built_fails_by_name_and_check_lists_it() {
    let scene = Scene::of(Postgres::builder());
    scene.configure(&scene.server, &[("backup_compression", "gzip"), ("pre_archive_script", "/bin/true")]);
    let backup = scene.run(&["backup", "main"]);
    assert_eq!((backup.code, backup.stderr.contains("backup_compression")), (Some(1), true), "{backup:?}");
    let archive = scene.run(&["archive-wal", "main"]);
    assert_eq!((archive.code, archive.stderr.contains("pre_archive_script")), (Some(1), true), "{archive:?}");
    let check = scene.run(&["check", "main"]);
    let named = check.stdout.contains("backup_compression") && check.stdout.contains("pre_archive_script");
    assert_eq!((check.code, named), (Some(1), true), "{check:?}");
    let restore = scene.run(&["restore", "--gcp-zone", "x", "main", "latest", "/nowhere"]);
    assert_fails(&restore, 1, "the option '--gcp-zone' is not built yet");
}

#[test]
fn a_command_line_that_cannot_be_understood() {
    let home = BarmanHome::new();
    let finished = ours().run(&home, &["backup"]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("barman backup: error: "), "{finished:?}");
    assert_eq!(ours().run(&home, &["no-such-command"]).code, Some(2));
    assert_fails(&ours().run(&home, &["diagnose"]), 1, "the command 'diagnose' is not built yet");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let home = BarmanHome::new();
    home.server("main", &[("conninfo", "host=x"), ("archiver", "on"), ("backup_method", "postgres")]);
    for format in ["console", "json"] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("the kernel has it");
        let mut command = ours().command(&home);
        let status = command.args(["-f", format, "list-servers"]).stdout(full).status().expect("it can be started");
        assert_eq!(status.code(), Some(1), "{format}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let home = BarmanHome::new();
    for server in 0..200 {
        home.server(
            &format!("server{server:03}"),
            &[("conninfo", "host=x"), ("archiver", "on"), ("backup_method", "postgres")],
        );
    }
    let mut shell = std::process::Command::new("bash");
    let ours = env!("CARGO_BIN_EXE_barman");
    let script = format!("set -o pipefail; {ours} -c {} list-servers | head -1", home.config_file().display());
    assert!(shell.args(["-c", &script]).succeed().starts_with("server000 - "));
}

#[test]
fn a_full_disk_fails_the_backup_and_says_so() {
    let scene = Scene::streaming();
    scene.server.psql("create table t ()");
    scene.archive_everything();
    // In a mount namespace of its own the backup finds a disk of 4 MiB where backups go.
    let base = scene.home.path().join("main/base");
    let mount = format!("mount -t tmpfs -o size=4m none {} && exec \"$@\"", base.display());
    let mut command = std::process::Command::new("unshare");
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    command.args([flags, "sh", "-c", &mount, "sh", env!("CARGO_BIN_EXE_barman"), "-c"]);
    let finished = command.arg(scene.home.config_file()).args(["backup", "main"]).finish();
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("No space left on device"), "{finished:?}");
    assert!(finished.stderr.contains("HINT: free some space"), "{finished:?}");
    let list = scene.succeed(&["list-backups", "main"]);
    assert!(list.ends_with("FAILED\n"), "{list}");
    scene.succeed(&["backup", "--wait", "main"]);
}
