//! A page of a relation: its checksum is never 0, counts all of the page but itself, and depends on the page's number.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{DataPageHeader, data_page_checksum};

fuzz_target!(|page: &[u8]| {
    let checksum = data_page_checksum(page, 0);
    assert_ne!(checksum, 0);
    assert_eq!(DataPageHeader::parse(page).is_some(), page.len() >= DataPageHeader::LEN);
    assert_ne!(data_page_checksum(page, 1), checksum);
    let mut sealed = page.to_vec();
    if let Some(stored) = sealed.get_mut(8..10) {
        stored.copy_from_slice(&checksum.to_ne_bytes());
        assert_eq!(data_page_checksum(&sealed, 0), checksum);
        assert!(DataPageHeader::parse(&sealed).is_none_or(|header| header.checksum == checksum));
    }
});
