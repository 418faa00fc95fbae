//! WAL that is stored compressed, and WAL that arrives so.

use std::io::{Read as _, Write as _};

use barman_catalog::{
    ArchivedFile, Catalog, CustomFilters, Encoding, Error, Hooks, IngestEvent, IngestOptions, LocalZone, PutWalError,
    ServerLayout, Verdict, WalCompression, WalSource, WalStorage,
};
use barman_storage::Cancel;
use barman_storage::codec::{Algorithm, Compression, Format, Level, ShellFilter};
use wal_format::WalFileName;

use crate::put_wal::stream;
use crate::repository::{Repository, SEGMENT_BYTES, name, options, segment};

const HISTORY: &str = "1\t0/3000000\treason\n";
const LABEL: &str = "000000010000000000000001.00000028.backup";

pub(crate) fn with(algorithm: Algorithm) -> WalStorage {
    let compression = WalCompression::BuiltIn(Compression { algorithm, level: Level::Low });
    WalStorage { compression: Some(compression), ..WalStorage::default() }
}

pub(crate) fn custom(magic: Option<&[u8]>) -> WalStorage {
    let filters = CustomFilters {
        compress: Some(ShellFilter::new("printf CUST; tr '\\000-\\377' '\\377\\000-\\376'")),
        decompress: Some(ShellFilter::new("tail -c +5 | tr '\\377\\000-\\376' '\\000-\\377'")),
        magic: magic.map(<[u8]>::to_vec),
    };
    WalStorage { compression: Some(WalCompression::Custom), filters, ..WalStorage::default() }
}

/// What is stored can be read where it is restored, and not here. As with encryption it is other bytes each time.
pub(crate) fn unreadable() -> WalStorage {
    let mut storage = custom(Some(b"CUST"));
    storage.filters.compress = Some(ShellFilter::new("printf \"CUST $$ \"; exec cat"));
    storage.filters.decompress = None;
    storage
}

/// As many a configuration has it.
pub(crate) fn custom_gzip() -> WalStorage {
    let filters = CustomFilters {
        compress: Some(ShellFilter::new("gzip -c")),
        decompress: Some(ShellFilter::new("gzip -dc")),
        magic: Some(b"\x1f\x8b\x08".to_vec()),
    };
    WalStorage { compression: Some(WalCompression::Custom), filters, ..WalStorage::default() }
}

/// The repository of a server with this configuration.
pub(crate) fn storing(repository: &Repository, storage: WalStorage) -> Catalog {
    Catalog::open(ServerLayout::below(&repository.home, "main"), LocalZone::UTC).with_wal_storage(storage)
}

fn compressed(algorithm: Algorithm, contents: &[u8]) -> Vec<u8> {
    let mut encoder = Compression { algorithm, level: Level::Medium }.encoder(Vec::new(), None).expect("an encoder");
    encoder.write_all(contents).expect("memory");
    encoder.finish().expect("memory")
}

fn ingest(catalog: &Catalog) -> Vec<String> {
    let (mut told, cancel) = (Vec::new(), Cancel::new());
    let mut tell = |event: IngestEvent<'_>| told.push(format!("{event:?}"));
    catalog.ingest(WalSource::Incoming, &options(&cancel), &mut tell).expect("a run");
    told
}

pub(crate) fn contents(catalog: &Catalog, name: &str) -> Vec<u8> {
    let name: WalFileName = name.parse().expect("a name");
    let found = catalog.find_archived(&name).expect("readable").expect("archived");
    let mut contents = Vec::new();
    found.contents().expect("readable").read_to_end(&mut contents).expect("readable");
    contents
}

#[test]
fn every_algorithm_stores_less_and_gives_back_the_same_in_order() {
    let storages = Algorithm::ALL.map(with).into_iter().chain([custom(None), custom(Some(b"CUST"))]);
    for storage in storages {
        let expected = storage.compression.expect("set").name();
        let repository = Repository::new();
        let catalog = storing(&repository, storage);
        for number in 1..=5 {
            repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
        }
        repository.write(&format!("incoming/{LABEL}"), "START WAL LOCATION: 0/100028\n");
        repository.write("incoming/00000002.history", HISTORY);
        let modified = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_795_193_000_500);
        let file = std::fs::File::open(repository.path("incoming").join(name(5))).expect("open");
        file.set_modified(modified).expect("time");
        ingest(&catalog);
        assert!(repository.names("incoming").is_empty(), "{expected}");
        for number in 1..=5 {
            assert!(contents(&catalog, &name(number)) == segment(&name(number), 7), "{expected} {number}");
        }
        assert_eq!(contents(&catalog, "00000002.history"), HISTORY.as_bytes());
        let entries = catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
        let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
        let mut in_order = names.clone();
        in_order.sort();
        assert_eq!((names.len(), &names), (7, &in_order), "the order of the archive is kept");
        for entry in &entries {
            let stored = catalog.find_archived(&entry.name).expect("readable").expect("archived");
            assert_eq!((entry.size, entry.compression.as_deref()), (stored.size, Some(expected)));
            assert!(stored.encoding != Encoding::Plain && (expected == "custom" || stored.size < SEGMENT_BYTES));
            let facts = catalog.facts(&entry.name).expect("readable").expect("known");
            assert_eq!(facts.stored.bytes, stored.size);
            if facts.records.is_some() {
                assert_eq!(facts.raw.expect("seen").bytes, SEGMENT_BYTES);
                // Nothing stands before the first.
                let is_first = entry.name.to_string() == name(1);
                assert_eq!(facts.verdict, if is_first { Verdict::BorderOpen } else { Verdict::Verified });
            }
        }
        assert!(
            (entries[5].modified - 1_795_193_000.5).abs() < 1e-9
                || (entries[4].modified - 1_795_193_000.5).abs() < 1e-9
        );
        let history = catalog.timeline_history(wal_format::TimelineId::new(2).expect("not 0")).expect("readable");
        assert_eq!(history.expect("there").entries.len(), 1);
        assert!(repository.names("wals/0000000100000000").iter().all(|name| !name.starts_with('.')));
    }
}

#[test]
fn a_segment_does_not_wait_for_one_that_takes_long_to_compress() {
    let repository = Repository::new();
    let first = segment(&name(1), 7);
    // The address of its first page tells the first segment; the others are compressed when that is in the archive.
    let address: String = first[8..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let (copy, archived) = (repository.path("copy"), repository.path("wals/0000000100000000").join(name(1)));
    let filter = format!(
        "copy={}.$$; cat > $copy
         if [ $(od -An -tx1 -j8 -N8 $copy | tr -d ' ') != {address} ]; then
           tries=0; until [ -e {} ]; do tries=$((tries + 1)); [ $tries -lt 500 ] || exit 1; sleep 0.02; done
         fi
         gzip -c $copy",
        copy.display(),
        archived.display()
    );
    let mut storage = custom_gzip();
    storage.filters.compress = Some(ShellFilter::new(&filter));
    for number in 1..=3 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    let catalog = storing(&repository, storage);
    ingest(&catalog);
    assert_eq!(repository.archived(), [1, 2, 3].map(name));
}

#[test]
fn what_arrives_compressed_is_judged_by_what_is_in_it_and_stored_as_it_is() {
    for format in Format::ALL {
        let repository = Repository::new();
        let catalog = storing(&repository, with(Algorithm::Gzip));
        let whole = segment(&name(1), 7);
        let stored = compressed(format.into(), &whole);
        let mut damaged = segment(&name(2), 7);
        damaged[3000] ^= 1;
        for (number, bytes) in [
            (1, stored.clone()),
            (2, compressed(format.into(), &damaged)),
            // Another segment's contents, a part of them, and a part of the stream.
            (3, stored.clone()),
            (4, compressed(format.into(), &segment(&name(4), 7)[..500_000])),
            (5, compressed(format.into(), &segment(&name(5), 7))[..stored.len() * 2 / 3].to_vec()),
        ] {
            repository.write(&format!("incoming/{}", name(number)), bytes);
        }
        repository.write("incoming/00000002.history", compressed(format.into(), HISTORY.as_bytes()));
        repository.write("incoming/00000003.history", compressed(format.into(), b"nonsense"));
        let told = ingest(&catalog);
        let refused: Vec<_> = told.iter().filter(|event| event.starts_with("Refused")).collect();
        assert_eq!(refused.len(), 4, "{format}: {told:?}");
        assert!(refused[0].contains("Mismatch") && refused[1].contains("found: 500000"), "{format}: {refused:?}");
        assert!(refused[2].contains("Broken") || format == Format::Snappy, "{format}: {refused:?}");
        assert!(refused[3].contains("History"), "{format}: {refused:?}");
        assert_eq!(repository.read(&format!("wals/0000000100000000/{}", name(1))), stored);
        let facts = |number| catalog.facts(&name(number).parse().expect("a name")).expect("readable").expect("known");
        assert_eq!((facts(1).verdict, facts(1).raw.expect("seen").bytes), (Verdict::BorderOpen, SEGMENT_BYTES));
        assert!(matches!(facts(2).verdict, Verdict::Damaged { .. }), "{format}");
        let entries = catalog.xlog_db().and_then(|db| db.entries()).expect("entries");
        assert_eq!(entries[0].compression.as_deref(), Some(format.name()));
        assert_eq!(entries[0].size, stored.len() as u64);
        assert_eq!(contents(&catalog, "00000002.history"), HISTORY.as_bytes());
    }
}

#[test]
fn a_stream_that_is_still_growing_is_left_for_later() {
    let repository = Repository::new();
    let stored = compressed(Algorithm::Zstd, &segment(&name(1), 7));
    let cancel = Cancel::new();
    let later = options(&cancel);
    let now = wal_format::Timestamp::from_unix_micros(later.now.unix_micros() - 7_200_000_000);
    let options = IngestOptions { now, ..later };
    let run = || repository.catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    for length in [10, stored.len() / 2, stored.len() - 1] {
        repository.write(&format!("incoming/{}", name(1)), &stored[..length]);
        assert_eq!(run(), barman_catalog::IngestSummary::default(), "{length}");
        assert_eq!(repository.names("incoming"), [name(1)]);
    }
    repository.write(&format!("incoming/{}", name(1)), &stored);
    assert_eq!(run().archived, 1);
}

#[test]
fn the_same_contents_are_no_duplicate_however_they_are_compressed() {
    let repository = Repository::new();
    let zstd = storing(&repository, with(Algorithm::Zstd));
    let deliver = |salt, algorithm: Option<Algorithm>| {
        let bytes = segment(&name(1), salt);
        let bytes = algorithm.map_or_else(|| bytes.clone(), |algorithm| compressed(algorithm, &bytes));
        repository.write(&format!("incoming/{}", name(1)), bytes);
        ingest(&zstd).pop().expect("told")
    };
    assert!(deliver(7, None).starts_with("Archived"));
    for algorithm in [None, Some(Algorithm::Gzip), Some(Algorithm::Zstd), Some(Algorithm::Snappy)] {
        let told = deliver(7, algorithm);
        assert!(told.starts_with("AlreadyArchived"), "{algorithm:?}: {told}");
        assert!(repository.names("incoming").is_empty());
        let told = deliver(8, algorithm);
        assert!(told.contains("Duplicate"), "{algorithm:?}: {told}");
    }
    assert_eq!(repository.recorded(), [name(1)]);
    assert!(contents(&zstd, &name(1)) == segment(&name(1), 7));
    // And a damaged copy in the archive is nobody's equal.
    let path = repository.path(&format!("wals/0000000100000000/{}", name(1)));
    let mut stored = std::fs::read(&path).expect("read");
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    std::fs::write(&path, stored).expect("write");
    assert!(deliver(7, None).contains("Duplicate"));
}

/// As where files are encrypted, and only those who restore have the passphrase.
#[test]
fn what_cannot_be_read_where_it_is_archived_is_compared_by_what_the_ledger_noted() {
    let repository = Repository::new();
    let catalog = storing(&repository, unreadable());
    let bytes = [7, 8].map(|salt| segment(&name(1), salt));
    let deliver = |bytes: &[u8]| {
        repository.write(&format!("incoming/{}", name(1)), bytes);
        ingest(&catalog).pop().expect("told")
    };
    let put = |bytes: &[u8]| {
        let sent = stream(&[(&name(1), bytes)]);
        catalog.put_wal(&mut &*sent, None, options(&Cancel::new()).now, &mut |_| {})
    };
    assert!(deliver(&bytes[0]).starts_with("Archived"));
    for _ in 0..2 {
        assert!(deliver(&bytes[0]).starts_with("AlreadyArchived"));
        assert!(deliver(&bytes[1]).contains("Duplicate"));
        assert!(repository.names("incoming").is_empty(), "nothing is in the way of what follows");
    }
    put(&bytes[0]).expect("the same");
    std::fs::remove_file(repository.path(&format!("incoming/{}", name(1)))).expect("it is ours");
    std::fs::remove_dir_all(repository.path("errors")).expect("it is ours");
    assert!(matches!(put(&bytes[1]), Err(PutWalError::ArchivedOtherwise { .. })));

    // What was noted is not what is there now, or nothing was: then nothing tells, and all is kept.
    repository.write(&format!("wals/0000000100000000/{}", name(1)), b"CUST and no more");
    assert!(deliver(&bytes[0]).contains("Duplicate"));
    std::fs::remove_dir_all(repository.path("ledger")).expect("it is ours");
    assert!(deliver(&bytes[0]).contains("Duplicate"));
    let kept = repository.names("errors").into_iter().filter(|kept| kept.ends_with(".duplicate"));
    assert_eq!(kept.filter(|kept| repository.read(&format!("errors/{kept}")) == bytes[0]).count(), 2);
}

/// What a server's own command encrypted is stored as it came, and can be compared byte by byte.
#[test]
fn what_arrived_encrypted_may_arrive_again() {
    let repository = Repository::new();
    let deliver = |bytes: &[u8]| {
        repository.write(&format!("incoming/{}", name(1)), bytes);
        ingest(&repository.catalog).pop().expect("told")
    };
    let encrypted = b"\x85\x01\x0c\x03 encrypted elsewhere";
    deliver(encrypted);
    assert!(deliver(encrypted).starts_with("AlreadyArchived"));
    assert!(deliver(b"\x85\x01\x0c\x03 encrypted with another session key").contains("Duplicate"));
}

/// Sends two segments anew while the first one has its turn: by then they are prepared, or being prepared.
struct Replacing<'r>(&'r Repository);

impl Hooks for Replacing<'_> {
    fn after_archive(&self, file: ArchivedFile<'_>) {
        if file.path.ends_with(name(1)) {
            for number in [2, 3] {
                self.0.write(&format!("incoming/{}", name(number)), segment(&name(number), 9));
            }
        }
    }
}

#[test]
fn a_file_that_was_prepared_and_changed_since_is_wrapped_again() {
    let repository = Repository::new();
    let catalog = storing(&repository, with(Algorithm::Lz4));
    for number in 1..=4 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    let (cancel, hooks) = (Cancel::new(), Replacing(&repository));
    let options = IngestOptions { hooks: &hooks, ..options(&cancel) };
    catalog.ingest(WalSource::Incoming, &options, &mut |_| {}).expect("a run");
    for (number, salt) in [(1, 7), (2, 9), (3, 9), (4, 7)] {
        assert!(contents(&catalog, &name(number)) == segment(&name(number), salt), "{number}");
    }
}

#[test]
fn a_filter_that_fails_archives_nothing() {
    let repository = Repository::new();
    let mut storage = custom(None);
    storage.filters.compress = Some(ShellFilter::new("head -c 1000; echo out of tape >&2; exit 1"));
    let catalog = storing(&repository, storage);
    for number in 1..=3 {
        repository.write(&format!("incoming/{}", name(number)), segment(&name(number), 7));
    }
    let cancel = Cancel::new();
    let error = catalog.ingest(WalSource::Incoming, &options(&cancel), &mut |_| {}).expect_err("the filter fails");
    let Error::Wrap { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("out of tape"), "{source}");
    assert_eq!((repository.names("incoming").len(), repository.archived()), (3, Vec::new()));
}
