//! [`Line`]: a connection to a client, with whatever shall go wrong on it.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::backend_bytes::BackendBytes;
use super::behaviour::Behaviour;

/// One client's socket.
pub(super) struct Line {
    socket: TcpStream,
    received: BytesMut,
    /// How many bytes may still be sent.
    budget: Option<u64>,
    write: usize,
    pause: Duration,
}

/// A message of the client's.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

impl Line {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, received: BytesMut::new(), budget: None, write: usize::MAX, pause: Duration::ZERO }
    }

    /// From now on sends as the script wants it.
    pub(super) fn follow(&mut self, behaviour: &Behaviour) {
        (self.budget, self.write, self.pause) = (behaviour.cut_after, behaviour.write, behaviour.pause);
    }

    /// Sends, in writes of the size and with the pauses that the script wants, until it wants the line cut.
    pub(super) async fn send(&mut self, bytes: &BackendBytes) -> io::Result<()> {
        for piece in bytes.bytes().chunks(self.write) {
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            self.send_within_budget(piece).await?;
        }
        Ok(())
    }

    async fn send_within_budget(&mut self, piece: &[u8]) -> io::Result<()> {
        let allowed =
            self.budget.map_or(piece.len(), |left| piece.len().min(usize::try_from(left).unwrap_or(piece.len())));
        self.socket.write_all(&piece[..allowed]).await?;
        self.budget = self.budget.map(|left| left - allowed as u64);
        if allowed < piece.len() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }

    /// Receives a message of the kind that comes first: without a tag.
    pub(super) async fn receive_first(&mut self) -> io::Result<Bytes> {
        self.fill(4).await?;
        let length = usize::try_from(self.received.get_u32()).unwrap_or_default().saturating_sub(4);
        self.fill(length).await?;
        Ok(self.received.split_to(length).freeze())
    }

    /// Receives a message. The future may be dropped.
    pub(super) async fn receive(&mut self) -> io::Result<Message> {
        self.fill(5).await?;
        let length = u32::from_be_bytes(self.received[1..5].try_into().expect("four bytes"));
        let length = usize::try_from(length).unwrap_or_default() + 1;
        self.fill(length).await?;
        let mut message = self.received.split_to(length).freeze();
        let tag = message.get_u8();
        message.advance(4);
        Ok(Message { tag, body: message })
    }

    /// Receives until this many bytes are there.
    async fn fill(&mut self, length: usize) -> io::Result<()> {
        while self.received.len() < length {
            if self.socket.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}
