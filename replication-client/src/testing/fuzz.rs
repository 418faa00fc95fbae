//! The state machines on bytes of any kind, for fuzz targets: each checks that the pieces in which bytes come make no
//! difference, which would be noticed by nobody else.

use std::fmt::Debug;
use std::time::Instant;

use wal_format::{Lsn, SystemId, TimelineId, Timestamp};

use super::backend_bytes::{BackendBytes, feed};
use crate::backend_message::BackendMessage;
use crate::base_backup::{self, BackupEvent, BaseBackupOptions, ServerCompression};
use crate::config::Config;
use crate::environment::Environment;
use crate::password::Password;
use crate::protocol_error::ProtocolError;
use crate::query::Response;
use crate::scram::Salting;
use crate::startup::{Credentials, Progress, Startup};
use crate::wal_stream::{self, StartReplication, StreamEvent};
use crate::wire::Wire;

/// No message has this length, so that borders of all kinds are cut.
const PIECE: usize = 7;

/// SCRAM iterations that are computed in no time.
const MOST_ITERATIONS: u32 = 10_000;

/// All that a server says in a session: what lets a client with a password in, then the answers to queries.
pub fn backend_messages(bytes: &[u8]) {
    same_in_pieces(bytes, |pieces| {
        let mut wire = Wire::default();
        let (mut startup, mut is_ready, mut response) = (begin(&mut wire), false, Response::default());
        let (names, error) = feed(&mut wire, bytes, pieces, |wire| -> Result<_, ()> {
            let Some(message) = wire.inbox.poll().map_err(drop)? else { return Ok(None) };
            let name = message.name();
            if is_ready {
                take_answer(&mut response, message).map_err(drop)?;
                return Ok(Some(name));
            }
            match startup.handle(message, &mut wire.outgoing).map_err(drop)? {
                Progress::Authenticating => {}
                Progress::Salting(salting) => salt(&mut startup, *salting, wire)?,
                Progress::Authenticated => wire.inbox.trust(),
                Progress::Ready => is_ready = true,
            }
            Ok(Some(name))
        });
        // SCRAM's answers differ from one time to the next, but not in length.
        (names, error, wire.outgoing.len())
    });
}

/// What a server says in SCRAM that does not know the password: its two messages, split at the first line break. `$` stands
/// for the client's nonce, which is another one each time.
pub fn scram(bytes: &[u8]) {
    let mut wire = Wire::default();
    let mut startup = begin(&mut wire);
    wire.outgoing.clear();
    let mut say = |code: u32, data: &[u8]| {
        let bytes = BackendBytes::new().authentication(code, data);
        wire.inbox.buffer().extend_from_slice(bytes.bytes());
        let message = wire.inbox.poll().ok()??;
        match startup.handle(message, &mut wire.outgoing).ok()? {
            Progress::Authenticating => {}
            Progress::Salting(salting) => salt(&mut startup, *salting, &mut wire).ok()?,
            Progress::Authenticated | Progress::Ready => panic!("it was let in without a proof"),
        }
        Some(wire.outgoing.split())
    };
    let Some(sent) = say(10, b"SCRAM-SHA-256\0\0") else { panic!("a client with a password begins") };
    let nonce_at = sent.windows(2).position(|bytes| bytes == b"r=").unwrap() + 2;
    let nonce = &sent[nonce_at..];
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (first, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let first: Vec<u8> =
        first.iter().flat_map(|byte| if *byte == b'$' { nonce } else { std::slice::from_ref(byte) }).copied().collect();
    for (code, data) in [(11, &*first), (12, last), (0, &[])] {
        if say(code, data).is_none() {
            return;
        }
    }
    panic!("it was believed without a proof");
}

/// Salts the password, unless that takes longer than is worth while.
fn salt(startup: &mut Startup, mut salting: Salting, wire: &mut Wire) -> Result<(), ()> {
    salting.advance(MOST_ITERATIONS);
    if salting.left() > 0 {
        return Err(());
    }
    startup.handle_salted(salting, &mut wire.outgoing).map_err(drop)
}

/// A client that lets itself in by any method.
fn begin(wire: &mut Wire) -> Startup {
    let user = "fuzz".to_owned();
    let environment = Environment::default().with_user(&*user);
    let policy = Config::from_conninfo("", &environment).unwrap().authentication().clone();
    let credentials = Credentials { user, password: Some(Password::new("secret")), problem: None };
    Startup::begin(credentials, policy, None, [("user", "fuzz")], &mut wire.outgoing).unwrap()
}

fn take_answer(response: &mut Response, message: BackendMessage) -> Result<(), ProtocolError> {
    if response.handle(message)? {
        let results = std::mem::take(response).finish().unwrap_or_default();
        results.into_iter().try_for_each(|rows| rows.into_text().map(drop))?;
    }
    Ok(())
}

/// What a server sends behind `START_REPLICATION`. The first eight bytes are the position that was asked for.
pub fn wal_stream(bytes: &[u8]) {
    let Some((start, bytes)) = bytes.split_first_chunk() else { return };
    let Some(start) = Lsn::from_pg(u64::from_be_bytes(*start)) else { return };
    let now = wal_stream::Now { instant: Instant::now(), timestamp: Timestamp::from_pg_micros(0) };
    same_in_pieces(bytes, |pieces| {
        let mut wire = trusted();
        let start = StartReplication { slot: None, timeline: TimelineId::FIRST, start };
        let mut core = wal_stream::Core::start(start, SystemId::new(7), now, &mut wire.outgoing).ok()?;
        let (events, error) = feed(&mut wire, bytes, pieces, |wire| -> Result<_, ()> {
            let event = core.poll_event(now, wire).map_err(drop)?;
            // The end is told for ever.
            Ok(event.filter(|event| !matches!(event, StreamEvent::EndOfTimeline { .. })))
        });
        let length: usize = events.iter().map(length_of).sum();
        assert_eq!(core.received().bytes_since(start_of(&events, core.received())), u64::try_from(length).ok());
        Some((events, error, wire.outgoing.len()))
    });
}

/// What a server sends behind `BASE_BACKUP`. The first byte chooses its version and the compression.
pub fn base_backup(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let mut options = BaseBackupOptions::new("fuzz");
    let version = if choice & 1 == 0 { 140_000 } else { 150_000 };
    options.compression = match choice >> 1 & 3 {
        0 => None,
        1 => Some(ServerCompression::Gzip { level: None }),
        2 => Some(ServerCompression::Lz4 { level: None }),
        _ => Some(ServerCompression::Zstd { level: None, workers: None, long_distance: false }),
    };
    #[cfg(feature = "decompress")]
    (options.decompress = true);
    same_in_pieces(bytes, |pieces| {
        let mut core = base_backup::Core::new(version, &options);
        let (events, error) = feed(&mut trusted(), bytes, pieces, |wire| -> Result<_, ()> {
            if core.poll_start(wire).map_err(drop)?.is_none() {
                return Ok(None);
            }
            core.poll_event(wire).map_err(drop)
        });
        let is_whole = core.end().is_some();
        assert!(!is_whole || error.is_none(), "a backup that failed is whole");
        Some((contents(events), error, is_whole))
    });
}

fn trusted() -> Wire {
    let mut wire = Wire::default();
    wire.inbox.trust();
    wire
}

fn length_of(event: &StreamEvent) -> usize {
    if let StreamEvent::Wal { data, .. } = event { data.len() } else { 0 }
}

/// Where the first WAL began, or `end` if there is none.
fn start_of(events: &[StreamEvent], end: Lsn) -> Lsn {
    let start = |event: &StreamEvent| if let StreamEvent::Wal { start, .. } = event { Some(*start) } else { None };
    events.iter().find_map(start).unwrap_or(end)
}

/// What a backup consists of: data joined, without notices and progress, whose place among the others is not fixed.
fn contents(events: Vec<BackupEvent>) -> Vec<(BackupEvent, Vec<u8>)> {
    let mut contents: Vec<(BackupEvent, Vec<u8>)> = Vec::new();
    for event in events {
        match event {
            BackupEvent::Notice(_) | BackupEvent::Progress(_) => {}
            BackupEvent::Data(bytes) | BackupEvent::Manifest(bytes) => {
                let (_, joined) = contents.last_mut().expect("data belongs to something");
                joined.extend_from_slice(&bytes);
            }
            begin => contents.push((begin, Vec::new())),
        }
    }
    contents
}

fn same_in_pieces<T: Debug + PartialEq>(bytes: &[u8], run: impl Fn(&[usize]) -> T) {
    assert_eq!(run(&[bytes.len().max(1)]), run(&[PIECE]));
}
