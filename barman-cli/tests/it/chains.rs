//! Incremental backups that Barman took, restored here and through ssh, beside Barman's own restore of them, which
//! `pg_combinebackup` puts together.
//!
//! Of PostgreSQL 17; `PG_MAJORS` names others from 17 on.

use crate::remote_restore::{OtherHost, assert_same_but_for_our_own};
use crate::scene::{Scene, ours, wait_until};
use std::path::{Path, PathBuf};
use std::time::Duration;
use test_support::{Barman, BarmanHome, OsUser, Postgres, majors};

/// A server whose backups are a full one and two on top of it. Between them blocks of its tables, one of which lies in a
/// tablespace, are changed, cut off and added again, and tables come and go.
struct Chain {
    scene: Scene,
    host: OtherHost,
    major: u32,
    /// The full one first.
    ids: Vec<String>,
}

impl Chain {
    fn take(major: u32) -> Self {
        let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
        let server = builder.setting("summarize_wal", "on").start();
        let scene = Scene { server, home: BarmanHome::new().pg_major(major) };
        scene.configure(&scene.server, &[("immediate_checkpoint", "true")]);
        scene.start_streaming();
        let host = OtherHost::start();
        let tablespace = host.place("original");
        std::fs::create_dir(&tablespace).expect("directory");
        OsUser::of_servers().own_tree(&tablespace);
        scene.server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
        scene.server.psql(
            "create table t (row int primary key, note text) with (autovacuum_enabled = off) tablespace tbs1;
             create table cut (row int, filler text) with (autovacuum_enabled = off);
             create table dropped as select generate_series(1, 1000) as row;
             insert into t select row, repeat('x', 100) from generate_series(1, 5000) row;
             insert into cut select row, repeat('x', 100) from generate_series(1, 5000) row",
        );
        // Barman takes no backup before some WAL is archived.
        scene.archive_everything();
        let mut chain = Self { scene, host, major, ids: Vec::new() };
        chain.back_up(&[]);
        chain.psql(
            "update t set note = 'one' where row <= 10; insert into t values (5001, 'one');
             delete from cut where row > 100; vacuum cut; drop table dropped; create table later (row int);
             insert into later values (1)",
        );
        chain.back_up_on_top();
        chain.psql("insert into t values (5002, 'between'); select pg_create_restore_point('between')");
        chain.psql(
            "update t set note = 'two' where row between 4990 and 5000; insert into later values (2);
             insert into cut select row, 'two' from generate_series(101, 900) row",
        );
        chain.back_up_on_top();
        chain.psql("insert into t values (5003, 'after')");
        chain.scene.archive_everything();
        chain
    }

    fn psql(&self, sql: &str) {
        self.scene.server.psql(sql);
    }

    fn back_up_on_top(&mut self) {
        let parent = self.ids.last().expect("a full one").clone();
        self.back_up(&["--incremental", &parent]);
    }

    fn back_up(&mut self, options: &[&str]) {
        Barman::reference().succeed(&self.scene.home, &[&["backup", "--wait"], options, &["main"]].concat());
        let ids = ours().succeed(&self.scene.home, &["list-backups", "--minimal", "main"]);
        self.ids.push(ids.lines().next().expect("the newest").to_owned());
        // Barman would name two backups of one second alike.
        std::thread::sleep(Duration::from_secs(1));
    }

    /// The arguments that restore a backup here.
    fn restore(&self, id: &str, name: &str, options: &[&str]) -> Vec<String> {
        let relocation = format!("tbs1:{}", self.host.place(&format!("{name}.tbs1")).display());
        let place = self.host.place(name).display().to_string();
        let arguments = [&["restore", "--tablespace", &relocation], options, &["main", id, &place]].concat();
        arguments.into_iter().map(str::to_owned).collect()
    }

    fn restored(&self, barman: &Barman, id: &str, name: &str, options: &[&str]) -> PathBuf {
        let arguments = self.restore(id, name, options);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        barman.succeed(&self.scene.home, &arguments);
        OsUser::of_servers().own_tree(&self.host.place(name));
        OsUser::of_servers().own_tree(&self.host.place(&format!("{name}.tbs1")));
        self.host.place(name)
    }

    /// What a server that starts from a directory has in its tables.
    fn rows(&self, data: &Path) -> String {
        let mut server = Postgres::builder().major(self.major).start_existing(data);
        server.wait_until_recovered();
        let rows = server.psql(
            "select count(*), max(row), count(*) filter (where note = 'one'), count(*) filter (where note = 'two') from t;
             select count(*), max(row), count(*) filter (where filler = 'two') from cut;
             select to_regclass('dropped') is not null, to_regclass('later') is not null",
        );
        // Every row is found through the index, too.
        let counted = server.psql("set enable_seqscan = off; select count(*) from t where row > 0");
        assert!(rows.starts_with(&counted), "{rows}, {counted} by the index");
        rows
    }

    fn data_of(&self, id: &str) -> PathBuf {
        self.scene.home.path().join("main/base").join(id).join("data")
    }
}

const FULL: &str = "5000|5000|0|0\n5000|5000|0\nt|f";
const FIRST: &str = "5001|5001|11|0\n100|100|0\nf|t";
const BETWEEN: &str = "5002|5002|11|0\n100|100|0\nf|t";
const END: &str = "5003|5003|11|11\n900|900|800\nf|t";

#[test]
fn incremental_backups_are_restored_as_barman_restores_them() {
    for major in majors_with_increments() {
        let chain = Chain::take(major);
        let [full, first, second] = &chain.ids[..] else { panic!("{:?}", chain.ids) };
        let plan = chain.scene.succeed(&["plan", "main", "latest"]);
        assert!(plan.contains(&format!("  Incremental, on top of: {full}, then {first}\n")), "{plan}");

        let immediate = ["--target-immediate", "--target-action", "promote"];
        let between = ["--target-name", "between", "--target-action", "promote"];
        assert_eq!(chain.rows(&chain.restored(&ours(), full, "full", &immediate)), FULL);
        assert_eq!(chain.rows(&chain.restored(&ours(), first, "first", &immediate)), FIRST);
        assert_eq!(chain.rows(&chain.restored(&ours(), "auto", "between", &between)), BETWEEN);

        let theirs = chain.restored(&Barman::reference(), second, "theirs", &[]);
        let here = chain.restored(&ours(), second, "ours", &[]);
        // It describes what `pg_combinebackup` made, and the record how long that took.
        std::fs::remove_file(theirs.join(format!("backup_manifest.{second}"))).expect("Barman keeps it");
        for data in [&here, &theirs] {
            std::fs::remove_file(data.join(".barman-recover.info")).expect("both have it");
        }
        assert_same_but_for_our_own(&here, &theirs);
        let there = chain.host.restored(&ours(), &chain.scene, "there", &[]);
        assert_eq!(chain.rows(&there), END, "on another host");
        assert_eq!(chain.rows(&here), END);

        a_killed_restore_goes_on(&chain);
        damage_is_found(&chain);
        a_chain_with_a_gap_is_refused(&chain);
    }
}

fn a_killed_restore_goes_on(chain: &Chain) {
    let place = chain.host.place("killed");
    let mut restore = chain.scene.command();
    restore.args(chain.restore("latest", "killed", &["--bwlimit", "2000"]));
    let mut restore = restore.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let whole = place.join("PG_VERSION");
    wait_until("files are there", || whole.exists());
    restore.kill().expect("a child can be killed");
    restore.wait().expect("a child can be waited for");
    assert!(place.join(".barman-restore").exists() && !place.join("global/pg_control").exists());
    let data = chain.restored(&ours(), "latest", "killed", &[]);
    assert!(!data.join(".barman-restore").exists());
    assert_eq!(chain.rows(&data), END, "after it was killed");
}

/// A bit that changed in a backup between the full one and the last.
fn damage_is_found(chain: &Chain) {
    let backup = chain.data_of(&chain.ids[1]);
    let mut increments = increments_below(&backup);
    increments.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
    let (path, length) = increments.first().expect("there are some");
    let mut bytes = std::fs::read(path).expect("a file");
    let last = usize::try_from(*length).expect("a length") - 1;
    bytes[last] ^= 1;
    std::fs::write(path, &bytes).expect("the home is ours");
    let arguments = chain.restore("latest", "damaged", &[]);
    let finished = chain.scene.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(finished.stderr.contains(&*name) && finished.stderr.contains("is damaged"), "{finished:?}");
    assert!(!chain.host.place("damaged/global/pg_control").exists());
    bytes[last] ^= 1;
    std::fs::write(path, &bytes).expect("the home is ours");
    assert_eq!(chain.rows(&chain.restored(&ours(), "latest", "damaged", &[])), END, "the damage is mended");
}

fn increments_below(top: &Path) -> Vec<(PathBuf, u64)> {
    let (mut found, mut pending) = (Vec::new(), vec![top.to_owned()]);
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry")) {
            let metadata = entry.metadata().expect("it is there");
            if metadata.is_dir() {
                pending.push(entry.path());
            } else if entry.file_name().to_string_lossy().starts_with("INCREMENTAL.") {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found
}

fn a_chain_with_a_gap_is_refused(chain: &Chain) {
    let [_, first, second] = &chain.ids[..] else { panic!("{:?}", chain.ids) };
    let record = chain.scene.home.path().join(format!("main/meta/{first}-backup.info"));
    std::fs::rename(&record, record.with_extension("away")).expect("the home is ours");
    let place = chain.host.place("refused");
    let finished = chain.scene.run(&["restore", "main", second, place.to_str().expect("the path is text")]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let expected = format!("backup {second} is incremental and builds on backup {first}, which is not in the catalog");
    assert!(finished.stderr.contains(&expected) && finished.stderr.contains("HINT: "), "{finished:?}");
    assert!(!place.exists());
}

/// Where `PG_MAJORS` names none that has incremental backups, 17.
fn majors_with_increments() -> Vec<u32> {
    let named: Vec<u32> = majors().into_iter().filter(|major| *major >= 17).collect();
    if named.is_empty() { vec![17] } else { named }
}
