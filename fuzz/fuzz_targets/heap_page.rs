//! A page of a table: each of its rows is found by its line pointer too, and names are no longer than a column of names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{ClassRow, DatabaseRow, HeapPage, NamespaceRow, NewVersion, PgMajor, RelationMap, StatusPlace};

fuzz_target!(|bytes: &[u8]| {
    for major in PgMajor::ALL {
        if let Ok(map) = RelationMap::parse(bytes, major) {
            assert!(map.files.len() <= 64);
        }
    }
    let place = StatusPlace::of(u32::from(bytes.first().copied().unwrap_or(0)), 8192);
    let _ = place.status(bytes);
    let Some(page) = HeapPage::parse(bytes) else { return };
    for (offset, tuple) in page.tuples() {
        assert_eq!(page.tuple(offset), Some(tuple));
        let names = PgMajor::ALL.iter().flat_map(|major| {
            let class = ClassRow::parse(tuple.data, *major).map(|row| row.name);
            let database = DatabaseRow::parse(tuple.data, *major).map(|row| row.name);
            [class, database, NamespaceRow::parse(tuple.data).map(|row| row.name)]
        });
        assert!(names.flatten().all(|name| name.len() <= 64));
        let version = NewVersion { prefix_len: 3, suffix_len: 5, middle: tuple.data };
        assert!(version.data(Some(bytes)).is_some_and(|data| data.len() == tuple.data.len() + 8));
    }
});
