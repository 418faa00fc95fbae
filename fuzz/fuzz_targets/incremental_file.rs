//! The beginning of a file `INCREMENTAL.`: it takes as many bytes as it says, neither more nor fewer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::IncrementalHeader;

fuzz_target!(|file: &[u8]| {
    let needed = IncrementalHeader::needed(file);
    let Ok(header) = IncrementalHeader::parse(file) else {
        assert!(needed.is_none_or(|needed| needed > file.len() as u64));
        return;
    };
    let needed = usize::try_from(needed.expect("it was read")).expect("it is there");
    assert_eq!(IncrementalHeader::parse(&file[..needed]).as_ref(), Ok(&header));
    assert!(IncrementalHeader::parse(&file[..needed - 1]).is_err());
    assert_eq!(header.blocks.iter().count(), header.blocks.len());
    assert!((0..=u32::MAX).step_by(1 << 28).all(|block_size| header.len(block_size) >= needed as u64));
});
