//! Base backups of real servers, with pg_verifybackup and a started server as judges.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use barman_backup::{BaseBackupError, BaseBackupEvent, BaseBackupOptions, BaseBackupResult, run};
use barman_catalog::BackupData;
use barman_storage::{Cancel, Dir};
use replication_client::{Client, Mode};
use test_support::{CommandExt, OsUser, PgbenchLoad, Postgres, TempDir, pg_tool};

struct Taken {
    result: Result<BaseBackupResult, BaseBackupError>,
    events: Vec<BaseBackupEvent>,
}

/// Takes a backup into `<root>/data` and `<root>/<oid>`.
fn take(
    server: &Postgres,
    root: &Path,
    options: &BaseBackupOptions,
    on_event: impl Fn(&BaseBackupEvent, &Cancel) + Send + Sync,
) -> Taken {
    // As Barman's directories are: the server that is started from the backup has to get through.
    Dir::create(root, 0o755).unwrap();
    let root = root.to_owned();
    let create = move |oids: &[u32]| {
        let dir = |name: String| Dir::create(&root.join(name), 0o700).unwrap();
        let tablespaces = oids.iter().map(|oid| (*oid, dir(oid.to_string()))).collect();
        Ok(BackupData { data: dir("data".to_owned()), tablespaces })
    };
    let (cancel, events) = (Cancel::new(), Mutex::new(Vec::new()));
    let note = |event: &BaseBackupEvent| {
        on_event(event, &cancel);
        events.lock().unwrap().push(event.clone());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let client = Client::connect(&crate::config(&server.conninfo()), Mode::PhysicalReplication).await.unwrap();
        run(client, options, create, &cancel, &note).await
    });
    Taken { result, events: events.into_inner().unwrap() }
}

fn fast() -> BaseBackupOptions {
    BaseBackupOptions { fast_checkpoint: true, ..BaseBackupOptions::default() }
}

fn verify(data: &Path) {
    // Without the WAL, which comes by another way.
    Command::new(pg_tool(15, "pg_verifybackup")).arg("-n").arg(data).succeed();
}

fn owned_directory(dir: &TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::create_dir(&path).unwrap();
    OsUser::of_servers().own_tree(&path);
    path
}

#[test]
fn a_backup_under_load_is_what_pg_verifybackup_and_a_server_expect() {
    let dir = TempDir::new();
    let (archive, tablespace) = (owned_directory(&dir, "archive"), owned_directory(&dir, "tbs1"));
    let server = Postgres::builder()
        .setting("archive_mode", "on")
        .setting("archive_command", &format!("cp %p {}/%f", archive.display()))
        .start();
    server.psql(&format!("create tablespace tbs1 location '{}'", tablespace.display()));
    server.psql("create table t tablespace tbs1 as select generate_series(1, 50000) as i");
    PgbenchLoad::initialise(&server, 2);
    let load = PgbenchLoad::start(&server, 2);
    let root = dir.path().join("20261120T184703");
    let Taken { result, events } = take(&server, &root, &fast(), |_, _| {});
    load.stop();
    let result = result.unwrap();
    let rows = "select count(*), sum(abalance) from pgbench_accounts";

    verify(&root.join("data"));
    let oid = server.psql("select oid from pg_tablespace where spcname = 'tbs1'");
    let link = root.join("data/pg_tblspc").join(&oid);
    assert_eq!(std::fs::read_link(&link).unwrap(), root.join(&oid));
    assert!(!root.join("data/tablespace_map").exists());
    assert!(result.start < result.end);
    assert_eq!(result.timeline, result.end_timeline);
    let [announced] = &result.tablespaces[..] else { panic!("{:?}", result.tablespaces) };
    assert_eq!(
        (announced.oid.map(|oid| oid.to_string()), announced.location.as_deref()),
        (Some(oid.clone()), tablespace.to_str())
    );
    assert_eq!(result.label.start_lsn, result.start);
    assert_eq!(result.label_text, std::fs::read_to_string(root.join("data/backup_label")).unwrap());
    assert!(result.label_text.contains("LABEL: pg_basebackup base backup\n"));
    assert_eq!(result.size, sum_of_sizes(&root));
    let mode = |path: &str| std::fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("data/PG_VERSION"), mode("data/base"), mode("data/backup_manifest")), (0o600, 0o700, 0o600));

    let total = events.iter().find_map(|event| match event {
        BaseBackupEvent::Started { total_bytes, .. } => Some(*total_bytes),
        _ => None,
    });
    let received = events.iter().rev().find_map(|event| match event {
        BaseBackupEvent::Received { bytes } => Some(*bytes),
        _ => None,
    });
    let (total, received) = (total.unwrap() as f64, received.unwrap() as f64);
    assert!((0.8..1.5).contains(&(received / total)), "{received} of {total}");
    assert!(events.contains(&BaseBackupEvent::Verified { files: result.files }));

    server.switch_wal();
    let last = server.switch_wal();
    server.wait_until(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver"));
    let before = server.psql(rows);
    drop(server);
    let restored = start_restored(&root, &oid, &archive);
    assert_eq!(restored.psql("select sum(i) from t"), "1250025000");
    assert_eq!(restored.psql(rows), before);
}

/// Starts a server right on the backup, with the archived WAL of after.
fn start_restored(root: &Path, oid: &str, archive: &Path) -> Postgres {
    OsUser::of_servers().own_tree(&root.join(oid));
    std::fs::write(root.join("data/recovery.signal"), "").unwrap();
    let mut restored = Postgres::builder()
        .setting("archive_mode", "off")
        .setting("restore_command", &format!("cp {}/%f %p", archive.display()))
        .start_existing(&root.join("data"));
    restored.wait_until_recovered();
    restored
}

fn sum_of_sizes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => sum_of_sizes(&entry.path()),
            metadata if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}

#[test]
fn a_cancelled_backup_ends_soon_and_without_a_manifest() {
    let dir = TempDir::new();
    let server = Postgres::start();
    // So slow that it would take minutes.
    let slow = BaseBackupOptions { max_rate_kb: Some(64), ..fast() };
    let root = dir.path().join("backup");
    let taken = take(&server, &root, &slow, |event, cancel| {
        if matches!(event, BaseBackupEvent::Received { .. }) {
            cancel.cancel();
        }
    });
    assert!(matches!(taken.result, Err(BaseBackupError::Cancelled(_))));
    assert!(root.join("data").is_dir());
    assert!(!root.join("data/backup_manifest").exists());
}

#[test]
fn a_server_that_dies_fails_the_backup() {
    let dir = TempDir::new();
    let server = Postgres::start();
    let slow = BaseBackupOptions { max_rate_kb: Some(64), ..fast() };
    let root = dir.path().join("backup");
    let killed = std::sync::Once::new();
    let taken = take(&server, &root, &slow, |event, _| {
        if matches!(event, BaseBackupEvent::Received { .. }) {
            killed.call_once(|| {
                let walsenders = "select pg_terminate_backend(pid) from pg_stat_replication";
                server.psql(walsenders);
            });
        }
    });
    let error = taken.result.unwrap_err();
    assert!(matches!(error, BaseBackupError::Connection(_)) && error.is_transient(), "{error:?}");
    assert!(!root.join("data/backup_manifest").exists());
}
