//! Numbers as the server's machine wrote them, which is of this one's byte order.

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::{map, value};
use nom::error::{ErrorKind, ParseError as _};

use crate::syntax::{Mismatch, Parsed};
use crate::{Lsn, Timestamp};

/// So many bytes, with one look at what is left. nom's own numbers are put together byte by byte, and records of WAL have
/// many.
#[inline]
pub(crate) fn bytes<const N: usize>(input: &[u8]) -> Parsed<'_, [u8; N]> {
    match input.split_first_chunk() {
        Some((bytes, rest)) => Ok((rest, *bytes)),
        None => Err(nom::Err::Error(Mismatch::from_error_kind(input, ErrorKind::Eof))),
    }
}

#[inline]
pub(crate) fn byte(input: &[u8]) -> Parsed<'_, u8> {
    map(bytes, u8::from_ne_bytes).parse(input)
}

#[inline]
pub(crate) fn int16(input: &[u8]) -> Parsed<'_, u16> {
    map(bytes, u16::from_ne_bytes).parse(input)
}

#[inline]
pub(crate) fn int32(input: &[u8]) -> Parsed<'_, u32> {
    map(bytes, u32::from_ne_bytes).parse(input)
}

#[inline]
pub(crate) fn int64(input: &[u8]) -> Parsed<'_, u64> {
    map(bytes, u64::from_ne_bytes).parse(input)
}

pub(crate) fn lsn(input: &[u8]) -> Parsed<'_, Lsn> {
    map(int64, Lsn::new).parse(input)
}

/// C's `bool`, of which servers write 0 and 1.
pub(crate) fn flag(input: &[u8]) -> Parsed<'_, bool> {
    map(byte, |byte| byte != 0).parse(input)
}

pub(crate) fn timestamp(input: &[u8]) -> Parsed<'_, Timestamp> {
    map(bytes, |bytes| Timestamp::from_pg_micros(i64::from_ne_bytes(bytes))).parse(input)
}

/// Bytes without meaning that align what follows.
pub(crate) fn padding<'a>(len: usize) -> impl nom::Parser<&'a [u8], Output = (), Error = Mismatch<'a>> {
    value((), take(len))
}
