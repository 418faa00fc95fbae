//! WAL to measure with.

use std::path::{Path, PathBuf};

use test_support::Postgres;

/// What a server is asked to write WAL about.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Before the WAL that is kept.
    prepare: &'static str,
    run: &'static str,
}

impl Workload {
    pub(crate) const ALL: [Self; 2] = [FULL_PAGES, SMALL_RECORDS];

    /// The directory with its segments, which is made unless it is there.
    pub(crate) fn prepared(&self) -> PathBuf {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/bench/wal");
        let dir = cache.join(self.name);
        if !dir.exists() {
            let unfinished = cache.join(format!("{}.unfinished", self.name));
            _ = std::fs::remove_dir_all(&unfinished);
            std::fs::create_dir_all(&unfinished).expect("a directory can be made in .cache");
            self.write(&unfinished);
            std::fs::rename(&unfinished, &dir).expect("renaming within a directory");
        }
        dir
    }

    fn write(&self, dir: &Path) {
        let builder = Postgres::builder().setting("wal_keep_size", "8GB").setting("max_wal_size", "16GB");
        let builder = builder.setting("autovacuum", "off").setting("synchronous_commit", "off");
        let builder = self.settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
        let server = builder.start();
        server.psql(self.prepare);
        server.switch_wal();
        let first = server.psql("select pg_walfile_name(pg_current_wal_lsn() + 1)");
        server.psql(self.run);
        let last = server.switch_wal();
        let wal = server.data_dir().join("pg_wal");
        let entries = std::fs::read_dir(&wal).expect("a server has a pg_wal");
        for entry in entries.map(|entry| entry.expect("directory entry")) {
            let name = entry.file_name().into_string().expect("WAL file names are ASCII");
            if name >= first && name <= last && name.len() == 24 {
                // Written in large pieces, as an archive has them: how a file was written shows in how fast it is read.
                let segment = std::fs::read(entry.path()).expect("a segment can be read");
                std::fs::write(dir.join(name), segment).expect("a segment can be written");
            }
        }
    }
}

/// One row of each page is changed after a checkpoint: almost all bytes are images of pages.
const FULL_PAGES: Workload = Workload {
    name: "full-pages",
    settings: &[],
    prepare: "create table t (i int, s text) with (fillfactor = 90);
        insert into t select i, repeat('x', 100) from generate_series(1, 1800000) i;
        checkpoint;",
    run: "update t set i = i + 1 where i % 54 = 0",
};

/// Small transactions without images of pages: a row changed, a row added, a commit.
const SMALL_RECORDS: Workload = Workload {
    name: "small-records",
    settings: &[("full_page_writes", "off")],
    prepare: "create table t (i int primary key, n int) with (fillfactor = 50);
        create table history (i int, at timestamptz);
        insert into t select i, 0 from generate_series(1, 100000) i;
        create procedure change(transactions int) language plpgsql as $$
            declare k int;
            begin
                for x in 1 .. transactions loop
                    k := 1 + (x::bigint * 7919) % 100000;
                    update t set n = n + 1 where i = k;
                    insert into history values (k, now());
                    commit;
                end loop;
            end $$;
        checkpoint;",
    run: "call change(1200000)",
};
