//! A backup manifest: the text as it is, and again with the right checksum at its end, which no fuzzer would find.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{ChecksumAlgorithm, Hasher, Manifest};

fuzz_target!(|text: &[u8]| {
    let _ = Manifest::parse(text);
    if let Ok(manifest) = Manifest::parse(&sealed(text)) {
        let again = Manifest::parse(manifest.to_string().as_bytes()).expect("what we write can be read");
        assert_eq!(again, manifest);
    }
});

/// Replaces the last line by one with the checksum of all before it.
fn sealed(text: &[u8]) -> Vec<u8> {
    let end = text.trim_ascii_end().iter().rposition(|&byte| byte == b'\n').map_or(text.len(), |newline| newline + 1);
    let mut sealed = text[..end].to_vec();
    if !sealed.ends_with(b"\n") {
        sealed.push(b'\n');
    }
    let mut hasher = Hasher::new(ChecksumAlgorithm::Sha256);
    hasher.update(&sealed);
    let checksum = hasher.finish().expect("SHA-256 makes a checksum");
    sealed.extend_from_slice(format!("\"Manifest-Checksum\": \"{checksum}\"}}\n").as_bytes());
    sealed
}
