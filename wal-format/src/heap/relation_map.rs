//! `pg_filenode.map`: in which files the catalogs are that cannot be looked up in themselves (`utils/cache/relmapper.c`).

use alloc::vec::Vec;

use nom::Parser as _;
use nom::combinator::verify;
use nom::multi::count;

use crate::native::int32;
use crate::syntax::{Parsed, SyntaxError, expect, syntax_error};
use crate::{PgMajor, crc32c};

/// The numbers of catalogs' files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationMap {
    /// OIDs of catalogs, and the numbers of their files.
    pub files: Vec<(u32, u32)>,
}

impl RelationMap {
    /// Reads a map, from its file or from a record.
    ///
    /// # Errors
    /// It is not laid out as servers of this version lay it out, or its checksum is wrong.
    pub fn parse(bytes: &[u8], major: PgMajor) -> Result<Self, SyntaxError> {
        match Self::map(bytes, major.facts().relation_map_entries) {
            Ok((_, map)) => Ok(map),
            Err(error) => Err(syntax_error(bytes, error)),
        }
    }

    fn map(bytes: &[u8], most: usize) -> Parsed<'_, Self> {
        const MAGIC: u32 = 0x0059_2717;
        const ENTRY_LEN: usize = 8;
        let (input, _) =
            expect("the magic number of a relation map", verify(int32, |&magic| magic == MAGIC)).parse(bytes)?;
        let fits = |&entries: &u32| usize::try_from(entries).is_ok_and(|entries| entries <= most);
        let (input, entries) = expect("the number of a relation map's entries", verify(int32, fits)).parse(input)?;
        let entry = expect("an entry of a relation map", (int32, int32));
        let (_, files) = count(entry, usize::try_from(entries).unwrap_or(0)).parse(input)?;
        let checked_len = 2 * 4 + most * ENTRY_LEN;
        let (checked, rest) = bytes.split_at_checked(checked_len).unwrap_or((bytes, &[]));
        let is_right = |&checksum: &u32| checksum == crc32c(checked);
        let (rest, _) = expect("the checksum of a relation map", verify(int32, is_right)).parse(rest)?;
        Ok((rest, Self { files }))
    }

    /// Returns the number of a catalog's file.
    #[must_use]
    pub fn file_of(&self, catalog: u32) -> Option<u32> {
        self.files.iter().find(|(oid, _)| *oid == catalog).map(|(_, file)| *file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;

    fn bytes(files: &[(u32, u32)], most: usize) -> Vec<u8> {
        let mut bytes = [0x0059_2717, files.len() as u32].map(u32::to_ne_bytes).concat();
        bytes.extend(files.iter().flat_map(|(oid, file)| [*oid, *file]).flat_map(u32::to_ne_bytes));
        bytes.resize(8 + most * 8, 0);
        let checksum = crc32c(&bytes);
        bytes.extend(checksum.to_ne_bytes());
        bytes
    }

    #[test]
    fn the_checksum_stands_where_the_version_has_it() {
        let files = [(1259, 16_400), (1249, 1249)];
        for (major, most) in [(PgMajor::V15, 62), (PgMajor::V16, 64)] {
            let mut map = bytes(&files, most);
            let found = RelationMap::parse(&map, major).unwrap();
            assert_eq!((found.file_of(1259), found.file_of(1255)), (Some(16_400), None));
            map[10] ^= 1;
            let error = RelationMap::parse(&map, major).unwrap_err().to_string();
            assert!(error.starts_with("expected the checksum of a relation map"), "{error}");
        }
        assert!(RelationMap::parse(&bytes(&files, 62), PgMajor::V16).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut map in prop::collection::vec(any::<u8>(), 0..600), entries in 0..80u32) {
            let head = [0x0059_2717, entries].map(u32::to_ne_bytes).concat();
            map.iter_mut().zip(head).for_each(|(byte, new)| *byte = new);
            let _ = RelationMap::parse(&map, PgMajor::V15);
        }
    }
}
