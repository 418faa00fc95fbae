//! Incremental backups of real servers, since 17.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{CommandExt as _, OsUser, Postgres, TempDir, majors, pg_tool};
use wal_format::{
    DataPageHeader, Fork, IncrementalHeader, Lsn, SummaryBuilder, WalSummary, WalSummaryName, data_page_checksum,
};

use crate::golden;

/// A summary of each version: it begins where the full backup does, and ends with the checkpoint before the incremental
/// one.
const SUMMARIES: [(u32, &str, u64); 3] = [
    (17, "000000010000000000A000280000000000B4D2B8.summary", 0x00B4_D2B8),
    (18, "000000010000000000A0002800000000027B2028.summary", 0x027B_2028),
    (19, "000000010000000000A000280000000000B50C18.summary", 0x00B5_0C18),
];
/// The tables in them.
const CHANGED: u32 = 16384;
const CUT: u32 = 16389;
const LARGE: u32 = 16394;

#[test]
fn summaries_of_each_version_are_read_as_pg_walsummary_reads_them() {
    for (major, name, end) in SUMMARIES {
        let bytes = golden(&format!("{major}/{name}"));
        let judged = String::from_utf8(golden(&format!("{major}/{name}.walsummary"))).unwrap();
        assert!(compare(name, &bytes, &judged) >= 7, "{major}");
        let name: WalSummaryName = name.parse().unwrap();
        assert_eq!((name.timeline.get(), name.start, name.end), (1, Lsn::new(0x00A0_0028), Lsn::new(end)));
    }
}

#[test]
fn summaries_of_each_version_are_written_as_the_server_wrote_them() {
    for (major, name, _) in SUMMARIES {
        let bytes = golden(&format!("{major}/{name}"));
        assert!(written_again(&bytes) == bytes, "{major}");
    }
}

fn written_again(summary: &[u8]) -> Vec<u8> {
    let mut builder = SummaryBuilder::new();
    builder.add(&WalSummary::parse(summary).unwrap());
    builder.to_bytes()
}

/// More than 4095 blocks of one chunk are a bitmap.
#[test]
fn a_table_that_grew_is_a_bitmap_in_its_summary() {
    let (_, name, _) = SUMMARIES[1];
    assert_eq!(summarised(&golden(&format!("18/{name}")), LARGE), (None, (0..4200).collect()));
}

#[test]
fn an_incremental_file_holds_the_blocks_that_wal_changed() {
    for (major, summary, _) in SUMMARIES {
        let file = golden(&format!("{major}/INCREMENTAL.{CHANGED}"));
        let header = IncrementalHeader::parse(&file).unwrap();
        let blocks: Vec<_> = header.blocks.iter().collect();
        assert_eq!((blocks.as_slice(), header.truncation_block_length), (&[3, 7][..], 12));
        assert_eq!(summarised(&golden(&format!("{major}/{summary}")), CHANGED), (None, blocks.clone()));
        // A page's checksum depends on its number.
        let (pages, rest) = file[usize::try_from(header.len(8192)).unwrap()..].as_chunks::<8192>();
        assert_eq!((pages.len(), rest), (blocks.len(), &[][..]));
        for (page, number) in pages.iter().zip(blocks) {
            assert_eq!(DataPageHeader::parse(page).unwrap().checksum, data_page_checksum(page, number));
        }
    }
}

#[test]
fn an_incremental_file_of_a_table_that_was_cut_holds_no_block() {
    for (major, summary, _) in SUMMARIES {
        let file = golden(&format!("{major}/INCREMENTAL.{CUT}"));
        let header = IncrementalHeader::parse(&file).unwrap();
        assert!(header.is_empty());
        assert_eq!((header.truncation_block_length, header.len(8192)), (6, file.len() as u64));
        assert_eq!(summarised(&golden(&format!("{major}/{summary}")), CUT), (Some(6), Vec::new()));
    }
}

/// What a summary says about the contents of a table.
fn summarised(summary: &[u8], table: u32) -> (Option<u32>, Vec<u32>) {
    let summary = WalSummary::parse(summary).unwrap();
    let entry = summary.entries().find(|entry| entry.relation.number == table && entry.fork == Fork::Main).unwrap();
    let mut blocks: Vec<_> = entry.blocks().collect();
    blocks.sort_unstable();
    (entry.limit_block, blocks)
}

#[test]
#[ignore = "needs a server of 17 or later: name one in PG_MAJORS"]
fn what_a_server_writes_now_is_read_as_its_own_programs_read_it() {
    let majors: Vec<_> = majors().into_iter().filter(|&major| major >= 17).collect();
    assert!(!majors.is_empty(), "PG_MAJORS names no version from 17 on");
    for major in majors {
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

pub(crate) fn backup(server: &Postgres, dir: &Path, name: &str, options: &[&str]) -> PathBuf {
    let to = dir.join(name);
    std::fs::create_dir(&to).unwrap();
    let user = OsUser::of_servers();
    user.own_tree(&to);
    let mut command = Command::new(pg_tool(server.major(), "pg_basebackup"));
    user.run(&mut command);
    command.args(["-c", "fast", "--no-sync", "-d", &server.conninfo(), "-D"]).arg(&to).args(options).succeed();
    to
}

fn compare_summaries(server: &Postgres) -> usize {
    let mut compared = 0;
    for entry in std::fs::read_dir(server.data_dir().join("pg_wal/summaries")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        // The one that is being written has another.
        if name.parse::<WalSummaryName>().is_ok() {
            let judged = Command::new(pg_tool(server.major(), "pg_walsummary")).arg(entry.path()).succeed();
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(written_again(&bytes) == bytes, "{name}");
            compared += compare(&name, &bytes, &judged);
        }
    }
    compared
}

/// Compares a summary with what pg_walsummary printed about it; returns how many blocks and limits it has.
fn compare(name: &str, summary: &[u8], judged: &str) -> usize {
    assert_eq!(name.parse::<WalSummaryName>().unwrap().to_string(), name);
    let mut ours = Vec::new();
    for entry in WalSummary::parse(summary).unwrap().entries() {
        let relation = entry.relation;
        let what = format!(
            "TS {}, DB {}, REL {}, FORK {}",
            relation.tablespace, relation.database, relation.number, entry.fork
        );
        ours.extend(entry.limit_block.map(|limit| format!("{what}: limit {limit}")));
        ours.extend(entry.blocks().map(|block| format!("{what}: block {block}")));
    }
    let mut theirs: Vec<_> = judged.lines().flat_map(each_block).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs, "{name}");
    theirs.len()
}

/// `TS 1663, DB 5, REL 16384, FORK main: block 7` for each block of `TS 1663, DB 5, REL 16384, FORK main: blocks 7..9`.
fn each_block(line: &str) -> Vec<String> {
    let Some((what, range)) = line.split_once(": blocks ") else { return vec![line.to_owned()] };
    let (first, last) = range.split_once("..").unwrap();
    let (first, last): (u32, u32) = (first.parse().unwrap(), last.parse().unwrap());
    (first..=last).map(|block| format!("{what}: block {block}")).collect()
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
