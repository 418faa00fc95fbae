//! One client of a [`ScriptedWalsender`](super::ScriptedWalsender), from its first byte to its last.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::backend_bytes::BackendBytes;
use super::behaviour::Behaviour;
use super::line::Line;
use super::walsender::Shared;
use super::{backup, commands, stream};

/// The codes that take the place of a protocol version in a first message (`pqcomm.h`).
const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// Serves a client until it leaves, or the script cuts it off. Nobody wants to know how it ended.
pub(super) async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let _ = Session { line: Line::new(socket), shared }.run().await;
}

/// One client.
pub(super) struct Session {
    pub(super) line: Line,
    pub(super) shared: Arc<Shared>,
}

impl Session {
    async fn run(&mut self) -> io::Result<()> {
        if !self.greet().await? {
            return Ok(());
        }
        loop {
            let message = self.line.receive().await?;
            match message.tag {
                b'Q' => self.answer(&String::from_utf8_lossy(&message.body)).await?,
                b'X' => return Ok(()),
                // The rest of a COPY that has failed.
                _ => {}
            }
        }
    }

    /// Lets the client in. False if it came to cancel.
    async fn greet(&mut self) -> io::Result<bool> {
        loop {
            let first = self.line.receive_first().await?;
            match first.first_chunk().map_or(0, |code| u32::from_be_bytes(*code)) {
                CANCEL_REQUEST => {
                    self.shared.state().cancels += 1;
                    return Ok(false);
                }
                SSL_REQUEST | GSS_REQUEST => self.line.send(&BackendBytes::raw(b"N")).await?,
                _ => break,
            }
        }
        let (version, negotiation) = {
            let cluster = &self.shared.state().cluster;
            (cluster.version.clone(), cluster.negotiation.clone())
        };
        let welcome = negotiation.map_or_else(BackendBytes::new, |(minor, unknown)| negotiate(minor, &unknown));
        let welcome = welcome.authentication(0, &[]).parameter("server_version", &version);
        let welcome = welcome.parameter("client_encoding", "UTF8").message(b'K', &[0, 0, 0, 1, 0, 0, 0, 2]);
        self.line.send(&welcome.ready()).await?;
        Ok(true)
    }

    async fn answer(&mut self, query: &str) -> io::Result<()> {
        let query = query.trim_end_matches('\0');
        self.shared.state().commands.push(query.to_owned());
        match query.split_whitespace().next() {
            Some("START_REPLICATION") => stream::serve(self, query).await,
            Some("BASE_BACKUP") => backup::serve(self).await,
            _ => {
                let answer = self.shared.update(|cluster| commands::answer(cluster, query));
                self.line.send(&answer).await
            }
        }
    }

    /// Takes the next part of the script.
    pub(super) fn behaviour(&self) -> Behaviour {
        self.shared.state().script.pop_front().unwrap_or_default()
    }

    pub(super) async fn refuse(&mut self, sqlstate: &str, message: &str) -> io::Result<()> {
        self.line.send(&BackendBytes::new().error(sqlstate, message).ready()).await
    }
}

fn negotiate(minor: u32, unknown: &[String]) -> BackendBytes {
    let numbers = [3 << 16 | minor, u32::try_from(unknown.len()).unwrap()];
    let mut body = numbers.map(u32::to_be_bytes).concat();
    for name in unknown {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    BackendBytes::new().message(b'v', &body)
}
