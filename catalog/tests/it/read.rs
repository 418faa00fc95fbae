//! Finding WAL.

use std::io::Read;

use barman_catalog::{Encoding, Partial, Place, WaitingWal, WalSource};

use crate::repository::{Repository, name, segment_size};

fn found(repository: &Repository, name: &str, partial: Partial) -> Option<(String, Place)> {
    let found = repository.catalog.find_wal(&name.parse().expect("a name"), partial).expect("readable")?;
    let mut text = String::new();
    found.open().expect("open").read_to_string(&mut text).expect("read");
    assert_eq!(found.size, text.len() as u64);
    Some((text, found.place))
}

#[test]
fn the_places_have_an_order() {
    let repository = Repository::new();
    let one = name(1);
    // From the last place to the first: each one hides those before it.
    let places = [
        (format!("incoming/{one}.partial"), Place::Source(WalSource::Incoming)),
        (format!("wals/0000000100000000/{one}.partial"), Place::Archive),
        (format!("streaming/{one}.partial"), Place::Source(WalSource::Streaming)),
        (format!("streaming/{one}"), Place::Source(WalSource::Streaming)),
        (format!("incoming/{one}"), Place::Source(WalSource::Incoming)),
        (format!("wals/0000000100000000/{one}"), Place::Archive),
    ];
    assert_eq!(found(&repository, &one, Partial::Include), None);
    for (path, place) in places {
        repository.write(&path, &path);
        let partial = path.ends_with(".partial");
        assert_eq!(found(&repository, &one, Partial::Include), Some((path.clone(), place)));
        assert_eq!(found(&repository, &one, Partial::Exclude), (!partial).then_some((path, place)));
    }
}

#[test]
fn what_was_found_can_be_read_wherever_it_goes() {
    let repository = Repository::new();
    for (from, moved) in [("streaming", false), ("incoming", true)] {
        let path = format!("{from}/{}", name(1));
        repository.write(&path, "segment");
        let found = repository.catalog.find_wal(&name(1).parse().expect("a name"), Partial::Exclude);
        let found = found.expect("readable").expect("found");
        // The archiver moves it, or copies and removes it.
        if moved {
            std::fs::rename(repository.path(&path), repository.path(&name(1))).expect("rename");
        } else {
            std::fs::remove_file(repository.path(&path)).expect("remove");
        }
        // Twice: each reader begins at the beginning.
        for _ in 0..2 {
            assert_eq!(std::io::read_to_string(found.open().expect("held open")).expect("readable"), "segment");
        }
    }
}

#[test]
fn two_readers_at_once_each_read_all_of_it() {
    let repository = Repository::new();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_ne_bytes).collect();
    repository.write(&format!("wals/0000000100000000/{}", name(1)), &bytes);
    let found = repository.catalog.find_archived(&name(1).parse().expect("a name")).expect("readable").expect("found");
    std::thread::scope(|scope| {
        let read = || {
            let (mut file, mut read, mut piece) = (found.contents().expect("readable"), Vec::new(), [0; 4096]);
            while let length @ 1.. = file.read(&mut piece).expect("readable") {
                read.extend_from_slice(&piece[..length]);
            }
            read
        };
        for reader in [scope.spawn(read), scope.spawn(read)] {
            assert!(reader.join().expect("no panic") == bytes);
        }
    });
}

#[test]
fn history_files_and_labels_are_found() {
    let repository = Repository::new();
    repository.write("wals/00000002.history", "history");
    repository.write("wals/0000000100000000/000000010000000000000001.00000028.backup", "label");
    for (name, text) in [("00000002.history", "history"), ("000000010000000000000001.00000028.backup", "label")] {
        assert_eq!(found(&repository, name, Partial::Include), Some((text.to_owned(), Place::Archive)));
    }
}

#[test]
fn how_a_file_is_stored_is_told() {
    let repository = Repository::new();
    repository.write(&format!("wals/0000000100000000/{}", name(1)), b"\x28\xb5\x2f\xfd");
    let found = repository.catalog.find_archived(&name(1).parse().expect("a name")).expect("readable");
    assert_eq!(found.expect("found").encoding, Encoding::Compressed(barman_storage::codec::Format::Zstd));
}

#[test]
fn peeking_stops_at_the_first_gap() {
    let repository = Repository::new();
    for number in [0xFFE, 0xFFF, 0x1000, 0x1002] {
        let name = name(number);
        repository.write(&format!("wals/{}/{name}", &name[..16]), "wal");
    }
    let peek = |number: u64, limit: usize| -> Vec<String> {
        let name = name(number).parse().expect("a name");
        let names = repository.catalog.peek_wal(&name, limit, Partial::Exclude, segment_size());
        names.expect("readable").iter().map(ToString::to_string).collect()
    };
    assert_eq!(peek(0xFFE, 10), [name(0xFFE), name(0xFFF), name(0x1000)]);
    assert_eq!(peek(0xFFE, 2), [name(0xFFE), name(0xFFF)]);
    assert_eq!(peek(0x1001, 10), Vec::<String>::new());
}

#[test]
fn each_timeline_has_a_newest_segment() {
    let repository = Repository::new();
    let newest = || {
        let segments = repository.catalog.newest_archived_segments().expect("readable");
        segments.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(newest(), Vec::<String>::new());
    for path in [
        "0000000100000004/000000010000000400000009",
        "0000000100000005/000000010000000500000001",
        "0000000100000006/junk",
        "0000000200000000/000000020000000000000002",
        "0000000200000000/000000020000000000000002.00000028.backup",
        "0000000200000000/000000020000000000000003.partial",
        "0000000300000000/000000030000000000000004.partial",
        "junk/000000040000000000000001",
        "00000009.history",
    ] {
        repository.write(&format!("wals/{path}"), "wal");
    }
    assert_eq!(newest(), ["000000020000000000000002", "000000010000000500000001"]);
}

#[test]
fn what_waits_is_counted() {
    let repository = Repository::new();
    for file in ["incoming/junk", "incoming/x.tmp", "incoming/.y", "streaming/000000010000000000000001.partial"] {
        repository.write(file, "x");
    }
    assert_eq!(repository.catalog.waiting_wal().expect("readable"), WaitingWal { incoming: 1, streaming: 1 });
}

#[test]
fn looking_makes_nothing() {
    let nowhere = tempfile::tempdir().expect("temporary directory");
    let repository = Repository::at(&nowhere.path().join("home"));
    assert_eq!(found(&repository, &name(1), Partial::Include), None);
    assert!(repository.catalog.backups().expect("none").is_empty());
    assert_eq!(repository.catalog.identity().expect("none"), None);
    assert!(repository.catalog.archived_timelines().expect("none").is_empty());
    assert_eq!(repository.catalog.waiting_wal().expect("none"), WaitingWal::default());
    assert_eq!(repository.catalog.error_files().expect("none").unknown, 0);
    assert!(!repository.home.exists());
}

/// A million segments that are gone took minutes, looked for one by one. Once a directory is listed, nothing in it is looked
/// for: its files can be removed, and the answers stay.
#[test]
fn each_directory_is_listed_once() {
    let repository = Repository::new();
    let names: Vec<_> = (1..100).map(name).collect();
    names.iter().for_each(|name| repository.write(&format!("wals/0000000100000000/{name}"), ""));
    repository.write("wals/00000002.history", "");
    repository.write(&format!("streaming/{}", name(100)), "");
    let mut listing = repository.catalog.wal_listing().expect("listed");
    let mut has = |name: &str| listing.has(&name.parse().expect("a name")).expect("listed");
    assert!(has(&names[0]));
    let directory = repository.catalog.layout().wals_directory.join("0000000100000000");
    std::fs::remove_dir_all(directory).expect("removed");
    assert!(names.iter().all(|name| has(name)));
    assert!(has(&name(100)), "it waits to be archived");
    assert!(!has(&name(101)));
    assert!(!has("000000010000000100000000"), "its directory is not there");
    assert!(has("00000002.history"));
}
