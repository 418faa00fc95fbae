//! Starting, stopping and crashing servers.

use std::process::Command;

use test_support::{CommandExt, PgbenchLoad, Postgres, StopMode, TempDir, pg_tool};

const SYSTEM_IDENTIFIER: &str = "select system_identifier from pg_control_system()";

#[test]
fn a_server_keeps_its_rows_and_its_port_over_a_restart_and_a_crash() {
    let mut server = Postgres::builder().setting("wal_level", "logical").initdb_option("--wal-segsize=1").start();
    assert_eq!(server.psql("show wal_level; show wal_segment_size; show fsync"), "logical\n1MB\noff");
    let port = server.port();
    server.psql("create table t (i int); insert into t values (1), (2)");
    server.restart();
    server.psql("insert into t values (3)");
    server.kill9();
    server.start_again();
    assert!(server.log().contains("automatic recovery in progress"), "{}", server.log());
    assert_eq!(server.psql("select count(*) from t"), "3");
    assert_eq!(server.port(), port);
}

#[test]
fn clusters_share_a_system_identifier_unless_asked_for_their_own() {
    let [one, other] = [Postgres::start(), Postgres::start()];
    let own = Postgres::builder().own_system_identifier().durable().start();
    assert_eq!(one.psql(SYSTEM_IDENTIFIER), other.psql(SYSTEM_IDENTIFIER));
    assert_ne!(one.psql(SYSTEM_IDENTIFIER), own.psql(SYSTEM_IDENTIFIER));
    assert_eq!(own.psql("show fsync"), "on");
}

#[test]
fn a_standby_follows_and_can_be_promoted() {
    let primary = Postgres::start();
    let mut standby = Postgres::builder().start_standby_of(&primary);
    primary.psql("create table t (i int)");
    standby.wait_until("select to_regclass('t') is not null");
    assert!(standby.try_psql("insert into t values (1)").is_err_and(|message| message.contains("read-only")));
    standby.promote();
    standby.psql("insert into t values (1)");
}

#[test]
fn an_existing_data_directory_keeps_its_files_and_outlives_the_server() {
    let dir = TempDir::new();
    let data = dir.path().join("copy");
    let mut original = Postgres::start();
    original.stop(StopMode::Fast);
    Command::new("cp").arg("-a").args([original.data_dir(), &data]).succeed();
    let configuration = || std::fs::read(data.join("postgresql.conf")).expect("it was copied");
    let before = configuration();

    let copy = Postgres::builder().setting("work_mem", "1MB").start_existing(&data);
    assert_eq!(copy.psql("show work_mem"), "1MB");
    drop(copy);
    assert_eq!(configuration(), before);
    assert!(!data.join("postmaster.pid").exists(), "the server was stopped");
}

#[test]
fn recovery_to_a_target_is_waited_for() {
    let dir = TempDir::new();
    let server = Postgres::builder().setting("wal_keep_size", "1GB").start();
    let restored = |name: &str, action: &str| {
        let data = dir.path().join(name);
        let restore = format!("cp {}/pg_wal/%f %p", server.data_dir().display());
        let mut copy = Command::new(pg_tool(15, "pg_basebackup"));
        copy.args(["-X", "none", "-c", "fast", "-d", &server.conninfo(), "-D"]).arg(&data).succeed();
        std::fs::write(data.join("recovery.signal"), "").expect("the copy can be written");
        let target = Postgres::builder().setting("restore_command", &restore).setting("recovery_target_name", name);
        (target.setting("recovery_target_action", action), data)
    };
    let [pause, shutdown, promote] = ["pause", "shutdown", "promote"].map(|action| restored(action, action));
    for name in ["pause", "shutdown", "promote"] {
        server.psql(&format!("select pg_create_restore_point('{name}')"));
    }
    server.switch_wal();

    pause.0.start_existing(&pause.1).wait_until_paused();
    let mut ended = shutdown.0.launch_existing(&shutdown.1);
    assert!(ended.wait_exit().code().is_some());
    assert!(ended.log().contains("recovery stopping at restore point \"shutdown\""), "{}", ended.log());
    let mut promoted = promote.0.start_existing(&promote.1);
    promoted.wait_until_recovered();
    promoted.psql("create table t (i int)");
}

#[test]
#[should_panic(expected = "unrecognized configuration parameter \"no_such_setting\"")]
fn a_server_that_does_not_start_fails_the_test_with_its_log() {
    let _ = Postgres::builder().setting("no_such_setting", "1").start();
}

#[test]
#[should_panic(expected = "no PostgreSQL 99 server in /usr/lib/postgresql/99/bin")]
fn a_missing_version_fails_the_test_and_says_what_to_do() {
    let _ = Postgres::builder().major(99).start();
}

#[test]
fn passwords_are_demanded_by_every_method() {
    let server = Postgres::builder().password_roles().start();
    for role in ["scram", "md5u", "clear"] {
        let connect = |password: &str| {
            let conninfo = format!("{} password={password}", server.conninfo_as(role));
            Command::new(pg_tool(15, "psql")).args(["-X", "-A", "-t", "-c", "select current_user", &conninfo]).finish()
        };
        assert_eq!(connect("pw").stdout.trim(), role);
        assert!(connect("wrong").stderr.contains("password authentication failed"), "{role}");
    }
}

#[test]
fn load_runs_until_it_is_stopped() {
    let server = Postgres::start();
    PgbenchLoad::initialise(&server, 1);
    let load = PgbenchLoad::start(&server, 2);
    server.wait_until("select count(*) > 10 from pgbench_history");
    load.stop();
    server.wait_until("select count(*) = 0 from pg_stat_activity where application_name = 'pgbench'");
}

#[test]
fn switching_wal_always_ends_a_segment() {
    let server = Postgres::builder().initdb_option("--wal-segsize=1").start();
    let [first, second] = [server.switch_wal(), server.switch_wal()];
    assert!(first < second, "{first} {second}");
}
