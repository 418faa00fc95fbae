//! `pg_control` of real clusters, judged by pg_controldata.

use std::collections::BTreeMap;
use std::process::Command;

use test_support::{CommandExt as _, Postgres, StopMode, majors, pg_tool};
use wal_format::{ClusterState, ControlFile, PgMajor};

use crate::golden;

#[test]
fn control_files_of_each_version_are_read_as_pg_controldata_reads_them() {
    for major in PgMajor::ALL.map(PgMajor::number) {
        let judged = String::from_utf8(golden(&format!("{major}/pg_control.controldata"))).unwrap();
        let control = compare(major, &golden(&format!("{major}/pg_control.stopped")), &judged);
        assert_eq!((control.state, control.max_connections), (ClusterState::ShutDown, 37));
    }
}

#[test]
fn a_control_file_is_read_as_pg_controldata_reads_it() {
    for major in majors() {
        let mut server = Postgres::builder()
            .major(major)
            .initdb_option("--wal-segsize=1")
            .setting("wal_level", "logical")
            .setting("max_connections", "37")
            .setting("track_commit_timestamp", "on")
            .start();
        server.psql("create table t as select generate_series(1, 1000) i; checkpoint");
        compare_live(&server);
        server.stop(StopMode::Fast);
        assert_eq!(compare_live(&server).state, ClusterState::ShutDown);
    }
}

fn compare_live(server: &Postgres) -> ControlFile {
    let bytes = std::fs::read(server.data_dir().join("global/pg_control")).unwrap();
    let mut command = Command::new(pg_tool(server.major(), "pg_controldata"));
    compare(server.major(), &bytes, &command.env("LC_ALL", "C").arg(server.data_dir()).succeed())
}

/// Compares a control file with what pg_controldata printed about it.
fn compare(major: u32, bytes: &[u8], judged: &str) -> ControlFile {
    let control = ControlFile::parse(bytes, PgMajor::from_version_num(major * 10_000).unwrap()).unwrap();
    let judged: BTreeMap<_, _> =
        judged.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect();
    let zero_padded = |raw: u64| format!("{:X}/{:08X}", raw >> 32, raw & 0xFFFF_FFFF);
    let position = |lsn: wal_format::Lsn| match major {
        19.. => zero_padded(lsn.as_u64()),
        _ => lsn.to_string(),
    };
    let checkpoint = &control.checkpoint;
    for (name, ours) in [
        ("Database system identifier", control.system_id.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Latest checkpoint location", position(control.checkpoint_lsn)),
        ("Latest checkpoint's REDO location", position(checkpoint.redo)),
        ("Latest checkpoint's TimeLineID", checkpoint.timeline.to_string()),
        ("Latest checkpoint's NextXID", format!("{}:{}", checkpoint.next_xid >> 32, checkpoint.next_xid as u32)),
        ("Latest checkpoint's NextOID", checkpoint.next_oid.to_string()),
        ("Latest checkpoint's NextMultiOffset", checkpoint.next_multixact_offset.to_string()),
        ("Latest checkpoint's oldestXID", checkpoint.oldest_xid.to_string()),
        ("Latest checkpoint's newestCommitTsXid", checkpoint.newest_commit_timestamp_xid.to_string()),
        ("wal_level setting", format!("{:?}", control.wal_level).to_lowercase()),
        ("max_connections setting", control.max_connections.to_string()),
        ("max_locks_per_xact setting", control.max_locks_per_transaction.to_string()),
        ("track_commit_timestamp setting", if control.track_commit_timestamp { "on" } else { "off" }.to_owned()),
        ("Database block size", control.block_size.to_string()),
        ("Blocks per segment of large relation", control.blocks_per_file.to_string()),
        ("WAL block size", control.wal_block_size.to_string()),
        ("Bytes per WAL segment", control.segment_size.to_string()),
        ("Data page checksum version", control.data_checksum_version.to_string()),
    ] {
        assert_eq!(judged.get(name), Some(&ours.as_str()), "{name} of {major}");
    }
    control
}
