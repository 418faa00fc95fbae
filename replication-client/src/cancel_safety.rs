//! Futures that are dropped at every point at which they wait: nothing is lost, nothing is sent twice or in part.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wal_format::{Lsn, SystemId, TimelineId};

use crate::base_backup::{BackupEvent, BaseBackupOptions};
use crate::client::{Client, Mode};
use crate::connection::Connection;
use crate::error::Error;
use crate::testing::backend_bytes::BackendBytes;
use crate::wal_stream::{StartReplication, StatusUpdate, StreamEvent, WalStream};

/// A transport that waits before every single byte, in both directions.
struct Halting {
    incoming: Bytes,
    sent: Arc<Mutex<Vec<u8>>>,
    read_waits: bool,
    write_waits: bool,
}

impl AsyncRead for Halting {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.read_waits = !self.read_waits;
        if self.read_waits {
            return Poll::Pending;
        }
        if !self.incoming.is_empty() {
            out.put_slice(&self.incoming.split_to(1));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Halting {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write_waits = !self.write_waits;
        if self.write_waits {
            return Poll::Pending;
        }
        self.sent.lock().unwrap().extend(bytes.first());
        Poll::Ready(Ok(bytes.len().min(1)))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client whose server, of this version, says `incoming` whatever it is asked; and what the client has sent.
fn client(version: &str, incoming: &BackendBytes) -> (Client, Arc<Mutex<Vec<u8>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let incoming = Bytes::copy_from_slice(incoming.bytes());
    let transport = Halting { incoming, sent: sent.clone(), read_waits: false, write_waits: false };
    let mut connection = Connection::new(Box::new(transport), "a test".into());
    let inbox = &mut connection.wire().inbox;
    inbox.trust();
    inbox.buffer().extend_from_slice(BackendBytes::new().parameter("server_version", version).bytes());
    assert!(inbox.poll().is_ok_and(|message| message.is_none()));
    (Client::ready(connection, Mode::PhysicalReplication, Some(SystemId::new(7))), sent)
}

fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Polls a future this often, then drops it.
fn poll_times<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    (0..times).find_map(|_| poll_once(future.as_mut()))
}

/// Makes one future after the other, each of which is polled once, until one is ready.
fn again_and_again<T, S>(state: &mut S, mut begin: impl AsyncFnMut(&mut S) -> T) -> T {
    (0..100_000).find_map(|_| poll_once(begin(state))).expect("it becomes ready")
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    poll_times(100_000, future).expect("it becomes ready")
}

/// The tags of what was sent: an incomplete message at the end is none.
fn tags(sent: &Mutex<Vec<u8>>) -> String {
    let sent = sent.lock().unwrap();
    let (mut rest, mut tags) = (&sent[..], String::new());
    while rest.len() >= 5 {
        tags.push(rest[0].into());
        let length = usize::try_from(u32::from_be_bytes(rest[1..5].try_into().unwrap())).unwrap();
        rest.advance(length + 1);
    }
    assert!(rest.is_empty(), "the last message is {rest:?}");
    tags
}

const START: u64 = 0x300_0000;
const STATUS: StatusUpdate<'_> = StatusUpdate { written: Lsn::new(START), flushed: None, reply: false };

fn start() -> StartReplication {
    StartReplication { slot: None, timeline: TimelineId::FIRST, start: Lsn::new(START) }
}

fn wal() -> BackendBytes {
    let wal = BackendBytes::new().copy_both().wal(START, b"first").notice("aside").keepalive(START, true);
    wal.wal(START + 5, b"second").keepalive(START + 11, true).copy_done().command_complete().ready()
}

fn events(next: impl FnMut() -> Result<StreamEvent, Error>) -> Vec<StreamEvent> {
    let is_end = |event: &StreamEvent| matches!(event, StreamEvent::EndOfTimeline { .. });
    let mut events = Vec::new();
    for event in std::iter::repeat_with(next).map(Result::unwrap) {
        let is_last = is_end(&event);
        events.push(event);
        if is_last {
            break;
        }
    }
    events
}

/// Has all of what is due sent: this server, unlike others, ends the stream before we have ended our side of it.
fn flush(stream: &mut WalStream) {
    finish(stream.send_status(STATUS)).unwrap();
}

fn stream() -> (WalStream, Arc<Mutex<Vec<u8>>>) {
    let (client, sent) = client("15.18", &wal());
    (finish(client.start_replication(start())).unwrap(), sent)
}

#[tokio::test]
async fn a_stream_loses_no_event() {
    let (mut straight, straight_sent) = stream();
    let expected = events(|| finish(straight.next()));
    assert_eq!(expected.len(), 5);
    let (mut dropped, dropped_sent) = stream();
    assert_eq!(events(|| again_and_again(&mut dropped, async |stream| stream.next().await)), expected);
    assert_eq!(dropped.received(), Lsn::new(START + 11));
    flush(&mut straight);
    flush(&mut dropped);
    // The command, two answers that were asked for, and the end of our side.
    assert_eq!((tags(&straight_sent), tags(&dropped_sent)), ("Qddc".to_owned(), "Qddc".to_owned()));
}

#[tokio::test]
async fn a_status_is_sent_whole_however_often_its_future_is_dropped() {
    for times in 1..200 {
        let (mut stream, sent) = stream();
        let is_sent = poll_times(times, stream.send_status(STATUS)).is_some();
        events(|| finish(stream.next()));
        flush(&mut stream);
        // The one that was given up has been sent nevertheless.
        assert_eq!(tags(&sent), "Qdddc", "{times}");
        if is_sent {
            return;
        }
    }
    panic!("it never becomes ready");
}

fn backup_of(version: &str) -> BackendBytes {
    let position = |bytes: BackendBytes| bytes.result(&["recptr", "tli"], &[&[Some("0/2000028"), Some("1")]]);
    let announced = position(BackendBytes::new());
    let announced = announced.result(&["spcoid", "spclocation", "size"], &[&[None, None, Some("1")]]);
    let sent = if version == "14.9" {
        let archive = announced.copy_out().copy_data(b"base").notice("waiting").copy_data(b"!").copy_done();
        archive.copy_out().copy_data(b"{}").copy_done()
    } else {
        let archive = announced.copy_out().copy_data(b"nbase.tar\0\0").copy_data(b"dbase").notice("waiting");
        archive.copy_data(b"d!").copy_data(b"m").copy_data(b"d{}").copy_done()
    };
    position(sent).command_complete().ready()
}

#[tokio::test]
async fn a_base_backup_loses_no_event() {
    for version in ["14.9", "15.18"] {
        let run = |next: &mut dyn FnMut(&mut crate::BaseBackup) -> Option<BackupEvent>| {
            let (client, sent) = client(version, &backup_of(version));
            let mut backup = finish(client.base_backup(&BaseBackupOptions::new("test"))).unwrap();
            let events: Vec<BackupEvent> = std::iter::from_fn(|| next(&mut backup)).collect();
            finish(backup.finish()).unwrap();
            assert!(tags(&sent).starts_with('Q'));
            events
        };
        let expected = run(&mut |backup| finish(backup.next()).unwrap());
        let dropped = run(&mut |backup| again_and_again(backup, async |backup| backup.next().await).unwrap());
        assert_eq!(expected.len(), 6, "{version}: {expected:?}");
        assert_eq!(dropped, expected, "{version}");
    }
}

#[tokio::test]
async fn a_query_that_is_given_up_does_not_answer_the_next() {
    let answer = |bytes: BackendBytes, value| bytes.result(&["a"], &[&[Some(value)]]).ready();
    let incoming = answer(answer(BackendBytes::new(), "first"), "second");
    for times in 1..1000 {
        let (mut client, sent) = client("15.18", &incoming);
        let is_done = poll_times(times, client.simple_query("1")).is_some();
        let second = finish(client.simple_query("2")).unwrap();
        assert_eq!(second[0].rows[0][0].as_deref(), Some("second"), "{times}");
        assert_eq!(tags(&sent), "QQ");
        if is_done {
            return;
        }
    }
    panic!("it never becomes ready");
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_taken_back() {
    let asked = || BackendBytes::new().message(b'G', &[0, 0, 0]);
    let answer = |bytes: BackendBytes| bytes.ready().result(&["a"], &[&[Some("next")]]).ready();
    let refused = answer(asked().error("57014", "COPY from stdin failed: given up"));
    let taken = answer(asked().command_complete());
    for times in 1..1000 {
        let mut is_done = false;
        for incoming in [&refused, &taken] {
            let (mut client, sent) = client("17.2", incoming);
            is_done = poll_times(times, client.upload_manifest(&b"{}"[..])).is_some();
            let next = finish(client.simple_query("next")).unwrap();
            assert_eq!(next[0].rows[0][0].as_deref(), Some("next"), "{times}");
            let tags = tags(&sent);
            assert!(["QfQ", "QdfQ", "QdcQ"].contains(&&tags[..]), "{times}: {tags}");
        }
        if is_done {
            return;
        }
    }
    panic!("it never becomes ready");
}
