use proptest::prelude::*;

use super::*;
#[cfg(feature = "decompress")]
use crate::base_backup::BackupTarget;
use crate::base_backup::ServerCompression;
use crate::testing::backend_bytes::{BackendBytes, feed};

const V14: u32 = 140_009;
const V15: u32 = 150_018;
const TABLESPACE: &str = "/srv/tbs";

fn wire() -> Wire {
    let mut wire = Wire::default();
    wire.inbox.trust();
    wire
}

fn server() -> BackendBytes {
    BackendBytes::new()
}

fn position(bytes: BackendBytes, lsn: &str) -> BackendBytes {
    bytes.result(&["recptr", "tli"], &[&[Some(lsn), Some("1")]])
}

/// What precedes the archives: one tablespace, and the data directory.
fn announcement() -> BackendBytes {
    position(server(), "0/2000028").result(
        &["spcoid", "spclocation", "size"],
        &[&[Some("16385"), Some(TABLESPACE), Some("12")], &[None, None, Some("34567")]],
    )
}

fn end(bytes: BackendBytes) -> BackendBytes {
    position(bytes, "0/2000100").command_complete().ready()
}

fn old_backup() -> BackendBytes {
    let archives = announcement().copy_out().copy_data(b"tbs").copy_data(b"!").copy_done();
    let archives = archives.copy_out().copy_data(b"base").notice("waiting").copy_done();
    end(archives.copy_out().copy_data(b"{}").copy_done())
}

fn new_backup() -> BackendBytes {
    let archives = announcement().copy_out().copy_data(b"n16385.tar\0/srv/tbs\0").copy_data(b"dtbs").copy_data(b"d!");
    let progress = [&b"p"[..], &4_u64.to_be_bytes()].concat();
    let archives = archives.copy_data(&progress).copy_data(b"nbase.tar\0\0").copy_data(b"dbase").notice("waiting");
    end(archives.copy_data(b"m").copy_data(b"d{}").copy_done())
}

fn tablespace() -> Tablespace {
    Tablespace { oid: Some(16385), location: Some(TABLESPACE.into()), size_kb: Some(12) }
}

fn data_directory() -> Tablespace {
    Tablespace { oid: None, location: None, size_kb: Some(34_567) }
}

/// Everything but notices and progress, whose place among the others does not matter, with data joined.
fn contents(events: Vec<BackupEvent>) -> Vec<BackupEvent> {
    let mut joined: Vec<BackupEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (_, BackupEvent::Notice(_) | BackupEvent::Progress(_)) => {}
            (Some(BackupEvent::Data(last)), BackupEvent::Data(data)) => *last = [&last[..], &data].concat().into(),
            (_, event) => joined.push(event),
        }
    }
    joined
}

fn expected_contents() -> Vec<BackupEvent> {
    vec![
        BackupEvent::Archive(tablespace()),
        BackupEvent::Data(Bytes::from("tbs!")),
        BackupEvent::Archive(data_directory()),
        BackupEvent::Data(Bytes::from("base")),
        BackupEvent::ManifestBegin,
        BackupEvent::Manifest(Bytes::from("{}")),
    ]
}

fn run(version: u32, bytes: &BackendBytes, sizes: &[usize]) -> (Core, Vec<BackupEvent>, Option<ErrorKind>) {
    run_with(&BaseBackupOptions::new(""), version, bytes, sizes)
}

fn run_with(
    options: &BaseBackupOptions,
    version: u32,
    bytes: &BackendBytes,
    sizes: &[usize],
) -> (Core, Vec<BackupEvent>, Option<ErrorKind>) {
    let mut core = Core::new(version, options);
    let (events, error) = feed(&mut wire(), bytes.bytes(), sizes, |wire| match core.poll_start(wire)? {
        Some(_) => core.poll_event(wire),
        None => Ok(None),
    });
    (core, events, error)
}

fn error(version: u32, bytes: &BackendBytes) -> ErrorKind {
    run(version, bytes, &[bytes.bytes().len()]).2.unwrap()
}

#[test]
fn the_start_tells_position_timeline_and_tablespaces() {
    let mut wire = wire();
    wire.inbox.buffer().extend_from_slice(announcement().bytes());
    let start = Core::new(V15, &BaseBackupOptions::new("")).poll_start(&mut wire).unwrap().unwrap();
    assert_eq!(start.start_lsn.to_string(), "0/2000028");
    assert_eq!(start.timeline.get(), 1);
    assert_eq!(start.tablespaces, [tablespace(), data_directory()]);
}

#[test]
fn both_layouts_tell_the_same() {
    for (version, bytes) in [(V14, old_backup()), (V15, new_backup())] {
        let (core, events, error) = run(version, &bytes, &[1_000_000]);
        assert!(error.is_none(), "{error:?}");
        let notices = events.iter().filter(|event| matches!(event, BackupEvent::Notice(_))).count();
        assert_eq!(notices, 1);
        assert_eq!(contents(events), expected_contents());
        assert_eq!(core.end().map(|end| end.end_lsn.to_string()).as_deref(), Some("0/2000100"));
    }
}

#[test]
fn progress_is_passed_on() {
    let (_, events, _) = run(V15, &new_backup(), &[1]);
    assert!(events.contains(&BackupEvent::Progress(4)));
}

#[test]
fn notices_come_out_while_nothing_else_comes() {
    let bytes = announcement().copy_out().notice("waiting for required WAL segments to be archived");
    let (_, events, _) = run(V15, &bytes, &[1]);
    let [BackupEvent::Notice(notice)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(notice.message(), "waiting for required WAL segments to be archived");
}

#[test]
fn a_backup_that_lacks_something_is_not_complete() {
    let only_one = announcement().copy_out().copy_data(b"nbase.tar\0\0").copy_data(b"m").copy_done();
    let no_manifest = announcement().copy_out().copy_data(b"nbase.tar\0\0").copy_data(b"n16385.tar\0\0").copy_done();
    let old_one = announcement().copy_out().copy_data(b"tbs").copy_done();
    for (version, bytes, expected) in
        [(V15, only_one, "all archives"), (V15, no_manifest, "a manifest"), (V14, old_one, "all archives")]
    {
        let error = error(version, &end(bytes));
        let ErrorKind::Protocol(ProtocolError::IncompleteBackup { missing }) = error else { panic!("{error}") };
        assert_eq!(missing, expected);
    }
}

#[test]
fn a_list_without_the_data_directory_is_refused() {
    let bytes = position(server(), "0/2000028")
        .result(&["spcoid", "spclocation", "size"], &[&[Some("16385"), Some(TABLESPACE), None]]);
    assert!(matches!(error(V15, &bytes), ErrorKind::Protocol(ProtocolError::IncompleteBackup { .. })));
}

#[test]
fn a_tablespace_has_an_oid_and_a_location() {
    for (row, missing) in [([Some("16385"), None], "spclocation"), ([None, Some(TABLESPACE)], "spcoid")] {
        let rows: [&[Option<&str>]; 2] = [&[row[0], row[1], None], &[None, None, None]];
        let bytes = position(server(), "0/2000028").result(&["spcoid", "spclocation", "size"], &rows);
        let error = error(V15, &bytes);
        let is_named = matches!(error, ErrorKind::Protocol(ProtocolError::MissingField { field }) if field == missing);
        assert!(is_named, "{error:?}");
    }
}

#[test]
fn archives_that_nobody_announced_or_that_come_twice_are_refused() {
    let begin = || announcement().copy_out().copy_data(b"nbase.tar\0\0");
    for (bytes, expected) in [
        (begin().copy_data(b"nbase.tar\0\0"), "base.tar"),
        (begin().copy_data(b"n16386.tar\0/srv/other\0"), "16386.tar"),
        (begin().copy_data(b"n../16385.tar\0\0"), "../16385.tar"),
        (begin().copy_data(b"m").copy_data(b"n16385.tar\0\0"), "16385.tar"),
        (begin().copy_data(b"m").copy_data(b"m"), "backup_manifest"),
    ] {
        let error = error(V15, &bytes);
        let ErrorKind::Protocol(ProtocolError::UnexpectedArchive { name }) = error else { panic!("{error}") };
        assert_eq!(name, expected);
    }
}

#[test]
fn a_failed_backup_does_not_become_good_again() {
    let bytes = announcement().copy_out().copy_data(b"nbase.tar\0\0").copy_data(b"?");
    let rest = end(server().copy_data(b"n16385.tar\0\0").copy_data(b"m").copy_done());
    let mut wire = wire();
    wire.inbox.buffer().extend_from_slice(&[bytes.bytes(), rest.bytes()].concat());
    let mut core = Core::new(V15, &BaseBackupOptions::new(""));
    core.poll_start(&mut wire).unwrap();
    while core.poll_event(&mut wire).is_ok() {}
    assert!(matches!(core.poll_event(&mut wire), Err(ErrorKind::Unusable)));
    assert!(core.end().is_none());
}

#[test]
fn archives_are_compressed_as_was_asked_for_or_refused() {
    let gzip = ServerCompression::Gzip { level: None };
    for (compression, name, is_expected) in
        [(None, "base.tar.gz", false), (Some(gzip), "base.tar.gz", true), (Some(gzip), "base.tar", false)]
    {
        let options = BaseBackupOptions { compression, ..BaseBackupOptions::new("") };
        let bytes = announcement().copy_out().copy_data(format!("n{name}\0\0").as_bytes()).copy_data(b"dgz");
        let (_, events, error) = run_with(&options, V15, &bytes, &[1000]);
        assert_eq!(events.contains(&BackupEvent::Data(Bytes::from("gz"))), is_expected, "{name}");
        assert_eq!(error.is_none(), is_expected, "{name}");
    }
}

#[cfg(feature = "decompress")]
#[test]
fn a_decompressed_archive_is_complete_or_an_error() {
    /// What gzip makes of nothing.
    const EMPTY: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let gzip = Some(ServerCompression::Gzip { level: None });
    let options = BaseBackupOptions { compression: gzip, decompress: true, ..BaseBackupOptions::new("") };
    let elsewhere = BaseBackupOptions { target: BackupTarget::Blackhole, ..options.clone() };
    for (options, sent, is_complete) in
        [(&options, EMPTY, true), (&options, &EMPTY[..19], false), (&options, b"", false), (&elsewhere, b"", true)]
    {
        let archive = |bytes: BackendBytes, name: &str| {
            let begun = bytes.copy_data(format!("n{name}.tar.gz\0\0").as_bytes());
            if sent.is_empty() { begun } else { begun.copy_data(&[b"d", sent].concat()) }
        };
        let archives = archive(archive(announcement().copy_out(), "16385"), "base");
        let (core, _, error) = run_with(options, V15, &end(archives.copy_data(b"m").copy_done()), &[1000]);
        assert_eq!(core.is_ended(), is_complete);
        let is_named = matches!(error, Some(ErrorKind::Protocol(ProtocolError::CompressedArchive { .. })));
        assert_eq!(is_named, !is_complete, "{error:?}");
    }
}

#[test]
fn a_copy_too_many_is_refused() {
    let bytes = (0..4).fold(announcement(), |bytes, _| bytes.copy_out().copy_done());
    assert!(matches!(error(V14, &bytes), ErrorKind::Protocol(ProtocolError::UnexpectedArchive { .. })));
}

#[test]
fn stream_messages_that_make_no_sense_are_errors() {
    for message in [&b""[..], b"x", b"n", b"nbase.tar", b"nbase.tar\0", b"n\xff\0\0", b"p123", b"m!"] {
        let error = error(V15, &announcement().copy_out().copy_data(message));
        let ErrorKind::Protocol(ProtocolError::StreamMessage { length, .. }) = error else { panic!("{error}") };
        assert_eq!(length, message.len());
    }
    let data_of_nothing = announcement().copy_out().copy_data(b"ddata");
    assert!(matches!(error(V15, &data_of_nothing), ErrorKind::Protocol(ProtocolError::Unexpected { .. })));
}

#[test]
fn an_error_of_the_servers_ends_the_backup_wherever_it_comes() {
    for bytes in [server(), announcement(), announcement().copy_out().copy_data(b"nbase.tar\0\0")] {
        let error = error(V15, &bytes.error("57014", "canceled"));
        assert!(matches!(error, ErrorKind::Server(_)), "{error}");
    }
}

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference(sizes in prop::collection::vec(1_usize..60, 1..20)) {
        for (version, bytes) in [(V14, old_backup()), (V15, new_backup())] {
            let (core, events, error) = run(version, &bytes, &sizes);
            prop_assert!(error.is_none());
            prop_assert_eq!(contents(events), expected_contents());
            prop_assert!(core.is_ended());
        }
    }

    #[test]
    fn no_stream_message_makes_it_panic(messages in prop::collection::vec(any::<Vec<u8>>(), 0..10)) {
        let bytes = messages.iter().fold(announcement().copy_out(), |bytes, message| bytes.copy_data(message));
        let _ = run(V15, &bytes, &[100]);
        let _ = run(V14, &bytes, &[100]);
    }
}
