//! Pages of relations: their header and their checksum.

use nom::Parser as _;
use nom::combinator::map;

use crate::Lsn;
use crate::native::{int16, int32};
use crate::syntax::Parsed;

/// What a page of a relation begins with (`PageHeaderData`, `storage/bufpage.h`). All of it is zero on a page that was
/// never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DataPageHeader {
    /// Where the record ends that changed the page last; `None` on a page that was never used.
    pub lsn: Option<Lsn>,
    /// The page's checksum, if the cluster has checksums: see [`data_page_checksum`].
    pub checksum: u16,
    /// Flags (`pd_flags`).
    pub flags: u16,
    /// Where free space begins, in bytes from the beginning of the page.
    pub lower: u16,
    /// Where free space ends.
    pub upper: u16,
    /// Where the space of the access method begins.
    pub special: u16,
    /// How long the page is, in bytes: a multiple of 256.
    pub page_len: u16,
    /// The version of the layout; 4 since 8.3.
    pub layout_version: u8,
    /// The oldest transaction whose removed rows may be cleaned up; 0 for none.
    pub prune_xid: u32,
}

impl DataPageHeader {
    /// Length of the header, in bytes (`SizeOfPageHeaderData`).
    pub const LEN: usize = 24;

    /// Reads the header at the beginning of `page`, or returns `None` if that has fewer bytes.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        let (_, header) = header(page).ok()?;
        Some(header)
    }

    /// Whether the page was never used (`PageIsNew`): it has no checksum then, and should be all zeros.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.upper == 0
    }
}

fn header(input: &[u8]) -> Parsed<'_, DataPageHeader> {
    // The position is kept as two numbers, the upper half first, whatever the machine's byte order.
    let lsn = map((int32, int32), |(high, low)| Lsn::from_pg(u64::from(high) << 32 | u64::from(low)));
    let fields = (lsn, int16, int16, int16, int16, int16, int16, int32);
    map(fields, |(lsn, checksum, flags, lower, upper, special, size_and_version, prune_xid)| {
        let [version, _] = size_and_version.to_le_bytes();
        let page_len = size_and_version & 0xFF00;
        DataPageHeader { lsn, checksum, flags, lower, upper, special, page_len, layout_version: version, prune_xid }
    })
    .parse(input)
}

/// The checksum that `page` has as the block `number` of its fork (`pg_checksum_page`, `storage/checksum_impl.h`); it is
/// never 0. Blocks are counted through all files of the fork: the second file of 1 GiB begins with block 131072.
///
/// A page that [was never used](DataPageHeader::is_new) has none. Bytes after the last whole 128 do not count; pages have
/// none.
///
/// ```
/// use wal_format::{DataPageHeader, data_page_checksum};
/// # let page = include_bytes!("../testdata/15/data_page");
///
/// let header = DataPageHeader::parse(page).ok_or("not a page")?;
/// assert!(header.is_new() || header.checksum == data_page_checksum(page, 0));
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn data_page_checksum(page: &[u8], number: u32) -> u16 {
    let mut lanes = BASE;
    let (rows, _) = page.as_chunks::<ROW_LEN>();
    for (index, row) in rows.iter().enumerate() {
        let mut row = *row;
        if index == 0 {
            // The checksum itself counts as 0.
            for byte in row.iter_mut().skip(8).take(2) {
                *byte = 0;
            }
        }
        add_row(&mut lanes, &row);
    }
    add_row(&mut lanes, &[0; ROW_LEN]);
    add_row(&mut lanes, &[0; ROW_LEN]);
    let folded = lanes.iter().fold(number, |folded, lane| folded ^ lane);
    // At most 65534, so that neither the conversion nor the sum can fail.
    u16::try_from(folded % 65_535).map_or(u16::MAX, |reduced| reduced + 1)
}

/// How many checksums are computed side by side (`N_SUMS`).
const LANES: usize = 32;
const ROW_LEN: usize = LANES * 4;

/// What each of them begins with (`checksumBaseOffsets`).
const BASE: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// One round for each lane: FNV-1a with a shift that mixes in high bits.
#[inline]
fn add_row(lanes: &mut [u32; LANES], row: &[u8; ROW_LEN]) {
    const PRIME: u32 = 16_777_619;
    let (words, _) = row.as_chunks::<4>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        let mixed = *lane ^ u32::from_ne_bytes(*word);
        *lane = mixed.wrapping_mul(PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// The first page of `pg_database`.
    const PAGE: &[u8] = include_bytes!("../testdata/15/data_page");

    #[test]
    fn a_real_page_has_its_checksum() {
        let header = DataPageHeader::parse(PAGE).unwrap();
        assert_eq!(header.checksum, data_page_checksum(PAGE, 0));
        assert_eq!((header.page_len, header.layout_version, header.is_new()), (8192, 4, false));
        assert!(header.lower <= header.upper && header.upper <= header.special);
    }

    /// As the definition puts it, lane by lane: a page of N bytes is N / 128 rows of 32 numbers, with two rows of zeros behind.
    fn lane_by_lane(page: &[u8], number: u32) -> u16 {
        let words: Vec<_> = page.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
        let round = |sum: u32, word: u32| ((sum ^ word).wrapping_mul(16_777_619)) ^ ((sum ^ word) >> 17);
        let lane = |index: usize| {
            let column = words.iter().skip(index).step_by(32).copied();
            column.chain([0, 0]).fold(BASE[index], round)
        };
        ((0..32).map(lane).fold(number, |folded, sum| folded ^ sum) % 65_535 + 1) as u16
    }

    #[test]
    fn pages_of_every_size_have_their_checksum() {
        assert_eq!(lane_by_lane(&[&PAGE[..8], &[0; 2], &PAGE[10..]].concat(), 0), data_page_checksum(PAGE, 0));
        for page_len in [1024, 2048, 4096, 8192, 16_384, 32_768u16] {
            let mut page: Vec<u8> = PAGE.iter().copied().cycle().take(page_len.into()).collect();
            page[8..10].fill(0);
            page[18..20].copy_from_slice(&(page_len | 4).to_ne_bytes());
            let expected = lane_by_lane(&page, 131_073);
            page[8..10].copy_from_slice(&expected.to_ne_bytes());
            assert_eq!(data_page_checksum(&page, 131_073), expected, "{page_len}");
            let header = DataPageHeader::parse(&page).unwrap();
            assert_eq!((header.page_len, header.layout_version, header.checksum), (page_len, 4, expected));
            for at in [0, usize::from(page_len) - 1] {
                let mut changed = page.clone();
                changed[at] ^= 1;
                assert_ne!(data_page_checksum(&changed, 131_073), expected, "byte {at} of {page_len}");
            }
        }
    }

    #[test]
    fn a_page_in_another_place_has_another_checksum() {
        assert_ne!(data_page_checksum(PAGE, 1), data_page_checksum(PAGE, 0));
    }

    #[test]
    fn every_bit_counts_but_those_of_the_checksum() {
        let expected = data_page_checksum(PAGE, 0);
        for at in (0..PAGE.len()).step_by(7).chain(8..10) {
            let mut page = PAGE.to_vec();
            page[at] ^= 0x10;
            assert_eq!(data_page_checksum(&page, 0) == expected, (8..10).contains(&at), "{at}");
        }
    }

    #[test]
    fn a_page_of_zeros_is_new() {
        assert!(DataPageHeader::parse(&[0; 8192]).unwrap().is_new());
        assert_eq!(DataPageHeader::parse(&[0; 23]), None);
    }
}
