//! Restores: as long as not everything is there, what is there is no server's, and running again goes on from it
//! (invariant 4).

use super::backups::{ONE, backup};
use super::kept_home::{KeptHome, files_below};
use super::wal::{archive, name};
use super::{WAYS, chosen, per_way};
use crate::scene::Scene;
use barman_catalog::Tablespace;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use test_support::{CallEffect, Ended, Postgres, SystemCallFault};

const CONTROL_FILE: &str = "global/pg_control";

/// Above this, restores of a real server take too long to be disturbed at every call.
const MOST_OF_A_SERVER: usize = 40;

/// A backup with a tablespace and WAL, and where it is restored.
struct Case {
    home: KeptHome,
    /// Not below the home: only what is done here is counted.
    place: PathBuf,
}

impl Case {
    fn new() -> Self {
        let home = KeptHome::new(&[]);
        archive(&home, 1..=4);
        let place = home.path().with_file_name("place");
        let location = place.join("tablespace").display().to_string();
        backup(&home, ONE, 2, |info| {
            let segment_start = |number: u64| wal_format::Lsn::new(number << 20);
            (info.begin_xlog, info.end_xlog) = (Some(segment_start(2)), Some(segment_start(4)));
            info.tablespaces = Some(vec![Tablespace { name: "tbs1".to_owned(), oid: 16386, location }]);
        });
        let label = format!("START WAL LOCATION: 0/200028 (file {})\n", name(2));
        for (file, text) in [
            ("backup_label", label.as_str()),
            (CONTROL_FILE, "the control file"),
            ("postgresql.conf", "archive_command = 'cp %p /srv/archive/%f'\n"),
            ("base/5/16384", "a table"),
        ] {
            home.write(&format!("base/{ONE}/data/{file}"), text);
        }
        home.keep();
        Self { home, place }
    }

    fn arguments(&self) -> [String; 4] {
        let destination = self.place.join("data").display().to_string();
        ["restore", "main", ONE]
            .map(str::to_owned)
            .into_iter()
            .chain([destination])
            .collect::<Vec<_>>()
            .try_into()
            .expect("four")
    }

    /// Restores where there is nothing yet.
    fn run(&self, nth: usize, effect: CallEffect) -> Ended {
        let _ = std::fs::remove_dir_all(&self.place);
        std::fs::create_dir(&self.place).expect("beside the home");
        let mut command = self.home.command();
        SystemCallFault::at(&self.place, nth, effect).start(command.args(self.arguments())).wait()
    }

    fn run_again(&self, when: &str) {
        let arguments = self.arguments();
        let again = self.home.run(&arguments.each_ref().map(String::as_str), None);
        assert_eq!(again.code, Some(0), "{again:?}: {when}");
    }

    /// What is there, but for the record of when it was made, and a marker that means nothing beside the control file.
    fn restored(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = files_below(&self.place);
        files.retain(|path, _| !path.ends_with(".barman-recover.info") && !path.ends_with(".barman-restore"));
        files
    }

    fn is_startable(&self) -> bool {
        self.place.join("data").join(CONTROL_FILE).exists()
    }
}

#[test]
fn restore() {
    let case = Case::new();
    assert_eq!(case.run(0, CallEffect::Kill).code, Some(0), "{}", case.home.log());
    let expected = case.restored();
    assert!(case.is_startable());
    let mut fired = 0;
    for (way, effect) in WAYS.into_iter().enumerate() {
        let calls = case.run(0, effect).counted;
        for nth in chosen(calls, way) {
            let ended = case.run(nth, effect);
            let call =
                ended.call.clone().unwrap_or_else(|| panic!("nothing happened at call {nth} of {calls}: {ended:?}"));
            let when = format!("{effect:?} at call {nth} of {calls}, {call}");
            fired += 1;
            if case.is_startable() || ended.code == Some(0) {
                assert_eq!(case.restored(), expected, "{when}");
            }
            // What is whole is not to be restored over.
            if !case.is_startable() {
                case.run_again(&when);
                assert_eq!(case.restored(), expected, "{when}");
            }
        }
    }
    println!("restore: disturbed {fired} times");
}

/// The databases' files that an unfinished restore has already, and which files on the disk they are.
fn placed(destination: &Path, whole: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<PathBuf, u64> {
    let found = files_below(destination).into_iter();
    let found = found.filter(|(path, bytes)| path.starts_with("base") && whole.get(path) == Some(bytes));
    found.map(|(path, _)| (path.clone(), inode(&destination.join(path)))).collect()
}

fn inode(path: &Path) -> u64 {
    std::fs::symlink_metadata(path).expect("it is there").ino()
}

/// PostgreSQL itself judges what is left of a restore; what was copied is not copied again.
#[test]
fn restore_of_a_server() {
    let scene = Scene::streaming();
    scene.server.psql("create table t (row int); insert into t values (1)");
    scene.succeed(&["backup", "--wait", "main"]);
    scene.server.psql("insert into t values (2)");
    scene.archive_everything();
    let whole = files_below(&scene.restore("latest", &[]));
    let mut fired = 0;
    // Each takes seconds: a short run is killed once.
    let ways = if per_way() <= 3 { &WAYS[..1] } else { &WAYS[..] };
    for (way, effect) in ways.iter().copied().enumerate() {
        let calls = disturb(&scene, &scene.destination(), 0, effect).counted;
        let points = chosen(calls, way);
        let wanted = if per_way() <= 3 { 1 } else { MOST_OF_A_SERVER };
        for &nth in points.iter().skip(points.len() / wanted / 2).step_by(points.len().div_ceil(wanted)) {
            let destination = scene.destination();
            let ended = disturb(&scene, &destination, nth, effect);
            let call =
                ended.call.clone().unwrap_or_else(|| panic!("nothing happened at call {nth} of {calls}: {ended:?}"));
            let when = format!("{effect:?} at call {nth} of {calls}, {call}");
            fired += 1;
            if !destination.join(CONTROL_FILE).exists() {
                // Without this file PostgreSQL looks no further.
                if destination.join("PG_VERSION").exists() {
                    assert_no_server(&destination, &when);
                }
                let before = placed(&destination, &whole);
                scene.succeed(&["restore", "main", "latest", text(&destination)]);
                let again = before.iter().find(|(path, number)| inode(&destination.join(path)) != **number);
                // What a failed sync leaves is not believed (invariant 2).
                if effect == CallEffect::Kill || !call.starts_with("sync ") {
                    assert_eq!(again, None, "copied again: {when}");
                }
            }
            let mut server = Postgres::builder().launch_existing(&destination);
            server.wait_until_recovered();
            assert_eq!(server.psql("select count(*) from t"), "2", "{when}");
            drop(server);
            std::fs::remove_dir_all(&destination).expect("the restore is ours");
        }
    }
    println!("restore of a server: disturbed {fired} times");
}

fn disturb(scene: &Scene, destination: &Path, nth: usize, effect: CallEffect) -> Ended {
    let mut command = scene.command();
    let command = command.args(["restore", "main", "latest", text(destination)]);
    SystemCallFault::at(destination, nth, effect).start(command).wait()
}

fn assert_no_server(data: &Path, when: &str) {
    let mut server = Postgres::builder().launch_existing(data);
    assert!(!server.wait_exit().success(), "{when}");
    let log = server.log();
    assert!(log.contains("could not find the database system"), "{log}: {when}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
