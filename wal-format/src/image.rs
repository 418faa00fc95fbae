//! Making pages again from full-page images.

use alloc::vec::Vec;

use crate::{Compression, Image, pglz};

impl Image<'_> {
    /// Puts the page that the image is of into `page`, which is emptied first and can be used again for the next one
    /// (`RestoreBlockImage`, `access/xlogreader.c`). `block_size` is how long pages of the cluster are, in bytes: 1024 to
    /// 32768.
    ///
    /// LZ4 needs the feature `lz4`, and Zstandard the feature `zstd`.
    ///
    /// # Errors
    /// The image does not make up such a page, or is compressed by a method that this build cannot undo.
    pub fn restore(&self, block_size: u16, page: &mut Vec<u8>) -> Result<(), ImageError> {
        page.clear();
        let hole_len = self.hole_len(block_size)?;
        let stored_len = usize::from(block_size - hole_len);
        match self.compression {
            Compression::None => page.extend_from_slice(self.bytes),
            Compression::Pglz => pglz::decompress(self.bytes, stored_len, page).ok_or(ImageError::Compressed)?,
            #[cfg(feature = "lz4")]
            Compression::Lz4 => fill(page, stored_len, |page| lz4_flex::block::decompress_into(self.bytes, page).ok())?,
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                fill(page, stored_len, |page| zstd::bulk::decompress_to_buffer(self.bytes, page).ok())?;
            }
            #[cfg(not(all(feature = "lz4", feature = "zstd")))]
            compression => return Err(ImageError::Unsupported { compression }),
        }
        let offset = usize::from(self.hole_offset.unwrap_or(0));
        if page.len() != stored_len || offset > stored_len {
            return Err(ImageError::Length { expected: stored_len, found: page.len() });
        }
        page.splice(offset..offset, core::iter::repeat_n(0, hole_len.into()));
        Ok(())
    }

    /// How long the hole is in a page of this size.
    fn hole_len(&self, block_size: u16) -> Result<u16, ImageError> {
        let len = match (self.hole_offset, self.compression) {
            (None, _) => Some(0),
            // What is not compressed lacks nothing else.
            (Some(_), Compression::None) => {
                u16::try_from(self.bytes.len()).ok().and_then(|len| block_size.checked_sub(len))
            }
            (Some(_), _) => self.hole_len.filter(|&len| len <= block_size),
        };
        len.ok_or(ImageError::Length { expected: block_size.into(), found: self.bytes.len() })
    }
}

/// Has `len` bytes written into `page`, by what says how many it wrote.
#[cfg(any(feature = "lz4", feature = "zstd"))]
fn fill(page: &mut Vec<u8>, len: usize, decompress: impl FnOnce(&mut [u8]) -> Option<usize>) -> Result<(), ImageError> {
    page.resize(len, 0);
    let written = decompress(page).ok_or(ImageError::Compressed)?;
    page.truncate(written);
    Ok(())
}

/// A full-page image that no page can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It has another length than a page of the cluster.
    #[error("full-page image makes {found} bytes, expected {expected}")]
    Length {
        /// How many bytes it should make.
        expected: usize,
        /// How many it makes.
        found: usize,
    },
    /// It is not what its method of compression makes.
    #[error("full-page image cannot be decompressed")]
    Compressed,
    /// It is compressed by a method that this build cannot undo.
    #[error("full-page image is compressed by {compression:?}, which this build does not support")]
    Unsupported {
        /// The method.
        compression: Compression,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn image(bytes: &[u8], compression: Compression, hole: Option<(u16, Option<u16>)>) -> Image<'_> {
        let (hole_offset, hole_len) = (hole.map(|hole| hole.0), hole.and_then(|hole| hole.1));
        Image { bytes, compression, hole_offset, hole_len, apply: true }
    }

    fn restore(image: Image<'_>) -> Result<Vec<u8>, ImageError> {
        let mut page = vec![9; 3];
        image.restore(1024, &mut page).map(|()| page)
    }

    #[test]
    fn a_hole_is_filled_with_zeros() {
        let page = restore(image(&[7; 1000], Compression::None, Some((100, None)))).unwrap();
        assert_eq!(page, [&[7; 100][..], &[0; 24], &[7; 900]].concat());
        assert_eq!(restore(image(&[7; 1024], Compression::None, None)), Ok(vec![7; 1024]));
    }

    #[test]
    fn pages_of_every_size_are_restored() {
        for block_size in [1024, 2048, 4096, 8192, 16_384, 32_768u16] {
            let hole_len = block_size / 2 + 1;
            let stored: Vec<u8> = (0..block_size - hole_len).map(|i| i.to_be_bytes()[1] | 1).collect();
            let mut page = Vec::new();
            image(&stored, Compression::None, Some((40, None))).restore(block_size, &mut page).unwrap();
            assert_eq!(page, [&stored[..40], &vec![0; hole_len.into()], &stored[40..]].concat(), "{block_size}");
            // A byte, and copies of the one before it: 273 at a time, the most that one can be.
            let len = usize::from(block_size - hole_len);
            let image_of = pglz_run(len);
            image(&image_of, Compression::Pglz, Some((40, Some(hole_len)))).restore(block_size, &mut page).unwrap();
            assert_eq!(page, [&[7; 40][..], &vec![0; hole_len.into()], &vec![7; len - 40]].concat(), "{block_size}");
        }
    }

    /// What pglz makes of `len` times 7: a literal, then copies from one byte back.
    fn pglz_run(len: usize) -> Vec<u8> {
        let mut lens = Vec::new();
        let mut left = len - 1;
        while left > 0 {
            // Two bytes are too few for a copy.
            let copy = if left > 273 && left < 276 { left - 3 } else { left.min(273) };
            lens.push(copy);
            left -= copy;
        }
        let copies = lens.into_iter().map(|copy| match copy {
            18.. => vec![0x0F, 1, (copy - 18) as u8],
            _ => vec![(copy - 3) as u8, 1],
        });
        let items: Vec<_> = core::iter::once(vec![7]).chain(copies).collect();
        let groups = items.chunks(8).enumerate();
        groups
            .flat_map(|(index, group)| {
                let tags = if index == 0 { 0xFE } else { 0xFF };
                [&[tags][..], &group.concat()].concat()
            })
            .collect()
    }

    #[test]
    fn pglz_is_undone() {
        // A byte, and a copy of the one before it 273 and then 3 and 100 times; in all 1000 with others.
        let compressed = [0b0000_1110, 7, 0x0F, 1, 255, 0x0F, 1, 255, 0x0F, 1, 255, 8, 9, 7, 7, 0b1, 0x0F, 1, 158];
        let page = restore(image(&compressed, Compression::Pglz, Some((1000, Some(24)))));
        let expected = [&vec![7; 820][..], &[8, 9, 7, 7], &[7; 176], &[0; 24]].concat();
        assert_eq!(page, Ok(expected));
    }

    #[test]
    fn an_image_of_another_length_is_refused() {
        for (bytes, hole) in [(&[7; 1023][..], None), (&[7; 1025], None), (&[7; 1025], Some((1, None)))] {
            assert!(matches!(restore(image(bytes, Compression::None, hole)), Err(ImageError::Length { .. })));
        }
        let misplaced = image(&[7; 1000], Compression::None, Some((1001, None)));
        assert!(matches!(restore(misplaced), Err(ImageError::Length { .. })));
        assert_eq!(restore(image(&[0xFF; 5], Compression::Pglz, None)), Err(ImageError::Compressed));
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn lz4_is_undone() {
        // A literal byte, and a copy of the one before it 979 times more; 20 literals at the end.
        let compressed = [&[0x1F, 7, 1, 0, 255, 255, 255, 195, 0xF0, 5][..], &[8; 20]].concat();
        let page = restore(image(&compressed, Compression::Lz4, Some((1000, Some(24)))));
        assert_eq!(page, Ok([&[7; 980][..], &[8; 20], &[0; 24]].concat()));
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_is_undone() {
        // Magic, a single segment of 256 + 768 bytes, and a last block that repeats one byte so often.
        let compressed = [0x28, 0xB5, 0x2F, 0xFD, 0x60, 0x00, 0x03, 0x03, 0x20, 0x00, 7];
        assert_eq!(restore(image(&compressed, Compression::Zstd, None)), Ok(vec![7; 1024]));
    }

    #[cfg(any(feature = "lz4", feature = "zstd"))]
    #[test]
    fn bytes_that_were_not_compressed_so_are_refused() {
        for compression in [Compression::Lz4, Compression::Zstd] {
            let supported = !matches!(restore(image(&[], compression, None)), Err(ImageError::Unsupported { .. }));
            assert!(!supported || restore(image(&[0xFF; 50], compression, None)) == Err(ImageError::Compressed));
        }
    }

    #[cfg(not(feature = "zstd"))]
    #[test]
    fn a_method_that_cannot_be_undone_is_named() {
        let error = restore(image(&[0; 5], Compression::Zstd, None));
        assert_eq!(error, Err(ImageError::Unsupported { compression: Compression::Zstd }));
    }
}
