//! Where receiving starts.

use barman_storage::Dir;
use replication_client::{Client, ErrorKind, Mode, SlotPosition, SystemIdentity};
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

/// Where receiving starts, and what that means.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) point: StartPoint,
    /// Where the WAL ends that we have, if there is none between there and the start.
    pub(super) gap_from: Option<Lsn>,
    /// Where the WAL begins that the slot keeps, if there is a slot which keeps any.
    pub(super) kept: Option<Lsn>,
    /// The timelines of which there may be WAL beyond the point at which the server left them, and that point.
    pub(super) left: Vec<(TimelineId, Lsn)>,
}

/// Finds the place to go on from: the WAL that we have, else the WAL that the slot keeps, else the WAL of now.
///
/// Of the WAL that we have the furthest counts, in the streaming directory or in the archive, but only as far as the
/// server's history leads through it. A server that was restored and promoted may have left a timeline before the point up
/// to which we received it; what lies beyond is kept, and receiving goes on where the server's own history branches off.
/// What claims to be WAL that the server has yet to write is passed over.
///
/// # Errors
/// The streaming directory or the archive cannot be read, WAL in them has another segment size, or the slot does not
/// exist.
pub(super) async fn find(
    client: &mut Client,
    dir: &Dir,
    options: &ReceiverOptions,
    server: SystemIdentity,
    size: SegmentSize,
) -> Result<Start, ReceiveError> {
    let mut held = held(dir, options, size).await?;
    held.retain(|held| is_written(held.point, server.timeline, server.position, size));
    let received: Vec<StartPoint> = held.iter().map(|held| held.point).collect();
    let history = server_history(client, server, &received).await?;
    let next = go_on(&received, server.timeline, history.as_ref(), size);
    let slot = slot_position(client, options, next.map(|point| point.position)).await?;
    let kept = slot.and_then(|slot| slot.restart_lsn);
    if let Some(point) = next {
        let complete = held.iter().filter(|held| held.complete).map(|held| held.point);
        let reached = complete.filter_map(|point| lead_on(point, server.timeline, history.as_ref(), size));
        let reached = reached.map(|point| point.position).max();
        let left = left_behind(&held, point, history.as_ref());
        return Ok(Start { point, gap_from: reached.filter(|reached| *reached < point.position), kept, left });
    }
    let (timeline, position, reason) = match slot.and_then(|slot| Some((slot.timeline, slot.restart_lsn?))) {
        Some((timeline, restart)) => (timeline.unwrap_or(server.timeline), restart, StartReason::Slot),
        None => (server.timeline, server.position, StartReason::ServerPosition),
    };
    let position = SegmentNumber::containing(position, size).start(size);
    Ok(Start { point: StartPoint { timeline, position, reason }, gap_from: None, kept, left: Vec::new() })
}

/// Where WAL that we have ends.
#[derive(Debug, Clone, Copy)]
struct Held {
    point: StartPoint,
    /// Whether all WAL right before the point is there.
    complete: bool,
}

/// Returns where the WAL that we have ends: one place for each file in the streaming directory, and one for each timeline in
/// the archive.
///
/// The archive is looked at last: a segment that moves there meanwhile is found in one of the two.
async fn held(dir: &Dir, options: &ReceiverOptions, size: SegmentSize) -> Result<Vec<Held>, ReceiveError> {
    let (dir, archive) = (dir.clone(), options.archive.clone());
    super::blocking(move || {
        streaming_directory::settle(&dir, size)?;
        let streamed = streaming_directory::ends(&dir, size)?.into_iter();
        let mut held: Vec<Held> = streamed.map(Held::streamed).collect();
        for newest in archive.map(|archive| archive.newest_archived_segments()).transpose()?.unwrap_or_default() {
            let position = newest.number(size)?.end(size);
            let point = StartPoint { timeline: newest.timeline, position, reason: StartReason::Archive };
            held.push(Held { point, complete: true });
        }
        Ok(held)
    })
    .await
}

impl Held {
    fn streamed(end: streaming_directory::End) -> Self {
        let reason = StartReason::StreamingDirectory;
        let point = StartPoint { timeline: end.timeline, position: end.position, reason };
        Self { point, complete: end.complete }
    }
}

/// Tells whether the server can have written the WAL up to `point`, which only its own timeline says.
///
/// It may have gone on within its segment since it told its position, but what lies beyond that segment is a stray file
/// as a rule. Asked to go on there the server would refuse, again and again, while its slot keeps all the WAL. A standby that
/// lags behind what we have sends some of it again.
fn is_written(point: StartPoint, timeline: TimelineId, server_position: Lsn, size: SegmentSize) -> bool {
    let written =
        point.timeline != timeline || point.position <= SegmentNumber::containing(server_position, size).end(size);
    if !written {
        tracing::warn!(
            position = %point.position, %server_position, reason = ?point.reason,
            "ignoring WAL that the server has not written yet"
        );
    }
    written
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

/// Chooses the furthest place on the way that the server's history took, and of equal ones the newest timeline's.
///
/// WAL of timelines that the server knows nothing of counts only where there is no other: the server then refuses in its
/// own words.
fn go_on(
    received: &[StartPoint],
    server: TimelineId,
    history: Option<&TimelineHistory>,
    size: SegmentSize,
) -> Option<StartPoint> {
    let furthest = |point: &StartPoint| (point.position, point.timeline);
    // Backwards, because the last of equals is chosen: the streaming directory comes before the archive.
    let on_the_way = received.iter().rev().filter_map(|point| lead_on(*point, server, history, size));
    on_the_way.max_by_key(furthest).or_else(|| received.iter().rev().copied().max_by_key(furthest))
}

/// Returns where the server's history goes on from `point`: there, or, if the server left the timeline before, where it
/// did so. `None` if the history does not know the timeline.
fn lead_on(
    point: StartPoint,
    server: TimelineId,
    history: Option<&TimelineHistory>,
    size: SegmentSize,
) -> Option<StartPoint> {
    if point.timeline == server {
        return Some(point);
    }
    let (at, next) = left_for(history?, point.timeline)?;
    if point.position <= at {
        return Some(point);
    }
    let position = SegmentNumber::containing(at, size).start(size);
    Some(StartPoint { timeline: next, position, reason: StartReason::Branch { left: point.timeline, at } })
}

/// Returns where a timeline was left, and for which one. That is not the server's own where there were more promotions
/// since, and only that one has WAL there.
fn left_for(history: &TimelineHistory, timeline: TimelineId) -> Option<(Lsn, TimelineId)> {
    let mut entries = history.entries.iter().skip_while(|entry| entry.parent != timeline);
    let left = entries.next()?;
    Some((left.switch_lsn, entries.next().map_or(history.timeline, |entry| entry.parent)))
}

/// Returns the timelines that the server left and of which we may have more, oldest first.
///
/// Receiving was interrupted at the last of them as a rule, but the server may have been promoted more than once since, and
/// somebody else may have received WAL meanwhile who sets nothing aside. So where the start is a branch, all of them count
/// that we have WAL of; where it is none, their surplus was told of before, but for segments that still look like ordinary
/// ones.
fn left_behind(held: &[Held], start: StartPoint, history: Option<&TimelineHistory>) -> Vec<(TimelineId, Lsn)> {
    let is_branch = matches!(start.reason, StartReason::Branch { .. });
    let is_new = |held: &Held, at: Lsn| {
        let is_streamed = held.point.reason == StartReason::StreamingDirectory;
        is_branch || (is_streamed && held.complete && held.point.position > at)
    };
    let entries = history.into_iter().flat_map(|history| &history.entries);
    let left = entries.map(|entry| (entry.parent, entry.switch_lsn));
    left.filter(|(timeline, at)| held.iter().any(|held| held.point.timeline == *timeline && is_new(held, *at)))
        .collect()
}

/// Returns where the slot stands, if there is one. WAL from `from` on is wanted, if that is known.
///
/// From 15 on the replication connection tells; of older servers an ordinary one does, where the caller gave it.
async fn slot_position(
    client: &mut Client,
    options: &ReceiverOptions,
    from: Option<Lsn>,
) -> Result<Option<SlotPosition>, ReceiveError> {
    let Some(slot) = &options.slot else { return Ok(None) };
    let found = match (client.read_slot(slot).await, &options.sql) {
        (Err(error), Some(sql)) if matches!(error.kind(), ErrorKind::ServerVersion { .. }) => {
            Client::connect(sql, Mode::Sql).await?.read_slot(slot).await?
        }
        (Err(error), None) if matches!(error.kind(), ErrorKind::ServerVersion { .. }) => return Ok(None),
        (found, _) => found?,
    };
    found.map(Some).ok_or_else(|| ReceiveError::SlotMissing { slot: slot.clone(), from })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use StartReason::{Archive, StreamingDirectory};

    const MIB: u64 = 1 << 20;

    fn point(timeline: u32, segment: u64, reason: StartReason) -> StartPoint {
        StartPoint { timeline: TimelineId::new(timeline).unwrap(), position: Lsn::new(segment * MIB), reason }
    }

    fn choose(received: &[StartPoint], server: u32, history: &[u8]) -> Option<StartPoint> {
        let server = TimelineId::new(server).unwrap();
        let history = TimelineHistory::parse(server, history).unwrap();
        go_on(received, server, Some(&history), SegmentSize::new(MIB).unwrap())
    }

    fn branch(left: u32, at: u64) -> StartReason {
        StartReason::Branch { left: TimelineId::new(left).unwrap(), at: Lsn::new(at) }
    }

    #[test]
    fn what_we_have_counts_as_far_as_the_servers_history_leads_through_it() {
        // The server left timeline 1 within segment 10.
        let choose = |received: &[StartPoint]| choose(received, 2, b"1\t0/A80000\tpromoted\n");
        let branch = branch(1, 0xA8_0000);

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
        let unknown = [point(7, 11, StreamingDirectory), point(1, 3, Archive)];
        assert_eq!(choose(&unknown), Some(point(1, 3, Archive)));
    }

    #[test]
    fn a_branch_goes_on_with_the_timeline_that_the_old_one_was_left_for() {
        // Timeline 1 was left for 2 within segment 10, and 2 for 3 within segment 20.
        let choose = |received: &[StartPoint]| choose(received, 3, b"1\t0/A80000\t\n2\t0/1480000\t\n");
        let (first, second) = (branch(1, 0xA8_0000), branch(2, 0x148_0000));

        assert_eq!(choose(&[point(1, 25, StreamingDirectory)]), Some(point(2, 10, first)));
        assert_eq!(choose(&[point(2, 25, StreamingDirectory)]), Some(point(3, 20, second)));
        assert_eq!(choose(&[point(2, 15, StreamingDirectory)]), Some(point(2, 15, StreamingDirectory)));
        // The furthest branch, whichever file comes first.
        let both = [point(1, 30, StreamingDirectory), point(2, 25, StreamingDirectory)];
        assert_eq!(choose(&both), Some(point(3, 20, second)));
        let both = [point(2, 25, StreamingDirectory), point(1, 30, Archive)];
        assert_eq!(choose(&both), Some(point(3, 20, second)));
        // A branch is further than WAL before it.
        let behind = [point(1, 12, StreamingDirectory), point(1, 4, Archive)];
        assert_eq!(choose(&behind), Some(point(2, 10, first)));
    }

    #[test]
    fn every_timeline_that_was_left_before_what_we_have_of_it_is_known() {
        let left = |held: &[(StartPoint, bool)]| {
            let held: Vec<_> =
                held.iter().map(|(point, complete)| Held { point: *point, complete: *complete }).collect();
            let received: Vec<_> = held.iter().map(|held| held.point).collect();
            let history = b"1\t0/A80000\t\n2\t0/1480000\t\n";
            let start = choose(&received, 3, history).unwrap();
            let history = TimelineHistory::parse(TimelineId::new(3).unwrap(), history).unwrap();
            let left = left_behind(&held, start, Some(&history));
            left.into_iter().map(|(timeline, at)| (timeline.get(), at.as_u64())).collect::<Vec<_>>()
        };
        let (first, second) = ((1, 0xA8_0000), (2, 0x148_0000));

        // Of both, up to a segment under way, in the archive, and nothing of the second one.
        let surplus = (point(2, 25, StreamingDirectory), true);
        assert_eq!(left(&[(point(1, 10, StreamingDirectory), false), surplus]), [first, second]);
        assert_eq!(left(&[(point(1, 30, Archive), true), surplus]), [first, second]);
        assert_eq!(left(&[(point(1, 30, StreamingDirectory), true)]), [first]);
        // The start is no branch: what was set aside or archived before is an old story.
        let current = (point(3, 22, StreamingDirectory), true);
        assert_eq!(left(&[(point(1, 11, StreamingDirectory), false), (point(2, 25, Archive), true), current]), []);
        assert_eq!(left(&[(point(1, 10, StreamingDirectory), true), current]), []);
        assert_eq!(left(&[(point(1, 11, StreamingDirectory), true), current]), [first]);
    }

    #[test]
    fn two_promotions_within_a_segment_are_both_followed() {
        let received = [point(1, 11, StreamingDirectory)];
        let chosen = choose(&received, 3, b"1\t0/A80000\t\n2\t0/A90000\t\n");
        assert_eq!(chosen, Some(point(2, 10, branch(1, 0xA8_0000))));
    }

    #[test]
    fn wal_that_the_server_has_yet_to_write_is_passed_over() {
        let size = SegmentSize::new(MIB).unwrap();
        // The server, on timeline 2, is at this position.
        let choose_at = |position: u64, received: &[StartPoint]| {
            let timeline = TimelineId::new(2).unwrap();
            let written = |point: &StartPoint| is_written(*point, timeline, Lsn::new(position), size);
            let received: Vec<_> = received.iter().copied().filter(written).collect();
            choose(&received, 2, b"1\t0/A80000\t\n")
        };
        let within = 20 * MIB + MIB / 2;

        // The end of the server's segment is the furthest that counts.
        assert_eq!(choose_at(within, &[point(2, 21, StreamingDirectory)]), Some(point(2, 21, StreamingDirectory)));
        assert_eq!(choose_at(20 * MIB, &[point(2, 21, Archive)]), Some(point(2, 21, Archive)));
        // The next best is taken, else the slot or the server's position decides.
        let stray = [point(2, 22, StreamingDirectory), point(2, 4095, Archive), point(2, 20, StreamingDirectory)];
        assert_eq!(choose_at(within, &stray), Some(point(2, 20, StreamingDirectory)));
        let archived = [point(2, 4095, StreamingDirectory), point(2, 19, Archive)];
        assert_eq!(choose_at(within, &archived), Some(point(2, 19, Archive)));
        assert_eq!(choose_at(within, &[point(2, 22, StreamingDirectory), point(2, 22, Archive)]), None);
        // The history says how far another timeline counts.
        let surplus = [point(1, 30, StreamingDirectory)];
        assert_eq!(choose_at(within, &surplus), Some(point(2, 10, branch(1, 0xA8_0000))));
    }

    #[test]
    fn the_furthest_counts_wherever_it_is() {
        let choose =
            |received: &[StartPoint]| go_on(received, TimelineId::FIRST, None, SegmentSize::new(MIB).unwrap()).unwrap();
        let (streamed, archived) =
            (|segment| point(1, segment, StreamingDirectory), |segment| point(1, segment, Archive));
        assert_eq!(choose(&[streamed(5), archived(9)]), archived(9));
        assert_eq!(choose(&[streamed(9), archived(5)]), streamed(9));
        assert_eq!(choose(&[streamed(5), streamed(7), archived(6)]), streamed(7));
        assert_eq!(choose(&[streamed(9), archived(9)]), streamed(9));
        // Of the same segment, the newest timeline.
        let both = [point(1, 7, StreamingDirectory), point(2, 7, StreamingDirectory)];
        let history = TimelineHistory::parse(TimelineId::new(2).unwrap(), b"1\t0/780000\t\n").unwrap();
        let chosen = go_on(&both, TimelineId::new(2).unwrap(), Some(&history), SegmentSize::new(MIB).unwrap());
        assert_eq!(chosen, Some(point(2, 7, StreamingDirectory)));
    }

    /// For each timeline in order, how many bytes of it the server wrote; and what was received of which timelines: how
    /// many segments from the one it begins in, perhaps more than the server knows of.
    fn any_past() -> impl Strategy<Value = (Vec<u64>, Vec<(usize, u64)>)> {
        proptest::collection::vec(1..5 * MIB, 1..5).prop_flat_map(|lengths| {
            let timelines = 0..lengths.len();
            (Just(lengths), proptest::collection::vec((timelines, 0..8_u64), 1..6))
        })
    }

    proptest! {
        #[test]
        fn the_server_has_the_wal_that_is_asked_for_and_none_is_skipped((lengths, held) in any_past()) {
            // Timeline n + 1 lasts from ends[n] to ends[n + 1].
            let ends: Vec<u64> = std::iter::once(0).chain(lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end)
            })).collect();
            let text: String = (1..lengths.len()).map(|n| format!("{n}\t{}\t\n", Lsn::new(ends[n]))).collect();
            let received: Vec<_> = held
                .iter()
                .map(|(n, segments)| point(*n as u32 + 1, ends[*n] / MIB + segments, StreamingDirectory))
                .collect();
            let chosen = choose(&received, lengths.len() as u32, text.as_bytes()).unwrap();

            let n = chosen.timeline.get() as usize - 1;
            let position = chosen.position.as_u64();
            prop_assert!(ends[n] / MIB * MIB <= position);
            prop_assert!(n + 1 == lengths.len() || position <= ends[n + 1]);
            // As far as the server's own WAL goes, the furthest that was received is not behind that.
            let reached = |(n, segments): &(usize, u64)| {
                let end = (ends[*n] / MIB + segments) * MIB;
                if n + 1 == lengths.len() { end } else { end.min(ends[n + 1] / MIB * MIB) }
            };
            let furthest = held.iter().map(reached).max().unwrap();
            prop_assert_eq!(position, furthest);
        }
    }
}
