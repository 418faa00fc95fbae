//! `global/pg_control`: what a cluster knows about itself.

use nom::Parser as _;
use nom::combinator::{map, map_opt};

use crate::native::{flag, int32, int64, lsn, padding};
use crate::syntax::{Parsed, SyntaxError, expect, syntax_error};
use crate::{Checkpoint, Lsn, PgMajor, SegmentSize, SystemId, TimelineId, WalLevel, crc32c};

/// The content of `pg_control` (`ControlFileData`, `catalog/pg_control.h`), whose checksum was found right.
///
/// ```
/// use wal_format::{ControlFile, ControlFileError, PgMajor};
/// # let bytes = include_bytes!("../testdata/15/pg_control");
///
/// let control = ControlFile::parse(bytes, PgMajor::V15)?;
/// println!("recovery begins at {}", control.checkpoint.redo);
/// # Ok::<(), ControlFileError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ControlFile {
    /// The cluster.
    pub system_id: SystemId,
    /// The format of the system catalogs (`catversion.h`); it is part of the names of tablespace directories.
    pub catalog_version: u32,
    /// What the server was doing.
    pub state: ClusterState,
    /// When the file was written, in seconds since 1970-01-01 UTC.
    pub unix_time: i64,
    /// Where the latest checkpoint's record begins.
    pub checkpoint_lsn: Lsn,
    /// That checkpoint. Whether it was one of a shutdown, only [`ControlFile::state`] tells.
    pub checkpoint: Checkpoint,
    /// How far recovery has to go before the cluster is consistent.
    pub minimum_recovery: Option<MinimumRecovery>,
    /// Where the base backup started that is being recovered from.
    pub backup_start: Option<Lsn>,
    /// Where it ended, if it was taken from a standby.
    pub backup_end: Option<Lsn>,
    /// Whether recovery must come across the record of the backup's end.
    pub backup_end_required: bool,
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `max_connections`.
    pub max_connections: u32,
    /// `max_worker_processes`.
    pub max_worker_processes: u32,
    /// `max_wal_senders`.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`.
    pub max_locks_per_transaction: u32,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
    /// How long data pages are, in bytes.
    pub block_size: u32,
    /// How many of them one file of a relation has at most.
    pub blocks_per_file: u32,
    /// How long pages of WAL are, in bytes.
    pub wal_block_size: u32,
    /// How long segments of WAL are.
    pub segment_size: SegmentSize,
    /// The version of data checksums; 0 if there are none.
    pub data_checksum_version: u32,
}

/// What a server was doing when it last wrote `pg_control` (`DBState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum ClusterState {
    /// It was starting.
    Starting,
    /// It was shut down.
    ShutDown,
    /// It was shut down while it recovered.
    ShutDownInRecovery,
    /// It was shutting down.
    ShuttingDown,
    /// It was recovering from a crash.
    InCrashRecovery,
    /// It was recovering from an archive, or was a standby.
    InArchiveRecovery,
    /// It was running.
    InProduction,
}

/// How far recovery has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MinimumRecovery {
    /// To here.
    pub lsn: Lsn,
    /// On this timeline.
    pub timeline: TimelineId,
}

impl ControlFile {
    /// How long the file is, in bytes (`PG_CONTROL_FILE_SIZE`); what follows its content is zeros.
    pub const FILE_LEN: usize = 8192;

    /// Reads the file of a cluster of `major`, which its `PG_VERSION` names: versions may have the same control file.
    ///
    /// # Errors
    /// `bytes` is another version's or the other byte order's, was damaged, or says something no server writes.
    pub fn parse(bytes: &[u8], major: PgMajor) -> Result<Self, ControlFileError> {
        check_version(bytes, major)?;
        let (rest, control) =
            parse(bytes, major).map_err(|error| ControlFileError::Content(syntax_error(bytes, error)))?;
        let len = bytes.len().saturating_sub(rest.len());
        let content = bytes.get(..len).unwrap_or_default();
        let Some(found) = rest.first_chunk().map(|crc| u32::from_ne_bytes(*crc)) else {
            return Err(ControlFileError::TooShort { found: bytes.len() });
        };
        let computed = crc32c(content);
        if found == computed { Ok(control) } else { Err(ControlFileError::Checksum { found, computed }) }
    }
}

/// The version stands at the same place in every version's file.
fn check_version(bytes: &[u8], major: PgMajor) -> Result<(), ControlFileError> {
    let expected = major.facts().control_version;
    let version = bytes.get(8..).and_then(|bytes| bytes.first_chunk()).map(|version| u32::from_ne_bytes(*version));
    match version {
        None => Err(ControlFileError::TooShort { found: bytes.len() }),
        Some(found) if found == expected => Ok(()),
        Some(found) if found.swap_bytes() == expected => Err(ControlFileError::ForeignByteOrder { major }),
        Some(found) => Err(ControlFileError::Version { expected, found }),
    }
}

/// All but the checksum, padding included.
fn parse(input: &[u8], major: PgMajor) -> Parsed<'_, ControlFile> {
    let facts = major.facts();
    let slru_size = padding(if facts.control_has_initial_checksums { 4 } else { 0 });
    let initial_checksums = padding(if facts.control_has_initial_checksums { 4 } else { 0 });
    // With the signedness of C's `char` before it, and then with what aligns the checksum.
    let nonce = if facts.control_has_char_signedness { 1 + 32 + 3 } else { 32 };
    let beginning = (map(int64, SystemId::new), int32, int32, ClusterState::parse, padding(4), seconds, lsn);
    let (input, (system_id, _version, catalog_version, state, (), unix_time, checkpoint_lsn)) =
        expect("the beginning of pg_control", beginning).parse(input)?;
    let is_shutdown = matches!(state, ClusterState::ShutDown | ClusterState::ShutDownInRecovery);
    let (input, checkpoint) =
        expect("a checkpoint", |input| Checkpoint::parse(input, major, is_shutdown)).parse(input)?;
    let (input, (_unlogged, minimum_lsn, minimum_timeline, ())) =
        expect("the minimum recovery point", (int64, int64, int32, padding(4))).parse(input)?;
    let (input, (backup_start, backup_end, backup_end_required, ())) =
        expect("the limits of a backup", (int64, int64, flag, padding(3))).parse(input)?;
    let settings = (WalLevel::parse, flag, padding(3), int32, int32, int32, int32, int32, flag, padding(3));
    let (input, (wal_level, wal_log_hints, (), connections, processes, senders, prepared, locks, timestamps, ())) =
        expect("settings", settings).parse(input)?;
    let (input, ()) = compatibility(input)?;
    let sizes = (int32, int32, slru_size, int32, map_opt(int32, |size| SegmentSize::new(size.into())));
    let (input, (block_size, blocks_per_file, (), wal_block_size, segment_size)) =
        expect("sizes", sizes).parse(input)?;
    // Lengths of names, index keys, TOAST chunks and large objects; whether 8-byte values are passed by value.
    let (input, ((), _by_value, ())) = expect("lengths", (padding(16), flag, padding(3))).parse(input)?;
    let (input, ((), data_checksum_version)) =
        expect("the version of data checksums", (initial_checksums, int32)).parse(input)?;
    let (input, ()) = expect("a nonce", padding(nonce)).parse(input)?;
    let minimum_recovery = Lsn::from_pg(minimum_lsn)
        .and_then(|lsn| Some(MinimumRecovery { lsn, timeline: TimelineId::new(minimum_timeline)? }));
    let control = ControlFile {
        system_id,
        catalog_version,
        state,
        unix_time,
        checkpoint_lsn,
        checkpoint,
        minimum_recovery,
        backup_start: Lsn::from_pg(backup_start),
        backup_end: Lsn::from_pg(backup_end),
        backup_end_required,
        wal_level,
        wal_log_hints,
        max_connections: connections,
        max_worker_processes: processes,
        max_wal_senders: senders,
        max_prepared_transactions: prepared,
        max_locks_per_transaction: locks,
        track_commit_timestamp: timestamps,
        block_size,
        blocks_per_file,
        wal_block_size,
        segment_size,
        data_checksum_version,
    };
    Ok((input, control))
}

/// How the machine aligns values, and whether it has the usual floating-point numbers.
fn compatibility(input: &[u8]) -> Parsed<'_, ()> {
    /// `FLOATFORMAT_VALUE`.
    const EXPECTED: f64 = 1_234_567.0;
    let alignment = map_opt(int32, |alignment| (alignment == 8).then_some(()));
    let (input, ()) = expect("an alignment of 8 bytes", alignment).parse(input)?;
    let float = map_opt(int64, |bits| (bits == EXPECTED.to_bits()).then_some(()));
    expect("the number 1234567 in floating point", float).parse(input)
}

fn seconds(input: &[u8]) -> Parsed<'_, i64> {
    map(int64, u64::cast_signed).parse(input)
}

impl ClusterState {
    fn parse(input: &[u8]) -> Parsed<'_, Self> {
        let state = |number| {
            Some(match number {
                0 => Self::Starting,
                1 => Self::ShutDown,
                2 => Self::ShutDownInRecovery,
                3 => Self::ShuttingDown,
                4 => Self::InCrashRecovery,
                5 => Self::InArchiveRecovery,
                6 => Self::InProduction,
                _ => return None,
            })
        };
        expect("a cluster's state, 0 to 6", map_opt(int32, state)).parse(input)
    }
}

/// Bytes that are not the control file of a cluster of the expected version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlFileError {
    /// There are too few bytes to name a version.
    #[error("pg_control has {found} bytes, expected 8192")]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// It is of another version.
    #[error("pg_control has version {found}, expected {expected}")]
    Version {
        /// The version that the cluster's major version writes.
        expected: u32,
        /// The version of the file.
        found: u32,
    },
    /// It was written on a machine of the other byte order.
    #[error("pg_control was written by PostgreSQL {major} on a machine with the other byte order")]
    ForeignByteOrder {
        /// Its version.
        major: PgMajor,
    },
    /// It is not laid out as its version says.
    #[error("pg_control is not laid out as its version says")]
    Content(#[source] SyntaxError),
    /// Its bytes are not those that its checksum was computed over.
    #[error("pg_control's checksum is {found:08X}, computed {computed:08X}")]
    Checksum {
        /// The checksum in the file.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &[u8] = include_bytes!("../testdata/15/pg_control");

    #[test]
    fn another_version_is_refused_by_name() {
        let refusal = |major| ControlFile::parse(FILE, major).unwrap_err();
        assert_eq!(refusal(PgMajor::V18), ControlFileError::Version { expected: 1800, found: 1300 });
        let mut swapped = FILE.to_vec();
        swapped[8..12].reverse();
        let foreign = ControlFileError::ForeignByteOrder { major: PgMajor::V15 };
        assert_eq!(ControlFile::parse(&swapped, PgMajor::V15), Err(foreign));
    }

    #[test]
    fn a_cut_file_is_refused() {
        for len in [0, 11, 12, 100, 288, 291] {
            assert!(ControlFile::parse(&FILE[..len], PgMajor::V15).is_err(), "{len}");
        }
        assert!(ControlFile::parse(&FILE[..292], PgMajor::V15).is_ok());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0..292usize, bit in 0..8u32) {
            let mut bytes = FILE.to_vec();
            bytes[at] ^= 1u8 << bit;
            prop_assert!(ControlFile::parse(&bytes, PgMajor::V15).is_err());
        }

        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), major in prop::sample::select(&PgMajor::ALL[..])) {
            let version = major.facts().control_version.to_ne_bytes();
            bytes.iter_mut().skip(8).zip(version).for_each(|(byte, known)| *byte = known);
            let _ = ControlFile::parse(&bytes, major);
        }
    }
}
