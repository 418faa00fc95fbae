//! A summary of WAL: as it is, and again with the right checksum at its end, which no fuzzer would find.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{WalSummary, crc32c};

fuzz_target!(|file: &[u8]| {
    let _ = WalSummary::parse(file);
    let content = file.split_last_chunk::<4>().map_or(file, |(content, _)| content);
    let sealed = [content, &crc32c(content).to_ne_bytes()].concat();
    if let Ok(summary) = WalSummary::parse(&sealed) {
        // An entry has at least 24 bytes, and a block at least a bit.
        assert!(summary.entries().count() <= sealed.len() / 24);
        assert!(summary.entries().map(|entry| entry.blocks().count()).sum::<usize>() <= sealed.len() * 8);
    }
});
