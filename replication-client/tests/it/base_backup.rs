//! Base backups.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use replication_client::{BackupEvent, BaseBackup, BaseBackupOptions, ErrorKind};
use test_support::{CommandExt, OsUser, Postgres, TempDir, pg_tool};
use wal_format::{ChecksumAlgorithm, TimelineId};

use crate::{majors, replication};

/// What a backup consisted of.
#[derive(Default)]
pub(crate) struct Received {
    /// By tablespace; the data directory has none.
    pub(crate) archives: BTreeMap<Option<u32>, Vec<u8>>,
    pub(crate) manifest: Option<Vec<u8>>,
    pub(crate) progress: u64,
    notices: Vec<String>,
}

pub(crate) async fn receive(backup: &mut BaseBackup) -> Received {
    let mut received = Received::default();
    let mut current = None;
    while let Some(event) = backup.next().await.unwrap() {
        match event {
            BackupEvent::Archive(tablespace) => {
                current = tablespace.oid;
                assert!(received.archives.insert(current, Vec::new()).is_none());
            }
            BackupEvent::Data(data) => received.archives.get_mut(&current).unwrap().extend_from_slice(&data),
            BackupEvent::Progress(bytes) => received.progress = bytes,
            BackupEvent::ManifestBegin => received.manifest = Some(Vec::new()),
            BackupEvent::Manifest(data) => received.manifest.as_mut().unwrap().extend_from_slice(&data),
            BackupEvent::Notice(notice) => received.notices.push(notice.message().to_owned()),
        }
    }
    received
}

pub(crate) fn fast(label: &str) -> BaseBackupOptions {
    let mut options = BaseBackupOptions::new(label);
    options.fast_checkpoint = true;
    options
}

pub(crate) fn extract(archive: &[u8], to: &Path) {
    let file = to.with_extension("tar");
    fs::create_dir_all(to).unwrap();
    fs::write(&file, archive).unwrap();
    Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(to).succeed();
}

/// A server with a tablespace that holds a table; and the tablespace's oid.
fn with_tablespace(major: u32, dir: &TempDir) -> (Postgres, u32) {
    let location = dir.path().join(format!("tablespace {major}"));
    fs::create_dir(&location).unwrap();
    OsUser::of_servers().own_tree(&location);
    let server = Postgres::builder().major(major).start();
    server.psql(&format!("create tablespace tbs location '{}'", location.display()));
    server.psql("create table t tablespace tbs as select generate_series(1, 100000) i");
    let oid = server.psql("select oid from pg_tablespace where spcname = 'tbs'");
    (server, oid.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_is_what_pg_verifybackup_expects() {
    for major in majors() {
        let dir = TempDir::new();
        let (server, oid) = with_tablespace(major, &dir);
        let mut backup = replication(&server).await.base_backup(&fast("it's mine")).await.unwrap();
        let start = backup.start().clone();
        assert_eq!(start.tablespaces.iter().map(|tablespace| tablespace.oid).collect::<Vec<_>>(), [Some(oid), None]);
        let location = dir.path().join(format!("tablespace {major}"));
        assert_eq!(start.tablespaces[0].location.as_deref(), location.to_str());
        assert!(start.tablespaces.iter().all(|tablespace| tablespace.size_kb.is_some_and(|size| size > 1000)));

        let received = receive(&mut backup).await;
        let (end, mut client) = backup.finish().await.unwrap();
        assert!(end.end_lsn > start.start_lsn);
        assert_eq!((start.timeline, end.timeline), (TimelineId::FIRST, TimelineId::FIRST));
        assert_eq!(client.identify_system().await.unwrap().timeline, TimelineId::FIRST);
        assert_eq!(received.progress > 0, major >= 15);

        let data = dir.path().join("data");
        extract(&received.archives[&None], &data);
        extract(&received.archives[&Some(oid)], &dir.path().join("tbs"));
        let link = data.join("pg_tblspc").join(oid.to_string());
        assert_eq!(fs::read_link(&link).unwrap(), location);
        fs::remove_file(&link).unwrap();
        symlink(dir.path().join("tbs"), &link).unwrap();
        fs::write(data.join("backup_manifest"), received.manifest.unwrap()).unwrap();
        Command::new(pg_tool(major, "pg_verifybackup")).arg("-n").arg(&data).succeed();
        assert!(fs::read_to_string(data.join("backup_label")).unwrap().contains("LABEL: it's mine\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablespace_map_takes_the_place_of_links() {
    for major in majors() {
        let dir = TempDir::new();
        let (server, oid) = with_tablespace(major, &dir);
        let mut options = fast("map");
        options.tablespace_map = true;
        let mut backup = replication(&server).await.base_backup(&options).await.unwrap();
        let received = receive(&mut backup).await;
        let data = dir.path().join("data");
        extract(&received.archives[&None], &data);
        assert!(fs::read_to_string(data.join("tablespace_map")).unwrap().starts_with(&format!("{oid} ")));
        assert_eq!(fs::read_dir(data.join("pg_tblspc")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_reach_the_server() {
    for major in majors() {
        let server = Postgres::builder().major(major).start();
        let mut options = fast("options");
        options.manifest_checksums = ChecksumAlgorithm::Sha256;
        options.include_wal = true;
        options.wait_for_archive = false;
        options.verify_checksums = false;
        options.progress = false;
        options.max_rate_kb = Some(1_000_000);
        let mut backup = replication(&server).await.base_backup(&options).await.unwrap();
        assert!(backup.start().tablespaces[0].size_kb.is_none());
        let received = receive(&mut backup).await;
        let manifest = String::from_utf8(received.manifest.unwrap()).unwrap();
        assert!(manifest.contains("\"Checksum-Algorithm\": \"SHA256\""));
        // Files of WAL are in the archive, but never in the manifest.
        let names = String::from_utf8_lossy(&received.archives[&None]).contains("pg_wal/0000000100000000");
        assert!(names);

        let mut options = fast("no manifest");
        options.manifest = false;
        let mut backup = replication(&server).await.base_backup(&options).await.unwrap();
        assert!(receive(&mut backup).await.manifest.is_none());
        backup.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_waits_for_archiving_says_so() {
    let server = Postgres::builder().setting("archive_mode", "on").setting("archive_command", "false").start();
    let mut backup = replication(&server).await.base_backup(&fast("waits")).await.unwrap();
    let notice = async {
        loop {
            if let Some(BackupEvent::Notice(notice)) = backup.next().await.unwrap() {
                return notice;
            }
        }
    };
    let notice = tokio::time::timeout(Duration::from_secs(60), notice).await.unwrap();
    assert!(notice.message().contains("waiting for required WAL segments to be archived"), "{notice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_backup_ends_it_on_the_server() {
    let server = Postgres::start();
    let mut options = fast("dropped");
    options.max_rate_kb = Some(32);
    let mut backup = replication(&server).await.base_backup(&options).await.unwrap();
    backup.next().await.unwrap();
    server.wait_until("select count(*) = 1 from pg_stat_progress_basebackup");
    drop(backup);
    server.wait_until("select count(*) = 0 from pg_stat_progress_basebackup");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_is_discarded() {
    let server = Postgres::start();
    let backup = replication(&server).await.base_backup(&fast("discarded")).await.unwrap();
    let (end, mut client) = backup.finish().await.unwrap();
    assert!(end.end_lsn <= client.identify_system().await.unwrap().position);
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_the_server_refuses_are_its_error() {
    let server = Postgres::start();
    let mut options = fast("too slow");
    options.max_rate_kb = Some(1);
    let error = replication(&server).await.base_backup(&options).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Server(_)), "{error:?}");
    assert!(error.to_string().starts_with("cannot take a base backup (host"), "{error}");
}
