//! Files that real servers and a real Barman wrote; `testdata/README.md` says how each was made.

// Tests write to throwaway directories of their own.
#![allow(clippy::disallowed_methods)]

mod beside_wal;
mod control_file;
mod images;
mod incremental;
mod manifest;
mod real_wal;
mod wal;
mod waldump;

use std::path::Path;

/// The content of a file below `testdata/`.
fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
