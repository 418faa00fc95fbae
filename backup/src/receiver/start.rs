//! Where receiving starts.

use barman_storage::Dir;
use replication_client::{Client, ErrorKind, SystemIdentity};
use wal_format::{Lsn, SegmentNumber, SegmentSize, TimelineHistory, TimelineId};

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
/// WAL that we have counts only as far as the server's history leads through it. A server that was restored and promoted
/// may have left a timeline before the point up to which we received it; what lies beyond stays where it is, and receiving
/// goes on where the server's own history branches off.
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
    let received = received(dir, options, size).await?;
    let history = server_history(client, server, &received).await?;
    if let Some(point) = go_on(&received, server.timeline, history.as_ref(), size) {
        return Ok(point);
    }
    let segment_start = |lsn| SegmentNumber::containing(lsn, size).start(size);
    if let Some((timeline, lsn)) = slot_position(client, options).await? {
        let timeline = timeline.unwrap_or(server.timeline);
        return Ok(StartPoint { timeline, position: segment_start(lsn), reason: StartReason::Slot });
    }
    let position = segment_start(server.position);
    Ok(StartPoint { timeline: server.timeline, position, reason: StartReason::ServerPosition })
}

/// Returns where the WAL that we have ends, the best place to go on from first.
async fn received(dir: &Dir, options: &ReceiverOptions, size: SegmentSize) -> Result<Vec<StartPoint>, ReceiveError> {
    let dir = dir.clone();
    let ends = super::blocking(move || {
        streaming_directory::settle(&dir)?;
        streaming_directory::ends(&dir, size)
    });
    let streamed = |(timeline, position)| StartPoint { timeline, position, reason: StartReason::StreamingDirectory };
    let mut received: Vec<StartPoint> = ends.await?.into_iter().map(streamed).collect();
    if let Some(newest) = options.newest_archived {
        let position = newest.number(size)?.end(size);
        received.push(StartPoint { timeline: newest.timeline, position, reason: StartReason::Archive });
    }
    Ok(received)
}

/// Asks for the server's history where it matters: when we have WAL of another timeline than the server's.
async fn server_history(
    client: &mut Client,
    server: SystemIdentity,
    received: &[StartPoint],
) -> Result<Option<TimelineHistory>, ReceiveError> {
    let timeline = server.timeline;
    if timeline == TimelineId::FIRST || received.iter().all(|point| point.timeline == timeline) {
        return Ok(None);
    }
    let content = client.timeline_history(timeline).await?.content;
    let history = TimelineHistory::parse(timeline, &content);
    history.map(Some).map_err(|source| ReceiveError::History { timeline, source })
}

/// Chooses among the ends of what we have.
fn go_on(
    received: &[StartPoint],
    server: TimelineId,
    history: Option<&TimelineHistory>,
    size: SegmentSize,
) -> Option<StartPoint> {
    let left_at = |timeline| history.and_then(|history| history.switch_lsn(timeline));
    let leads_through = |point: &&StartPoint| {
        point.timeline == server || left_at(point.timeline).is_some_and(|left| point.position <= left)
    };
    let best = received.first()?;
    if let Some(point) = received.iter().find(leads_through) {
        return Some(*point);
    }
    let Some((left, at)) = received.iter().find_map(|point| Some((point.timeline, left_at(point.timeline)?))) else {
        // Not of this history at all: the server says so in its own words.
        return Some(*best);
    };
    let position = SegmentNumber::containing(at, size).start(size);
    Some(StartPoint { timeline: server, position, reason: StartReason::Branch { left, at } })
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

    const MIB: u64 = 1 << 20;

    fn point(timeline: u32, segment: u64, reason: StartReason) -> StartPoint {
        StartPoint { timeline: TimelineId::new(timeline).unwrap(), position: Lsn::new(segment * MIB), reason }
    }

    #[test]
    fn what_we_have_counts_as_far_as_the_servers_history_leads_through_it() {
        use StartReason::{Archive, StreamingDirectory};
        // The server left timeline 1 within segment 10.
        let history = TimelineHistory::parse(TimelineId::new(2).unwrap(), b"1\t0/A80000\tpromoted\n").unwrap();
        let size = SegmentSize::new(MIB).unwrap();
        let choose = |received: &[StartPoint]| go_on(received, TimelineId::new(2).unwrap(), Some(&history), size);
        let branch = StartReason::Branch { left: TimelineId::FIRST, at: Lsn::new(0xA8_0000) };

        assert_eq!(choose(&[]), None);
        // Behind the branch: the rest of the old timeline comes first.
        assert_eq!(choose(&[point(1, 10, StreamingDirectory)]), Some(point(1, 10, StreamingDirectory)));
        // Beyond it: the new timeline from the segment with the branch.
        assert_eq!(choose(&[point(1, 11, StreamingDirectory)]), Some(point(2, 10, branch)));
        // A surplus does not hide what was received of the new timeline meanwhile.
        let surplus = [point(1, 15, StreamingDirectory), point(2, 12, StreamingDirectory)];
        assert_eq!(choose(&surplus), Some(point(2, 12, StreamingDirectory)));
        let archived = [point(1, 15, StreamingDirectory), point(2, 13, Archive)];
        assert_eq!(choose(&archived), Some(point(2, 13, Archive)));
        // A timeline that the server knows nothing of is left for the server to refuse.
        assert_eq!(choose(&[point(7, 11, StreamingDirectory)]), Some(point(7, 11, StreamingDirectory)));
    }

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
