//! Recovery targets on real servers: the plan names the record at which recovery stops, and PostgreSQL is asked whether that
//! is true, and whether exactly the rows are there that should be.

use crate::scene::Scene;
use serde_json::Value;
use std::path::Path;
use test_support::{Postgres, majors};
use wal_format::Lsn;

/// What a server did after its backup, by the transactions that did it.
struct History {
    scene: Scene,
    major: u32,
    /// The transaction that inserted row 2, and 21 in a subtransaction.
    with_subtransaction: String,
    subtransaction: String,
    /// The one that inserted row 3 and was rolled back.
    rolled_back: String,
    /// The one that inserted row 4, was prepared, and was committed after row 5 was.
    prepared: String,
    /// The one that inserted row 5.
    between: String,
    /// The one that inserted row 6, was prepared, and was rolled back.
    prepared_in_vain: String,
    /// A moment after row 8, before a checkpoint.
    idle: String,
}

impl History {
    fn write(major: u32) -> Self {
        let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
        let scene = Scene::of(builder.setting("max_prepared_transactions", "4"));
        scene.start_streaming();
        let server = &scene.server;
        server.psql("create table t (row int); insert into t values (0)");
        scene.succeed(&["backup", "--wait", "main"]);
        server.psql("insert into t values (1)");
        let with_subtransaction = server.psql(
            "begin; insert into t values (2); savepoint s; insert into t values (21); release s; \
             select pg_current_xact_id(); commit",
        );
        let subtransaction = server.psql("select xmin from t where row = 21");
        let rolled_back = server.psql("begin; insert into t values (3); select pg_current_xact_id(); rollback");
        let prepare = |row: u32, name: &str| {
            server.psql(&format!(
                "begin; insert into t values ({row}); select pg_current_xact_id(); prepare transaction '{name}'"
            ))
        };
        let prepared = prepare(4, "kept");
        let between = server.psql("insert into t values (5) returning xmin");
        server.psql("commit prepared 'kept'");
        let prepared_in_vain = prepare(6, "dropped");
        server.psql("rollback prepared 'dropped'");
        server.psql("select pg_create_restore_point('twice')");
        server.psql("insert into t values (7)");
        server.psql("select pg_create_restore_point('twice')");
        server.psql("insert into t values (8)");
        // A checkpoint notes whole seconds.
        let idle = server.psql("select pg_sleep(0.01); select clock_timestamp(); select pg_sleep(1.1)");
        server.psql("checkpoint");
        scene.archive_everything();
        Self {
            with_subtransaction: last_line(&with_subtransaction),
            subtransaction,
            rolled_back: last_line(&rolled_back),
            prepared: last_line(&prepared),
            between,
            prepared_in_vain: last_line(&prepared_in_vain),
            idle: idle.trim().to_owned(),
            major,
            scene,
        }
    }

    /// When a transaction was committed, as PostgreSQL says.
    fn time_of(&self, xid: &str) -> String {
        self.scene.server.psql(&format!("select pg_xact_commit_timestamp('{xid}')"))
    }

    fn plan(&self, target: &[&str]) -> Value {
        plan(&self.scene, "latest", target)
    }

    /// Restores, recovers, and compares what PostgreSQL did with what the plan said; returns the rows.
    fn recover(&self, target: &[&str], action: &str) -> Option<String> {
        let stop = &self.plan(target)["stop"];
        let mut options = target.to_vec();
        if action != "none" {
            options.extend(["--target-action", action]);
        }
        let data = self.scene.restore("latest", &options);
        let builder = Postgres::builder().major(self.major);
        match action {
            "pause" => {
                let mut server = builder.start_existing(&data);
                server.wait_until_paused();
                let replayed = replayed(&server);
                assert_eq!(stop["replayed_to_lsn"], replayed.as_str(), "{target:?}\n{stop}");
                Some(rows(&server))
            }
            "shutdown" => {
                let mut server = builder.launch_existing(&data);
                server.wait_exit();
                let word = if stop["record_is_replayed"] == true { "after" } else { "before" };
                assert!(
                    server.log().contains(&format!("recovery stopping {word}")),
                    "{target:?}\n{stop}\n{}",
                    server.log()
                );
                None
            }
            _ => {
                let mut server = builder.start_existing(&data);
                server.wait_until_recovered();
                let done = redo_done(&server.log());
                assert_eq!(stop["record_lsn"], done.as_str(), "{target:?}\n{stop}");
                Some(rows(&server))
            }
        }
    }
}

/// What `plan` says about a recovery.
pub(crate) fn plan(scene: &Scene, backup: &str, target: &[&str]) -> Value {
    let mut arguments = vec!["-f", "json", "plan"];
    arguments.extend(target);
    arguments.extend(["main", backup]);
    let document: Value = serde_json::from_str(&scene.succeed(&arguments)).expect("plan prints JSON");
    document["main"].clone()
}

fn rows(server: &Postgres) -> String {
    server.psql("select string_agg(row::text, ' ' order by row) from t")
}

fn last_line(output: &str) -> String {
    let numbers = output.lines().rev().find(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.expect("psql printed a transaction").to_owned()
}

/// The record that PostgreSQL read last.
pub(crate) fn redo_done(log: &str) -> String {
    let (_, rest) = log.rsplit_once("redo done at ").expect("recovery ended");
    plain(rest.split_whitespace().next().expect("a position"))
}

/// Up to where a server has replayed WAL.
pub(crate) fn replayed(server: &Postgres) -> String {
    plain(&server.psql("select pg_last_wal_replay_lsn()"))
}

/// A position without the zeros that version 19 writes in it.
fn plain(position: &str) -> String {
    position.parse::<Lsn>().expect("a position").to_string()
}

#[test]
fn the_plan_names_the_record_at_which_postgresql_stops() {
    for major in majors() {
        let history = History::write(major);
        let time = history.time_of(&history.prepared);
        let lsn = history.plan(&["--target-xid", &history.between])["stop"]["record_lsn"].clone();
        let lsn = lsn.as_str().expect("a position");
        let (top, prepared, in_vain) = (&history.with_subtransaction, &history.prepared, &history.prepared_in_vain);
        let all = "0 1 2 4 5 7 8 21";
        let cases: [(&[&str], &str, &str); 15] = [
            (&["--target-xid", top], "pause", "0 1 2 21"),
            (&["--target-xid", top, "--exclusive"], "promote", "0 1"),
            (&["--target-xid", &history.rolled_back], "promote", "0 1 2 21"),
            (&["--target-xid", prepared], "pause", "0 1 2 4 5 21"),
            (&["--target-xid", prepared, "--exclusive"], "pause", "0 1 2 5 21"),
            (&["--target-xid", in_vain], "shutdown", ""),
            (&["--target-xid", in_vain, "--exclusive"], "pause", "0 1 2 4 5 21"),
            (&["--target-time", &time], "pause", "0 1 2 4 5 21"),
            (&["--target-time", &time, "--exclusive"], "promote", "0 1 2 5 21"),
            (&["--target-lsn", lsn], "pause", "0 1 2 5 21"),
            (&["--target-lsn", lsn, "--exclusive"], "shutdown", ""),
            (&["--target-name", "twice"], "promote", "0 1 2 4 5 21"),
            (&["--target-immediate"], "pause", "0"),
            (&["--target-time", &history.idle], "pause", all),
            (&["--target-tli", "latest"], "none", all),
        ];
        for (target, action, expected) in cases {
            let rows = history.recover(target, action);
            assert!(rows.as_deref().is_none_or(|rows| rows == expected), "{major} {target:?}: {rows:?}");
        }
        refusals(&history);
    }
}

/// What cannot be reached is refused before anything is created, with what can be.
fn refusals(history: &History) {
    let future = ["--target-time", "2199-01-01 00:00:00Z"];
    for (target, hint) in [
        (&["--target-xid", &history.subtransaction][..], history.with_subtransaction.as_str()),
        (&future, "the last transaction in the archive ended at"),
        (&["--target-name", "once"], "'twice' at"),
        (&["--target-lsn", "FF/0"], "choose an earlier LSN"),
        (&["--target-lsn", "0/100"], "--target-immediate is the earliest"),
    ] {
        let destination = history.scene.destination();
        for command in ["plan", "restore"] {
            let mut arguments = vec![command];
            arguments.extend(target);
            arguments.extend(["main", "latest", destination.to_str().expect("the path is text")]);
            let refused = history.scene.run(&arguments);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains("HINT") && refused.stderr.contains(hint), "{target:?}: {refused:?}");
            assert!(!Path::new(&destination).exists());
        }
    }
}
