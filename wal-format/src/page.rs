//! The header that every page of WAL begins with.

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::map;
use nom::number::Endianness::Native;
use nom::number::complete::{u16 as native_u16, u32 as native_u32, u64 as native_u64};

use crate::syntax::Parsed;
use crate::{Lsn, PgMajor, SegmentSize, SystemId, TimelineId, UnknownMagic};

/// What a page of WAL says about itself (`XLogPageHeaderData`, and `XLogLongPageHeaderData` on the first page of a
/// segment, both of `access/xlog_internal.h`).
///
/// Nothing protects these bytes with a checksum: what they claim is to be compared with what is known from elsewhere, as
/// [`SegmentHeader::check`](crate::SegmentHeader::check) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// The version of the server that wrote the page.
    pub major: PgMajor,
    /// What the page begins with.
    pub flags: PageFlags,
    /// The timeline that the page's first record was written on. On pages copied to a new timeline it is an ancestor.
    pub timeline: TimelineId,
    /// The position of the page's first byte.
    pub address: Lsn,
    /// How many bytes of a record that began on an earlier page are still to come, this page's included
    /// (`xlp_rem_len`); 0 without one.
    pub remaining: u32,
    /// What only the first page of a segment adds.
    pub long: Option<LongHeader>,
}

/// What the first page of a segment says besides (`XLogLongPageHeaderData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader {
    /// The cluster the segment belongs to.
    pub system_id: SystemId,
    /// How long the segment is.
    pub segment_size: SegmentSize,
    /// How long each page is, in bytes: a power of two from 1024 to 65536 (`XLOG_BLCKSZ`).
    pub block_size: u32,
}

/// The bits of `xlp_info`, as the versions before 19 have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFlags(u16);

impl PageFlags {
    const FIRST_IS_CONTRECORD: u16 = 0x0001;
    const LONG_HEADER: u16 = 0x0002;
    const BACKUP_BLOCKS_REMOVABLE: u16 = 0x0004;
    const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
    const ALL: u16 = Self::FIRST_IS_CONTRECORD
        | Self::LONG_HEADER
        | Self::BACKUP_BLOCKS_REMOVABLE
        | Self::FIRST_IS_OVERWRITE_CONTRECORD;

    /// The page begins with the rest of a record from before it (`XLP_FIRST_IS_CONTRECORD`).
    #[must_use]
    pub const fn first_is_contrecord(self) -> bool {
        self.0 & Self::FIRST_IS_CONTRECORD != 0
    }

    /// The page is the first of its segment (`XLP_LONG_HEADER`).
    #[must_use]
    pub const fn is_long(self) -> bool {
        self.0 & Self::LONG_HEADER != 0
    }

    /// Full-page images that begin on this page were not needed by a backup (`XLP_BKP_REMOVABLE`, before 19).
    #[must_use]
    pub const fn backup_blocks_removable(self) -> bool {
        self.0 & Self::BACKUP_BLOCKS_REMOVABLE != 0
    }

    /// The page replaces the rest of a record that a crash cut short (`XLP_FIRST_IS_OVERWRITE_CONTRECORD`).
    #[must_use]
    pub const fn first_is_overwrite_contrecord(self) -> bool {
        self.0 & Self::FIRST_IS_OVERWRITE_CONTRECORD != 0
    }
}

impl PageHeader {
    /// Length of the header of any page but a segment's first, padding included, in bytes (`SizeOfXLogShortPHD`).
    pub const SHORT_LEN: usize = 24;
    /// Length of the header of a segment's first page, in bytes (`SizeOfXLogLongPHD`).
    pub const LONG_LEN: usize = 40;

    /// Reads the header at the beginning of `page`; the bytes after it are not looked at.
    ///
    /// # Errors
    /// `page` is too short for the header that its flags announce, was not written by a PostgreSQL of a supported version
    /// on a machine of this one's byte order, or says something no server writes.
    pub fn parse(page: &[u8]) -> Result<Self, PageHeaderError> {
        let too_short = |needed| PageHeaderError::TooShort { needed, found: page.len() };
        let (rest, raw) = short_header(page).map_err(|_| too_short(Self::SHORT_LEN))?;
        let major = recognise(raw.magic)?;
        let flags = known_flags(raw.flags, major)?;
        let timeline = TimelineId::new(raw.timeline).ok_or(PageHeaderError::TimelineZero)?;
        let long = if flags.is_long() {
            let (_, raw) = long_header(rest).map_err(|_| too_short(Self::LONG_LEN))?;
            Some(raw.check()?)
        } else {
            None
        };
        Ok(Self { major, flags, timeline, address: Lsn::new(raw.address), remaining: raw.remaining, long })
    }

    /// How long the header is, in bytes: what follows is the page's data.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub const fn len(&self) -> usize {
        if self.long.is_some() { Self::LONG_LEN } else { Self::SHORT_LEN }
    }
}

/// The fields every page has, as they stand there.
struct RawShort {
    magic: u16,
    flags: u16,
    timeline: u32,
    address: u64,
    remaining: u32,
}

fn short_header(input: &[u8]) -> Parsed<'_, RawShort> {
    let padding = take(4usize);
    let fields =
        (native_u16(Native), native_u16(Native), native_u32(Native), native_u64(Native), native_u32(Native), padding);
    map(fields, |(magic, flags, timeline, address, remaining, _)| RawShort {
        magic,
        flags,
        timeline,
        address,
        remaining,
    })
    .parse(input)
}

/// The fields a segment's first page adds, as they stand there.
struct RawLong {
    system_id: u64,
    segment_size: u32,
    block_size: u32,
}

fn long_header(input: &[u8]) -> Parsed<'_, RawLong> {
    let fields = (native_u64(Native), native_u32(Native), native_u32(Native));
    map(fields, |(system_id, segment_size, block_size)| RawLong { system_id, segment_size, block_size }).parse(input)
}

impl RawLong {
    fn check(&self) -> Result<LongHeader, PageHeaderError> {
        let found = self.segment_size;
        let segment_size = SegmentSize::new(found.into()).ok_or(PageHeaderError::SegmentSize { found })?;
        let found = self.block_size;
        if !found.is_power_of_two() || !(1024..=65536).contains(&found) {
            return Err(PageHeaderError::BlockSize { found });
        }
        Ok(LongHeader { system_id: SystemId::new(self.system_id), segment_size, block_size: found })
    }
}

/// The version that writes `magic`, read in this machine's byte order.
fn recognise(magic: u16) -> Result<PgMajor, PageHeaderError> {
    PgMajor::from_wal_magic(magic).map_err(|unknown| match PgMajor::from_wal_magic(magic.swap_bytes()) {
        Ok(major) => PageHeaderError::ForeignByteOrder { major },
        Err(_) => PageHeaderError::Magic(unknown),
    })
}

/// The flags, whatever bits `major` has for them.
fn known_flags(found: u16, major: PgMajor) -> Result<PageFlags, PageHeaderError> {
    let has_removable = major.facts().pages_have_removable_images;
    let known = if has_removable { PageFlags::ALL } else { PageFlags::ALL >> 1 };
    if found & !known != 0 {
        return Err(PageHeaderError::Flags { found, known });
    }
    // Without the one, its bit stands for the other.
    let is_moved = !has_removable && found & PageFlags::BACKUP_BLOCKS_REMOVABLE != 0;
    let moved = PageFlags::BACKUP_BLOCKS_REMOVABLE | PageFlags::FIRST_IS_OVERWRITE_CONTRECORD;
    Ok(PageFlags(if is_moved { found ^ moved } else { found }))
}

/// Bytes that are not the beginning of a page of WAL that this machine can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageHeaderError {
    /// There are fewer bytes than the header has.
    #[error("WAL page header takes {needed} bytes, found {found}")]
    TooShort {
        /// Bytes the header takes.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// No supported version, in either byte order; all zeros where no WAL was written.
    #[error(transparent)]
    Magic(#[from] UnknownMagic),
    /// A supported version, on a machine of the other byte order.
    #[error("WAL page was written by PostgreSQL {major} on a machine with the other byte order")]
    ForeignByteOrder {
        /// Its version.
        major: PgMajor,
    },
    /// Flags (`xlp_info`) that the version does not know.
    #[error("WAL page flags at byte 2 are 0x{found:04X}, expected none above 0x{known:04X}")]
    Flags {
        /// The flags.
        found: u16,
        /// All that the version knows.
        known: u16,
    },
    /// The page names no timeline.
    #[error("WAL page timeline at byte 4 is 0, expected a timeline")]
    TimelineZero,
    /// A segment size that `initdb` refuses.
    #[error("WAL segment size at byte 32 is {found}, expected a power of two from 1048576 to 1073741824")]
    SegmentSize {
        /// The size, in bytes.
        found: u32,
    },
    /// A page size that PostgreSQL cannot be built with.
    #[error("WAL block size at byte 36 is {found}, expected a power of two from 1024 to 65536")]
    BlockSize {
        /// The size, in bytes.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// A long header; the first 24 bytes are a short one once `LONG_HEADER` is taken from the flags.
    fn long_page(flags: u16) -> Vec<u8> {
        let mut page = Vec::new();
        page.extend(0xD110u16.to_ne_bytes());
        page.extend(flags.to_ne_bytes());
        page.extend(7u32.to_ne_bytes());
        page.extend(0x0A00_0000u64.to_ne_bytes());
        page.extend(99u32.to_ne_bytes());
        page.extend([0; 4]);
        page.extend(0x1234_5678_9ABC_DEF0u64.to_ne_bytes());
        page.extend((16u32 << 20).to_ne_bytes());
        page.extend(8192u32.to_ne_bytes());
        page
    }

    fn refusal(at: usize, bytes: &[u8]) -> PageHeaderError {
        let mut page = long_page(PageFlags::LONG_HEADER);
        page[at..at + bytes.len()].copy_from_slice(bytes);
        PageHeader::parse(&page).unwrap_err()
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let header = PageHeader::parse(&long_page(0x0003)).unwrap();
        assert_eq!(header.major, PgMajor::V15);
        assert_eq!(header.timeline.get(), 7);
        assert_eq!(header.address, Lsn::new(0x0A00_0000));
        assert_eq!(header.remaining, 99);
        let long = LongHeader {
            system_id: SystemId::new(0x1234_5678_9ABC_DEF0),
            segment_size: SegmentSize::DEFAULT,
            block_size: 8192,
        };
        assert_eq!((header.long, header.len()), (Some(long), 40));
    }

    #[test]
    fn a_short_header_has_nothing_more() {
        let header = PageHeader::parse(&long_page(0)).unwrap();
        assert_eq!((header.long, header.len()), (None, 24));
    }

    #[test]
    fn each_flag_is_its_own_bit() {
        let flags = |bits| {
            let flags = PageHeader::parse(&long_page(bits)).unwrap().flags;
            [
                flags.first_is_contrecord(),
                flags.is_long(),
                flags.backup_blocks_removable(),
                flags.first_is_overwrite_contrecord(),
            ]
        };
        for (bit, expected) in [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]].into_iter().enumerate() {
            assert_eq!(flags(1 << bit), expected.map(|set| set == 1));
        }
    }

    /// Found in WAL of a real server, which `a_record_that_a_crash_cut_short_is_read_over` reads.
    #[test]
    fn version_19_has_another_bit_for_a_replaced_record() {
        let flags = |magic: u16, bits| {
            let mut page = long_page(bits);
            page[..2].copy_from_slice(&magic.to_ne_bytes());
            PageHeader::parse(&page).map(|page| {
                (page.flags.first_is_overwrite_contrecord(), page.flags.backup_blocks_removable(), page.flags.is_long())
            })
        };
        assert_eq!(flags(0xD118, 0x0006), Ok((false, true, true)));
        assert_eq!(flags(0xD122, 0x0006), Ok((true, false, true)));
        assert_eq!(flags(0xD122, 0x000A), Err(PageHeaderError::Flags { found: 0x000A, known: 0x0007 }));
    }

    #[test]
    fn the_other_byte_order_is_refused_by_name() {
        for major in PgMajor::ALL {
            let swapped = major.wal_magic().swap_bytes().to_ne_bytes();
            assert_eq!(refusal(0, &swapped), PageHeaderError::ForeignByteOrder { major });
        }
    }

    #[test]
    fn what_no_server_writes_is_refused() {
        for (at, bytes, expected) in [
            (0, &0xD0FFu16.to_ne_bytes()[..], "WAL page magic is 0xD0FF, which no PostgreSQL from 13 to 19 writes"),
            (2, &0x0012u16.to_ne_bytes(), "WAL page flags at byte 2 are 0x0012, expected none above 0x000F"),
            (4, &0u32.to_ne_bytes(), "WAL page timeline at byte 4 is 0, expected a timeline"),
            (
                32,
                &(3u32 << 20).to_ne_bytes(),
                "WAL segment size at byte 32 is 3145728, expected a power of two from 1048576 to 1073741824",
            ),
            (36, &512u32.to_ne_bytes(), "WAL block size at byte 36 is 512, expected a power of two from 1024 to 65536"),
        ] {
            assert_eq!(refusal(at, bytes).to_string(), expected);
        }
    }

    #[test]
    fn blocks_have_one_to_sixty_four_kilobytes() {
        for (block_size, accepted) in [(512, false), (1024, true), (3072, false), (65536, true), (131_072, false)] {
            let mut page = long_page(PageFlags::LONG_HEADER);
            page[36..40].copy_from_slice(&u32::to_ne_bytes(block_size));
            assert_eq!(PageHeader::parse(&page).is_ok(), accepted, "{block_size}");
        }
    }

    #[test]
    fn a_cut_header_is_too_short() {
        let page = long_page(PageFlags::LONG_HEADER);
        for found in 0..40 {
            let needed = if found < 24 { 24 } else { 40 };
            assert_eq!(PageHeader::parse(&page[..found]), Err(PageHeaderError::TooShort { needed, found }));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut page in prop::collection::vec(any::<u8>(), 0..48), flags in 0..16u16) {
            let _ = PageHeader::parse(&page);
            // Past the magic and the flags, which random bytes seldom are.
            let start = 0xD110u16.to_ne_bytes().into_iter().chain(flags.to_ne_bytes());
            page.iter_mut().zip(start).for_each(|(byte, known)| *byte = known);
            let _ = PageHeader::parse(&page);
        }
    }
}
