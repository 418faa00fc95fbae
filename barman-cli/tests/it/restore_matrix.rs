//! Every kind of target, to either side of it, with every action, along every timeline, in every way to restore: real servers
//! recover, and are where the plan said that they would be, with exactly the rows that should be there.
//!
//! All of it takes hours; so each of these choices is tried at least once, any two together with `MATRIX=2`, any three with
//! `MATRIX=3`, and every combination with `MATRIX=4` (`scripts/targets`).

use crate::recovery::give_home_to_servers;
use crate::scene::{Scene, ours, wait_until};
use crate::targets::{plan, redo_done, replayed};
use crate::wal_restore::BarmanHost;
use serde_json::Value;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use test_support::{OsUser, Postgres, StopMode, TempDir, majors};

/// Where recovery ends, and what is there then, on whichever timeline.
const TARGETS: [(Kind, bool, &str); 9] = [
    (Kind::Time, false, "0 1 2"),
    (Kind::Time, true, "0 1"),
    (Kind::Xid, false, "0 1 2"),
    (Kind::Xid, true, "0 1"),
    (Kind::Lsn, false, "0 1 2"),
    (Kind::Lsn, true, "0 1"),
    (Kind::Name, false, "0 1 2"),
    (Kind::Immediate, false, "0"),
    (Kind::End, false, ""),
];
const ACTIONS: [&str; 3] = ["pause", "promote", "shutdown"];
const TIMELINES: [Option<&str>; 4] = [None, Some("current"), Some("latest"), Some("1")];
const WAYS: [Way; 9] = [
    Way::Plain,
    Way::Standby,
    Way::GetWal,
    Way::Feed,
    Way::Partial,
    Way::Delta,
    Way::Remote,
    Way::RemoteFeed,
    Way::RemoteStandby,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Time,
    Xid,
    Lsn,
    Name,
    Immediate,
    End,
}

/// How a backup is restored; its tablespace always lies elsewhere than it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Standby,
    GetWal,
    /// As [`Way::GetWal`], with a helper that fetches ahead.
    Feed,
    Partial,
    /// Over an older directory.
    Delta,
    /// Through ssh.
    Remote,
    /// Through ssh, and as [`Way::Feed`] by the command that the restore writes, through ssh too.
    RemoteFeed,
    /// The same for a standby.
    RemoteStandby,
}

impl Way {
    fn is_remote(self) -> bool {
        matches!(self, Self::Remote | Self::RemoteFeed | Self::RemoteStandby)
    }

    fn is_standby(self) -> bool {
        matches!(self, Self::Standby | Self::RemoteStandby)
    }

    /// Whether also segments are replayed that were never completed.
    fn has_unfinished_wal(self) -> bool {
        matches!(self, Self::GetWal | Self::Feed | Self::RemoteFeed | Self::Partial)
    }
}

/// One combination.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    exclusive: bool,
    action: &'static str,
    timeline: Option<&'static str>,
    way: Way,
}

impl Case {
    fn of(choice: &[usize; 4]) -> Self {
        let [target, action, timeline, way] = *choice;
        let (kind, exclusive, _) = TARGETS[target];
        Self { kind, exclusive, action: ACTIONS[action], timeline: TIMELINES[timeline], way: WAYS[way] }
    }

    /// The rows that are there when recovery has ended.
    fn rows(&self) -> &'static str {
        let target = TARGETS.iter().find(|(kind, exclusive, _)| (*kind, *exclusive) == (self.kind, self.exclusive));
        match (self.kind, self.timeline, self.way) {
            (Kind::End, Some("current" | "1"), _) => "0 1 2 3 41",
            // What is fetched may be a segment that was never completed.
            (Kind::End, Some("latest"), way) if way.has_unfinished_wal() => "0 1 2 3 42 5",
            (Kind::End, None, Way::GetWal | Way::Feed | Way::RemoteFeed) => "0 1 2 3 42 5",
            (Kind::End, Some("latest"), _) => "0 1 2 3 42",
            // A standby looks for other timelines, in `pg_wal` too.
            (Kind::End, None, Way::Standby | Way::RemoteStandby) => "0 1 2 3 42",
            // Without any target other servers recover as after a crash, along their own timeline.
            (Kind::End, ..) => "0 1 2 3 41",
            _ => target.expect("one of them").2,
        }
    }
}

/// A server whose backup has row 0; row 3 is the last that both timelines have.
struct History {
    scene: Scene,
    major: u32,
    /// How a server fetches WAL.
    fetch: String,
    /// Where restored tablespaces go, and what is restored through ssh.
    places: TempDir,
    barman_host: BarmanHost,
    xid: String,
    time: String,
    lsn: String,
}

impl History {
    fn write(major: u32) -> Self {
        let mut scene = Scene::of(Postgres::builder().major(major).initdb_option("--wal-segsize=1"));
        scene.start_streaming();
        let places = TempDir::new();
        let location = places.path().join("original");
        std::fs::create_dir(&location).expect("directory");
        OsUser::of_servers().own_tree(places.path());
        scene.server.psql(&format!("create tablespace tbs1 location '{}'", location.display()));
        scene.server.psql("create table t (row int) tablespace tbs1; insert into t values (0)");
        scene.succeed(&["backup", "--wait", "main"]);
        scene.server.psql("insert into t values (1); select pg_sleep(0.01)");
        let xid = scene.server.psql("insert into t values (2) returning xmin");
        let time = scene.server.psql(&format!("select pg_xact_commit_timestamp('{xid}')"));
        scene.server.psql("select pg_create_restore_point('between'); select pg_sleep(0.01); insert into t values (3)");
        let _old = branch_off(&mut scene, places.path());
        let fetch = give_home_to_servers(&scene);
        let barman_host = BarmanHost::of(&scene.home);
        let mut history = Self { scene, major, fetch, places, barman_host, xid, time, lsn: String::new() };
        let of_xid = Case { kind: Kind::Xid, exclusive: false, action: "pause", timeline: None, way: Way::Plain };
        history.lsn = history.plan(&of_xid)["stop"]["record_lsn"].as_str().expect("a position").to_owned();
        history
    }

    fn options(&self, case: &Case) -> Vec<String> {
        let mut options: Vec<String> = match case.kind {
            Kind::Time => vec!["--target-time".to_owned(), self.time.clone()],
            Kind::Xid => vec!["--target-xid".to_owned(), self.xid.clone()],
            Kind::Lsn => vec!["--target-lsn".to_owned(), self.lsn.clone()],
            Kind::Name => vec!["--target-name".to_owned(), "between".to_owned()],
            Kind::Immediate => vec!["--target-immediate".to_owned()],
            Kind::End => Vec::new(),
        };
        options.extend(case.exclusive.then(|| "--exclusive".to_owned()));
        options.extend(case.timeline.iter().flat_map(|timeline| ["--target-tli".to_owned(), (*timeline).to_owned()]));
        let of_way: &[&str] = match case.way {
            Way::Standby => &["--standby-mode"],
            Way::GetWal | Way::Feed | Way::RemoteFeed => &["--get-wal"],
            Way::RemoteStandby => &["--standby-mode", "--get-wal"],
            Way::Partial => &["--partial-wal"],
            Way::Plain | Way::Delta | Way::Remote => &[],
        };
        options.extend(of_way.iter().map(|option| (*option).to_owned()));
        options
    }

    fn plan(&self, case: &Case) -> Value {
        let options = self.options(case);
        plan(&self.scene, "latest", &options.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn restore(&self, case: &Case, number: usize) -> PathBuf {
        let mut options = self.options(case);
        if case.kind != Kind::End {
            options.extend(["--target-action".to_owned(), case.action.to_owned()]);
        }
        let location = self.places.path().join(number.to_string());
        let relocation = ["--tablespace".to_owned(), format!("tbs1:{}", location.display())];
        options.extend(relocation.clone());
        let destination = match case.way.is_remote() {
            true => self.places.path().join(format!("{number}.data")),
            false => self.scene.destination(),
        };
        let place = destination.to_str().expect("the path is text");
        if case.way == Way::Delta {
            self.scene.succeed(&["restore", &relocation[0], &relocation[1], "main", "latest", place]);
            grow_old(&destination);
            options.push("--delta-restore".to_owned());
        }
        if case.way.is_remote() {
            options.extend(["--remote-ssh-command".to_owned(), self.barman_host.command()]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let arguments = [&["restore"], &options[..], &["main", "latest", place]].concat();
        match case.way.is_remote() {
            // It finds `ssh`.
            true => ours().succeed(&self.scene.home, &arguments),
            false => self.scene.succeed(&arguments),
        };
        destination
    }

    fn launch(&self, case: &Case, data: &Path, settings: &[(&str, &str)]) -> Postgres {
        let mut builder = Postgres::builder().major(self.major);
        let fed = || self.fetch.replace("get-wal -P main %f > %p", "get-wal --feed %p -P main %f");
        match case.way {
            Way::GetWal => builder = builder.setting("restore_command", &self.fetch),
            Way::Feed => builder = builder.setting("restore_command", &fed()),
            Way::RemoteFeed | Way::RemoteStandby => {
                builder = builder.setting("restore_command", &self.barman_host.restore_command(data));
            }
            _ => {}
        }
        for (name, value) in settings {
            builder = builder.setting(name, value);
        }
        builder.launch_existing(data)
    }

    /// Restores, recovers, and compares what PostgreSQL did with what the plan said.
    fn check(&self, case: &Case, number: usize) {
        let stop = self.plan(case)["stop"].clone();
        let data = self.restore(case, number);
        let mut server = self.launch(case, &data, &[]);
        match (case.kind, case.action) {
            (Kind::End, _) if case.way.is_standby() => {
                server.wait_until_accepting();
                let end = stop["replayed_to_lsn"].as_str().expect("a position");
                server.wait_until(&format!("select pg_last_wal_replay_lsn() = '{end}'"));
            }
            (Kind::End, _) | (_, "promote") => self.check_end(case, &stop, &mut server),
            (_, "pause") => {
                server.wait_until_paused();
                let replayed = replayed(&server);
                assert_eq!(stop["replayed_to_lsn"], replayed.as_str(), "{case:?}\n{stop}");
            }
            _ => {
                server.wait_exit();
                let word = match (case.kind, stop["record_is_replayed"] == true) {
                    (Kind::Immediate, _) => "after reaching consistency",
                    (Kind::Name, _) => "at restore point",
                    (_, true) => "after",
                    (_, false) => "before",
                };
                let log = server.log();
                assert!(log.contains(&format!("recovery stopping {word}")), "{case:?}\n{stop}\n{log}");
                drop(server);
                // It stops there each time, so that rows can be looked at only if it is told otherwise.
                server = self.launch(case, &data, &[("recovery_target_action", "promote")]);
                server.wait_until_recovered();
            }
        }
        assert_eq!(rows(&server), case.rows(), "PostgreSQL {}: {case:?}\n{stop}\n{}", self.major, server.log());
        server.stop(StopMode::Immediate);
        std::fs::remove_dir_all(&data).expect("the restore is ours");
    }

    fn check_end(&self, case: &Case, stop: &Value, server: &mut Postgres) {
        server.wait_until_recovered();
        let done = redo_done(&server.log());
        assert_eq!(stop["record_lsn"], done.as_str(), "PostgreSQL {}: {case:?}\n{stop}", self.major);
    }
}

/// Leaves `pg_class` of a database useless, and a file that the backup does not have.
fn grow_old(data: &Path) {
    let database = data.join("base/1");
    std::fs::write(database.join("1259"), [0; 8192]).expect("the restore is ours");
    std::fs::write(database.join("99999"), "a table").expect("the restore is ours");
}

fn rows(server: &Postgres) -> String {
    server.psql("select string_agg(row::text, ' ' order by ctid) from t")
}

/// A standby is promoted behind row 3. The original goes on with row 41, the new server with row 42, and with row 5 in a
/// segment that is not completed. Everything is archived; returns the original.
fn branch_off(scene: &mut Scene, places: &Path) -> Postgres {
    let mut standby = standby_of(scene, places);
    standby.promote();
    scene.server.psql("insert into t values (41)");
    scene.archive_everything();
    scene.succeed(&["receive-wal", "--stop", "main"]);
    scene.server.stop(StopMode::Fast);
    let old = std::mem::replace(&mut scene.server, standby);
    scene.configure(&scene.server, &[]);
    scene.start_streaming();
    scene.server.psql("insert into t values (42)");
    scene.archive_everything();
    let history = scene.home.path().join("main/wals/00000002.history");
    wait_until("the new timeline's history is archived", || history.is_file());
    scene.server.psql("insert into t values (5)");
    let behind = scene.server.psql("select pg_current_wal_lsn()");
    let flushed =
        format!("select flush_lsn >= '{behind}' from pg_stat_replication where application_name like 'barman%'");
    wait_until("row 5 is received", || scene.server.psql(&flushed) == "t");
    old
}

/// A server on a restored copy that follows the original and has all of it.
fn standby_of(scene: &Scene, places: &Path) -> Postgres {
    let location = places.join("standby");
    let rule = format!("tbs1:{}", location.display());
    let data = scene.restore("latest", &["--standby-mode", "--tablespace", &rule]);
    OsUser::of_servers().own_tree(&location);
    let standby = Postgres::builder()
        .major(scene.server.major())
        .setting("primary_conninfo", &scene.server.conninfo())
        .start_existing(&data);
    let behind = scene.server.psql("select pg_current_wal_lsn()");
    let has_all = format!("select coalesce(pg_last_wal_replay_lsn() >= '{behind}', false)");
    wait_until("the standby has all", || standby.psql(&has_all) == "t");
    standby
}

/// Rows of choices in which any `strength` of the choices are together with any others at least once.
fn covering(sizes: [usize; 4], strength: usize) -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for target in 0..sizes[0] {
        for action in 0..sizes[1] {
            for timeline in 0..sizes[2] {
                all.extend((0..sizes[3]).map(|way| [target, action, timeline, way]));
            }
        }
    }
    let positions: Vec<u8> = (0u8..16).filter(|set| set.count_ones() as usize == strength.min(4)).collect();
    let together = |row: &[usize; 4]| {
        let row = *row;
        let part = move |set: u8| std::array::from_fn(|at| (set >> at & 1 == 1).then_some(row[at]));
        positions.iter().map(|set| part(*set)).collect::<Vec<[Option<usize>; 4]>>()
    };
    let mut missing: BTreeSet<_> = all.iter().flat_map(&together).collect();
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let news = |row: &[usize; 4]| together(row).iter().filter(|part| missing.contains(*part)).count();
        let best = *all.iter().max_by_key(|row| news(row)).expect("there are some");
        for part in together(&best) {
            missing.remove(&part);
        }
        chosen.push(best);
    }
    chosen
}

#[test]
fn any_two_choices_are_tried_together() {
    let sizes = [TARGETS.len(), ACTIONS.len(), TIMELINES.len(), WAYS.len()];
    let rows = covering(sizes, 2);
    for target in 0..TARGETS.len() {
        for way in 0..WAYS.len() {
            assert!(rows.iter().any(|row| row[0] == target && row[3] == way), "{target} {way}");
        }
    }
    assert!(rows.len() < 100, "{}", rows.len());
    assert_eq!(covering(sizes, 1).len(), TARGETS.len());
    assert_eq!(covering(sizes, 4).len(), sizes.iter().product::<usize>());
}

#[test]
fn every_restore_target_is_reached_where_the_plan_says() {
    let strength = std::env::var("MATRIX").ok().and_then(|strength| strength.parse().ok()).unwrap_or(1);
    let sizes = [TARGETS.len(), ACTIONS.len(), TIMELINES.len(), WAYS.len()];
    let choices = covering(sizes, strength);
    for major in majors() {
        let history = History::write(major);
        let mut failed = Vec::new();
        for (number, choice) in choices.iter().enumerate() {
            // One that fails says nothing of the others.
            let case = Case::of(choice);
            let checked = catch_unwind(AssertUnwindSafe(|| history.check(&case, number)));
            failed.extend(checked.err().map(|_| case));
        }
        assert!(failed.is_empty(), "PostgreSQL {major}: {} of {} failed: {failed:#?}", failed.len(), choices.len());
    }
}
