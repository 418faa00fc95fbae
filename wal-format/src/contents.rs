//! What a record consists of: references to blocks, with or without images of them, and data of its resource manager.

use nom::Parser as _;
use nom::combinator::{map, verify};

use crate::native::{byte, int16, int32};
use crate::record::{Record, RecordHeader};
use crate::syntax::{Parsed, SyntaxError, expect, syntax_error};
use crate::version::ImageFlags;
use crate::{Element as _, Fork, RelFileLocator};

/// The parts of a record (`DecodeXLogRecord`, `access/xlogreader.c`). Nothing is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents<'a> {
    image_flags: ImageFlags,
    block_headers: &'a [u8],
    block_data: &'a [u8],
    main_data: &'a [u8],
    origin: Option<u16>,
    top_level_xid: Option<u32>,
    image_len: usize,
}

impl<'a> Record<'a> {
    /// Takes the record apart.
    ///
    /// # Errors
    /// Its parts do not make up the record. Its checksum is right then, so that is what a server wrote: one of a version
    /// that this crate misunderstands.
    pub fn contents(&self) -> Result<Contents<'a>, SyntaxError> {
        let bytes = self.bytes;
        let body = bytes.get(RecordHeader::LEN..).unwrap_or_default();
        Contents::parse(self.major.facts().image_flags, body)
            .map_err(|error| syntax_error(body, error).further_on(RecordHeader::LEN))
    }
}

impl Record<'_> {
    /// The relation of the first block that the record changes, which nothing else of it is read for; `None` if it changes
    /// none. Whoever looks for the few records about one relation asks this of each.
    #[must_use]
    #[inline(always)]
    pub fn first_relation(&self) -> Option<RelFileLocator> {
        let headers = self.bytes.get(RecordHeader::LEN..)?;
        let [id, flags] = *headers.first_chunk()?;
        match flags & (BlockHeader::HAS_IMAGE | BlockHeader::SAME_RELATION) {
            _ if id > LAST_BLOCK_ID => None,
            // Of almost all records it has a fixed place.
            0 => RelFileLocator::read(headers.get(BlockHeader::LEN..)?.get(..RelFileLocator::LEN)?),
            _ => BlockHeader::parse(headers, self.major.facts().image_flags).ok()?.1.relation,
        }
    }
}

impl<'a> Contents<'a> {
    /// The blocks that the record changes or depends on, in ascending order of their ids.
    #[must_use]
    pub const fn blocks(&self) -> Blocks<'a> {
        Blocks { headers: self.block_headers, data: self.block_data, image_flags: self.image_flags, relation: None }
    }

    /// What the resource manager wrote besides.
    #[must_use]
    pub const fn main_data(&self) -> &'a [u8] {
        self.main_data
    }

    /// The replication origin that the change came from.
    #[must_use]
    pub const fn origin(&self) -> Option<u16> {
        self.origin
    }

    /// The transaction that the record's is a subtransaction of, where the record is the first to say so; 14 and later.
    #[must_use]
    pub const fn top_level_xid(&self) -> Option<u32> {
        self.top_level_xid
    }

    /// How many of the record's bytes are images of blocks; `pg_waldump` shows the length without them as `rec`.
    #[must_use]
    pub const fn image_len(&self) -> usize {
        self.image_len
    }

    fn parse(image_flags: ImageFlags, body: &'a [u8]) -> Result<Self, nom::Err<crate::syntax::Mismatch<'a>>> {
        // Most records that are read for what they say have no blocks, and little to say.
        if let [DATA_SHORT, len, main_data @ ..] = body
            && usize::from(*len) == main_data.len()
        {
            let (block_headers, block_data, origin) = (&[][..], &[][..], None);
            return Ok(Self {
                image_flags,
                block_headers,
                block_data,
                main_data,
                origin,
                top_level_xid: None,
                image_len: 0,
            });
        }
        let mut parts = Parts { rest: body, ..Parts::default() };
        // By convention, main data is always last: without any, the headers end where the data begins.
        while !parts.complete && parts.rest.len() > parts.data_len {
            parts.add(image_flags)?;
        }
        let lengths = |rest: &[u8]| rest.len() == parts.data_len;
        expect("data of the length that its headers announce", verify(nom::combinator::rest, lengths))
            .parse(parts.rest)?;
        let (block_data, main_data) = parts.rest.split_at(parts.data_len.saturating_sub(parts.main_len));
        // Replication origin and top-level transaction follow the blocks.
        let block_headers = body.get(..parts.block_header_len).unwrap_or_default();
        let Parts { origin, top_level_xid, image_len, .. } = parts;
        Ok(Self { image_flags, block_headers, block_data, main_data, origin, top_level_xid, image_len })
    }
}

/// What was read of a record's headers.
#[derive(Default)]
struct Parts<'a> {
    rest: &'a [u8],
    /// Bytes of headers of blocks.
    block_header_len: usize,
    /// Bytes of data that the headers so far announce.
    data_len: usize,
    main_len: usize,
    image_len: usize,
    origin: Option<u16>,
    top_level_xid: Option<u32>,
    last_id: Option<u8>,
    has_relation: bool,
    complete: bool,
}

/// Ids that stand for something else than a block (`access/xlogrecord.h`).
const LAST_BLOCK_ID: u8 = 32;
const TOP_LEVEL_XID: u8 = 252;
const ORIGIN: u8 = 253;
const DATA_LONG: u8 = 254;
const DATA_SHORT: u8 = 255;

impl<'a> Parts<'a> {
    /// Reads the next header.
    fn add(&mut self, image_flags: ImageFlags) -> Result<(), nom::Err<crate::syntax::Mismatch<'a>>> {
        let (rest, id) = byte(self.rest)?;
        self.rest = match id {
            DATA_SHORT => {
                let (rest, len) = expect("the length of main data", byte).parse(rest)?;
                self.add_main(len.into());
                rest
            }
            DATA_LONG => {
                let (rest, len) = expect("the length of main data", int32).parse(rest)?;
                self.add_main(usize::try_from(len).unwrap_or(usize::MAX));
                rest
            }
            ORIGIN => {
                let (rest, origin) = expect("a replication origin", int16).parse(rest)?;
                self.origin = Some(origin);
                rest
            }
            TOP_LEVEL_XID => {
                let (rest, xid) = expect("a top-level transaction", int32).parse(rest)?;
                self.top_level_xid = Some(xid);
                rest
            }
            _ => return self.add_block(image_flags),
        };
        Ok(())
    }

    fn add_main(&mut self, len: usize) {
        self.main_len = len;
        self.data_len = self.data_len.saturating_add(len);
        self.complete = true;
    }

    fn add_block(&mut self, image_flags: ImageFlags) -> Result<(), nom::Err<crate::syntax::Mismatch<'a>>> {
        let in_order = |header: &BlockHeader| {
            let ascending = self.last_id.is_none_or(|last| header.id > last) && header.id <= LAST_BLOCK_ID;
            // All blocks come first: they are found again by how long their headers are.
            let first = self.origin.is_none() && self.top_level_xid.is_none();
            ascending && (header.relation.is_some() || self.has_relation) && first
        };
        let name = "a block's header, with an id above the one before and at most 32";
        let parser = |input| BlockHeader::parse(input, image_flags);
        let (rest, header) = expect(name, verify(parser, in_order)).parse(self.rest)?;
        self.block_header_len += self.rest.len().saturating_sub(rest.len());
        self.rest = rest;
        self.data_len += header.image_len() + usize::from(header.data_len);
        self.image_len += header.image_len();
        self.last_id = Some(header.id);
        self.has_relation |= header.relation.is_some();
        Ok(())
    }
}

/// The references of a record to blocks, in the order of their ids.
#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    headers: &'a [u8],
    data: &'a [u8],
    image_flags: ImageFlags,
    relation: Option<RelFileLocator>,
}

/// One block that a record changes or depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockReference<'a> {
    /// Which of the record's blocks this is: its meaning is the resource manager's.
    pub id: u8,
    /// The relation.
    pub relation: RelFileLocator,
    /// The fork.
    pub fork: Fork,
    /// The number of the block within the fork.
    pub block: u32,
    /// Replay makes the page anew, whatever it held before (`BKPBLOCK_WILL_INIT`).
    pub will_init: bool,
    /// The block as it was after the change.
    pub image: Option<Image<'a>>,
    /// What the resource manager wrote about the block.
    pub data: &'a [u8],
}

/// A full-page image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// The page without its hole, compressed or not.
    pub bytes: &'a [u8],
    /// How `bytes` is compressed.
    pub compression: Compression,
    /// Where the hole begins, in bytes from the beginning of the page; `None` without one. A hole is full of zeros.
    pub hole_offset: Option<u16>,
    /// How long the hole is, in bytes, where the record says so: in one that is not compressed it is what `bytes` lacks of
    /// a page.
    pub hole_len: Option<u16>,
    /// Replay restores it; otherwise it only serves `wal_consistency_checking`.
    pub apply: bool,
}

/// How a full-page image is compressed (`wal_compression`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// With PostgreSQL's own method.
    Pglz,
    /// With LZ4, 15 and later.
    Lz4,
    /// With Zstandard, 15 and later.
    Zstd,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = BlockReference<'a>;

    fn next(&mut self) -> Option<BlockReference<'a>> {
        // The headers were read once before, and announced data that is there.
        let (rest, header) = BlockHeader::parse(self.headers, self.image_flags).ok()?;
        let (image, data) = self.data.split_at_checked(header.image_len())?;
        let (data, behind) = data.split_at_checked(header.data_len.into())?;
        let relation = header.relation.or(self.relation)?;
        (self.headers, self.data, self.relation) = (rest, behind, Some(relation));
        let BlockHeader { id, fork, block, will_init, .. } = header;
        let image = header.image.map(|header| header.image(image));
        Some(BlockReference { id, relation, fork, block, will_init, image, data })
    }
}

/// `XLogRecordBlockHeader` with what may follow it.
struct BlockHeader {
    id: u8,
    fork: Fork,
    will_init: bool,
    data_len: u16,
    image: Option<ImageHeader>,
    relation: Option<RelFileLocator>,
    block: u32,
}

impl BlockHeader {
    /// How many bytes come before what may be left out.
    const LEN: usize = 4;
    const HAS_IMAGE: u8 = 0x10;
    const HAS_DATA: u8 = 0x20;
    const WILL_INIT: u8 = 0x40;
    const SAME_RELATION: u8 = 0x80;

    #[inline]
    fn parse(input: &[u8], image_flags: ImageFlags) -> Parsed<'_, Self> {
        let (input, (id, (fork, flags))) = (byte, Fork::parse_with_flags).parse(input)?;
        let as_announced = |&len: &u16| (len > 0) == (flags & Self::HAS_DATA != 0);
        let data_len = verify(int16, as_announced);
        let (input, data_len) =
            expect("the length of a block's data, as its flags announce it", data_len).parse(input)?;
        let (input, image) = match flags & Self::HAS_IMAGE {
            0 => (input, None),
            _ => map(|input| ImageHeader::parse(input, image_flags), Some).parse(input)?,
        };
        let (input, relation) = match flags & Self::SAME_RELATION {
            0 => map(RelFileLocator::parse, Some).parse(input)?,
            _ => (input, None),
        };
        let (input, block) = expect("a block's number", int32).parse(input)?;
        Ok((input, Self { id, fork, will_init: flags & Self::WILL_INIT != 0, data_len, image, relation, block }))
    }

    fn image_len(&self) -> usize {
        self.image.as_ref().map_or(0, |image| image.len.into())
    }
}

/// `XLogRecordBlockImageHeader`, and `XLogRecordBlockCompressHeader` where there is one.
struct ImageHeader {
    len: u16,
    hole_offset: Option<u16>,
    hole_len: Option<u16>,
    compression: Compression,
    apply: bool,
}

impl ImageHeader {
    fn parse(input: &[u8], known: ImageFlags) -> Parsed<'_, Self> {
        let fields = (int16, int16, byte);
        // An image without a hole begins at 0 for the same reason that one with a hole does not: page headers.
        let holes_agree = |&(_, offset, flags): &(u16, u16, u8)| (offset != 0) == known.has_hole(flags);
        let name = "the header of a full-page image";
        let (input, (len, offset, flags)) = expect(name, verify(fields, holes_agree)).parse(input)?;
        let compression = known.compression(flags);
        let (input, hole_len) = if known.has_hole(flags) && compression != Compression::None {
            let len = verify(int16, |&len| len > 0);
            map(expect("the length of a compressed image's hole", len), Some).parse(input)?
        } else {
            (input, None)
        };
        let hole_offset = known.has_hole(flags).then_some(offset);
        Ok((input, Self { len, hole_offset, hole_len, compression, apply: known.applies(flags) }))
    }

    const fn image<'a>(&self, bytes: &'a [u8]) -> Image<'a> {
        let Self { hole_offset, hole_len, compression, apply, .. } = *self;
        Image { bytes, compression, hole_offset, hole_len, apply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lsn, PgMajor, ResourceManager, TimelineId};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// A record with this body, of which only the body matters here.
    fn record(bytes: &[u8], major: PgMajor) -> Record<'_> {
        let header = RecordHeader {
            total_len: 0,
            xid: 0,
            prev: Lsn::new(0),
            info: 0,
            manager: ResourceManager::HEAP,
            checksum: 0,
        };
        Record { start: Lsn::new(0), end: Lsn::new(0), timeline: TimelineId::FIRST, major, header, bytes }
    }

    /// Two blocks of one relation, the first with an image; an origin, a top-level transaction, main data.
    fn body(image_info: u8) -> Vec<u8> {
        let mut body = [0; RecordHeader::LEN].to_vec();
        body.extend([0, 0x10 | 0x20 | 0x40]);
        body.extend(3u16.to_ne_bytes());
        body.extend(5u16.to_ne_bytes());
        body.extend(100u16.to_ne_bytes());
        body.push(image_info);
        body.extend([1663u32, 5, 16384, 7].map(u32::to_ne_bytes).concat());
        body.extend([2, 0x80 | 0x02]);
        body.extend(0u16.to_ne_bytes());
        body.extend(8u32.to_ne_bytes());
        body.push(ORIGIN);
        body.extend(9u16.to_ne_bytes());
        body.push(TOP_LEVEL_XID);
        body.extend(742u32.to_ne_bytes());
        body.extend([DATA_SHORT, 4]);
        body.extend(b"imagerowmain");
        body
    }

    #[test]
    fn every_part_is_found() {
        let body = body(0x01 | 0x02);
        let contents = record(&body, PgMajor::V15).contents().unwrap();
        let relation = RelFileLocator { tablespace: 1663, database: 5, number: 16384 };
        let image = Image {
            bytes: b"image",
            compression: Compression::None,
            hole_offset: Some(100),
            hole_len: None,
            apply: true,
        };
        let first = BlockReference {
            id: 0,
            relation,
            fork: Fork::Main,
            block: 7,
            will_init: true,
            image: Some(image),
            data: b"row",
        };
        let second = BlockReference {
            id: 2,
            fork: Fork::VisibilityMap,
            block: 8,
            will_init: false,
            image: None,
            data: b"",
            ..first
        };
        assert_eq!(contents.blocks().collect::<Vec<_>>(), [first, second]);
        assert_eq!(contents.main_data(), b"main");
        assert_eq!(record(&body, PgMajor::V15).first_relation(), Some(relation));
        assert_eq!(record(&body[..RecordHeader::LEN + 2], PgMajor::V15).first_relation(), None);
        assert_eq!((contents.origin(), contents.top_level_xid(), contents.image_len()), (Some(9), Some(742), 5));
    }

    #[test]
    fn versions_differ_in_what_bits_of_an_image_mean() {
        let image = |info, major| {
            let body = body(info);
            let image = record(&body, major).contents().unwrap().blocks().next().unwrap().image.unwrap();
            (image.compression, image.apply)
        };
        assert_eq!(image(0x01 | 0x04, PgMajor::V14), (Compression::None, true));
        assert_eq!(image(0x01 | 0x02, PgMajor::V15), (Compression::None, true));
    }

    #[test]
    fn a_body_that_does_not_add_up_is_refused() {
        let body = body(0x01 | 0x02);
        for (at, value) in [(24, 33), (25, 0x1F), (49, 0), (50, 0x92), (body.len() - 13, 5)] {
            let mut body = body.clone();
            body[at] = value;
            assert!(record(&body, PgMajor::V15).contents().is_err(), "byte {at} as {value}");
        }
        // Cut 8 bytes behind one of its headers, it is another record: the blocks announce as many bytes of data.
        let others = [49, 57, 60, 65].map(|end_of_header| end_of_header + 8);
        for len in (RecordHeader::LEN + 1..body.len()).filter(|len| !others.contains(len)) {
            assert!(record(&body[..len], PgMajor::V15).contents().is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_block_behind_what_follows_all_blocks_is_refused() {
        let body = body(0x01 | 0x02);
        for early in [&[ORIGIN, 9, 0][..], &[TOP_LEVEL_XID, 1, 2, 3, 4]] {
            let (header, rest) = body.split_at(RecordHeader::LEN);
            assert!(record(&[header, early, rest].concat(), PgMajor::V15).contents().is_err(), "{early:?}");
        }
    }

    #[test]
    fn a_record_may_have_no_parts_at_all() {
        let contents = record(&[0; RecordHeader::LEN], PgMajor::V15).contents().unwrap();
        assert_eq!((contents.blocks().count(), contents.main_data()), (0, &b""[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            noise in prop::collection::vec(any::<u8>(), 0..200),
            at: prop::sample::Index,
            value: u8,
            major in prop::sample::select(&PgMajor::ALL[..]),
        ) {
            let mut near = body(0x03);
            let at = at.index(near.len());
            near[at] = value;
            for bytes in [&noise, &near] {
                if let Ok(contents) = record(bytes, major).contents() {
                    prop_assert!(contents.blocks().map(|block| block.data.len()).sum::<usize>() <= bytes.len());
                }
            }
        }
    }
}
