//! [`CancelToken`]: asking a server to cancel what a session does.

use std::fmt;
use std::sync::Arc;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::activity::Activity;
use crate::connection::{Connection, Reopen};
use crate::error::{Error, ErrorKind};

/// What a server wants to see before it cancels what one of its sessions does (BackendKeyData).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CancelKey {
    pub(crate) process_id: i32,
    pub(crate) secret: i32,
}

/// The right to cancel what a session does, from any task.
///
/// A query that is cancelled fails with SQLSTATE 57014 and leaves its session usable. The server does not say whether
/// there was anything to cancel: a request that comes late may meet the next query of the session.
#[derive(Clone)]
pub struct CancelToken {
    key: CancelKey,
    host: Arc<str>,
    reopen: Option<Reopen>,
}

impl CancelToken {
    /// Returns the token of a session whose server gave it a key.
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let key = connection.cancel_key()?;
        Some(Self { key, host: connection.host().clone(), reopen: connection.reopen().cloned() })
    }

    /// Returns the process that serves the session, as `pg_stat_activity` calls it.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.key.process_id
    }

    /// Sends the request over a new connection to the address of the session, made as the session's was, and waits
    /// until the server has taken it.
    ///
    /// # Errors
    /// The connection cannot be made, or breaks.
    pub async fn cancel(&self) -> Result<(), Error> {
        self.try_cancel().await.map_err(|kind| self.error(kind))
    }

    async fn try_cancel(&self) -> Result<(), ErrorKind> {
        let reopen = self.reopen.as_ref().ok_or(ErrorKind::Unusable)?;
        send(self.key, reopen().await?).await
    }

    /// Like [`cancel`](Self::cancel), over a transport that `open` makes: a socket to the server of the session, behind
    /// a tunnel for example, on which nothing has been said but what encryption needs.
    ///
    /// # Errors
    /// `open` fails, or the connection breaks.
    pub async fn cancel_over<T>(&self, open: impl AsyncFnOnce() -> std::io::Result<T>) -> Result<(), Error>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let transport = open().await.map_err(|source| self.error(ErrorKind::Connect(source)))?;
        send(self.key, transport).await.map_err(|kind| self.error(kind))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        Error::new(Activity::Cancel, self.host.clone(), kind)
    }
}

/// Sends the request, and waits until the server closes: it does when it has sent the signal.
async fn send(key: CancelKey, mut transport: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), ErrorKind> {
    let mut request = BytesMut::new();
    frontend::cancel_request(key.process_id, key.secret, &mut request);
    transport.write_all_buf(&mut request).await.map_err(ErrorKind::ConnectionLost)?;
    transport.flush().await.map_err(ErrorKind::ConnectionLost)?;
    // Nothing is answered, and a server that resets the connection instead of closing it has read the request too.
    let _ = transport.read(&mut [0]).await;
    Ok(())
}

/// Shows no key: whoever has it can cancel.
impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, host, .. } = self;
        f.debug_struct("CancelToken").field("host", host).field("process_id", &key.process_id).finish_non_exhaustive()
    }
}
