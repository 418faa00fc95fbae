//! Full-page images that real servers compressed, judged by `pg_waldump --save-fullpage` and by the servers' own files.

use std::collections::HashMap;

use test_support::{Postgres, majors};
use wal_format::{Compression, Fork, Item, Lsn, RecordReader, SegmentNumber, SegmentSize, Source, TimelineId};

use crate::{compressions, golden};

const PAGE_LEN: usize = 8192;
/// `pd_lsn` and `pd_checksum`, which a server fills in when the image was already made.
const STAMPED: usize = 10;

/// A page that an image made, by the number of the relation and of the block.
type Pages = HashMap<(u32, u32), (Compression, Vec<u8>)>;

/// Restores every image of the main forks in WAL that begins at `start`.
fn restored(wal: &[u8], start: Lsn, segment_size: u64) -> Pages {
    let mut pages = Pages::new();
    let mut reader = RecordReader::new(start, TimelineId::FIRST, SegmentSize::new(segment_size).unwrap(), Source::Open);
    let mut input = wal;
    while let Ok(Some(Item::Record(record))) = reader.next(&mut input) {
        for block in record.contents().unwrap().blocks().filter(|block| block.fork == Fork::Main) {
            if let Some(image) = block.image {
                let mut page = Vec::new();
                image.restore(8192, &mut page).unwrap();
                pages.insert((block.relation.number, block.block), (image.compression, page));
            }
        }
    }
    pages
}

#[test]
fn compressed_images_are_restored_as_pg_waldump_restores_them() {
    let mut pages = restored(&golden("18/images.segment"), Lsn::new(0x90_0000), 1 << 20);
    let saved = golden("18/images.pages");
    let expected = [
        (16387, 0, Compression::Lz4),
        (16387, 1, Compression::Lz4),
        (16388, 0, Compression::Zstd),
        (16388, 1, Compression::Zstd),
    ];
    for ((relation, block, compression), judged) in expected.into_iter().zip(saved.chunks(PAGE_LEN)) {
        let (method, page) = pages.remove(&(relation, block)).unwrap();
        // pg_waldump writes the record's position into the page.
        assert_eq!(method, compression);
        assert!(page[8..] == judged[8..], "{relation} {block}");
    }
}

/// A new index is logged as images of its pages, and nothing changes them afterwards.
#[test]
fn restored_images_are_the_pages_that_the_server_wrote() {
    for major in majors().into_iter().filter(|&major| major >= 15) {
        let mut server =
            Postgres::builder().major(major).setting("autovacuum", "off").setting("wal_keep_size", "1GB").start();
        server.psql("create table t as select i, i % 7 as j from generate_series(1, 5000) i; checkpoint");
        let start = server.psql("select pg_switch_wal(); select pg_current_wal_lsn()");
        let start: Lsn = start.lines().last().unwrap().parse().unwrap();
        let mut indexes = Vec::new();
        for (name, method) in std::iter::once(("off".to_owned(), Compression::None)).chain(methods(&server)) {
            server.psql(&format!("set wal_compression = {name}; create index on t (i, j)"));
            let newest = "select relfilenode, pg_relation_filepath(oid) from pg_class where relkind = 'i' order by oid desc limit 1";
            let (number, path) = server
                .psql(newest)
                .split_once('|')
                .map(|(number, path)| (number.parse().unwrap(), path.to_owned()))
                .unwrap();
            indexes.push((number, path, method));
        }
        server.psql("select pg_switch_wal()");
        server.stop(test_support::StopMode::Fast);
        compare_indexes(&server, start, indexes);
    }
}

/// What this server can compress images with.
fn methods(server: &Postgres) -> impl Iterator<Item = (String, Compression)> {
    compressions(server).into_iter().map(|name| {
        let method = match name.as_str() {
            "pglz" => Compression::Pglz,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            other => panic!("{other}"),
        };
        (name, method)
    })
}

fn compare_indexes(server: &Postgres, start: Lsn, indexes: Vec<(u32, String, Compression)>) {
    let size = SegmentSize::DEFAULT;
    let segment = SegmentNumber::containing(start, size);
    let name = segment.name(TimelineId::FIRST, size);
    let wal = std::fs::read(server.data_dir().join("pg_wal").join(name.to_string())).unwrap();
    let mut pages = restored(&wal, segment.start(size), size.bytes());
    for (number, path, method) in indexes {
        let file = std::fs::read(server.data_dir().join(path)).unwrap();
        for (block, written) in (0u32..).zip(file.chunks(PAGE_LEN)) {
            let (compression, page) = pages.remove(&(number, block)).unwrap();
            assert_eq!(compression, method);
            assert!(page[STAMPED..] == without_hole(written)[STAMPED..], "block {block} with {method:?}");
        }
    }
}

/// The page with zeros where nothing lies: building an index leaves old bytes there, which images leave out.
fn without_hole(page: &[u8]) -> Vec<u8> {
    let limit = |at: usize| usize::from(u16::from_ne_bytes([page[at], page[at + 1]]));
    let (pd_lower, pd_upper) = (limit(12), limit(14));
    let mut masked = page.to_vec();
    masked[pd_lower..pd_upper].fill(0);
    masked
}
