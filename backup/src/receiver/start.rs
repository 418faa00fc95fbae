//! Where receiving starts.

use barman_storage::Dir;
use replication_client::{Client, ErrorKind, SystemIdentity};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineId};

use super::error::ReceiveError;
use super::event::StartReason;
use super::options::ReceiverOptions;
use super::streaming_directory;

/// The first byte to ask for, which is always the first of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StartPoint {
    pub(super) timeline: TimelineId,
    pub(super) position: Lsn,
    pub(super) reason: StartReason,
}

/// Finds the place to go on from: the WAL that we have, else the WAL that the slot keeps, else the WAL of now.
///
/// # Errors
/// The streaming directory cannot be read, WAL in it has another segment size, or the slot does not exist.
pub(super) async fn find(
    client: &mut Client,
    dir: &Dir,
    options: &ReceiverOptions,
    server: SystemIdentity,
    size: SegmentSize,
) -> Result<StartPoint, ReceiveError> {
    let dir = dir.clone();
    let end = super::blocking(move || {
        streaming_directory::settle(&dir)?;
        streaming_directory::end(&dir, size)
    });
    if let Some((timeline, position)) = end.await? {
        return Ok(StartPoint { timeline, position, reason: StartReason::StreamingDirectory });
    }
    if let Some(newest) = options.newest_archived {
        let position = newest.number(size)?.end(size);
        return Ok(StartPoint { timeline: newest.timeline, position, reason: StartReason::Archive });
    }
    let segment_start = |lsn| SegmentNumber::containing(lsn, size).start(size);
    if let Some((timeline, lsn)) = slot_position(client, options).await? {
        let timeline = timeline.unwrap_or(server.timeline);
        return Ok(StartPoint { timeline, position: segment_start(lsn), reason: StartReason::Slot });
    }
    let position = segment_start(server.position);
    Ok(StartPoint { timeline: server.timeline, position, reason: StartReason::ServerPosition })
}

/// Returns what the slot keeps, if there is a slot and the server (15 and newer) can tell.
async fn slot_position(
    client: &mut Client,
    options: &ReceiverOptions,
) -> Result<Option<(Option<TimelineId>, Lsn)>, ReceiveError> {
    let Some(slot) = &options.slot else { return Ok(None) };
    match client.read_slot(slot).await {
        Ok(Some(found)) => Ok(found.restart_lsn.map(|lsn| (found.timeline, lsn))),
        Ok(None) => Err(ReceiveError::SlotMissing { slot: slot.clone() }),
        Err(error) if matches!(error.kind(), ErrorKind::ServerVersion { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the server how long its segments are.
///
/// # Errors
/// The connection fails, or the answer is no segment size.
pub(super) async fn segment_size(client: &mut Client) -> Result<SegmentSize, ReceiveError> {
    let shown = client.show("wal_segment_size").await?;
    parse_segment_size(&shown).ok_or(ReceiveError::SegmentSize { found: shown })
}

/// Servers say `16MB` or `1GB`.
fn parse_segment_size(shown: &str) -> Option<SegmentSize> {
    let (number, unit) = shown.split_at(shown.find(|c: char| !c.is_ascii_digit())?);
    let unit: u64 = match unit {
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    SegmentSize::new(number.parse::<u64>().ok()?.checked_mul(unit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_sizes_are_read_as_servers_show_them() {
        let bytes = |shown| parse_segment_size(shown).map(SegmentSize::bytes);
        assert_eq!(bytes("16MB"), Some(16 << 20));
        assert_eq!(bytes("1MB"), Some(1 << 20));
        assert_eq!(bytes("1GB"), Some(1 << 30));
        for wrong in ["", "16", "MB", "3MB", "2GB", "16 MB", "16kB", "99999999999999999GB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
