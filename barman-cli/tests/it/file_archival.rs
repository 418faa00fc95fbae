//! WAL that PostgreSQL delivers itself: `archive_command` puts it into `incoming/`.

use crate::scene::{Scene, wait_until};
use test_support::{OsUser, Postgres};

#[test]
fn a_cluster_with_tablespaces_comes_back_from_what_archive_command_delivered() {
    let mut scene = delivering();
    let tablespace = scene.server.data_dir().with_file_name("tablespace");
    std::fs::create_dir(&tablespace).expect("the server's directory is ours");
    OsUser::of_servers().own_tree(&tablespace);
    scene.server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
    scene.server.psql("create table t tablespace tbs1 as select generate_series(1, 1000) as row");
    scene.succeed(&["backup", "main"]);
    scene.server.psql("insert into t values (1001)");
    let last = scene.server.switch_wal();
    wait_until("the last segment is delivered", || scene.home.path().join("main/incoming").join(&last).exists());
    let archived = scene.succeed(&["archive-wal", "main"]);
    assert!(archived.contains(&format!("\n\t{last}\n")), "{archived}");
    assert_eq!(scene.succeed(&["archive-wal", "main"]), NOTHING_TO_DO);
    assert!(scene.succeed(&["list-backups", "main"]).contains(" - F - "), "the backup is DONE by now");
    scene.server.stop(test_support::StopMode::Fast);

    let relocated = scene.destination().with_file_name("relocated");
    let rule = format!("tbs1:{}", relocated.display());
    let data = scene.restore("latest", &["--tablespace", &rule]);
    OsUser::of_servers().own_tree(&relocated);
    let mut server = Postgres::builder().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql("select count(*) from t"), "1001");
    assert_eq!(
        server.psql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'tbs1'"),
        relocated.display().to_string()
    );
}

const NOTHING_TO_DO: &str = "Processing xlog segments from file archival for main\n\tno file found\n";

#[test]
fn what_is_not_wal_of_this_cluster_goes_to_errors_and_check_says_so() {
    let scene = delivering();
    let incoming = scene.home.path().join("main/incoming");
    let foreign = Postgres::builder().own_system_identifier().start();
    let segment = foreign.psql("select pg_walfile_name(pg_current_wal_lsn())");
    scene.server.psql("create table t ()");
    scene.succeed(&["backup", "main"]);
    foreign.psql("checkpoint");
    std::fs::copy(foreign.data_dir().join("pg_wal").join(&segment), incoming.join(&segment)).expect("incoming is ours");
    std::fs::write(incoming.join("notes.txt"), "not WAL").expect("incoming is ours");

    let said = scene.run(&["archive-wal", "main"]);
    let all = format!("{}{}", said.stdout, said.stderr);
    assert!(all.contains(&segment) && all.contains("system"), "{said:?}");
    assert!(all.contains("Some unknown objects have been found"), "{said:?}");
    let check = scene.run(&["check", "main"]);
    assert!(check.stdout.contains("archiver errors: FAILED (unknown: 1, refused: 1)"), "{check:?}");
    let left = std::fs::read_dir(&incoming).expect("incoming is ours").count();
    assert_eq!(left, 0, "nothing bad blocks what comes after it");
}

/// A server whose archive_command delivers to a home without a receiver.
fn delivering() -> Scene {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1").setting("archive_mode", "on"));
    scene.configure(&scene.server, &[("archiver", "on"), ("streaming_archiver", "off")]);
    // `check` makes the directories; it fails because nothing is delivered yet.
    scene.run(&["check", "--check-timeout", "3", "main"]);
    let incoming = scene.home.path().join("main/incoming");
    OsUser::of_servers().own_tree(&incoming);
    let command = format!("cp %p {0}/.%f.tmp && mv {0}/.%f.tmp {0}/%f", incoming.display());
    scene.server.psql(&format!("alter system set archive_command = '{command}'"));
    scene.server.psql("select pg_reload_conf()");
    let first = scene.server.switch_wal();
    wait_until("the first segment is delivered", || incoming.join(&first).exists());
    scene
}

#[test]
fn a_backup_whose_wal_is_lost_is_failed_and_the_command_says_so() {
    let scene = delivering();
    scene.server.psql("create table t ()");
    let incoming = scene.home.path().join("main/incoming");
    scene.succeed(&["archive-wal", "main"]);
    scene.succeed(&["backup", "main"]);
    let begin = field(&scene.succeed(&["show-backup", "main", "latest"]), "Begin WAL");
    scene.server.switch_wal();
    let last = scene.server.switch_wal();
    wait_until("the last segment is delivered", || incoming.join(&last).exists());
    // Lost on its way, together with what of it may be archived already.
    let _ = std::fs::remove_file(incoming.join(&begin));
    let _ = std::fs::remove_file(scene.home.path().join("main/wals").join(&begin[..16]).join(&begin));
    let index = scene.home.path().join("main/wals/main-xlog.db");
    let lines = std::fs::read_to_string(&index).expect("there is an index");
    let lines: String =
        lines.lines().filter(|line| !line.starts_with(&begin)).map(|line| format!("{line}\n")).collect();
    std::fs::write(&index, lines).expect("the index is ours");
    scene.succeed(&["archive-wal", "main"]);

    let check = scene.run(&["check-backup", "main", "latest"]);
    let lost = format!("At least one WAL file is missing. The first missing WAL file is {begin}");
    assert_eq!((check.code, check.stderr.contains(&lost)), (Some(1), true), "{check:?}");
    assert!(scene.succeed(&["list-backups", "main"]).ends_with("FAILED\n"));
}

fn field(text: &str, label: &str) -> String {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label)).expect("the field is shown");
    line.trim_start_matches([' ', ':']).to_owned()
}
