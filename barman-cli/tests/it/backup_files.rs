//! `list-files`, `verify-backup`, `generate-manifest` and `check-wal-archive`, beside Barman 3.19.1's.

use crate::scene::Scene;
use std::path::{Path, PathBuf};
use test_support::{Barman, OsUser, Postgres};

/// A server with a tablespace, and a backup of it.
fn backed_up() -> Scene {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    let tablespace = scene.server.data_dir().with_file_name("tablespace");
    std::fs::create_dir(&tablespace).expect("the server's directory is ours");
    OsUser::of_servers().own_tree(&tablespace);
    scene.start_streaming();
    scene.server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
    scene.server.psql("create table t tablespace tbs1 as select generate_series(1, 1000) as row");
    scene.succeed(&["backup", "--wait", "main"]);
    scene.archive_everything();
    scene
}

fn data(scene: &Scene) -> PathBuf {
    let base = scene.home.path().join("main/base");
    let backup = std::fs::read_dir(base).expect("a backup").next().expect("one").expect("entry");
    backup.path().join("data")
}

/// Runs both, which must agree on all that they print, but for the order of lines.
#[track_caller]
fn check_same(scene: &Scene, arguments: &[&str]) {
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (theirs, ours) = (Barman::reference().run(&scene.home, arguments), scene.run(arguments));
    assert_eq!(ours.code, theirs.code, "{arguments:?}: {ours:?} {theirs:?}");
    assert_eq!(sorted(&ours.stdout), sorted(&theirs.stdout), "{arguments:?}");
    // Ours may say more: hints.
    let told = sorted(&ours.stderr);
    let missing: Vec<_> = sorted(&theirs.stderr).into_iter().filter(|line| !told.contains(line)).collect();
    assert!(missing.is_empty(), "{arguments:?}: {missing:?} not in {told:?}");
}

#[test]
fn files_of_a_backup_are_listed_as_by_barman() {
    let scene = backed_up();
    let wals = scene.home.path().join("main/wals");
    let mut index = std::fs::read_to_string(wals.join("main-xlog.db")).expect("the index");
    for name in ["00000002.history", "000000020000000000000009", "00000001000000000000000A.partial"] {
        index += &format!("{name}\t5\t1795193057.0\tNone\tNone\n");
    }
    std::fs::write(wals.join("main-xlog.db"), index).expect("the home is ours");
    for target in ["standalone", "data", "wal", "full"] {
        check_same(&scene, &["list-files", "main", "latest", "--target", target]);
    }
    check_same(&scene, &["list-files", "--list-empty-directories", "main", "latest"]);
    check_same(&scene, &["list-files", "main", "nonsense"]);
    let files = scene.succeed(&["list-files", "main", "latest"]);
    assert!(files.lines().all(|line| Path::new(line).exists()), "{files}");

    check_same(&scene, &["check-wal-archive", "main"]);
    for timeline in ["1", "2", "3"] {
        check_same(&scene, &["check-wal-archive", "--timeline", timeline, "main"]);
        check_same(&scene, &["-f", "json", "check-wal-archive", "--timeline", timeline, "main"]);
    }
}

#[test]
fn a_backup_is_compared_with_its_manifest_as_by_pg_verifybackup() {
    let scene = backed_up();
    let data = data(&scene);
    check_same(&scene, &["verify-backup", "main", "latest"]);
    check_same(&scene, &["-f", "json", "verify-backup", "main", "latest"]);

    // Each kind of damage by itself: the order of several is nobody's.
    let control = std::fs::read(data.join("global/pg_control")).expect("a backup has one");
    let damages: [&dyn Fn(); 5] = [
        &|| std::fs::write(data.join("global/pg_control"), [&control[..], b"x"].concat()).expect("ours"),
        &|| {
            let mut flipped = control.clone();
            flipped[100] ^= 1;
            std::fs::write(data.join("global/pg_control"), flipped).expect("ours");
        },
        &|| std::fs::remove_file(data.join("global/pg_control")).expect("ours"),
        &|| std::fs::write(data.join("core.123"), "dumped").expect("ours"),
        &|| std::fs::write(data.join("postgresql.auto.conf"), "# is ignored").expect("ours"),
    ];
    for damage in damages {
        damage();
        check_same(&scene, &["verify-backup", "main", "latest"]);
        _ = std::fs::remove_file(data.join("core.123"));
        std::fs::write(data.join("global/pg_control"), &control).expect("ours");
    }
    std::fs::remove_file(data.join("backup_manifest")).expect("ours");
    check_same(&scene, &["verify-backup", "main", "latest"]);
}

#[test]
fn a_manifest_is_generated_that_pg_verifybackup_accepts() {
    let scene = backed_up();
    let data = data(&scene);
    let barman = Barman::reference();
    let again = scene.run(&["generate-manifest", "main", "latest"]);
    let there = format!("File {} already exists.", data.join("backup_manifest").display());
    assert!(again.code == Some(1) && again.stderr.contains(&there), "{again:?}");
    std::fs::remove_file(data.join("backup_manifest")).expect("ours");
    let said = scene.succeed(&["generate-manifest", "main", "latest"]);
    assert_eq!(said, "Backup manifest for backup 'latest' successfully generated for server 'main'\n");
    // Of PostgreSQL itself; the tablespace is in it.
    barman.succeed(&scene.home, &["verify-backup", "main", "latest"]);
    scene.succeed(&["verify-backup", "main", "latest"]);
}
