//! Files in `streaming/` that claim to be WAL which the server has yet to write.

use std::io::Read as _;

use barman_storage::{Dir, Kind as FileKind, Operation, RelativePath};
use wal_format::{
    Lsn, SegmentHeader, SegmentName, SegmentNumber, SegmentSize, SystemId, TimelineId, Timestamp, WalFileName,
};

use crate::archive::errors::{Kind, move_to_errors};
use crate::catalog::existing;
use crate::{Catalog, Error, layout};

/// How far a server has come, against which the files in `streaming/` are held.
#[derive(Debug, Clone, Copy)]
pub struct ServerProgress {
    /// Its cluster.
    pub system_id: SystemId,
    /// The timeline that it is on.
    pub timeline: TimelineId,
    /// What it has written.
    pub position: Lsn,
    /// How long its segments are.
    pub segment_size: SegmentSize,
}

/// Why a file was moved to `errors/` before it could lead the receiver astray.
#[derive(Debug, thiserror::Error)]
enum Stray {
    #[error("{name} is ahead of the server, which is at {position}, and does not begin as its WAL would")]
    NoWal { name: WalFileName, position: Lsn },
    #[error("{name} is ahead of the server, which is at {position}: it would be taken for the file being received")]
    Partial { name: WalFileName, position: Lsn },
}

impl Catalog {
    /// Moves files to `errors/` whose names are those of segments that the server has yet to write: those that do not
    /// begin like WAL of this cluster and place, and every `.partial` file. Returns their names, and where each one lies in
    /// `errors/`.
    ///
    /// pg_receivewal would take the furthest for the place to go on from. And whoever archives takes the last `.partial`
    /// file for the one that is being received, and each one before it, the true one too, for what can be moved away. Whole
    /// segments of genuine WAL stay whatever the server says: a standby that lags behind, or a server that was restored, may
    /// have taken the place of the one they are from.
    ///
    /// # Errors
    /// A file cannot be read or moved.
    pub fn quarantine_strays(
        &self,
        server: &ServerProgress,
        now: Timestamp,
    ) -> Result<Vec<(WalFileName, RelativePath)>, Error> {
        let mut moved = Vec::new();
        let Some(dir) = existing(&self.layout().streaming_wals_directory)? else { return Ok(moved) };
        for entry in dir.entries()?.into_iter().filter(|entry| entry.kind == FileKind::File) {
            let Some(name) = entry.name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let path = entry.path();
            if let Some(stray) = server.stray(name, || head(&dir, &path))? {
                moved.push((
                    name,
                    move_to_errors(self, (&dir, &path), path.file_name(), Kind::Refused, Some(&stray), now)?,
                ));
            }
        }
        Ok(moved)
    }
}

impl ServerProgress {
    fn stray(&self, name: WalFileName, head: impl FnOnce() -> Result<Vec<u8>, Error>) -> Result<Option<Stray>, Error> {
        let position = self.position;
        Ok(match name {
            WalFileName::Segment(segment) if segment.timeline == self.timeline && self.is_behind(segment) => {
                (!self.wrote(segment, &head()?)).then_some(Stray::NoWal { name, position })
            }
            WalFileName::Partial(segment) => {
                let ahead =
                    segment.timeline > self.timeline || segment.timeline == self.timeline && self.is_behind(segment);
                ahead.then_some(Stray::Partial { name, position })
            }
            _ => None,
        })
    }

    /// Whether the server has not begun with this segment of its timeline. It may have gone on to the next one by now. A
    /// name that no segment of its size has is ahead of it for ever.
    fn is_behind(&self, segment: SegmentName) -> bool {
        let begun = SegmentNumber::containing(self.position, self.segment_size).end(self.segment_size);
        !segment.start(self.segment_size).is_ok_and(|start| start <= begun)
    }

    fn wrote(&self, segment: SegmentName, head: &[u8]) -> bool {
        let header = SegmentHeader::parse(head);
        header.is_ok_and(|header| header.check(&segment, Some(self.system_id), self.segment_size).is_ok())
    }
}

fn head(dir: &Dir, path: &RelativePath) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    let read = dir.open_file(path)?.take(SegmentHeader::LEN as u64).read_to_end(&mut head);
    read.map_err(|source| barman_storage::Error::new(Operation::Read, layout::shown(dir, path), source))?;
    Ok(head)
}
