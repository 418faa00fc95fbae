//! The examples do what they say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use test_support::{CommandExt, OsUser, Postgres, TempDir, pg_tool};
use tokio::sync::mpsc;

use crate::base_backup::extract;
use crate::{config, majors, small_segments};

#[allow(dead_code, reason = "main")]
#[path = "../../examples/base_backup.rs"]
mod base_backup;
#[allow(dead_code, reason = "main")]
#[path = "../../examples/commit_times.rs"]
mod commit_times;
#[allow(dead_code, reason = "main")]
#[path = "../../examples/receive_wal.rs"]
mod receive_wal;

/// Runs the receiver until the segment is complete, then kills it.
async fn receive_until(server: &Postgres, directory: &Path, segment: &str) {
    let (config, segment) = (config(&server.conninfo()), directory.join(segment));
    tokio::select! {
        ended = receive_wal::receive(&config, directory) => panic!("{:?}", ended.err().map(|error| error.to_string())),
        () = appears(&segment) => {}
    }
}

async fn appears(path: &Path) {
    for _ in 0..600 {
        if path.is_file() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} does not appear", path.display());
}

fn same(server: &Postgres, directory: &Path, segment: &str) -> bool {
    fs::read(server.data_dir().join("pg_wal").join(segment)).unwrap() == fs::read(directory.join(segment)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_received_resumed_and_followed_onto_the_next_timeline() {
    for major in majors() {
        let directory = TempDir::new();
        let primary = small_segments(major).setting("wal_keep_size", "64MB").start();
        let mut standby = small_segments(major).setting("wal_keep_size", "64MB").start_standby_of(&primary);
        // The receiver starts at the segment that is current when it connects, so one comes before.
        let first = primary.psql("select pg_walfile_name(pg_current_wal_lsn())");
        let received = async {
            appears(&directory.path().join(format!("{first}.partial"))).await;
            tokio::task::block_in_place(|| primary.psql("create table t as select generate_series(1, 30000) i"));
            let last = tokio::task::block_in_place(|| primary.switch_wal());
            appears(&directory.path().join(&last)).await;
            last
        };
        let config = config(&primary.conninfo());
        let last = tokio::select! {
            ended = receive_wal::receive(&config, directory.path()) => panic!("{:?}", ended.err().map(|error| error.to_string())),
            last = received => last,
        };
        assert!(same(&primary, directory.path(), &first) && same(&primary, directory.path(), &last), "{major}");

        // It goes on behind what it has.
        let next = primary.switch_wal();
        receive_until(&primary, directory.path(), &next).await;
        assert!(same(&primary, directory.path(), &next), "{major}");

        let end = primary.psql("select pg_current_wal_lsn()");
        standby.wait_until(&format!("select pg_last_wal_replay_lsn() >= '{end}'"));
        standby.promote();
        let promoted = standby.switch_wal();
        assert!(promoted.starts_with("00000002"));
        receive_until(&standby, directory.path(), &promoted).await;
        assert!(same(&standby, directory.path(), &promoted), "{major}");
        assert!(same(&standby, directory.path(), "00000002.history"), "{major}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_from_a_base_backup_in_tar_files() {
    for major in majors() {
        let dir = TempDir::new();
        let server = Postgres::builder().major(major).start();
        server.psql("create table t as select 7 i");
        let tar = dir.path().join("tar");
        fs::create_dir(&tar).unwrap();
        base_backup::back_up(&config(&server.conninfo()), &tar).await.unwrap();
        assert!(base_backup::back_up(&config(&server.conninfo()), &tar).await.is_err(), "a backup replaced another");

        let data = dir.path().join("data");
        extract(&fs::read(tar.join("base.tar")).unwrap(), &data);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        fs::copy(tar.join("backup_manifest"), data.join("backup_manifest")).unwrap();
        Command::new(pg_tool(major, "pg_verifybackup")).arg("-n").arg(&data).succeed();
        OsUser::of_servers().own_tree(dir.path());
        let restored = Postgres::builder().major(major).start_existing(&data);
        assert_eq!(restored.psql("select i from t"), "7", "{major}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_seen_with_the_servers_own_times() {
    for major in majors() {
        let server = Postgres::builder().major(major).setting("track_commit_timestamp", "on").start();
        let (sender, mut commits) = mpsc::unbounded_channel();
        let config = config(&server.conninfo());
        let xids = server.psql("create table t (i int); insert into t values (1); select xmin from t");
        let xid: u32 = xids.parse().unwrap();
        let micros = format!("select (extract(epoch from pg_xact_commit_timestamp('{xid}')) * 1000000)::bigint");
        let expected: i64 = server.psql(&micros).parse().unwrap();
        let found = async {
            loop {
                let (seen, at) = commits.recv().await.unwrap();
                if seen == xid {
                    return at;
                }
            }
        };
        let at = tokio::select! {
            ended = commit_times::follow(&config, |commit| sender.send((commit.xid, commit.at.unix_micros())).unwrap()) => {
                panic!("{:?}", ended.err().map(|error| error.to_string()))
            }
            at = tokio::time::timeout(Duration::from_secs(60), found) => at.unwrap(),
        };
        // Before 14 the server computes with floating point.
        assert!((at - expected).abs() <= 1, "{major}: {at} {expected}");
    }
}
