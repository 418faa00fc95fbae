//! One connection to Barman on another host, on which file after file is asked for.

use crate::get_wal::{RemoteBarman, RemoteError, succeeded};
use barman_catalog::Partial;
use barman_pitr::{FoundWal, Session, SourceError, WalSource};
use std::io::BufReader;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wal_format::WalFileName;

/// Where `get-wal` wants the name of a file and is told the names of all on its standard input.
const NO_NAME: &str = "dummy_wal_name";

/// Asks over one connection where the other end knows how to answer there, and calls it for each file where it does not: it
/// may be Barman's own.
#[derive(Debug)]
pub(crate) struct Connection {
    barman: RemoteBarman,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Closed,
    Open {
        ssh: Child,
        session: Arc<SshSession>,
    },
    /// Calls are answered, and sessions are not.
    CallsOnly,
}

type SshSession = Session<BufReader<ChildStdout>, ChildStdin>;

impl Connection {
    pub(crate) fn to(barman: RemoteBarman) -> Self {
        Self { barman, state: Mutex::new(State::Closed) }
    }

    /// Returns the connection, a new one if it was cut; `None` where the other end does not know what that is.
    fn session(&self) -> Result<Option<Arc<SshSession>>, RemoteError> {
        let mut state = self.state();
        match &*state {
            State::Open { session, .. } if !session.is_cut() => return Ok(Some(Arc::clone(session))),
            State::CallsOnly => return Ok(None),
            State::Open { .. } | State::Closed => {}
        }
        state.close();
        let Some((ssh, session)) = open(&self.barman)? else { return Ok(None) };
        *state = State::Open { ssh, session: Arc::clone(&session) };
        Ok(Some(session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WalSource for Connection {
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError> {
        if let Some(session) = self.session()? {
            return Ok(session.find(name, partial)?);
        }
        let found = self.barman.find(name, partial)?;
        // Of those that ask at the beginning, several may come here.
        let mut state = self.state();
        if let State::Closed = *state {
            *state = State::CallsOnly;
        }
        Ok(found)
    }
}

impl State {
    fn close(&mut self) {
        if let Self::Open { mut ssh, .. } = std::mem::replace(self, Self::Closed) {
            // It may have ended by itself.
            let _ = ssh.kill();
            let _ = ssh.wait();
        }
    }
}

/// Starts a session; `None` if something else than ssh refuses it.
fn open(barman: &RemoteBarman) -> Result<Option<(Child, Arc<SshSession>)>, RemoteError> {
    let mut command = barman.command(" --session", NO_NAME);
    let mut ssh = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(RemoteError::Start)?;
    let pipes = ssh.stdout.take().zip(ssh.stdin.take());
    let opened = pipes.and_then(|(answers, questions)| Session::open(BufReader::new(answers), questions).ok());
    match opened {
        Some(session) => Ok(Some((ssh, Arc::new(session)))),
        // It ends, since nobody listens and nothing more is said to it.
        None => match succeeded(ssh.wait().map_err(RemoteError::Start)?) {
            Err(RemoteError::Connection) => Err(RemoteError::Connection),
            _ => Ok(None),
        },
    }
}
