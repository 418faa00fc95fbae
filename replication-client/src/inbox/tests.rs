use proptest::prelude::*;

use super::*;
use crate::testing::backend_bytes::{BackendBytes, feed};
use crate::wire::Wire;

fn names(bytes: &BackendBytes, sizes: &[usize]) -> (Vec<&'static str>, Wire) {
    let mut wire = Wire::default();
    wire.inbox.trust();
    let (messages, error) = feed(&mut wire, bytes.bytes(), sizes, |wire| wire.inbox.poll());
    assert!(error.is_none(), "{error:?}");
    (messages.iter().map(BackendMessage::name).collect(), wire)
}

fn error(wire: &mut Wire, bytes: &[u8]) -> ProtocolError {
    let (_, error) = feed(wire, bytes, &[bytes.len()], |wire| wire.inbox.poll());
    error.unwrap()
}

fn conversation_with_asides() -> BackendBytes {
    BackendBytes::new()
        .authentication(0, &[])
        .parameter("server_version", "15.18")
        .message(b'K', &[0; 8])
        .ready()
        .notice("first")
        .copy_both()
        .parameter("server_version", "15.19")
        .copy_data(b"data")
        .notice("second")
        .message(b'A', b"\0\0\0\x01channel\0payload\0")
        .copy_done()
        .error("42704", "no such slot")
        .result(&["a"], &[&[Some("1")]])
}

#[test]
fn asides_are_put_aside_wherever_they_come() {
    let (names, mut wire) = names(&conversation_with_asides(), &[1000]);
    let expected = [
        "an authentication message",
        "BackendKeyData",
        "ReadyForQuery",
        "CopyBothResponse",
        "CopyData",
        "CopyDone",
        "ErrorResponse",
        "RowDescription",
        "DataRow",
        "CommandComplete",
    ];
    assert_eq!(names, expected);
    assert_eq!(wire.inbox.parameter("server_version"), Some("15.19"));
    let notices: Vec<Notice> = std::iter::from_fn(|| wire.inbox.take_notice()).collect();
    assert_eq!(notices.iter().map(ServerError::message).collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn the_last_notices_are_kept() {
    let bytes = (0..40).fold(BackendBytes::new(), |bytes, number| bytes.notice(&number.to_string()));
    let (_, mut wire) = names(&bytes, &[10_000]);
    let notices: Vec<Notice> = std::iter::from_fn(|| wire.inbox.take_notice()).collect();
    assert_eq!(notices.len(), MOST_NOTICES);
    assert_eq!(notices.first().map(ServerError::message), Some("8"));
}

#[test]
fn a_server_cannot_report_settings_without_end() {
    let bytes = (0..=MOST_PARAMETERS).fold(BackendBytes::new(), |bytes, n| bytes.parameter(&n.to_string(), ""));
    let error = error(&mut Wire::default(), bytes.bytes());
    assert!(matches!(error, ProtocolError::TooMuch { what: "settings", .. }), "{error}");
}

#[test]
fn a_long_frame_is_refused_before_anything_is_allocated_for_it() {
    for (tag, limit) in [(b'd', LONGEST_DATA), (b'E', LONGEST_WORDS), (b'S', LONGEST_OTHER)] {
        for (length, is_refused) in [(limit, false), (limit + 1, true), (0x7FFF_FFFF, true)] {
            let mut wire = Wire::default();
            wire.inbox.trust();
            let mut header = vec![tag];
            header.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            wire.inbox.buffer().extend_from_slice(&header);
            let polled = wire.inbox.poll();
            let refused = matches!(&polled, Err(ProtocolError::TooLong { limit: found, .. }) if *found == limit);
            assert_eq!(refused, is_refused, "{} {length}", char::from(tag));
            assert!(wire.inbox.buffer().capacity() <= LONGEST_ROOM + READ_AHEAD);
        }
    }
}

#[test]
fn a_server_that_nobody_has_authenticated_has_small_limits() {
    let header = [&[b'd'][..], &100_000_u32.to_be_bytes()].concat();
    let error = error(&mut Wire::default(), &header);
    assert!(matches!(error, ProtocolError::TooLong { limit: LONGEST_OTHER, .. }), "{error}");
}

#[test]
fn lengths_below_the_lengths_own_are_malformed() {
    for length in [0_u32, 3, 0x8000_0000, 0xFFFF_FFFF] {
        let header = [&[b'd'][..], &length.to_be_bytes()].concat();
        let error = error(&mut Wire::default(), &header);
        assert!(matches!(error, ProtocolError::Malformed { tag: 'd', .. }), "{length}: {error}");
    }
}

/// How many of `bytes` are copied again when the inbox takes another buffer, where every read fills the one at hand and
/// the last messages are kept; and the most room that there ever was.
fn copied(bytes: &[u8], keep: usize) -> (usize, usize) {
    let (mut inbox, mut kept) = (Inbox { authenticated: true, ..Inbox::default() }, VecDeque::new());
    let (mut rest, mut copied, mut room) = (bytes, 0, 0);
    while !rest.is_empty() {
        let before = (inbox.buffer.as_ptr(), inbox.buffer.len());
        let buffer = inbox.buffer();
        copied += if buffer.as_ptr() == before.0 { 0 } else { before.1 };
        room = room.max(buffer.capacity());
        let (read, later) = rest.split_at(rest.len().min(buffer.capacity() - buffer.len()));
        buffer.extend_from_slice(read);
        rest = later;
        kept.extend(std::iter::from_fn(|| inbox.poll().unwrap()));
        kept.drain(..kept.len().saturating_sub(keep));
    }
    (copied, room)
}

#[test]
fn messages_of_one_length_are_not_copied_again() {
    for (length, most_room) in [(128 << 10, 129 << 10), (32 << 10, 161 << 10), (8 << 10, 137 << 10)] {
        let first = BackendBytes::new().copy_both();
        let bytes = (0..40).fold(first, |bytes, _| bytes.copy_data(&vec![0; length + 25]));
        for keep in [0, 1, 100] {
            let (copied, room) = copied(bytes.bytes(), keep);
            // Until there is one of them, nobody knows how long they are.
            assert!(copied <= READ_AHEAD && room <= most_room, "{length} {keep}: {copied} {room}");
        }
    }
}

#[test]
fn short_messages_take_a_small_buffer() {
    let bytes = (0..100_000).fold(BackendBytes::new(), |bytes, _| bytes.keepalive(1, false));
    let (copied, room) = copied(bytes.bytes(), 0);
    assert!(copied <= 1000 && room <= READ_AHEAD + 100, "{copied} {room}");
}

#[test]
fn a_server_that_negotiates_the_version_is_told_apart_from_one_that_refuses_an_option() {
    let refusal = |version: u32, count: u32, names: &[u8]| {
        let body = [&version.to_be_bytes()[..], &count.to_be_bytes(), names].concat();
        error(&mut Wire::default(), BackendBytes::new().message(b'v', &body).bytes())
    };
    // The whole version, as servers send it, and its minor part, as it is documented.
    for version in [0x3_0002, 2] {
        let error = refusal(version, 0, b"");
        assert!(matches!(error, ProtocolError::Version { minor: 2 }), "{error}");
    }
    let error = refusal(0x3_0000, 2, b"_pq_.one\0_pq_.two\0");
    assert!(matches!(&error, ProtocolError::UnknownOption { name } if name == "_pq_.one"), "{error}");
    for (count, names) in [(0, &b"_pq_.one\0"[..]), (1, b""), (1, b"_pq_.cut")] {
        let error = refusal(0x3_0000, count, names);
        assert!(matches!(error, ProtocolError::Malformed { tag: 'v', .. }), "{count} {names:?}: {error}");
    }
}

#[test]
fn unknown_messages_are_errors() {
    let error = error(&mut Wire::default(), BackendBytes::new().message(b'!', &[]).bytes());
    assert!(matches!(error, ProtocolError::Malformed { tag: '!', .. }), "{error}");
}

proptest! {
    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference(sizes in prop::collection::vec(1_usize..40, 1..20)) {
        let bytes = conversation_with_asides();
        prop_assert_eq!(names(&bytes, &sizes).0, names(&bytes, &[1000]).0);
    }

    #[test]
    fn no_bytes_make_the_inbox_panic(bytes: Vec<u8>, tag in prop::sample::select(b"RSKZTDCEINAHWvdcGs123nt".to_vec())) {
        let framed = BackendBytes::new().message(tag, &bytes);
        for input in [framed.bytes(), &bytes] {
            let _ = feed(&mut Wire::default(), input, &[input.len().max(1)], |wire| wire.inbox.poll());
        }
    }
}
