//! A tablespace map: whatever is understood survives being written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::TablespaceMap;

fuzz_target!(|text: &[u8]| {
    if let Ok(map) = TablespaceMap::parse(text) {
        assert_eq!(TablespaceMap::parse(map.to_string().as_bytes()).as_ref(), Ok(&map));
    }
});
