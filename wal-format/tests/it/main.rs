//! Files that real servers and a real Barman wrote; `testdata/README.md` says how each was made.

// Tests write to throwaway directories of their own.
#![allow(clippy::disallowed_methods)]

mod beside_wal;
mod catalogs;
mod control_file;
mod images;
mod incremental;
mod manifest;
mod real_wal;
mod wal;
mod waldump;

use std::path::Path;

use test_support::Postgres;

/// The content of a file below `testdata/`.
fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What this server can compress images with, apart from `off` and what stands for something else.
fn compressions(server: &Postgres) -> Vec<String> {
    let values = server
        .psql("select coalesce(array_to_string(enumvals, ' '), 'on') from pg_settings where name = 'wal_compression'");
    let methods: Vec<_> =
        values.split(' ').filter(|value| ["pglz", "lz4", "zstd"].contains(value)).map(str::to_owned).collect();
    if methods.is_empty() { vec!["on".to_owned()] } else { methods }
}
