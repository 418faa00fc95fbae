//! WAL that is stored compressed, from a real server to a restored one.

use std::process::{Command, Stdio};

use crate::recovery::give_home_to_servers;
use crate::scene::Scene;
use test_support::Postgres;

/// Bytes on standard output.
fn fetch(scene: &Scene, options: &[&str], wal: &str) -> Vec<u8> {
    let output = scene.command().arg("get-wal").args(options).args(["main", wal]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn through(program: &str, input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect(program);
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = child.wait_with_output().expect("it ends");
    feeder.join().expect("no panic").expect("it reads all");
    output.stdout
}

#[test]
fn a_compressed_archive_is_restored_fetched_and_recovered_from() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.configure(&scene.server, &[("compression", "zstd"), ("compression_level", "low")]);
    scene.start_streaming();
    scene.server.psql("create table t as select generate_series(1, 1000) i");
    scene.succeed(&["backup", "--wait", "main"]);
    scene.server.psql("insert into t select generate_series(1, 5000); select pg_create_restore_point('here')");
    scene.archive_everything();
    scene.server.psql("insert into t values (0)");
    scene.archive_everything();

    let index = std::fs::read_to_string(scene.home.path().join("main/wals/main-xlog.db")).expect("index");
    assert!(index.lines().all(|line| line.ends_with("\tzstd\tNone")), "{index}");
    let wal = index.lines().nth(1).and_then(|line| line.split('\t').next()).expect("a segment").to_owned();
    let stored = std::fs::read(scene.home.path().join("main/wals/0000000100000000").join(&wal)).expect("stored");
    let plain = fetch(&scene, &[], &wal);
    assert_eq!((plain.len(), stored.len() < plain.len()), (1 << 20, true));
    assert!(fetch(&scene, &["--keep-compression"], &wal) == stored);
    assert!(through("gzip", &fetch(&scene, &["-z"], &wal)) == plain);
    assert!(through("bzip2", &fetch(&scene, &["-j"], &wal)) == plain);
    let output = scene.home.path().join("fetched");
    std::fs::create_dir(&output).expect("the home is ours");
    fetch(&scene, &["-o", output.to_str().expect("text")], &wal);
    assert!(std::fs::read(output.join(&wal)).expect("fetched") == plain);

    let destination = scene.restore("latest", &[]);
    assert_eq!(Postgres::builder().start_existing(&destination).psql("select count(*) from t"), "6001");

    let target = ["--target-name", "here", "--target-action", "promote"];
    let copied = scene.restore("latest", &target);
    let mut restored = Postgres::builder().start_existing(&copied);
    restored.wait_until_recovered();
    assert_eq!(restored.psql("select count(*) from t"), "6000");

    let fetch = give_home_to_servers(&scene);
    let fetched = scene.restore("latest", &[&target[..], &["--get-wal"]].concat());
    let mut restored = Postgres::builder().setting("restore_command", &fetch).start_existing(&fetched);
    restored.wait_until_recovered();
    assert_eq!(restored.psql("select count(*) from t"), "6000");
}

#[test]
fn wal_is_not_archived_otherwise_than_configured() {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.configure(&scene.server, &[("compression", "custom"), ("custom_compression_filter", "cat")]);
    let archive = scene.run(&["archive-wal", "main"]);
    let expected = "cannot be compressed as configured: custom_decompression_filter is not set";
    assert!(archive.code == Some(1) && archive.stderr.contains(expected), "{archive:?}");
    let check = scene.run(&["check", "main"]);
    assert!(
        check.stdout.contains("compression settings: FAILED (custom_decompression_filter is not set)"),
        "{check:?}"
    );
}
