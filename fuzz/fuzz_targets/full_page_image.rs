//! A full-page image by any method of compression: it makes a page of the right length, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{Compression, Image};

const METHODS: [Compression; 4] = [Compression::None, Compression::Pglz, Compression::Lz4, Compression::Zstd];

// The method, where the hole begins and how long it is, and the image.
fuzz_target!(|input: &[u8]| {
    let Some((&[method, offset @ .., low, high], bytes)) = input.split_first_chunk::<5>() else { return };
    let (offset, len) = (u16::from_le_bytes(offset), u16::from_le_bytes([low, high]));
    let compression = METHODS[usize::from(method) % METHODS.len()];
    let hole_offset = (len > 0).then_some(offset);
    let image = Image { bytes, compression, hole_offset, hole_len: (len > 0).then_some(len), apply: true };
    let mut page = Vec::new();
    for block_size in [1024, 8192, 32768] {
        if image.restore(block_size, &mut page).is_ok() {
            assert_eq!(page.len(), usize::from(block_size));
        }
    }
});
