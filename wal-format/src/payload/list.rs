//! Arrays within records.

use core::fmt;
use core::marker::PhantomData;

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::{map, map_opt};

use crate::RelFileLocator;
use crate::native::int32;
use crate::syntax::{Mismatch, Parsed, expect};

/// An array within a record, read element by element while it is walked through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct List<'a, T> {
    bytes: &'a [u8],
    elements: PhantomData<T>,
}

/// What such an array consists of.
pub trait Element: Sized {
    /// How long one is, in bytes.
    const LEN: usize;

    /// Reads one from [`Element::LEN`] bytes.
    fn read(bytes: &[u8]) -> Option<Self>;
}

impl<'a, T: Element> List<'a, T> {
    pub(crate) const EMPTY: Self = Self { bytes: &[], elements: PhantomData };

    /// How many elements there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / T::LEN
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements, in the order in which they stand there.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        self.bytes.chunks_exact(T::LEN).filter_map(T::read)
    }

    /// Reads an array of `count` elements.
    pub(crate) fn parse(count: u32) -> impl nom::Parser<&'a [u8], Output = Self, Error = Mismatch<'a>> {
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(T::LEN));
        let bytes = take(len.unwrap_or(usize::MAX));
        expect("as many elements as announced", map(bytes, |bytes| Self { bytes, elements: PhantomData }))
    }

    /// Reads an array behind the number of its elements.
    pub(super) fn parse_counted(input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, count) = expect("a number of elements", int32).parse(input)?;
        Self::parse(count).parse(input)
    }

    /// Reads an array of `count` elements that padding aligns what follows.
    pub(super) fn parse_aligned(count: u32) -> impl nom::Parser<&'a [u8], Output = Self, Error = Mismatch<'a>> {
        move |input| {
            let (input, list) = Self::parse(count).parse(input)?;
            let (input, ()) = align(list.bytes.len()).parse(input)?;
            Ok((input, list))
        }
    }
}

/// What aligns the bytes behind `len` others to eight (`MAXALIGN`); at the end of a record there may be less of it.
pub(super) fn align<'a>(len: usize) -> impl nom::Parser<&'a [u8], Output = (), Error = Mismatch<'a>> {
    let missing = (8 - len % 8) % 8;
    move |input: &'a [u8]| Ok((input.get(missing..).unwrap_or_default(), ()))
}

impl<T: Element + fmt::Debug> fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Transactions and OIDs.
impl Element for u32 {
    const LEN: usize = 4;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_ne_bytes(*bytes.first_chunk()?))
    }
}

impl Element for u16 {
    const LEN: usize = 2;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_ne_bytes(*bytes.first_chunk()?))
    }
}

impl Element for RelFileLocator {
    const LEN: usize = 12;

    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[tablespace, database, number], _) = bytes.as_chunks() else { return None };
        let [tablespace, database, number] = [tablespace, database, number].map(u32::from_ne_bytes);
        Some(Self { tablespace, database, number })
    }
}

/// Bytes up to the first that is 0, which is left out.
pub(super) fn c_string(input: &[u8]) -> Parsed<'_, &[u8]> {
    let end = |input: &'_ [u8]| input.iter().position(|&byte| byte == 0);
    let (_, len) = expect("text that ends with a zero", map_opt(nom::combinator::rest, end)).parse(input)?;
    let (input, text) = take(len).parse(input)?;
    let (input, _) = take(1usize).parse(input)?;
    Ok((input, text))
}
