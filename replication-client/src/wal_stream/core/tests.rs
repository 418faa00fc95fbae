#![allow(clippy::disallowed_methods, reason = "what is durable is up to each test")]

use proptest::prelude::*;

use super::*;
use crate::durable::Durable;
use crate::testing::backend_bytes::{BackendBytes, feed};

const START: u64 = 0x300_0000;
const SYSTEM: SystemId = SystemId::new(7);

/// A stream, its wire, and a clock that only moves when it is told to.
struct Stream {
    core: Core,
    wire: Wire,
    now: Now,
}

impl Stream {
    /// A stream whose command has been sent.
    fn asked(slot: Option<&str>) -> Self {
        let start =
            StartReplication { slot: slot.map(str::to_owned), timeline: TimelineId::FIRST, start: Lsn::new(START) };
        let now = Now { instant: Instant::now(), timestamp: Timestamp::from_pg_micros(5) };
        let mut wire = Wire::default();
        wire.inbox.trust();
        let core = Core::start(start, SYSTEM, now, &mut wire.outgoing).unwrap();
        let mut stream = Self { core, wire, now };
        assert!(stream.sent().ends_with(b"PHYSICAL 0/3000000 TIMELINE 1\0"));
        stream
    }

    /// A stream that flows.
    fn flowing() -> Self {
        let mut stream = Self::asked(None);
        assert_eq!(stream.events(&server().copy_both()), []);
        stream
    }

    fn receive(&mut self, bytes: &BackendBytes, sizes: &[usize]) -> (Vec<StreamEvent>, Option<ErrorKind>) {
        let (core, now) = (&mut self.core, self.now);
        feed(&mut self.wire, bytes.bytes(), sizes, |wire| {
            let event = core.poll_event(now, wire)?;
            // The end is repeated for ever, and nothing may be lost behind it.
            let is_last = matches!(event, Some(StreamEvent::EndOfTimeline { .. }));
            Ok(event.filter(|_| !is_last))
        })
    }

    fn events(&mut self, bytes: &BackendBytes) -> Vec<StreamEvent> {
        let (events, error) = self.receive(bytes, &[bytes.bytes().len()]);
        assert!(error.is_none(), "{error:?}");
        events
    }

    fn error(&mut self, bytes: &BackendBytes) -> ErrorKind {
        self.receive(bytes, &[bytes.bytes().len()]).1.unwrap()
    }

    fn end(&mut self) -> Option<StreamEvent> {
        self.core.poll_event(self.now, &mut self.wire).unwrap()
    }

    fn sent(&mut self) -> Vec<u8> {
        self.wire.outgoing.split().to_vec()
    }

    fn report(&mut self, written: u64, flushed: Option<&Durable>) -> Result<(), ErrorKind> {
        let update = StatusUpdate { written: Lsn::new(written), flushed, reply: false };
        self.core.report(update, self.now, &mut self.wire.outgoing)
    }

    fn after(&mut self, time: Duration) -> Result<(), ErrorKind> {
        self.now.instant += time;
        self.core.handle_timeout(self.now, &mut self.wire.outgoing)
    }
}

fn server() -> BackendBytes {
    BackendBytes::new()
}

fn durable(lsn: u64) -> Durable {
    Durable::assume_durable(SYSTEM, TimelineId::FIRST, Lsn::new(lsn))
}

fn status(written: u64, flushed: u64, reply: bool) -> Vec<u8> {
    let mut out = BytesMut::new();
    let flushed = Lsn::from_pg(flushed);
    let sent_at = Timestamp::from_pg_micros(5);
    StandbyStatus { written: Lsn::new(written), flushed, applied: None, sent_at, reply }.encode(&mut out);
    out.to_vec()
}

fn wal(start: u64, data: &'static [u8]) -> StreamEvent {
    StreamEvent::Wal { start: Lsn::new(start), data: Bytes::from_static(data) }
}

const COPY_DONE: &[u8] = b"c\0\0\0\x04";
const NEXT: [&str; 2] = ["next_tli", "next_tli_startpos"];

#[test]
fn wal_comes_out_as_it_went_in() {
    let mut stream = Stream::flowing();
    let events = stream.events(&server().wal(START, b"abc").wal(START + 3, b"de"));
    assert_eq!(events, [wal(START, b"abc"), wal(START + 3, b"de")]);
    assert_eq!(stream.core.received(), Lsn::new(START + 5));
    assert_eq!(stream.core.server_end(), Some(Lsn::new(START + 5)));
    assert_eq!(stream.sent(), b"");
}

#[test]
fn wal_that_leaves_a_gap_or_goes_back_is_refused() {
    for start in [START + 1, START - 1] {
        let error = Stream::flowing().error(&server().wal(start, b"abc"));
        let ErrorKind::Protocol(ProtocolError::NotContiguous { expected, found }) = error else { panic!("{error}") };
        assert_eq!((expected, found), (Lsn::new(START), Lsn::new(start)));
    }
}

#[test]
fn wal_that_would_pass_the_last_position_is_refused() {
    let mut stream = Stream::flowing();
    stream.core.received = Lsn::new(u64::MAX - 1);
    let bytes = server().copy_data(&[b"w", &(u64::MAX - 1).to_be_bytes()[..], &[1; 16], b"abc"].concat());
    assert!(matches!(stream.error(&bytes), ErrorKind::Protocol(ProtocolError::StreamMessage { .. })));
}

#[test]
fn a_keepalive_that_asks_is_answered_at_once_with_what_was_last_reported() {
    let mut stream = Stream::flowing();
    let keepalive = |reply_requested| StreamEvent::Keepalive { end: Lsn::new(START), reply_requested };
    assert_eq!(stream.events(&server().keepalive(START, false)), [keepalive(false)]);
    assert_eq!(stream.sent(), b"");
    assert_eq!(stream.events(&server().keepalive(START, true)), [keepalive(true)]);
    assert_eq!(stream.sent(), status(START, 0, false));
    stream.report(START + 9, Some(&durable(START + 4))).unwrap();
    stream.sent();
    stream.events(&server().keepalive(START, true));
    assert_eq!(stream.sent(), status(START + 9, START + 4, false));
}

#[test]
fn answers_that_nobody_takes_do_not_pile_up() {
    let mut stream = Stream::flowing();
    stream.events(&(0..1000).fold(server(), |bytes, _| bytes.keepalive(START, true)));
    let sent = stream.sent().len();
    assert!((MOST_UNSENT..MOST_UNSENT + 100).contains(&sent), "{sent}");
}

#[test]
fn the_flush_position_is_what_was_synced_and_never_goes_back() {
    let mut stream = Stream::flowing();
    stream.report(START + 9, None).unwrap();
    assert_eq!(stream.sent(), status(START + 9, 0, false));
    stream.report(START + 9, Some(&durable(START + 9))).unwrap();
    assert_eq!(stream.sent(), status(START + 9, START + 9, false));
    stream.report(START + 9, Some(&durable(START + 4))).unwrap();
    assert_eq!(stream.sent(), status(START + 9, START + 9, false));
    stream.report(START + 12, None).unwrap();
    assert_eq!(stream.sent(), status(START + 12, START + 9, false));
}

#[test]
fn wal_of_another_cluster_or_timeline_is_not_acknowledged() {
    let second = TimelineId::new(2).unwrap();
    for durable in [
        Durable::assume_durable(SystemId::new(8), TimelineId::FIRST, Lsn::new(START)),
        Durable::assume_durable(SYSTEM, second, Lsn::new(START)),
    ] {
        let mut stream = Stream::flowing();
        let error = stream.report(START, Some(&durable)).unwrap_err();
        assert!(matches!(error, ErrorKind::ForeignDurable { .. }), "{error}");
        assert_eq!(stream.sent(), b"");
        stream.events(&server().keepalive(START, true));
        assert_eq!(stream.sent(), status(START, 0, false));
    }
}

#[test]
fn the_end_of_a_timeline_names_the_next() {
    let mut stream = Stream::flowing();
    assert_eq!(stream.events(&server().wal(START, b"abc").copy_done()), [wal(START, b"abc")]);
    assert_eq!(stream.sent(), COPY_DONE);
    let result = server().result(&NEXT, &[&[Some("2"), Some("0/3000003")]]).command_complete().ready();
    assert_eq!(stream.events(&result), []);
    let next = Some((TimelineId::new(2).unwrap(), Lsn::new(START + 3)));
    assert_eq!(stream.end(), Some(StreamEvent::EndOfTimeline { next }));
    assert_eq!(stream.end(), Some(StreamEvent::EndOfTimeline { next }));
}

#[test]
fn a_timeline_that_ends_at_the_start_does_not_flow_at_all() {
    let mut stream = Stream::asked(None);
    stream.events(&server().result(&NEXT, &[&[Some("2"), Some("0/3000000")]]).ready());
    let next = Some((TimelineId::new(2).unwrap(), Lsn::new(START)));
    assert_eq!(stream.end(), Some(StreamEvent::EndOfTimeline { next }));
}

#[test]
fn a_stream_that_we_end_skips_what_was_under_way() {
    let mut stream = Stream::flowing();
    stream.core.stop(&mut stream.wire.outgoing);
    assert_eq!(stream.sent(), COPY_DONE);
    let rest = server().wal(START, b"abc").keepalive(START, true).copy_done().command_complete().ready();
    assert_eq!(stream.events(&rest), []);
    assert_eq!(stream.sent(), b"");
    assert_eq!(stream.end(), Some(StreamEvent::EndOfTimeline { next: None }));
}

#[test]
fn nothing_is_reported_outside_the_stream() {
    let mut stream = Stream::flowing();
    stream.core.stop(&mut stream.wire.outgoing);
    stream.sent();
    stream.report(START, Some(&durable(START))).unwrap();
    stream.after(Duration::from_secs(11)).unwrap();
    assert_eq!(stream.sent(), b"");
}

#[test]
fn the_position_is_repeated_at_intervals() {
    let mut stream = Stream::flowing();
    assert_eq!(stream.core.poll_timeout(), Some(stream.now.instant + Duration::from_secs(10)));
    stream.after(Duration::from_secs(10)).unwrap();
    assert_eq!(stream.sent(), status(START, 0, false));
    stream.after(Duration::from_secs(9)).unwrap();
    assert_eq!(stream.sent(), b"");
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let mut stream = Stream::flowing();
    stream.core.set_status_interval(None);
    stream.after(Duration::from_secs(30)).unwrap();
    assert_eq!(stream.sent(), status(START, 0, true));
    let error = stream.after(Duration::from_secs(30)).unwrap_err();
    assert!(matches!(error, ErrorKind::Silent { silence } if silence.as_secs() == 60), "{error}");
}

#[test]
fn a_shutdown_is_named() {
    let error = Stream::flowing().error(&server().keepalive(START, true).command_complete());
    assert!(matches!(error, ErrorKind::ServerShutDown), "{error}");
}

#[test]
fn refusals_are_sorted() {
    let refused = |slot, sqlstate, message| Stream::asked(slot).error(&server().error(sqlstate, message));
    let slot = Some("barman");
    assert!(matches!(refused(slot, "42704", "no slot"), ErrorKind::SlotMissing { slot, .. } if slot == "barman"));
    assert!(matches!(refused(slot, "55006", "active"), ErrorKind::SlotInUse { .. }));
    assert!(matches!(refused(slot, "55000", "invalidated"), ErrorKind::SlotUnusable { .. }));
    assert!(matches!(refused(None, "42704", "?"), ErrorKind::Server(_)));
    assert!(matches!(refused(None, "XX000", "ahead"), ErrorKind::NotInHistory { .. }));
    assert!(matches!(refused(slot, "53300", "full"), ErrorKind::Server(_)));

    let ahead = Stream::flowing().error(&server().error("XX000", "ahead"));
    assert!(matches!(ahead, ErrorKind::NotInHistory { .. }), "{ahead}");
    let later = Stream::flowing().error(&server().wal(START, b"abc").error("XX000", "something else"));
    assert!(matches!(later, ErrorKind::Server(_)), "{later}");
}

#[test]
fn the_removed_segment_is_named_in_whatever_language() {
    let segment = "00000001000000000000000A";
    for message in [
        format!("requested WAL segment {segment} has already been removed"),
        format!("das angeforderte WAL-Segment {segment} wurde schon entfernt"),
    ] {
        let error = Stream::flowing().error(&server().error("58P01", &message));
        let ErrorKind::WalRemoved { segment: found, .. } = error else { panic!("{error}") };
        assert_eq!(found.to_string(), segment);
    }
    let other = Stream::flowing().error(&server().error("58P01", "could not open file \"pg_wal/x\""));
    assert!(matches!(other, ErrorKind::Server(_)), "{other}");
}

#[test]
fn a_failed_stream_does_not_become_good_again() {
    let mut stream = Stream::flowing();
    stream.error(&server().wal(START + 1, b"gap"));
    let again = stream.error(&server().wal(START, b"abc"));
    assert!(matches!(again, ErrorKind::Unusable), "{again}");
    assert_eq!(stream.core.received(), Lsn::new(START));
}

#[test]
fn messages_out_of_place_are_errors() {
    for bytes in [server().ready(), server().copy_out(), server().data_row(&[]), server().copy_both()] {
        let error = Stream::flowing().error(&bytes);
        assert!(matches!(error, ErrorKind::Protocol(ProtocolError::Unexpected { .. })), "{error}");
    }
    let error = Stream::asked(None).error(&server().wal(START, b"abc"));
    assert!(matches!(error, ErrorKind::Protocol(ProtocolError::Unexpected { .. })), "{error}");
}

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10),
        sizes in prop::collection::vec(1_usize..300, 1..30),
    ) {
        let mut bytes = server().copy_both();
        let mut position = START;
        for piece in &pieces {
            bytes = bytes.notice("aside").wal(position, piece).keepalive(position, true);
            position += u64::try_from(piece.len()).unwrap();
        }
        let bytes = bytes.copy_done().result(&NEXT, &[&[Some("2"), Some("0/4000000")]]).ready();

        let mut stream = Stream::asked(None);
        let (events, error) = stream.receive(&bytes, &sizes);
        prop_assert!(error.is_none());
        let mut received = Vec::new();
        for event in &events {
            if let StreamEvent::Wal { data, .. } = event {
                received.extend_from_slice(data);
            }
        }
        prop_assert_eq!(received, pieces.concat());
        prop_assert_eq!(events.len(), 2 * pieces.len());
        prop_assert_eq!(stream.sent().len(), pieces.len() * status(0, 0, false).len() + COPY_DONE.len());
        prop_assert!(stream.core.is_ended());
    }

    #[test]
    fn no_stream_message_makes_it_panic(messages in prop::collection::vec(any::<Vec<u8>>(), 0..10)) {
        let bytes = messages.iter().fold(server(), |bytes, message| bytes.copy_data(message));
        let _ = Stream::flowing().receive(&bytes, &[100]);
    }
}
