//! Files that real servers and a real Barman wrote; `testdata/README.md` says how each was made.

mod beside_wal;
mod wal;

use std::path::Path;

/// The content of a file below `testdata/`.
fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
