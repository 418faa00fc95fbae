//! A TCP proxy that spoils connections, each at a place of its own.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Where in a connection something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultPlace {
    /// In front of this message of the server's, the first being 0. The connection must be in PostgreSQL's protocol from
    /// its first byte on, so without encryption.
    Message(usize),
    /// After so many bytes of the server's.
    Byte(u64),
    /// After so many bytes of the client's.
    ClientByte(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Both sides lose the connection.
    Cut,
    /// Nothing comes through for a while.
    Stall(Duration),
    /// What comes next comes late, each of the next pieces twice as late as the one before.
    Delay(Duration),
    /// The next bytes come one at a time.
    Trickle,
    /// The message comes twice, or what is left of it behind the place. Only of the server's, and without encryption.
    RepeatMessage,
    /// The next bytes come twice, wherever messages end.
    RepeatBytes,
}

/// One fault of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: FaultPlace,
    /// What.
    pub kind: FaultKind,
}

/// How many pieces a delay concerns, how many bytes trickle, and how many come twice: enough to be noticed, and an end.
const DELAYED_PIECES: u32 = 4;
const TRICKLING_BYTES: usize = 600;
const REPEATED_BYTES: usize = 600;

/// A proxy on a port of its own in front of a server on 127.0.0.1. Connections take the planned faults one after the other;
/// when none is left they come through whole. A fault whose place a connection did not get to is planned again.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    target: AtomicU16,
    planned: Mutex<VecDeque<Fault>>,
    fired: AtomicUsize,
}

impl Shared {
    fn planned(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.planned.lock().expect("nobody panics with the lock held")
    }
}

impl FaultProxy {
    /// Starts a proxy in front of this port.
    ///
    /// # Panics
    /// No port is free.
    #[must_use]
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared { target: target.into(), ..Shared::default() });
        let accepting = Arc::clone(&shared);
        // It ends with the test process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || serve(client, &shared));
            }
        });
        Self { port, shared }
    }

    /// Returns the port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads connections to another server from now on, as a virtual address does after a failover.
    pub fn retarget(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// Plans a fault for the next connection that has none yet.
    pub fn plan(&self, fault: Fault) {
        self.shared.planned().push_back(fault);
    }

    /// Returns how many faults have happened.
    #[must_use]
    pub fn fired(&self) -> usize {
        self.shared.fired.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target.load(Ordering::SeqCst))) else { return };
    let fault = shared.planned().pop_front();
    let (of_client, of_server): (Vec<_>, Vec<_>) =
        fault.into_iter().partition(|fault| matches!(fault.place, FaultPlace::ClientByte(_)));
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let shared_too = Arc::clone(shared);
    let upwards = Pump { from: client_too, to: server_too, fault: of_client.first().copied(), place: Place::default() };
    std::thread::spawn(move || upwards.run(&shared_too));
    Pump { from: server, to: client, fault: of_server.first().copied(), place: Place::default() }.run(shared);
}

/// One direction of a connection.
struct Pump {
    from: TcpStream,
    to: TcpStream,
    fault: Option<Fault>,
    place: Place,
}

impl Pump {
    fn run(mut self, shared: &Shared) {
        let _ = self.to.set_nodelay(true);
        let _ = self.carry(shared);
        // First, because the client may be back as soon as it hears of the end.
        shared.planned().extend(self.fault);
        // Whatever ends one side ends the other: neither has anything to say to nobody.
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    fn carry(&mut self, shared: &Shared) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = self.from.read(&mut buffer)?;
            let piece = &buffer[..length];
            if piece.is_empty() {
                return Ok(());
            }
            match self.fault.and_then(|fault| Some((fault.kind, self.place.advance(piece, fault.place)?))) {
                None => self.to.write_all(piece)?,
                Some((kind, at)) => {
                    let (before, behind) = piece.split_at(at);
                    self.to.write_all(before)?;
                    let (repeated, behind) = self.wait_for_repeated(kind, behind.to_vec())?;
                    self.fault = None;
                    shared.fired.fetch_add(1, Ordering::SeqCst);
                    self.to.write_all(&behind[..repeated])?;
                    self.spoil(kind, &behind)?;
                }
            }
        }
    }

    /// Waits until all is there that is to come twice. Returns its length, and what has come behind the fault.
    fn wait_for_repeated(&mut self, kind: FaultKind, mut behind: Vec<u8>) -> io::Result<(usize, Vec<u8>)> {
        loop {
            let length = match kind {
                FaultKind::RepeatMessage => self.place.message_end(&behind),
                FaultKind::RepeatBytes => Some(behind.len().min(REPEATED_BYTES)).filter(|length| *length > 0),
                _ => Some(0),
            };
            if let Some(length) = length {
                return Ok((length, behind));
            }
            let mut more = [0; 64 << 10];
            let length = self.from.read(&mut more)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            behind.extend_from_slice(&more[..length]);
        }
    }

    /// Passes on what comes behind the fault.
    fn spoil(&mut self, kind: FaultKind, behind: &[u8]) -> io::Result<()> {
        match kind {
            FaultKind::Cut => return Err(io::ErrorKind::ConnectionAborted.into()),
            FaultKind::Stall(duration) => std::thread::sleep(duration),
            FaultKind::Delay(first) => return self.delay(first, behind),
            FaultKind::Trickle => {
                let (slow, rest) = behind.split_at(behind.len().min(TRICKLING_BYTES));
                for byte in slow {
                    self.to.write_all(std::slice::from_ref(byte))?;
                }
                return self.to.write_all(rest);
            }
            FaultKind::RepeatMessage | FaultKind::RepeatBytes => {}
        }
        self.to.write_all(behind)
    }

    fn delay(&mut self, first: Duration, behind: &[u8]) -> io::Result<()> {
        let mut piece = behind.to_vec();
        for number in 0..DELAYED_PIECES {
            std::thread::sleep(first * 2_u32.pow(number));
            self.to.write_all(&piece)?;
            piece.resize(64 << 10, 0);
            let length = self.from.read(&mut piece)?;
            piece.truncate(length);
        }
        self.to.write_all(&piece)
    }
}

/// How far a direction has come, in bytes and in messages.
#[derive(Default)]
struct Place {
    bytes: u64,
    messages: usize,
    /// What is known of the header of the message under way, its type and its length.
    header: Vec<u8>,
    /// How many bytes of the message are yet to come behind its header.
    missing: usize,
}

impl Place {
    /// Goes on by a piece; if the place lies in it, or right behind its end, goes on to there and returns where.
    fn advance(&mut self, piece: &[u8], place: FaultPlace) -> Option<usize> {
        let at = match place {
            FaultPlace::Byte(byte) | FaultPlace::ClientByte(byte) => {
                usize::try_from(byte.saturating_sub(self.bytes)).ok().filter(|at| *at <= piece.len())
            }
            FaultPlace::Message(_) => None,
        };
        let wanted = if let FaultPlace::Message(wanted) = place { Some(wanted) } else { None };
        self.bytes += piece.len() as u64;
        let message = self.pass_messages(&piece[..at.unwrap_or(piece.len())], wanted);
        at.or(message)
    }

    /// Goes on by a piece, but not into the message that is wanted: if that begins in the piece, returns where.
    fn pass_messages(&mut self, piece: &[u8], wanted: Option<usize>) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = piece.get(at) {
            if self.missing > 0 {
                let skipped = self.missing.min(piece.len() - at);
                self.missing -= skipped;
                at += skipped;
                continue;
            }
            if self.header.is_empty() && wanted == Some(self.messages) {
                return Some(at);
            }
            self.header.push(*byte);
            at += 1;
            if let Some(missing) = body_length(&self.header) {
                self.missing = missing;
                self.messages += 1;
                self.header.clear();
            }
        }
        None
    }

    /// Returns where the message ends that is under way or begins here, if what comes next, `behind`, reaches so far.
    fn message_end(&self, behind: &[u8]) -> Option<usize> {
        let end = if self.missing > 0 {
            self.missing
        } else {
            let header: Vec<u8> = self.header.iter().chain(behind).copied().take(HEADER).collect();
            HEADER - self.header.len() + body_length(&header)?
        };
        (end <= behind.len()).then_some(end)
    }
}

/// A message begins with its type and its length.
const HEADER: usize = 5;

/// Returns how many bytes follow a header, if it is whole.
fn body_length(header: &[u8]) -> Option<usize> {
    let [_, a, b, c, d] = *header else { return None };
    // The length counts itself and not the type.
    Some((u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        [&b"R\0\0\0\x08\0\0\0\0"[..], b"1\0\0\0\x04", b"Z\0\0\0\x05I"].concat()
    }

    #[test]
    fn message_borders_are_found_however_the_stream_is_cut() {
        let stream = stream();
        for (wanted, expected) in [(0, Some(0)), (1, Some(9)), (2, Some(14)), (3, None)] {
            for length in 1..=stream.len() {
                let (mut place, mut found, mut before) = (Place::default(), None, 0);
                for piece in stream.chunks(length) {
                    found = found.or(place.advance(piece, FaultPlace::Message(wanted)).map(|at| before + at));
                    before += piece.len();
                }
                assert_eq!(found, expected, "message {wanted} in pieces of {length}");
            }
        }
    }

    #[test]
    fn what_is_left_of_a_message_is_known_from_any_byte_on() {
        let stream = stream();
        for at in 0..stream.len() {
            let end = [9, 14, 20].into_iter().find(|end| at < *end).unwrap();
            let mut place = Place::default();
            assert_eq!(place.advance(&stream, FaultPlace::Byte(at as u64)), Some(at));
            assert_eq!(place.message_end(&stream[at..]), Some(end - at), "from {at}");
            assert_eq!(place.message_end(&stream[at..end - 1]), None, "from {at}");
        }
    }

    /// What comes through of a server that says [`stream`] and closes.
    fn spoilt(place: FaultPlace, kind: FaultKind) -> Vec<u8> {
        let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = FaultProxy::start(server.local_addr().unwrap().port());
        proxy.plan(Fault { place, kind });
        let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
        server.accept().unwrap().0.write_all(&stream()).unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(proxy.fired(), 1);
        received
    }

    #[test]
    fn what_is_repeated_comes_twice() {
        let stream = stream();
        let twice = |from: usize, to: usize| [&stream[..to], &stream[from..]].concat();
        assert_eq!(spoilt(FaultPlace::Message(1), FaultKind::RepeatMessage), twice(9, 14));
        assert_eq!(spoilt(FaultPlace::Byte(11), FaultKind::RepeatMessage), twice(11, 14));
        assert_eq!(spoilt(FaultPlace::Byte(11), FaultKind::RepeatBytes), twice(11, 20));
    }
}
