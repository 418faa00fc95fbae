//! Numbers as the server's machine wrote them, which is of this one's byte order.

use nom::Parser as _;
use nom::bytes::complete::take;
use nom::combinator::{map, value};
use nom::number::Endianness::Native;

use crate::syntax::{Mismatch, Parsed};
use crate::{Lsn, Timestamp};

pub(crate) fn byte(input: &[u8]) -> Parsed<'_, u8> {
    nom::number::complete::u8(input)
}

pub(crate) fn int16(input: &[u8]) -> Parsed<'_, u16> {
    nom::number::complete::u16(Native).parse(input)
}

pub(crate) fn int32(input: &[u8]) -> Parsed<'_, u32> {
    nom::number::complete::u32(Native).parse(input)
}

pub(crate) fn int64(input: &[u8]) -> Parsed<'_, u64> {
    nom::number::complete::u64(Native).parse(input)
}

pub(crate) fn lsn(input: &[u8]) -> Parsed<'_, Lsn> {
    map(int64, Lsn::new).parse(input)
}

/// C's `bool`, of which servers write 0 and 1.
pub(crate) fn flag(input: &[u8]) -> Parsed<'_, bool> {
    map(byte, |byte| byte != 0).parse(input)
}

pub(crate) fn timestamp(input: &[u8]) -> Parsed<'_, Timestamp> {
    map(nom::number::complete::i64(Native), Timestamp::from_pg_micros).parse(input)
}

/// Bytes without meaning that align what follows.
pub(crate) fn padding<'a>(len: usize) -> impl nom::Parser<&'a [u8], Output = (), Error = Mismatch<'a>> {
    value((), take(len))
}
