//! The checksum that a manifest ends with, and that covers everything before it.

use nom::Parser as _;
use nom::bytes::complete::{is_not, tag};
use nom::character::complete::multispace0;
use nom::combinator::map_opt;
use nom::sequence::delimited;
use sha2::{Digest as _, Sha256};

use super::ManifestError;
use crate::syntax::{Parsed, expect, parse_all};
use crate::{Checksum, ChecksumAlgorithm, hex};

/// Compares the checksum in the last line of `text` with that of all bytes before the line.
///
/// PostgreSQL insists on a line end after it (`verify_manifest_checksum` of `common/parse_manifest.c`); Barman writes
/// none.
pub(super) fn check(text: &[u8]) -> Result<(), ManifestError> {
    let text = text.trim_ascii_end();
    let covered = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let (body, last_line) = text.split_at_checked(covered).unwrap_or((text, b""));
    let found = parse_all(last_line, seal).map_err(|error| ManifestError::NoChecksum(error.further_on(covered)))?;
    let computed = Checksum::sha256(Sha256::new_with_prefix(body));
    if found == computed { Ok(()) } else { Err(ManifestError::Checksum { found, computed }) }
}

/// The last line: `"Manifest-Checksum": "3981…"}`.
fn seal(input: &[u8]) -> Parsed<'_, Checksum> {
    let key = (multispace0, tag("\"Manifest-Checksum\""), multispace0, tag(":"), multispace0, tag("\""));
    let end = (tag("\""), multispace0, tag("}"));
    let checksum = map_opt(is_not("\""), |digits| Checksum::new(ChecksumAlgorithm::Sha256, &hex::decode(digits)?));
    delimited(expect("\"Manifest-Checksum\"", key), expect("64 hexadecimal digits", checksum), expect("\"}", end))
        .parse(input)
}
