use std::io::{BufReader, PipeReader, PipeWriter, Read as _};
use std::thread;

use barman_catalog::Partial;
use wal_format::WalFileName;

use super::*;
use crate::feed::{FoundWal, SourceError, WalSource};

/// Has every segment of timeline 1 up to 9, each filled with its number; 4 breaks off, and whether there is a 5 cannot be told.
struct Segments;

impl WalSource for Segments {
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError> {
        let WalFileName::Segment(segment) = name else { return Ok(None) };
        let bytes: Box<dyn std::io::Read + Send> = match segment.segment {
            4 => Box::new(std::io::repeat(4).take(1000).chain(Broken)),
            5 => return Err("no\nidea".into()),
            number @ 1..10 => Box::new(std::io::repeat(number as u8).take(LENGTH)),
            _ => return Ok(None),
        };
        let content = Some(Content { bytes: LENGTH, crc32c: segment.segment });
        Ok(Some(FoundWal { bytes, format: None, is_unfinished: partial == Partial::Include, content }))
    }
}

/// More than one piece.
const LENGTH: u64 = 3 * LONGEST_PIECE as u64 + 7;

struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is broken"))
    }
}

type Pipes = Session<BufReader<PipeReader>, PipeWriter>;

/// A session with somebody who answers until the questions end.
fn session() -> Pipes {
    let (questions, asking) = std::io::pipe().unwrap();
    let (answering, mut answers) = std::io::pipe().unwrap();
    thread::spawn(move || answer_session(&Segments, &mut BufReader::new(questions), &mut answers));
    Session::open(BufReader::new(answering), asking).unwrap()
}

/// A session with somebody who says just this.
fn told(answers: &[u8]) -> Result<Pipes, std::io::Error> {
    let (answering, mut told) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut told, answers).unwrap();
    drop(told);
    let (questions, asking) = std::io::pipe().unwrap();
    // They are read by nobody, and stay.
    thread::spawn(move || BufReader::new(questions).read_to_end(&mut Vec::new()));
    Session::open(BufReader::new(answering), asking)
}

fn name(number: u32) -> WalFileName {
    format!("0000000100000000{number:08X}").parse().unwrap()
}

fn read(found: FoundWal) -> std::io::Result<Vec<u8>> {
    let (mut bytes, mut read) = (found.bytes, Vec::new());
    bytes.read_to_end(&mut read).map(|_| read)
}

#[test]
fn lines_are_read_as_they_were_written() {
    let content = Some(Content { bytes: 16_777_216, crc32c: 0xA0 });
    for head in [
        Head::Missing,
        Head::Failed("no way".to_owned()),
        Head::Found { is_unfinished: false, format: Some(Format::Zstd), content },
        Head::Found { is_unfinished: true, format: None, content: None },
    ] {
        assert_eq!(head.to_string().parse(), Ok(head));
    }
    for line in ["", "whole", "whole zip - -", "whole - 1 -", "whole - - -  ", "half - - -", "missing it"] {
        assert_eq!(line.parse::<Head>(), Err(NotUnderstood), "{line}");
    }
    for piece in [Piece::Bytes(LONGEST_PIECE), Piece::End, Piece::Failed("a b".to_owned())] {
        assert_eq!(piece.to_string().parse(), Ok(piece));
    }
    for line in ["", "bytes", "bytes 0", "bytes 262145", "bytes -1", "end of it", "failed"] {
        assert_eq!(line.parse::<Piece>(), Err(NotUnderstood), "{line}");
    }
}

#[test]
fn threads_ask_at_the_same_time_and_each_gets_its_own_answer() {
    let session = session();
    thread::scope(|scope| {
        for number in (1..=3).chain(6..=9) {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..5 {
                    let found = session.find(&name(number), Partial::Exclude).unwrap().unwrap();
                    assert_eq!(found.content, Some(Content { bytes: LENGTH, crc32c: number }));
                    assert!(read(found).unwrap() == vec![number as u8; LENGTH as usize], "{number}");
                    assert!(session.find(&name(10), Partial::Exclude).unwrap().is_none());
                }
            });
        }
    });
    assert!(!session.is_cut());
}

#[test]
fn what_cannot_be_had_or_is_not_wanted_does_not_stand_before_the_next_answer() {
    let session = session();
    let refused = session.find(&name(5), Partial::Exclude).unwrap_err();
    assert_eq!(refused.to_string(), "no idea");
    let broken = read(session.find(&name(4), Partial::Exclude).unwrap().unwrap()).unwrap_err();
    assert_eq!(broken.to_string(), "the disk is broken");
    drop(session.find(&name(4), Partial::Exclude).unwrap());
    let mut begun = session.find(&name(3), Partial::Include).unwrap().unwrap();
    assert!(begun.is_unfinished);
    begun.bytes.read_exact(&mut [0; 10]).unwrap();
    drop(begun);
    assert_eq!(read(session.find(&name(2), Partial::Exclude).unwrap().unwrap()).unwrap()[0], 2);
}

#[test]
fn who_does_not_greet_is_told_apart() {
    for greeting in ["", "barman-wal 1", "barman-wal 2\n", "usage: barman\n", "\u{0}\n"] {
        assert!(told(greeting.as_bytes()).is_err(), "{greeting}");
    }
    let long = vec![b'x'; 1 << 20];
    assert!(thread::spawn(move || Session::open(&*long.leak(), std::io::sink()).is_err()).join().unwrap());
}

#[test]
fn a_connection_that_ends_or_is_not_understood_is_cut_for_all_and_nothing_is_whole() {
    let whole = b"barman-wal 1\nwhole - - -\nbytes 3\nabcend\n";
    assert_eq!(read(told(whole).unwrap().find(&name(1), Partial::Exclude).unwrap().unwrap()).unwrap(), b"abc");
    for cut in b"barman-wal 1\n".len()..whole.len() {
        let session = told(&whole[..cut]).unwrap();
        let found = session.find(&name(1), Partial::Exclude);
        assert!(found.is_err() || read(found.unwrap().unwrap()).is_err(), "{cut}");
        assert!(session.is_cut());
        assert!(matches!(session.find(&name(2), Partial::Exclude), Err(SessionError::Cut(_))), "{cut}");
    }
    for nonsense in ["perhaps\n", "whole - - -\nbytes 999999999\n", "whole - - -\nbytes x\n", "whole - - -\n\n"] {
        let session = told(format!("barman-wal 1\n{nonsense}").as_bytes()).unwrap();
        let found = session.find(&name(1), Partial::Exclude);
        assert!(found.is_err() || read(found.unwrap().unwrap()).is_err(), "{nonsense}");
        assert!(session.is_cut());
    }
}
