//! [`Connection`]: the driver that carries a [`Wire`]'s bytes over a socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::backend_message::BackendMessage;
use crate::cancel::CancelKey;
use crate::error::ErrorKind;
use crate::server_error::Notice;
use crate::tls;
use crate::wire::Wire;

/// Anything that carries bytes both ways: a TCP or Unix socket.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Transport for T {}

/// Opens another transport to the server of a connection, in the same way.
pub(crate) type Reopen = Arc<dyn Fn() -> Reopening + Send + Sync>;
pub(crate) type Reopening = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, ErrorKind>> + Send>>;

/// A connection to a server.
///
/// All state between two calls is in here, so any of its futures may be dropped at any time: bytes received stay in the
/// inbox, and bytes not yet sent stay in the outgoing buffer.
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    wire: Wire,
    host: Arc<str>,
    reopen: Option<Reopen>,
    /// Whether the server has let us in.
    is_established: bool,
}

impl Connection {
    pub(crate) fn new(transport: Box<dyn Transport>, host: Arc<str>) -> Self {
        Self { transport, wire: Wire::default(), host, reopen: None, is_established: false }
    }

    /// Says how a second transport to the same server is opened, which cancelling needs.
    pub(crate) fn reopened_by(mut self, reopen: Reopen) -> Self {
        self.reopen = Some(reopen);
        self
    }

    /// Notes that the server has let us in, and takes commands.
    pub(crate) fn established(mut self) -> Self {
        self.is_established = true;
        self
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.wire.inbox.parameter(name)
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.wire.inbox.parameters()
    }

    pub(crate) fn cancel_key(&self) -> Option<CancelKey> {
        self.wire.inbox.cancel_key()
    }

    pub(crate) fn reopen(&self) -> Option<&Reopen> {
        self.reopen.as_ref()
    }

    /// Takes all notices.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.wire.inbox.take_notice()).collect()
    }

    /// Returns the server in words.
    pub(crate) fn host(&self) -> &Arc<str> {
        &self.host
    }

    /// Returns the next message, after sending all there is to send.
    pub(crate) async fn receive(&mut self) -> Result<BackendMessage, ErrorKind> {
        loop {
            if let Some(message) = self.wire.inbox.poll()? {
                return Ok(message);
            }
            self.exchange().await?;
        }
    }

    /// Waits until bytes have been received, and sends what there is to send meanwhile.
    ///
    /// Both at once, because a server that cannot get rid of its data may not take ours.
    pub(crate) async fn exchange(&mut self) -> Result<(), ErrorKind> {
        let Wire { inbox, outgoing } = &mut self.wire;
        let transport = &mut self.transport;
        let received = poll_fn(|context| {
            while !outgoing.is_empty() {
                match pin!(transport.write_buf(outgoing)).poll(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(_)) => {}
                    // What the server said before it went away matters more than that it did not listen.
                    Poll::Ready(Err(_)) => outgoing.clear(),
                    Poll::Pending => break,
                }
            }
            // TLS keeps what the socket had no room for, and does not send it while it reads.
            let _ = Pin::new(&mut *transport).poll_flush(context);
            pin!(transport.read_buf(inbox.buffer())).poll(context)
        });
        match received.await {
            Ok(0) => Err(ErrorKind::ConnectionClosed),
            Ok(_) => Ok(()),
            // With TLS 1.3 this is where a server says that it does not accept our certificate.
            Err(error) => Err(tls::failure(error)),
        }
    }

    /// Waits until all there is to send has been handed to the operating system.
    pub(crate) async fn flush(&mut self) -> Result<(), ErrorKind> {
        let Self { transport, wire, .. } = self;
        transport.write_all_buf(&mut wire.outgoing).await.map_err(ErrorKind::ConnectionLost)?;
        transport.flush().await.map_err(ErrorKind::ConnectionLost)
    }

    /// Sends as much as is possible without waiting. What fails here fails again, and is reported, on the next wait.
    pub(crate) fn flush_now(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        while !self.wire.outgoing.is_empty() {
            let write = pin!(self.transport.write_buf(&mut self.wire.outgoing)).poll(&mut context);
            if !matches!(write, Poll::Ready(Ok(1..))) {
                return;
            }
        }
    }
}

/// Says goodbye, so that the server does not log a lost connection. Before it has let us in, it takes nothing but answers to
/// what it asks for, and would log that instead; libpq goes without a word then, too (`sendTerminateConn` in fe-connect.c).
impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_established && self.wire.outgoing.is_empty() {
            frontend::terminate(&mut self.wire.outgoing);
            self.flush_now();
        }
    }
}
