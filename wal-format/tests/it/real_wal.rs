//! WAL of real servers, judged by their own pg_waldump.
//!
//! `PG_MAJORS` names the versions, for example `13 15 18`; 15 alone if it is not set. A version that is named and
//! not installed fails the tests. What only exists since 17 is ignored unless asked for:
//! `PG_MAJORS="13 15 16 17 18 19" cargo test -p wal-format --test it -- --include-ignored`.

use std::process::Command;

use test_support::{CommandExt as _, OsUser, PgbenchLoad, Postgres, StopMode, TempDir, majors, pg_tool};
use wal_format::{SegmentSize, TimelineId};

use crate::{compressions, waldump};

fn server(major: u32, segment_mib: u64) -> test_support::PostgresBuilder {
    let builder = Postgres::builder().major(major).initdb_option(&format!("--wal-segsize={segment_mib}"));
    let settings = [
        ("wal_level", "logical"),
        ("max_prepared_transactions", "10"),
        ("wal_keep_size", "4GB"),
        ("max_wal_size", "8GB"),
        ("track_commit_timestamp", "on"),
        // Its snapshots keep vacuum from what the test wants it to do.
        ("autovacuum", "off"),
    ];
    settings.into_iter().fold(builder, |builder, (name, value)| builder.setting(name, value))
}

/// One of everything that a backup has to understand.
fn work(server: &Postgres) {
    server.psql(
        "create table t (i int primary key, s text);
         insert into t select i, repeat(i::text, 20) from generate_series(1, 20000) i;
         begin; savepoint a; update t set s = 'x' where i < 100; savepoint b; delete from t where i < 50; commit;
         begin; savepoint a; delete from t; rollback;
         select pg_logical_emit_message(true, 'test', 'in a transaction');
         select pg_logical_emit_message(false, 'test', repeat('long', 3000000));
         do $$ begin for i in 1 .. 70 loop
             begin insert into t values (-100 - i, ''); exception when unique_violation then null; end;
         end loop; end $$;
         begin; create table in_two_phases (i int); savepoint c; insert into in_two_phases values (1);
         prepare transaction 'one';
         begin; insert into t values (-1, ''); drop table in_nothing; prepare transaction 'two';
         commit prepared 'one';
         rollback prepared 'two';
         select pg_create_restore_point('before the \"big\" change');
         vacuum full t;
         vacuum full pg_class;
         create table v as select generate_series(1, 10000) i;
         delete from v where i > 100;
         vacuum v;
         truncate t;
         copy (select 1) to '/dev/null';
         create unlogged table u (i int);
         drop table in_two_phases;
         checkpoint;",
    );
    // Nothing else writes now: where the log grows, it is by this change.
    let before = server.psql("select pg_current_wal_insert_lsn()");
    server.psql("alter system set full_page_writes = off; select pg_reload_conf()");
    server.wait_until(&format!("select pg_current_wal_insert_lsn() > '{before}'"));
    for strategy in if server.major() < 15 { ["", ""] } else { ["strategy wal_log", "strategy file_copy"] } {
        server.psql(&format!("create database d {strategy}; drop database d"));
    }
}

fn tablespace(server: &Postgres) {
    let dir = TempDir::new();
    let location = dir.path().join("ts");
    std::fs::create_dir(&location).unwrap();
    OsUser::of_servers().own_tree(&location);
    server.psql(&format!(
        "create tablespace ts location '{}'; create table in_ts (i int) tablespace ts; drop table in_ts; drop tablespace ts",
        location.display()
    ));
}

/// Stops the server and compares all its WAL on the first timeline.
fn compare(mut server: Postgres, segment_mib: u64, kinds: &[&str]) {
    server.stop(StopMode::Fast);
    compare_timeline(&server, TimelineId::FIRST, segment_mib, kinds);
}

fn compare_timeline(server: &Postgres, timeline: TimelineId, segment_mib: u64, kinds: &[&str]) {
    let dir = server.data_dir().join("pg_wal");
    let size = SegmentSize::new(segment_mib << 20).unwrap();
    let first = waldump::first_segment(&dir, timeline);
    let judged = waldump::judge(server.major(), &dir, first, size);
    for kind in kinds {
        assert!(waldump::count(&judged, kind) > 0, "no {kind} to compare");
    }
    let read = waldump::read(&dir, first, size, waldump::last(&judged));
    waldump::compare(&read, &judged);
}

const KINDS: [&str; 19] = [
    "CHECKPOINT_SHUTDOWN",
    "CHECKPOINT_ONLINE",
    "RESTORE_POINT",
    "SWITCH",
    "PARAMETER_CHANGE",
    "FPW_CHANGE",
    "COMMIT ",
    "ABORT ",
    "PREPARE",
    "COMMIT_PREPARED",
    "ABORT_PREPARED",
    "ASSIGNMENT xtop",
    "MESSAGE",
    "CREATE base",
    "TRUNCATE base",
    "TRUNCATE ",
    "MULTI_INSERT",
    "HOT_UPDATE",
    "DELETE",
];

/// What not all versions write, with the first one that does.
const LATER_KINDS: [(u32, &str); 4] =
    [(14, "INVALIDATION"), (15, "CREATE_WAL_LOG"), (15, "CREATE_FILE_COPY"), (17, "CHECKPOINT_REDO")];

/// Those that servers of `major` write.
fn kinds(major: u32) -> Vec<&'static str> {
    let later = LATER_KINDS.iter().filter(|(first, _)| *first <= major).map(|(_, kind)| *kind);
    KINDS.into_iter().chain(later).collect()
}

#[test]
fn every_record_is_read_as_pg_waldump_reads_it() {
    for major in majors() {
        for segment_mib in [16, 1, 64] {
            let mut server = server(major, segment_mib).start();
            server.psql("create table in_nothing (i int)");
            PgbenchLoad::initialise(&server, 1);
            tablespace(&server);
            for compression in compressions(&server) {
                server.psql(&format!("alter system set wal_compression = {compression}; select pg_reload_conf()"));
                server.psql("checkpoint; update pgbench_accounts set abalance = abalance + 1 where aid % 60 = 0");
            }
            work(&server);
            server.switch_wal();
            let load = PgbenchLoad::start(&server, 2);
            server.wait_until("select count(*) > 300 from pgbench_history");
            server.kill9();
            drop(load);
            server.start_again();
            server.psql("insert into t values (1, 'after the crash')");
            compare(server, segment_mib, &kinds(major));
        }
    }
}

#[test]
fn a_promoted_standby_is_read_across_the_switchpoint() {
    for major in majors() {
        let primary = server(major, 16).start();
        primary.psql("create table t (i int)");
        let standby = server(major, 16).start_standby_of(&primary);
        primary.psql("insert into t select generate_series(1, 1000)");
        standby.wait_until("select count(*) = 1000 from t");
        compare(primary, 16, &["BACKUP_END"]);
        standby.psql("select pg_promote()");
        standby.wait_until("select not pg_is_in_recovery()");
        standby.psql("insert into t values (0); select pg_switch_wal(); insert into t values (0); checkpoint");
        let mut standby = standby;
        standby.stop(StopMode::Fast);
        compare_timeline(&standby, TimelineId::new(2).unwrap(), 16, &["END_OF_RECOVERY", "SWITCH"]);
    }
}

/// As PostgreSQL's own test of this does: of a record that three segments divide only the first part is left.
#[test]
fn a_record_that_a_crash_cut_short_is_read_over() {
    for major in majors() {
        let mut server = server(major, 1).start();
        let first = server.switch_wal();
        let cut_in = server.psql("select pg_walfile_name(pg_current_wal_insert_lsn())");
        assert!(cut_in > first);
        server.psql(
            "select pg_logical_emit_message(false, 'test', repeat('long', 800000)); create table flushed (i int)",
        );
        server.kill9();
        let wal = server.data_dir().join("pg_wal");
        for entry in std::fs::read_dir(&wal).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.len() == 24 && name > cut_in {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        server.start_again();
        server.psql("create table after_the_crash (i int); select pg_switch_wal(); checkpoint");
        compare(server, 1, &["OVERWRITE_CONTRECORD"]);
    }
}

#[test]
fn a_log_that_was_reset_is_read_from_its_beginning() {
    for major in majors() {
        let mut server = server(major, 16).start();
        server.psql("create table t (i int)");
        server.stop(StopMode::Fast);
        let mut reset = Command::new(pg_tool(major, "pg_resetwal"));
        OsUser::of_servers().run(&mut reset);
        reset.arg("-D").arg(server.data_dir()).succeed();
        server.start_again();
        server.psql("insert into t values (1); select pg_switch_wal(); insert into t values (2)");
        compare(server, 16, &["CHECKPOINT_SHUTDOWN", "SWITCH"]);
    }
}
