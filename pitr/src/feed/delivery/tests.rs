use std::io::Cursor;

use barman_catalog::{Content, Partial};
use barman_storage::codec::{Algorithm, Compression, Format, Level};
use wal_format::testing::WalBuilder;
use wal_format::{SegmentNumber, SegmentSize, TimelineId, crc32c};

use super::*;
use crate::feed::{FoundWal, SourceError};

/// One file, whatever is asked for.
struct One {
    bytes: Vec<u8>,
    format: Option<Format>,
    is_unfinished: bool,
    content: Option<Content>,
}

impl One {
    fn plain(bytes: Vec<u8>) -> Self {
        Self { bytes, format: None, is_unfinished: false, content: None }
    }
}

impl WalSource for One {
    fn find(&self, _: &WalFileName, _: Partial) -> Result<Option<FoundWal>, SourceError> {
        let Self { bytes, format, is_unfinished, content } = self;
        let bytes = Box::new(Cursor::new(bytes.clone()));
        Ok(Some(FoundWal { bytes, format: *format, is_unfinished: *is_unfinished, content: *content }))
    }
}

fn size() -> SegmentSize {
    SegmentSize::new(1024 * 1024).unwrap()
}

/// A segment and what it is called; the record at its end goes on behind it.
fn segment() -> (WalFileName, Vec<u8>) {
    let number = SegmentNumber::new(7);
    let mut wal = WalBuilder::at(WalBuilder::layout(size(), 8192), number);
    wal.cross(100);
    (WalFileName::Segment(number.name(TimelineId::FIRST, size())), wal.segments()[0].to_vec())
}

fn content(bytes: &[u8]) -> Content {
    Content { bytes: bytes.len() as u64, crc32c: crc32c(bytes) }
}

/// Has the file delivered to a server that is fed, and returns what lies there then.
fn delivered(source: &One, name: &WalFileName) -> Result<Vec<u8>, FeedError> {
    called(source, name, true)
}

fn called(source: &One, name: &WalFileName, refuses_damage: bool) -> Result<Vec<u8>, FeedError> {
    let dir = tempfile::tempdir().unwrap();
    let destination = dir.path().join("RECOVERYXLOG");
    let request = FeedRequest {
        name: *name,
        destination: destination.clone(),
        partial: Partial::Exclude,
        refuses_damage,
        patience: std::time::Duration::ZERO,
    };
    let outcome = deliver(source, &request);
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, usize::from(outcome.is_ok()), "{outcome:?}");
    outcome.map(|_| std::fs::read(destination).unwrap())
}

#[test]
fn a_sound_segment_is_delivered_compressed_or_not_known_or_not() {
    let (name, bytes) = segment();
    let mut encoder =
        Compression { algorithm: Algorithm::Zstd, level: Level::Medium }.encoder(Vec::new(), None).unwrap();
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    let compressed = encoder.finish().unwrap();
    for content in [None, Some(content(&bytes))] {
        for (stored, format) in [(&bytes, None), (&compressed, Some(Format::Zstd))] {
            let source = One { bytes: stored.clone(), format, is_unfinished: false, content };
            assert!(delivered(&source, &name).unwrap() == bytes, "{format:?} {content:?}");
        }
    }
}

#[test]
fn a_segment_with_one_wrong_bit_anywhere_is_refused_if_it_cannot_be_compared_with_the_archives() {
    let (name, bytes) = segment();
    // Beside headers and records there are bytes that mean nothing; what crosses the end is judged with the next segment.
    for at in (100..bytes.len() - 4000).step_by(40_961) {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 0x10;
        let refused = delivered(&One::plain(spoilt.clone()), &name);
        assert!(matches!(refused, Err(FeedError::Damaged { .. })), "{at}: {refused:?}");
        // As Barman does it.
        assert!(called(&One::plain(spoilt.clone()), &name, false).unwrap() == spoilt, "{at}");
        let known = One { content: Some(content(&bytes)), ..One::plain(spoilt.clone()) };
        assert!(matches!(delivered(&known, &name), Err(FeedError::Changed { .. })), "{at}");
        // As PostgreSQL wrote it: how far it goes is for PostgreSQL to say.
        let archived = One { content: Some(content(&spoilt)), ..One::plain(spoilt.clone()) };
        assert!(delivered(&archived, &name).unwrap() == spoilt, "{at}");
        let unfinished = One { is_unfinished: true, ..One::plain(spoilt.clone()) };
        assert!(delivered(&unfinished, &name).unwrap() == spoilt, "{at}");
    }
}

#[test]
fn what_is_cut_short_mixed_up_or_nothing_is_refused() {
    let (name, bytes) = segment();
    let short = delivered(&One::plain(bytes[..bytes.len() - 8192].to_vec()), &name);
    assert!(matches!(short, Err(FeedError::Length { found, .. }) if found == (1024 - 8) * 1024), "{short:?}");
    let other = WalFileName::Segment(SegmentNumber::new(8).name(TimelineId::FIRST, size()));
    let mixed_up = delivered(&One::plain(bytes.clone()), &other);
    assert!(matches!(mixed_up, Err(FeedError::Mismatch { .. })), "{mixed_up:?}");
    for nothing in [Vec::new(), vec![0; bytes.len()], b"part".to_vec()] {
        let refused = delivered(&One::plain(nothing), &name);
        assert!(matches!(refused, Err(FeedError::NotWal { .. })), "{refused:?}");
    }
    let torn = One { format: Some(Format::Zstd), ..One::plain(bytes) };
    assert!(matches!(delivered(&torn, &name), Err(FeedError::Fetch { .. })));
}
