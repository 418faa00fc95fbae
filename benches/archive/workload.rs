//! Forty-five segments of a server under pgbench's load.

use std::path::{Path, PathBuf};

use test_support::{PgbenchLoad, Postgres};

const SEGMENTS: usize = 45;

/// The segments, in order, which are made unless they are there.
pub(crate) fn segments() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/archive");
    if !dir.exists() {
        let unfinished = dir.with_extension("unfinished");
        _ = std::fs::remove_dir_all(&unfinished);
        std::fs::create_dir_all(&unfinished).expect("a directory can be made in .cache");
        write(&unfinished);
        std::fs::rename(&unfinished, &dir).expect("renaming within a directory");
    }
    let mut segments = files(&dir);
    segments.truncate(SEGMENTS);
    assert_eq!(segments.len(), SEGMENTS);
    segments
}

/// Half of it is what loading tables writes, half what transactions write between checkpoints.
fn write(dir: &Path) {
    let settings = [("wal_keep_size", "4GB"), ("max_wal_size", "200MB"), ("autovacuum", "off")];
    let builder = settings.iter().fold(Postgres::builder(), |builder, (name, value)| builder.setting(name, value));
    let server = builder.start();
    server.switch_wal();
    let first = server.psql("select pg_walfile_name(pg_current_wal_lsn() + 1)");
    PgbenchLoad::initialise(&server, 20);
    let load = PgbenchLoad::start(&server, 8);
    server.wait_until(&format!(
        "select pg_current_wal_lsn() - '0/0' > (('x' || right('{first}', 2))::bit(8)::int + {SEGMENTS} + 1) * 16777216.0"
    ));
    load.stop();
    let last = server.switch_wal();
    for path in files(&server.data_dir().join("pg_wal")) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if name >= first && name <= last && name.len() == 24 {
            // Written in large pieces, as an archive has them: how a file was written shows in how fast it is read.
            let segment = std::fs::read(&path).expect("a segment can be read");
            std::fs::write(dir.join(name), segment).expect("a segment can be written");
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("directory entry").path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}
