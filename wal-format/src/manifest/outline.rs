//! What stands around the entries of a manifest.

use nom::Parser as _;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag};
use nom::character::complete::{char, multispace0, space0};
use nom::combinator::{map, map_opt, success, value};
use nom::sequence::{delimited, preceded, terminated};

use super::entry::Kind;
use crate::syntax::{Mismatch, Parsed, decimal, expect};
use crate::{Checksum, ChecksumAlgorithm, SystemId, hex};

/// A member of the outermost object, up to its end or to where its entries begin.
#[derive(Debug, Clone)]
pub(super) enum Member {
    SystemId(SystemId),
    Entries(Kind),
    /// The last one. The checksum covers everything before it, up to this many bytes of the text that it was found in.
    Checksum(Checksum, usize),
}

/// How every manifest begins.
pub(super) const VERSION: &str = "{ \"PostgreSQL-Backup-Manifest-Version\"";

/// The bracket that a manifest begins with.
pub(super) fn opening(input: &[u8]) -> Parsed<'_, ()> {
    expect(VERSION, value((), (multispace0, tag("{")))).parse(input)
}

/// The first member: what may follow depends on it.
pub(super) fn version(input: &[u8]) -> Parsed<'_, u64> {
    let number = terminated(expect("a version number", decimal), end(","));
    preceded(expect(VERSION, preceded(multispace0, key("PostgreSQL-Backup-Manifest-Version"))), number).parse(input)
}

/// Any other member. As in PostgreSQL, an unknown one is an error: a meaning we do not know may matter.
pub(super) fn member(input: &[u8]) -> Parsed<'_, Member> {
    let (input, space) = multispace0(input)?;
    let system_id =
        map(terminated(expect("a system identifier", decimal), end(",")), |id| Member::SystemId(SystemId::new(id)));
    let files = value(Member::Entries(Kind::Files), expect("[", end("[")));
    let wal_ranges = value(Member::Entries(Kind::WalRanges), expect("[", end("[")));
    let any = alt((
        preceded(key("System-Identifier"), system_id),
        preceded(key("Files"), files),
        preceded(key("WAL-Ranges"), wal_ranges),
        |input| seal(space, input),
    ));
    expect("System-Identifier, Files, WAL-Ranges or Manifest-Checksum", any).parse(input)
}

/// The last line, `"Manifest-Checksum": "3981…"}`, behind `space`.
///
/// The checksum covers all before the line, so that has to begin with it (`verify_manifest_checksum` of
/// `common/parse_manifest.c`).
fn seal<'a>(space: &[u8], input: &'a [u8]) -> Parsed<'a, Member> {
    let key = (tag("\"Manifest-Checksum\""), space0, tag(":"), space0, tag("\""));
    let end = (tag("\""), space0, tag("}"));
    let checksum = map_opt(is_not("\""), |digits| Checksum::new(ChecksumAlgorithm::Sha256, &hex::decode(digits)?));
    let (input, checksum) =
        delimited(key, expect("64 hexadecimal digits", checksum), expect("\"}", end)).parse(input)?;
    let covered = map_opt(success(space), |space: &[u8]| Some(space.iter().rposition(|&byte| byte == b'\n')? + 1));
    let (input, covered) = expect("a line end before \"Manifest-Checksum\"", covered).parse(input)?;
    Ok((input, Member::Checksum(checksum, covered)))
}

/// A comma between entries or members.
pub(super) fn comma(input: &[u8]) -> Parsed<'_, ()> {
    expect(",", end(",")).parse(input)
}

/// The bracket that entries end with.
pub(super) fn closing(input: &[u8]) -> Parsed<'_, ()> {
    expect("]", end("]")).parse(input)
}

fn key<'a>(name: &'static str) -> impl nom::Parser<&'a [u8], Output = (), Error = Mismatch<'a>> {
    value((), (char('"'), tag(name), char('"'), multispace0, char(':'), multispace0))
}

fn end<'a>(bracket: &'static str) -> impl nom::Parser<&'a [u8], Output = (), Error = Mismatch<'a>> {
    value((), (multispace0, tag(bracket)))
}
