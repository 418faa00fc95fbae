//! Incremental backups that Barman took, restored here and through ssh, beside Barman's own restore of them, which
//! `pg_combinebackup` puts together.
//!
//! Of PostgreSQL 17; `PG_MAJORS` names others from 17 on.

use crate::encryption::{ENCRYPTED, GpgAgent, make_key};
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
    /// The number of the file of a table that was there from the beginning, and was dropped after the last backup.
    dropped_last: String,
    /// Where one of them is encrypted.
    _agent: Option<GpgAgent>,
}

/// Options of the configuration.
type Options<'a> = Vec<(&'a str, &'a str)>;

impl Chain {
    /// Has Barman take the backups, each with options of its own.
    fn take(major: u32, options: [Options<'_>; 3]) -> Self {
        let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
        let server = builder.setting("summarize_wal", "on").start();
        let scene = Scene { server, home: BarmanHome::new().pg_major(major) };
        scene.configure(&scene.server, &[]);
        let agent = options.concat().contains(&ENCRYPTED[0]).then(|| make_key(&scene.home));
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
             create table dropped_last as select generate_series(1, 1000) as row;
             insert into t select row, repeat('x', 100) from generate_series(1, 5000) row;
             insert into cut select row, repeat('x', 100) from generate_series(1, 5000) row",
        );
        let dropped_last = scene.server.psql("select pg_relation_filenode('dropped_last')");
        // Barman takes no backup before some WAL is archived.
        scene.archive_everything();
        let mut chain = Self { scene, host, major, ids: Vec::new(), dropped_last, _agent: agent };
        let [of_full, of_first, of_second] = options;
        chain.back_up(&of_full, &[]);
        chain.psql(
            "update t set note = 'one' where row <= 10; insert into t values (5001, 'one');
             delete from cut where row > 100; vacuum cut; drop table dropped; create table later (row int);
             insert into later values (1)",
        );
        chain.back_up_on_top(&of_first);
        chain.psql("insert into t values (5002, 'between'); select pg_create_restore_point('between')");
        chain.psql(
            "update t set note = 'two' where row between 4990 and 5000; insert into later values (2);
             insert into cut select row, 'two' from generate_series(101, 900) row",
        );
        chain.back_up_on_top(&of_second);
        chain.psql("insert into t values (5003, 'after'); drop table dropped_last");
        chain.scene.archive_everything();
        chain
    }

    fn psql(&self, sql: &str) {
        self.scene.server.psql(sql);
    }

    fn back_up_on_top(&mut self, options: &Options<'_>) {
        let parent = self.ids.last().expect("a full one").clone();
        self.back_up(options, &["--incremental", &parent]);
    }

    fn back_up(&mut self, options: &Options<'_>, arguments: &[&str]) {
        self.configure(options);
        Barman::reference().succeed(&self.scene.home, &[&["backup", "--wait"], arguments, &["main"]].concat());
        let ids = ours().succeed(&self.scene.home, &["list-backups", "--minimal", "main"]);
        self.ids.push(ids.lines().next().expect("the newest").to_owned());
        // Barman would name two backups of one second alike.
        std::thread::sleep(Duration::from_secs(1));
    }

    fn configure(&self, options: &Options<'_>) {
        self.scene.configure(&self.scene.server, &[&[("immediate_checkpoint", "true")], &options[..]].concat());
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
        let chain = Chain::take(major, [const { Vec::new() }; 3]);
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
        assert_same_but_for_the_manifest(&here, &theirs, second);
        let there = chain.host.restored(&ours(), &chain.scene, "there", &[]);
        assert_eq!(chain.rows(&there), END, "on another host");
        assert_eq!(chain.rows(&here), END);
        // Its server has gone on since, and writes nothing now.
        let over = chain.restored(&ours(), second, "ours", &["--delta-restore"]);
        assert_eq!(chain.rows(&over), END, "over an older directory");

        names_are_those_of_the_full_backup(&chain);
        let through_ssh = ["--remote-ssh-command", &chain.host.command()];
        for (name, options) in [("killed", &[][..]), ("killed-there", &through_ssh)] {
            a_killed_restore_goes_on(&chain, name, options);
        }
        damage_is_found(&chain);
        a_chain_with_a_gap_is_refused(&chain);
    }
}

/// Each of them packed in another way; one of them is encrypted.
#[test]
fn incremental_backups_in_archives_are_restored_as_barman_restores_them() {
    let packed = |compression| vec![("backup_compression", compression), ("backup_compression_format", "tar")];
    let encrypted = [&packed("gzip")[..], &ENCRYPTED].concat();
    let chain = Chain::take(17, [packed("lz4"), encrypted, packed("zstd")]);
    let [_, first, second] = &chain.ids[..] else { panic!("{:?}", chain.ids) };

    chain.configure(&ENCRYPTED.to_vec());
    let staging = chain.host.place("staging");
    let place = staging.to_str().expect("the path is text");
    let nowhere = chain.host.place("nowhere").display().to_string();
    let relocation = format!("tbs1:{nowhere}.tbs1");
    let planned = ["plan", "--tablespace", &relocation, "main", "latest", &nowhere];
    let plan = ours().succeed(&chain.scene.home, &planned);
    assert!(plan.contains("of changed blocks is kept aside until the end"), "{plan}");
    let theirs = chain.restored(&Barman::reference(), second, "theirs", &[]);
    let here = chain.restored(&ours(), second, "ours", &[]);
    assert_same_but_for_the_manifest(&here, &theirs, second);
    let there = chain.host.restored(&ours(), &chain.scene, "there", &["--staging-path", place]);
    assert_eq!(std::fs::read_dir(&staging).expect("it was made").count(), 0, "nothing stays there");
    assert_eq!(chain.rows(&there), END, "on another host");
    assert_eq!(chain.rows(&here), END);
    let immediate = ["--target-immediate", "--target-action", "promote"];
    assert_eq!(chain.rows(&chain.restored(&ours(), first, "first", &immediate)), FIRST);
    a_killed_restore_goes_on(&chain, "killed-there", &["--remote-ssh-command", &chain.host.command()]);
}

/// What Barman's restore has beside ours: a manifest of what `pg_combinebackup` made. And the records tell how long each took.
fn assert_same_but_for_the_manifest(ours: &Path, theirs: &Path, id: &str) {
    std::fs::remove_file(theirs.join(format!("backup_manifest.{id}"))).expect("Barman keeps it");
    for data in [ours, theirs] {
        std::fs::remove_file(data.join(".barman-recover.info")).expect("both have it");
    }
    assert_same_but_for_our_own(ours, theirs);
}

/// Incremental backups have only what changed of the catalogs.
fn names_are_those_of_the_full_backup(chain: &Chain) {
    let found = chain.scene.succeed(&["find-target", "main", "--drop-of", &chain.dropped_last]);
    let origin = format!("the name is as of backup {}", chain.ids[0]);
    assert!(found.contains("Dropped postgres.public.dropped_last") && found.contains(&origin), "{found}");
}

fn a_killed_restore_goes_on(chain: &Chain, name: &str, options: &[&str]) {
    let place = chain.host.place(name);
    let mut restore = ours().command(&chain.scene.home);
    restore.args(chain.restore("latest", name, &[options, &["--bwlimit", "2000"]].concat()));
    let mut restore = restore.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    let whole = place.join("PG_VERSION");
    wait_until("files are there", || whole.exists());
    restore.kill().expect("a child can be killed");
    restore.wait().expect("a child can be waited for");
    assert!(place.join(".barman-restore").exists() && !place.join("global/pg_control").exists());
    let data = chain.restored(&ours(), "latest", name, options);
    assert!(!data.join(".barman-restore").exists());
    assert_eq!(chain.rows(&data), END, "{name}, after it was killed");
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
