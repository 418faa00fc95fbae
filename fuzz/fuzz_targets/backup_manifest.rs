//! A backup manifest: the text as it is, and again with the right checksum at its end, which no fuzzer would find. In
//! pieces of any size it is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wal_format::{ChecksumAlgorithm, Hasher, Manifest, ManifestError, ManifestReader};

// How long the pieces are, and the text.
fuzz_target!(|input: &[u8]| {
    let Some((&piece_len, text)) = input.split_first() else { return };
    let _ = Manifest::parse(text);
    let text = sealed(text);
    let whole = Manifest::parse(&text);
    match (&whole, in_pieces(&text, usize::from(piece_len) + 1)) {
        (Ok(whole), Ok(pieces)) => assert_eq!(*whole, pieces),
        (Err(whole), Err(pieces)) => assert_eq!(whole.to_string(), pieces.to_string()),
        (whole, pieces) => panic!("{whole:?} as a whole, {pieces:?} in pieces"),
    }
    if let Ok(manifest) = whole {
        let again = Manifest::parse(manifest.to_string().as_bytes()).expect("what we write can be read");
        assert_eq!(again, manifest);
    }
});

fn in_pieces(text: &[u8], len: usize) -> Result<Manifest, ManifestError> {
    let mut reader = ManifestReader::new();
    let mut items = Vec::new();
    for mut piece in text.chunks(len) {
        while let Some(item) = reader.next(&mut piece)? {
            items.push(item);
        }
    }
    reader.finish()?;
    Ok(items.into_iter().collect())
}

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
