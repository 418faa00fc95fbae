//! A way in for fuzzing: one archive, as a connection delivers it.

use std::io;

use barman_storage::{Cancel, Dir};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::archive::Unpacker;
use super::piece_reader::{Border, Piece, PieceReader};
use super::{ArchiveName, BaseBackupError};

/// Unpacks an archive into `root`, which is empty, with the code that unpacks a backup while it is taken, and returns the
/// sum of the sizes of its files in bytes. `pieces` are the archive, cut anywhere. Nothing is synced.
///
/// # Errors
/// As for [`run`](crate::run): this is no archive as PostgreSQL writes it, or a file cannot be written.
pub fn unpack_archive(archive: ArchiveName, pieces: &[Bytes], root: &Dir) -> Result<u64, BaseBackupError> {
    let broken = |source| BaseBackupError::Archive { archive, source };
    let mut reader = delivered(archive, pieces);
    reader.next_border().map_err(broken)?;
    let cancel = Cancel::new();
    let mut unpacker = Unpacker::new(&cancel);
    unpacker.unpack(archive, root, &mut reader)?;
    match reader.next_border().map_err(broken)? {
        Border::End => Ok(unpacker.finish().bytes),
        border => Err(broken(io::Error::other(format!("expected the end, found {border:?}")))),
    }
}

/// What the connection hands over for one archive, all of it waiting already.
#[allow(clippy::expect_used, reason = "the channel has as much room as there are pieces")]
fn delivered(archive: ArchiveName, pieces: &[Bytes]) -> PieceReader {
    let data = pieces.iter().cloned().map(Piece::Data);
    let begin = std::iter::once(Piece::Border(Border::Archive(archive)));
    let (sender, receiver) = mpsc::channel(pieces.len() + 2);
    for piece in begin.chain(data).chain([Piece::Border(Border::End)]) {
        sender.try_send(piece).expect("there is room for all of them");
    }
    PieceReader::new(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of what PostgreSQL 15 sent, cut out of its stream.
    const ARCHIVE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/base_backup_archive/15"));

    fn unpack(archive: &[u8], piece: usize) -> (tempfile::TempDir, Result<u64, BaseBackupError>) {
        let root = tempfile::tempdir().unwrap();
        let pieces: Vec<Bytes> = archive.chunks(piece).map(Bytes::copy_from_slice).collect();
        let unpacked = unpack_archive(ArchiveName::Main, &pieces, &Dir::open(root.path()).unwrap());
        (root, unpacked)
    }

    #[test]
    fn an_archive_is_unpacked_however_it_is_cut() {
        for piece in [ARCHIVE.len(), 512, 77] {
            let (root, unpacked) = unpack(ARCHIVE, piece);
            let read = |name: &str| std::fs::read(root.path().join(name)).unwrap();
            assert_eq!(read("PG_VERSION"), b"15\n");
            assert!(read("backup_label").starts_with(b"START WAL LOCATION: "));
            assert_eq!(unpacked.unwrap(), 1972, "{piece}");
        }
    }

    #[test]
    fn one_that_breaks_off_is_refused() {
        let (_root, unpacked) = unpack(&ARCHIVE[..700], 100);
        assert!(matches!(unpacked, Err(BaseBackupError::Entry { .. })), "{unpacked:?}");
    }
}
