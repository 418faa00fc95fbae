//! Incremental backups of real servers, since 17.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{CommandExt as _, OsUser, Postgres, TempDir, pg_tool};
use wal_format::{IncrementalHeader, WalSummary, WalSummaryName};

use crate::real_wal::majors;

#[test]
fn summaries_and_incremental_files_are_read_as_postgresql_reads_them() {
    for major in majors().into_iter().filter(|&major| major >= 17) {
        let server = Postgres::builder().major(major).setting("summarize_wal", "on").start();
        server.psql("create table t as select i, repeat('x', 500) s from generate_series(1, 50000) i; checkpoint");
        let dir = TempDir::new();
        let full = backup(&server, dir.path(), "full", &[]);
        server.psql("update t set s = 'y' where i % 1000 = 0; create table u as select 1; checkpoint");
        let incremental = format!("--incremental={}", full.join("backup_manifest").display());
        let changed = backup(&server, dir.path(), "changed", &[&incremental]);
        assert!(compare_summaries(&server) > 0, "no summaries");
        assert!(check_files(&changed) > 0, "no incremental files");
    }
}

fn backup(server: &Postgres, dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let to = dir.join(name);
    std::fs::create_dir(&to).unwrap();
    let user = OsUser::of_servers();
    user.own_tree(&to);
    let mut command = Command::new(pg_tool(server.major(), "pg_basebackup"));
    user.run(&mut command);
    command.args(["-c", "fast", "--no-sync", "-d", &server.conninfo(), "-D"]).arg(&to).args(options).succeed();
    to
}

/// `TS 1663, DB 5, REL 16384, FORK main: block 7`, and `: limit 7`.
fn compare_summaries(server: &Postgres) -> usize {
    let mut compared = 0;
    for entry in std::fs::read_dir(server.data_dir().join("pg_wal/summaries")).unwrap() {
        let entry = entry.unwrap();
        let Ok(name) = entry.file_name().to_str().unwrap().parse::<WalSummaryName>() else { continue };
        assert_eq!(name.to_string(), entry.file_name().to_str().unwrap());
        let bytes = std::fs::read(entry.path()).unwrap();
        let mut ours = Vec::new();
        for entry in WalSummary::parse(&bytes).unwrap().entries() {
            let relation = entry.relation;
            let what = format!(
                "TS {}, DB {}, REL {}, FORK {}",
                relation.tablespace, relation.database, relation.number, entry.fork
            );
            ours.extend(entry.limit_block.map(|limit| format!("{what}: limit {limit}")));
            ours.extend(entry.blocks().map(|block| format!("{what}: block {block}")));
        }
        let mut command = Command::new(pg_tool(server.major(), "pg_walsummary"));
        let judged = command.arg("-i").arg(entry.path()).succeed();
        let mut theirs: Vec<_> = judged.lines().map(str::to_owned).collect();
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{name}");
        compared += theirs.len();
    }
    compared
}

/// Every incremental file is as long as its header says.
fn check_files(dir: &Path) -> usize {
    let mut blocks = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            blocks += check_files(&entry.path());
        } else if entry.file_name().to_str().unwrap().starts_with("INCREMENTAL.") {
            let bytes = std::fs::read(entry.path()).unwrap();
            let header = IncrementalHeader::parse(&bytes).unwrap();
            assert_eq!(bytes.len() as u64, header.len(8192) + header.blocks.len() as u64 * 8192, "{entry:?}");
            assert!(header.blocks.iter().all(|block| block < 131_072), "{entry:?}");
            blocks += header.blocks.len();
        }
    }
    blocks
}
