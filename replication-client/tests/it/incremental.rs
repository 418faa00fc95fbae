//! Incremental backups: the manifest of an earlier backup goes up, what has changed since comes down.

use std::fs;
use std::path::Path;
use std::process::Command;

use replication_client::ErrorKind;
use test_support::{CommandExt, OsUser, Postgres, TempDir, pg_tool};

use crate::base_backup::{extract, fast, receive};
use crate::{majors, replication, sql};

/// A backup of `server` in `to`: incremental to the one in `since`, if there is one.
async fn back_up(server: &Postgres, since: Option<&Path>, to: &Path) {
    let mut client = replication(server).await;
    let mut options = fast("chain");
    options.include_wal = true;
    if let Some(since) = since {
        let manifest = fs::read(since.join("backup_manifest")).unwrap();
        client.upload_manifest(&manifest[..]).await.unwrap();
        options.incremental = true;
    }
    let mut backup = client.base_backup(&options).await.unwrap();
    let received = receive(&mut backup).await;
    backup.finish().await.unwrap();
    extract(&received.archives[&None], to);
    fs::write(to.join("backup_manifest"), received.manifest.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_increments_is_what_pg_combinebackup_makes_a_cluster_of() {
    for major in majors().into_iter().filter(|major| *major >= 17) {
        let dir = TempDir::new();
        let server = Postgres::builder().major(major).setting("summarize_wal", "on").start();
        let places = ["full", "first", "second"].map(|name| dir.path().join(name));
        server.psql("create table t as select generate_series(1, 100000) i");
        back_up(&server, None, &places[0]).await;
        server.psql("insert into t values (0)");
        back_up(&server, Some(&places[0]), &places[1]).await;
        server.psql("update t set i = -1 where i = 100000");
        back_up(&server, Some(&places[1]), &places[2]).await;
        let size = |place: &Path| fs::metadata(place.with_extension("tar")).unwrap().len();
        let label = fs::read_to_string(places[2].join("backup_label")).unwrap();
        assert!(label.contains("INCREMENTAL FROM LSN: "), "{major}: {label}");
        // All three have a segment of WAL.
        assert!(size(&places[1]) < size(&places[0]), "{major}");

        let data = dir.path().join("combined");
        OsUser::of_servers().own_tree(dir.path());
        let mut combine = Command::new(pg_tool(major, "pg_combinebackup"));
        OsUser::of_servers().run(&mut combine);
        combine.args(&places).arg("-o").arg(&data).succeed();
        Command::new(pg_tool(major, "pg_verifybackup")).arg("-n").arg(&data).succeed();
        let restored = Postgres::builder().major(major).start_existing(&data);
        assert_eq!(restored.psql("select count(*), min(i), max(i) from t"), "100001|-1|99999", "{major}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_the_server_does_not_like_leaves_the_session_usable() {
    for major in majors().into_iter().filter(|major| *major >= 17) {
        let server = Postgres::builder().major(major).setting("summarize_wal", "on").start();
        let mut client = replication(&server).await;
        let error = client.upload_manifest(&b"{ no manifest"[..]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Server(_)), "{major}: {error:?}");
        // The server finds fault with the beginning, and reads all the rest.
        let long = format!("[{}1]", "1,".repeat(2 << 20));
        let error = client.upload_manifest(long.as_bytes()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Server(_)), "{major}: {error:?}");

        struct Unreadable;
        impl tokio::io::AsyncRead for Unreadable {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Err(std::io::ErrorKind::PermissionDenied.into()))
            }
        }
        let error = client.upload_manifest(Unreadable).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ManifestUnreadable(_)), "{major}: {error:?}");
        assert_eq!(client.show("summarize_wal").await.unwrap(), "on");

        let mut options = fast("nothing uploaded");
        options.incremental = true;
        let error = client.base_backup(&options).await.unwrap_err();
        assert!(error.server_error().is_some_and(|server| server.message().contains("UPLOAD_MANIFEST")), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn older_servers_and_other_sessions_take_no_manifest() {
    for major in majors().into_iter().filter(|major| *major < 17) {
        let server = Postgres::builder().major(major).start();
        let error = replication(&server).await.upload_manifest(&b"{}"[..]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ServerVersion { needs: 170_000, .. }), "{major}: {error:?}");
        let error = sql(&server).await.upload_manifest(&b"{}"[..]).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WrongMode { needs: "replication" }), "{major}: {error:?}");
    }
}
