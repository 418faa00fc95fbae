//! The header of a WAL segment, and the comparison with a name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{SegmentHeader, SegmentName};

fuzz_target!(|segment: &[u8]| {
    let name: SegmentName = "000000020000000100000003".parse().expect("a segment's name");
    if let Ok(header) = SegmentHeader::parse(segment) {
        let _ = header.check(&name, Some(header.system_id), header.segment_size);
    }
});
