//! A summary of WAL: as it is, and again with the right checksum at its end, which no fuzzer would find. What it says is
//! written again and read again.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use wal_format::{SummaryBuilder, WalSummary, crc32c};

fuzz_target!(|file: &[u8]| {
    let _ = WalSummary::parse(file);
    let content = file.split_last_chunk::<4>().map_or(file, |(content, _)| content);
    let sealed = [content, &crc32c(content).to_ne_bytes()].concat();
    if let Ok(summary) = WalSummary::parse(&sealed) {
        // An entry has at least 24 bytes, and a block at least a bit.
        assert!(summary.entries().count() <= sealed.len() / 24);
        assert!(summary.entries().map(|entry| entry.blocks().count()).sum::<usize>() <= sealed.len() * 8);
        // Bitmaps of a few pages stand for so many blocks that nothing else would be tried.
        if blocks(&summary).nth(20_000).is_none() {
            check_writer(&summary);
        }
    }
});

/// Where a fork has two entries, which no server writes, the limit of the second forgets what the first says.
fn check_writer(summary: &WalSummary<'_>) {
    let mut builder = SummaryBuilder::new();
    builder.add(summary);
    let written = builder.to_bytes();
    let again = WalSummary::parse(&written).expect("what we write can be read");
    let said: BTreeSet<_> = blocks(summary).collect();
    assert!(blocks(&again).all(|block| said.contains(&block)));
    let forks: BTreeSet<_> = summary.entries().map(|entry| (entry.relation, entry.fork)).collect();
    if forks.len() == summary.entries().count() {
        assert_eq!(blocks(&again).collect::<BTreeSet<_>>(), said);
    }
    let mut builder = SummaryBuilder::new();
    builder.add(&again);
    assert_eq!(builder.to_bytes(), written);
}

fn blocks<'a>(
    summary: &WalSummary<'a>,
) -> impl Iterator<Item = (wal_format::RelFileLocator, wal_format::Fork, u32)> + use<'a> {
    summary.entries().flat_map(|entry| entry.blocks().map(move |block| (entry.relation, entry.fork, block)))
}
