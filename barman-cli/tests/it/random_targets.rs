//! Random targets over a busy history with two failovers: a plan says that a target can be reached if and only if recovery
//! then succeeds, and it stops where the plan says.
//!
//! Where the plan stands, recovery is that of the restore which the same options do. Where it is refused, PostgreSQL is told
//! by hand to try nevertheless. `scripts/targets` draws 500 (`TARGETS`, `TARGETS_SEED`) for every version.

use crate::scene::{Scene, wait_until};
use crate::targets::{plan, replayed};
use serde_json::Value;
use std::path::Path;
use test_support::{Postgres, StopMode, majors};
use wal_format::Lsn;

/// A number from the environment.
fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

/// A reproducible source of whims (xorshift64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn between(&mut self, (from, to): (u64, u64), margin: u64) -> u64 {
        from.saturating_sub(margin) + self.below(to - from + 2 * margin)
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[usize::try_from(self.below(choices.len() as u64)).expect("small")]
    }
}

/// What can be named of a history.
struct History {
    scene: Scene,
    major: u32,
    /// Backups of the first two timelines, and when they had ended. What is committed until then may be in a backup: earlier
    /// times are refused, whatever PostgreSQL makes of them.
    backups: Vec<(String, u64)>,
    /// The positions and transactions of interest.
    positions: (u64, u64),
    xids: (u64, u64),
    /// When all is over, in microseconds since 1970.
    end: u64,
}

/// A target, and whence.
struct Aim {
    backup: String,
    timeline: &'static str,
    /// The options of our programs.
    options: Vec<String>,
    /// The same as settings of PostgreSQL.
    settings: String,
}

impl History {
    fn write(major: u32, random: &mut Random) -> Self {
        let mut scene = Scene::of(builder().major(major).initdb_option("--wal-segsize=1"));
        scene.start_streaming();
        scene.server.psql("create table t (row int)");
        let (lsn, xid, _) = now(&scene.server);
        let mut backups = Vec::new();
        for failover in 0..=2 {
            if failover < 2 {
                scene.succeed(&["backup", "--wait", "--name", &format!("backup{failover}"), "main"]);
                backups.push((format!("backup{failover}"), now(&scene.server).2));
            }
            work(&scene.server, random);
            scene.archive_everything();
            if failover < 2 {
                fail_over(&mut scene, failover, random);
            }
        }
        let (last_lsn, last_xid, end) = now(&scene.server);
        Self { scene, major, backups, positions: (lsn, last_lsn), xids: (xid, last_xid), end }
    }

    fn aim(&self, random: &mut Random) -> Aim {
        let (backup, backup_end) = random.of(&self.backups);
        let (kind, value) = match random.below(9) {
            0 | 1 => {
                let micros = backup_end + random.below((self.end - backup_end) * 11 / 10);
                ("time", self.scene.server.psql(&format!("select to_timestamp({micros} / 1e6)")))
            }
            2 | 3 => ("xid", random.between(self.xids, 5).to_string()),
            4 | 5 => ("lsn", Lsn::new(random.between(self.positions, 1 << 20)).to_string()),
            6 | 7 => ("name", format!("point {}", random.below(8))),
            _ => ("immediate", String::new()),
        };
        let exclusive = kind != "immediate" && random.below(2) == 0;
        let timeline = *random.of(&["latest", "latest", "1", "2", "3"]);
        let mut options = vec![format!("--target-{kind}")];
        options.extend((kind != "immediate").then(|| value.clone()));
        options.extend(exclusive.then(|| "--exclusive".to_owned()));
        options.extend(["--target-tli".to_owned(), timeline.to_owned()]);
        let mut settings = match kind {
            "immediate" => "recovery_target = 'immediate'\n".to_owned(),
            _ => format!("recovery_target_{kind} = '{value}'\n"),
        };
        settings.push_str(if exclusive { "recovery_target_inclusive = off\n" } else { "" });
        settings.push_str(&format!("recovery_target_timeline = '{timeline}'\n"));
        Aim { backup: backup.clone(), timeline, options, settings }
    }

    /// The plan, or `None` if it is refused.
    fn planned(&self, aim: &Aim) -> Option<Value> {
        let options: Vec<&str> = aim.options.iter().map(String::as_str).collect();
        let tried = self.scene.run(&[&["plan"], &options[..], &["main", &aim.backup]].concat());
        (tried.code == Some(0)).then(|| plan(&self.scene, &aim.backup, &options))
    }

    /// Recovers as planned. Returns where the server stands, or `None` if it did not get there.
    fn recover(&self, aim: &Aim) -> Option<String> {
        let options: Vec<&str> = aim.options.iter().map(String::as_str).collect();
        self.stands_at(&self.scene.restore(&aim.backup, &options))
    }

    /// Lets PostgreSQL try what the plan refused.
    fn recover_nevertheless(&self, aim: &Aim) -> Option<String> {
        let destination = self.scene.destination();
        let place = destination.to_str().expect("the path is text");
        let restore = |timeline| self.scene.run(&["restore", "--target-tli", timeline, "main", &aim.backup, place]);
        // A timeline that the backup does not lead to can only be asked of PostgreSQL.
        if restore(aim.timeline).code != Some(0) {
            assert_eq!(restore("latest").code, Some(0));
        }
        let file = destination.join("postgresql.auto.conf");
        let text = std::fs::read_to_string(&file).expect("the restore writes it");
        std::fs::write(&file, format!("{text}{}recovery_target_action = 'pause'\n", aim.settings)).expect("it is ours");
        self.stands_at(&destination)
    }

    fn stands_at(&self, data: &Path) -> Option<String> {
        let mut server = Postgres::builder().major(self.major).launch_existing(data);
        let paused = server.try_until_paused();
        let replayed = paused.then(|| replayed(&server));
        if paused {
            server.stop(StopMode::Immediate);
        }
        std::fs::remove_dir_all(data).expect("the restore is ours");
        replayed
    }
}

fn builder() -> test_support::PostgresBuilder {
    Postgres::builder().setting("max_prepared_transactions", "8")
}

/// The standby of a server takes its place. Nobody tells the server, which goes on for a while.
fn fail_over(scene: &mut Scene, number: u32, random: &mut Random) {
    let mut standby = builder().start_standby_of(&scene.server);
    let behind = scene.server.psql("select pg_current_wal_lsn()");
    wait_until("the standby has all", || {
        standby.psql(&format!("select pg_last_wal_replay_lsn() >= '{behind}'")) == "t"
    });
    standby.promote();
    work(&scene.server, random);
    scene.archive_everything();
    scene.succeed(&["receive-wal", "--stop", "main"]);
    scene.server.stop(StopMode::Fast);
    scene.server = standby;
    scene.configure(&scene.server, &[]);
    scene.start_streaming();
    let history = scene.home.path().join(format!("main/wals/0000000{}.history", number + 2));
    scene.archive_everything();
    wait_until("the new timeline's history is archived", || history.is_file());
}

/// Transactions of all kinds, by several sessions at a time.
fn work(server: &Postgres, random: &mut Random) {
    std::thread::scope(|scope| {
        for session in 0..3 {
            let mut random = Random::new(random.below(u64::MAX));
            scope.spawn(move || (0..8).for_each(|_| drop(server.psql(&whim(session, &mut random)))));
        }
    });
}

fn whim(session: u32, random: &mut Random) -> String {
    let row = random.below(1000);
    match random.below(8) {
        0 => format!("begin; insert into t values ({row}); rollback"),
        1 => format!("begin; insert into t values ({row}); savepoint s; insert into t values ({row}); commit"),
        2 => format!(
            "begin; insert into t values ({row}); prepare transaction 'p{session}'; commit prepared 'p{session}'"
        ),
        3 => format!(
            "begin; insert into t values ({row}); prepare transaction 'p{session}'; rollback prepared 'p{session}'"
        ),
        4 => format!("select pg_create_restore_point('point {}')", random.below(6)),
        5 => "select pg_switch_wal()".to_owned(),
        6 => "checkpoint".to_owned(),
        _ => format!("insert into t select generate_series(1, {row})"),
    }
}

/// The server's position, its next transaction, and its clock in microseconds since 1970.
fn now(server: &Postgres) -> (u64, u64, u64) {
    let lsn: Lsn = server.psql("select pg_current_wal_lsn()").parse().expect("a position");
    let number = |sql: &str| server.psql(sql).parse().expect("a number");
    let micros = "select (extract(epoch from clock_timestamp()) * 1e6)::bigint";
    (lsn.as_u64(), number("select pg_current_xact_id()"), number(micros))
}

#[test]
fn a_target_is_planned_if_and_only_if_recovery_reaches_it() {
    let seed = number_in("TARGETS_SEED").unwrap_or(1);
    for major in majors() {
        let mut random = Random::new(seed);
        let history = History::write(major, &mut random);
        let (mut reached, mut refused) = (0, 0);
        for round in 0..number_in("TARGETS").unwrap_or(8) {
            let aim = history.aim(&mut random);
            let planned = history.planned(&aim);
            let found = match planned {
                Some(_) => history.recover(&aim),
                None => history.recover_nevertheless(&aim),
            };
            let expected =
                planned.as_ref().and_then(|plan| plan["stop"]["replayed_to_lsn"].as_str().map(str::to_owned));
            let Aim { backup, options, .. } = &aim;
            assert_eq!(expected, found, "PostgreSQL {major}, round {round}: {backup} {options:?}\n{planned:?}");
            *(if found.is_some() { &mut reached } else { &mut refused }) += 1;
        }
        println!("PostgreSQL {major}, seed {seed}: {reached} targets reached, {refused} refused");
        assert!(reached > 0, "a test of refusals alone");
    }
}
