//! Base backups that the server compresses, or that do not come here at all.

use std::fs;
use std::process::Command;

use replication_client::{BackupTarget, BaseBackupOptions, ErrorKind, ServerCompression};
use test_support::{CommandExt, OsUser, Postgres, TempDir, pg_tool};

use crate::base_backup::{Received, extract, fast, receive};
use crate::{majors, replication};

const ALL: [(ServerCompression, &str, &[u8]); 4] = [
    (ServerCompression::Gzip { level: Some(1) }, "", &[0x1f, 0x8b]),
    (ServerCompression::Lz4 { level: Some(1) }, "--with-lz4", &[0x04, 0x22, 0x4d, 0x18]),
    (
        ServerCompression::Zstd { level: Some(1), workers: None, long_distance: false },
        "--with-zstd",
        &[0x28, 0xb5, 0x2f, 0xfd],
    ),
    (ServerCompression::Gzip { level: None }, "", &[0x1f, 0x8b]),
];

async fn back_up(server: &Postgres, options: &BaseBackupOptions) -> Received {
    let mut backup = replication(server).await.base_backup(options).await.unwrap();
    let received = receive(&mut backup).await;
    backup.finish().await.unwrap();
    received
}

fn verify(major: u32, received: &Received, dir: &TempDir, name: &str) {
    let data = dir.path().join(name);
    extract(&received.archives[&None], &data);
    fs::write(data.join("backup_manifest"), received.manifest.as_ref().unwrap()).unwrap();
    Command::new(pg_tool(major, "pg_verifybackup")).arg("-n").arg(&data).succeed();
}

/// Whether the server was built with what `--with-` calls so.
fn can(server: &Postgres, with: &str) -> bool {
    server.psql("select setting from pg_config where name = 'CONFIGURE'").contains(with)
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_come_compressed_or_as_they_were() {
    for major in majors().into_iter().filter(|major| *major >= 15) {
        let dir = TempDir::new();
        let server = Postgres::builder().major(major).start();
        for (compression, with, magic) in ALL {
            let mut options = fast("compressed");
            options.compression = Some(compression);
            if !can(&server, with) {
                let error = replication(&server).await.base_backup(&options).await.unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::Server(_)), "{major} {compression}: {error:?}");
                continue;
            }
            let compressed = back_up(&server, &options).await;
            assert!(compressed.archives[&None].starts_with(magic), "{major} {compression}");

            options.decompress = true;
            let plain = back_up(&server, &options).await;
            assert!(plain.archives[&None].len() > 2 * compressed.archives[&None].len(), "{major} {compression}");
            verify(major, &plain, &dir, &compression.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_workers_and_long_distances_are_the_servers_to_judge() {
    for major in majors().into_iter().filter(|major| *major >= 15) {
        let server = Postgres::builder().major(major).start();
        let mut options = fast("detailed");
        options.compression = Some(ServerCompression::Gzip { level: Some(77) });
        let error = replication(&server).await.base_backup(&options).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Server(_)), "{major}: {error:?}");
        if can(&server, "--with-zstd") {
            let long_distance = major >= 16;
            options.compression = Some(ServerCompression::Zstd { level: Some(-3), workers: None, long_distance });
            options.decompress = true;
            verify(major, &back_up(&server, &options).await, &TempDir::new(), "data");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_can_stay_on_the_server_or_go_nowhere() {
    for major in majors().into_iter().filter(|major| *major >= 15) {
        let dir = TempDir::new();
        let server = Postgres::builder().major(major).start();
        let path = dir.path().join("there");
        fs::create_dir(&path).unwrap();
        OsUser::of_servers().own_tree(&path);
        let mut options = fast("elsewhere");
        options.target = BackupTarget::Server { path: path.display().to_string() };
        let received = back_up(&server, &options).await;
        assert!(received.archives[&None].is_empty() && received.progress > 0, "{major}");
        assert!(path.join("base.tar").is_file() && path.join("backup_manifest").is_file(), "{major}");

        options.target = BackupTarget::Blackhole;
        let received = back_up(&server, &options).await;
        assert!(received.archives[&None].is_empty() && received.manifest.unwrap().is_empty(), "{major}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn older_servers_are_not_asked_for_what_they_cannot_do() {
    for major in majors().into_iter().filter(|major| *major < 15) {
        let server = Postgres::builder().major(major).start();
        let mut options = fast("too new");
        options.compression = Some(ServerCompression::Gzip { level: None });
        let error = replication(&server).await.base_backup(&options).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ServerVersion { needs: 150_000, .. }), "{major}: {error:?}");
    }
}
