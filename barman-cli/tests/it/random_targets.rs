//! Random targets over a busy history with two failovers: a plan says that a target can be reached if and only if recovery
//! then succeeds, and it stops where the plan says.

use crate::scene::{Scene, wait_until};
use crate::targets::{plan, recover_to};
use serde_json::Value;
use test_support::{Postgres, StopMode, majors};
use wal_format::Lsn;

/// How many targets: more in `scripts/targets`.
fn targets() -> usize {
    std::env::var("TARGETS").ok().and_then(|count| count.parse().ok()).unwrap_or(12)
}

/// A reproducible source of whims (xorshift64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(std::env::var("TARGETS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).expect("small")]
    }
}

/// What can be named of a history.
struct History {
    scene: Scene,
    major: u32,
    /// The first position, and transaction, of interest.
    from: (u64, u64),
    to: (u64, u64),
    /// The end of the backup and that of the history, in microseconds since 1970.
    times: (u64, u64),
}

impl History {
    fn write(major: u32, random: &mut Random) -> Self {
        let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
        let mut scene = Scene::of(builder.setting("max_prepared_transactions", "4"));
        scene.start_streaming();
        scene.server.psql("create table t (row int)");
        let from = position(&scene.server);
        scene.succeed(&["backup", "--wait", "main"]);
        let start = micros(&scene.server);
        let mut servers = Vec::new();
        for failover in 0..=2 {
            work(&scene.server, random);
            scene.archive_everything();
            if failover < 2 {
                servers.push(fail_over(&mut scene, failover));
            }
        }
        let (to, end) = (position(&scene.server), micros(&scene.server));
        Self { scene, major, from, to, times: (start, end) }
    }

    /// The options of a target, and the same as settings of PostgreSQL.
    fn target(&self, random: &mut Random) -> (Vec<String>, String) {
        let between = |random: &mut Random, (from, to): (u64, u64), margin: u64| {
            from.saturating_sub(margin) + random.below(to - from + 2 * margin)
        };
        let (kind, value) = match random.below(4) {
            0 => {
                let micros = self.times.0 + random.below((self.times.1 - self.times.0) * 11 / 10);
                let select = format!("select to_timestamp({micros} / 1e6)");
                ("time", self.scene.server.psql(&select))
            }
            1 => ("xid", between(random, (self.from.1, self.to.1), 5).to_string()),
            2 => ("lsn", Lsn::new(between(random, (self.from.0, self.to.0), 1 << 20)).to_string()),
            _ => ("name", format!("point {}", random.below(8))),
        };
        let exclusive = random.below(2) == 0;
        let mut options = vec![format!("--target-{kind}"), value.clone()];
        options.extend(exclusive.then(|| "--exclusive".to_owned()));
        let mut settings = format!("recovery_target_{kind} = '{value}'\n");
        settings.push_str(if exclusive { "recovery_target_inclusive = off\n" } else { "" });
        (options, settings)
    }
}

/// The standby of a server takes its place.
fn fail_over(scene: &mut Scene, number: u32) -> Postgres {
    let mut standby = Postgres::builder().setting("max_prepared_transactions", "4").start_standby_of(&scene.server);
    let behind = scene.server.psql("select pg_current_wal_lsn()");
    wait_until("the standby has all", || {
        standby.psql(&format!("select pg_last_wal_replay_lsn() >= '{behind}'")) == "t"
    });
    scene.succeed(&["receive-wal", "--stop", "main"]);
    scene.server.stop(StopMode::Fast);
    standby.promote();
    standby.wait_until_recovered();
    let old = std::mem::replace(&mut scene.server, standby);
    scene.configure(&scene.server, &[]);
    scene.start_streaming();
    let history = scene.home.path().join(format!("main/wals/0000000{}.history", number + 2));
    scene.archive_everything();
    wait_until("the new timeline's history is archived", || history.is_file());
    old
}

/// Transactions of all kinds.
fn work(server: &Postgres, random: &mut Random) {
    for _ in 0..20 {
        let row = random.below(1000);
        let sql = match random.below(8) {
            0 => format!("begin; insert into t values ({row}); rollback"),
            1 => format!("begin; insert into t values ({row}); savepoint s; insert into t values ({row}); commit"),
            2 => format!("begin; insert into t values ({row}); prepare transaction 'p'; commit prepared 'p'"),
            3 => format!("begin; insert into t values ({row}); prepare transaction 'p'; rollback prepared 'p'"),
            4 => format!("select pg_create_restore_point('point {}')", random.below(6)),
            5 => "select pg_switch_wal()".to_owned(),
            6 => "checkpoint".to_owned(),
            _ => format!("insert into t select generate_series(1, {row})"),
        };
        server.psql(&sql);
    }
}

fn position(server: &Postgres) -> (u64, u64) {
    let lsn: Lsn = server.psql("select pg_current_wal_lsn()").parse().expect("a position");
    (lsn.as_u64(), server.psql("select pg_current_xact_id()").parse().expect("a number"))
}

fn micros(server: &Postgres) -> u64 {
    server.psql("select (extract(epoch from clock_timestamp()) * 1e6)::bigint").parse().expect("a number")
}

#[test]
fn a_target_is_planned_if_and_only_if_recovery_reaches_it() {
    for major in majors() {
        let mut random = Random::new();
        let history = History::write(major, &mut random);
        let mut reached = 0;
        for round in 0..targets() {
            let (target, settings) = history.target(&mut random);
            let timeline = *random.of(&["latest", "latest", "1", "2", "3"]);
            let mut options: Vec<&str> = target.iter().map(String::as_str).collect();
            options.extend(["--target-tli", timeline]);
            let planned = planned(&history.scene, &options);
            let settings = planned.as_ref().and_then(equivalent).unwrap_or(settings);
            let found = recover_to(&history.scene, history.major, timeline, &settings);
            let expected =
                planned.as_ref().and_then(|plan| plan["stop"]["replayed_to_lsn"].as_str().map(str::to_owned));
            assert_eq!(expected, found, "round {round}: {options:?}\n{planned:?}");
            reached += usize::from(found.is_some());
        }
        assert!(reached > 0, "a test of refusals alone");
    }
}

/// The plan, or `None` if it is refused.
fn planned(scene: &Scene, target: &[&str]) -> Option<Value> {
    let mut arguments = vec!["plan"];
    arguments.extend(target);
    arguments.extend(["main", "latest"]);
    let tried = scene.run(&arguments);
    (tried.code == Some(0)).then(|| plan(scene, "latest", target))
}

/// The position that stands for a time.
fn equivalent(plan: &Value) -> Option<String> {
    let lsn = plan["stop"]["recovery_target_lsn"].as_str()?;
    Some(format!("recovery_target_lsn = '{lsn}'\n"))
}
