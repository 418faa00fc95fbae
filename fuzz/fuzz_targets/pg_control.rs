//! `pg_control`: as it is, and again with the right checksum, which no fuzzer would find.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{ControlFile, ControlFileError, PgMajor};

fuzz_target!(|file: &[u8]| {
    // What follows is zeros.
    let file = &file[..file.len().min(512)];
    for major in PgMajor::ALL {
        let Err(ControlFileError::Checksum { found, computed }) = ControlFile::parse(file, major) else { continue };
        // The checksum lies in another place in each version, behind the content that it was computed over.
        let places = file.windows(4).enumerate().filter(|(_, bytes)| *bytes == found.to_ne_bytes());
        let mut sealed =
            places.map(|(at, bytes)| [&file[..at], &computed.to_ne_bytes(), &file[at + bytes.len()..]].concat());
        assert!(sealed.any(|sealed| ControlFile::parse(&sealed, major).is_ok()));
    }
});
