//! Every format: what goes in comes out, and what is not whole does not.

use std::io::{self, Read as _, Write as _};

use proptest::prelude::*;

use super::*;

/// With an end that a reader misses when it is not there.
const SELF_ENDING: [Format; 5] = [Format::Gzip, Format::Bzip2, Format::Xz, Format::Zstd, Format::Lz4];

fn encode(compression: Compression, pieces: &[&[u8]], length: Option<u64>) -> Vec<u8> {
    let mut encoder = compression.encoder(Vec::new(), length).unwrap();
    for piece in pieces {
        encoder.write_all(piece).unwrap();
    }
    encoder.finish().unwrap()
}

fn stored(format: Format, contents: &[u8]) -> Vec<u8> {
    encode(Compression { algorithm: format.into(), level: Level::Medium }, &[contents], None)
}

fn decode(format: Format, stored: &[u8]) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    Decoder::new(format, stored)?.read_to_end(&mut contents).map(|_| contents)
}

/// Something that compresses, but not to nothing.
fn sample(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 28) as u8
    });
    noise.take(len).collect()
}

fn any_compression() -> impl Strategy<Value = Compression> {
    let number = (-25..25).prop_map(Level::Number);
    let level = prop_oneof![Just(Level::Low), Just(Level::Medium), Just(Level::High), number];
    (prop::sample::select(&Algorithm::ALL[..]), level)
        .prop_map(|(algorithm, level)| Compression { algorithm, level })
        // Half a gigabyte for each case.
        .prop_filter("too much memory", |compression| {
            compression.algorithm != Algorithm::Zstd || compression.level_number() < 16
        })
}

proptest! {
    // Slow: a part of as many as others have.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn what_is_written_in_any_pieces_is_read_in_any_pieces(
        compression in any_compression(),
        pieces in prop::collection::vec(prop::collection::vec(0..5u8, 0..3000), 0..6),
        says_length: bool,
        buffer in 1..5000usize,
        source_buffer in 1..5000usize,
    ) {
        let contents = pieces.concat();
        let slices: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
        let stored = encode(compression, &slices, says_length.then_some(contents.len() as u64));
        let source = io::BufReader::with_capacity(source_buffer, stored.as_slice());
        let mut decoder = Decoder::new(compression.algorithm.format(), source).unwrap();
        let (mut read, mut piece) = (Vec::new(), vec![0; buffer]);
        loop {
            let len = decoder.read(&mut piece).unwrap();
            if len == 0 { break; }
            read.extend_from_slice(&piece[..len]);
        }
        prop_assert_eq!(read, contents);
        prop_assert_eq!(decoder.read(&mut piece).unwrap(), 0);
    }

    #[test]
    fn a_changed_bit_is_noticed_or_changes_nothing(
        format in prop::sample::select(&Format::ALL[..]),
        at: prop::sample::Index,
        bit in 0..8u8,
    ) {
        let contents = sample(5000);
        let mut stored = stored(format, &contents);
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        // A file name in a header, a bit that is reserved: not everything matters. But nothing else is read.
        prop_assert!(decode(format, &stored).map_or(true, |read| read == contents));
    }

    #[test]
    fn noise_is_an_error_and_nothing_worse(
        format in prop::sample::select(&Format::ALL[..]),
        keeps in 0..60usize,
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut stored = stored(format, &sample(500));
        stored.truncate(keeps);
        stored.extend(noise);
        let _ = decode(format, &stored);
    }
}

#[test]
fn a_stream_that_was_cut_is_refused_at_every_byte() {
    let contents = sample(3000);
    for format in SELF_ENDING {
        let stored = stored(format, &contents);
        for len in 1..stored.len() {
            let error =
                decode(format, &stored[..len]).expect_err(&format!("{format} cut to {len} of {}", stored.len()));
            let kind = error.kind();
            assert!(
                matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
                "{format} {len}: {error}"
            );
        }
    }
}

#[test]
fn a_snappy_stream_can_be_cut_between_chunks_only() {
    let contents = sample(200_000);
    let stored = stored(Format::Snappy, &contents);
    let mut borders = vec![0];
    let mut at = 0;
    while let Some(&[_, a, b, c]) = stored.get(at..at + 4) {
        at += 4 + u32::from_le_bytes([a, b, c, 0]) as usize;
        borders.push(at);
    }
    assert_eq!((at, borders.len()), (stored.len(), 6), "the identifier and four chunks");
    for len in 0..stored.len() {
        assert_eq!(decode(Format::Snappy, &stored[..len]).is_ok(), borders.contains(&len), "{len}");
    }
}

#[test]
fn all_members_are_read_and_what_is_none_is_an_error() {
    for format in Format::ALL {
        let [first, second] = [&b"first, "[..], &b"second"[..]].map(|contents| stored(format, contents));
        assert_eq!(decode(format, &[first.clone(), second.clone()].concat()).unwrap(), b"first, second", "{format}");
        for garbage in [&b"garbage and more of it"[..], &first[..first.len() - 1]] {
            // For snappy, a chunk of the type that its first byte says, and longer than any.
            let broken = [first.as_slice(), &second, garbage].concat();
            assert!(decode(format, &broken).is_err(), "{format}");
        }
    }
}

#[test]
fn a_broken_stream_names_its_format_and_keeps_the_cause() {
    let mut broken = stored(Format::Zstd, &sample(1000));
    let middle = broken.len() / 2;
    broken[middle] ^= 0xFF;
    let error = decode(Format::Zstd, &broken).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidData, "broken zstd stream".to_owned()));
    assert!(error.get_ref().and_then(|inner| inner.source()).is_some());
}

#[test]
fn errors_of_the_source_are_passed_on() {
    struct Failing;
    impl io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(rustix::io::Errno::IO.into())
        }
    }
    for format in Format::ALL {
        let stored = stored(format, &sample(1000));
        let (head, _) = stored.split_at(stored.len() / 2);
        let source = io::BufReader::new(head.chain(Failing));
        let error = Decoder::new(format, source).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{format}: {error}");
    }
}

#[test]
fn streams_that_want_more_memory_than_any_sensible_one_are_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(b"x").unwrap();
    assert!(decode(Format::Zstd, &encoder.finish().unwrap()).is_err());
    let mut options = liblzma::stream::LzmaOptions::new_preset(1).unwrap();
    options.dict_size(200 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc64).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(b"x").unwrap();
    assert!(decode(Format::Xz, &encoder.finish().unwrap()).is_err());
}

#[test]
fn a_length_that_was_announced_has_to_be_right() {
    // The longer one is not compressed in one piece.
    for length in [1000, zstd_writer::IN_ONE_PIECE + 1] {
        let contents = sample(usize::try_from(length).unwrap());
        let compression = Compression { algorithm: Algorithm::Zstd, level: Level::Low };
        for wrong in [length - 1, length + 1] {
            let mut encoder = compression.encoder(Vec::new(), Some(wrong)).unwrap();
            assert!(encoder.write_all(&contents).is_err() || encoder.finish().is_err(), "{wrong}");
        }
        let stored = encode(compression, &[&contents], Some(length));
        // `ZSTD_frameHeaderSize_prefix` and the flags behind it: the checksum of the contents is bit 2.
        assert_eq!(stored[4] & 4, 4);
        assert_eq!(decode(Format::Zstd, &stored).unwrap(), contents);
    }
}

/// Short records as a log has them: numbers that count on, a checksum, and words of which some come again.
fn records(len: usize) -> Vec<u8> {
    let (noise, mut log) = (sample(len), Vec::new());
    for (number, noise) in (0u64..).zip(noise.chunks(8)) {
        let end = log.len() as u64;
        log.extend_from_slice(&(90 + u32::from(noise[0])).to_le_bytes());
        log.extend_from_slice(&(700_000 + number / 5).to_le_bytes());
        log.extend_from_slice(&end.to_le_bytes());
        log.extend_from_slice(&end.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[..4]);
        log.extend_from_slice(b"\x10\x0a\0\0\x7f\x06\0\0\x05\0\0\0\x01\x40\0\0");
        log.extend_from_slice(noise);
        log.extend_from_slice(&(number * 2_654_435_761 % 1_000_003).to_le_bytes());
    }
    log
}

#[test]
fn zstd_writes_no_more_than_its_levels_do_by_themselves() {
    let contents = records(1 << 19);
    for level in 3..=5 {
        let compression = Compression { algorithm: Algorithm::Zstd, level: Level::Number(level) };
        let ours = encode(compression, &[&contents], Some(contents.len() as u64));
        let plain = zstd::bulk::compress(&contents, level).unwrap();
        assert!(ours.len() <= plain.len(), "level {level}: {} and {} bytes", ours.len(), plain.len());
        assert_eq!(decode(Format::Zstd, &ours).unwrap(), contents);
    }
}

#[test]
fn several_threads_write_what_one_reads() {
    // More than two members of the largest kind, and no multiple of it.
    let contents = sample(9_000_001);
    let pigz = encode(Compression { algorithm: Algorithm::Pigz, level: Level::Low }, &[&contents], None);
    let gzip = encode(Compression { algorithm: Algorithm::Gzip, level: Level::Low }, &[&contents], None);
    assert_eq!(pigz, gzip);
    assert_eq!(decode(Format::Gzip, &pigz).unwrap(), contents);
}

#[test]
fn levels_are_barmans() {
    let number = |name: &str, level: &str| {
        let algorithm: Algorithm = name.parse().unwrap();
        Compression { algorithm, level: level.parse().unwrap() }.level_number()
    };
    for (names, low, medium, high, (least, most)) in [
        (&["gzip", "pigz", "pygzip"][..], 1, 6, 9, (1, 9)),
        (&["bzip2", "pybzip2"], 1, 5, 9, (1, 9)),
        (&["xz"], 1, 3, 5, (1, 9)),
        (&["zstd"], 1, 4, 9, (-22, 22)),
        (&["lz4"], 0, 6, 10, (0, 16)),
    ] {
        for name in names {
            assert_eq!(["low", "medium", "high"].map(|level| number(name, level)), [low, medium, high], "{name}");
            assert_eq!(["-1000", "2", "1000"].map(|level| number(name, level)), [least, 2, most], "{name}");
        }
    }
    assert!("none".parse::<Algorithm>().is_err());
    assert!("fast".parse::<Level>().is_err());
}

#[test]
fn a_level_reaches_its_codec() {
    let contents: String = (0..30_000).map(|line| format!("line {} of {}\n", line, line * line % 977)).collect();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Snappy) {
        let stored = |level| encode(Compression { algorithm, level }, &[contents.as_bytes()], None);
        assert_ne!(stored(Level::High), stored(Level::Low), "{algorithm}");
    }
}

#[test]
fn each_format_is_told_by_its_magic_alone() {
    for format in Format::ALL {
        assert_eq!(Format::detect(&stored(format, b"x")), Some(format));
        assert!(format.magic().len() <= Format::HEAD_LEN);
        assert_eq!(Format::detect(&format.magic()[..format.magic().len() - 1]), None);
    }
    assert_eq!(Format::detect(b""), None);
}
