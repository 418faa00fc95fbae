//! Backups that Barman took with `backup_compression`, encrypted or not: restored here and through ssh, beside Barman's own
//! restore of them.

use crate::encryption::{ENCRYPTED, ENCRYPTED_BACKUPS, make_key};
use crate::remote_restore::{OtherHost, assert_same_but_for_our_own};
use crate::scene::{Scene, ours};
use std::path::Path;
use test_support::{Barman, OsUser, Postgres};

/// Has Barman take a backup of a server with a tablespace, with these options; a row comes after it.
fn backup_by_barman(tablespace: &Path, options: &[(&str, &str)]) -> Scene {
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    scene.start_streaming();
    std::fs::create_dir(tablespace).expect("directory");
    OsUser::of_servers().own_tree(tablespace);
    scene.server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
    scene.server.psql("create table t (row int) tablespace tbs1; insert into t select generate_series(1, 1000)");
    // Barman takes no backup before some WAL is archived.
    scene.archive_everything();
    scene.configure(&scene.server, options);
    Barman::reference().succeed(&scene.home, &["backup", "--wait", "main"]);
    scene.server.psql("insert into t values (1001)");
    scene.archive_everything();
    scene
}

fn rows(data: &Path) -> String {
    let mut server = Postgres::builder().start_existing(data);
    server.wait_until_recovered();
    server.psql("select count(*) from t")
}

#[test]
fn what_barman_compressed_is_restored_as_barman_restores_it() {
    let host = OtherHost::start();
    for (compression, by) in [("gzip", "client"), ("lz4", "server"), ("zstd", "client")] {
        let place = |name: &str| host.place(&format!("{compression}-{name}"));
        let options = [
            ("backup_compression", compression),
            ("backup_compression_format", "tar"),
            ("backup_compression_location", by),
        ];
        let scene = backup_by_barman(&place("original"), &options);
        let here = |barman: &Barman, name: &str| {
            let (data, tablespace) = (place(name), place(&format!("{name}.tbs1")));
            let relocation = format!("tbs1:{}", tablespace.display());
            let data_text = data.to_str().expect("the path is text");
            barman.succeed(&scene.home, &["restore", "--tablespace", &relocation, "main", "latest", data_text]);
            OsUser::of_servers().own_tree(&data);
            OsUser::of_servers().own_tree(&tablespace);
            data
        };
        let (ours_here, theirs) = (here(&ours(), "ours"), here(&Barman::reference(), "theirs"));
        // Of archives Barman's restores leave the manifest out, which lies beside them.
        let id = ours().succeed(&scene.home, &["list-backups", "--minimal", "main"]);
        std::fs::remove_file(ours_here.join(format!("backup_manifest.{}", id.trim()))).expect("ours keeps it");
        assert_same_but_for_our_own(&ours_here, &theirs);
        let there = host.restored(&ours(), &scene, &format!("{compression}-there"), &[]);
        assert_eq!(rows(&there), "1001", "{compression}, on another host");
        assert_eq!(rows(&ours_here), "1001", "{compression}");
    }
}

#[test]
fn what_barman_encrypted_needs_the_passphrase() {
    let host = OtherHost::start();
    let scene = Scene::of(Postgres::builder().initdb_option("--wal-segsize=1"));
    let _agent = make_key(&scene.home);
    scene.start_streaming();
    scene.server.psql("create table t as select generate_series(1, 1000) as row");
    scene.archive_everything();
    let encrypted = [&ENCRYPTED[..], &ENCRYPTED_BACKUPS].concat();
    scene.configure(&scene.server, &encrypted);
    Barman::reference().succeed(&scene.home, &["backup", "--wait", "main"]);
    let data = host.place("restored");
    let restore = ["restore", "main", "latest", data.to_str().expect("the path is text")];
    scene.configure(&scene.server, &[]);
    let finished = ours().run(&scene.home, &restore);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("encryption_passphrase_command is not set"), "{finished:?}");
    assert!(!data.exists());
    scene.configure(&scene.server, &encrypted);
    // Nothing is staged: where the options name a place for that, nothing appears.
    let staging = host.place("staging");
    let path = staging.to_str().expect("the path is text");
    let options = ["--staging-path", path, "--staging-location", "local", "--local-staging-path", path];
    ours().succeed(&scene.home, &[&restore[..1], &options, &restore[1..]].concat());
    assert!(!staging.exists());
    OsUser::of_servers().own_tree(&data);
    assert_eq!(rows(&data), "1000");
}
