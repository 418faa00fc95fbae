//! [`ScriptedWalsender`]: a server that listens, and its notes.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::behaviour::Behaviour;
use super::cluster::Cluster;
use super::session;
use super::stream::Report;

/// A server on a port of 127.0.0.1 that speaks physical replication and follows a script.
///
/// Everybody is let in without a password; TLS is declined. It ends, and its connections break, when it is dropped.
#[derive(Debug)]
pub struct ScriptedWalsender {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Changes whenever the cluster does, for streams that wait.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster: Cluster,
    pub(super) script: VecDeque<Behaviour>,
    pub(super) commands: Vec<String>,
    pub(super) reports: Vec<Report>,
    pub(super) cancels: usize,
}

impl ScriptedWalsender {
    /// Starts a server on the runtime of the caller.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(cluster: Cluster) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (script, commands, reports) = Default::default();
        let state = Mutex::new(State { cluster, script, commands, reports, cancels: 0 });
        let shared = Arc::new(Shared { state, changes: watch::Sender::new(0) });
        let task = tokio::spawn(accept(listener, shared.clone())).abort_handle();
        Ok(Self { address, shared, task })
    }

    /// Returns a connection string.
    #[must_use]
    pub fn conninfo(&self) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!("host={host} port={port} user=postgres dbname=postgres sslmode=disable")
    }

    /// Returns the port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Appends to the script: each WAL stream or base backup that is asked for takes the next behaviour, and is good
    /// when the script has come to its end.
    pub fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.shared.state().script.extend(behaviours);
    }

    /// Looks at the cluster.
    pub fn cluster<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&self.shared.state().cluster)
    }

    /// Changes the cluster: adds WAL, promotes it, removes a slot, makes it another cluster. Streams notice at once.
    pub fn update<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        self.shared.update(change)
    }

    /// Returns the commands and queries of all sessions so far, as they came.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// Returns the status updates of all streams so far, as they came.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.shared.state().reports.clone()
    }

    /// Returns how many requests to cancel came.
    #[must_use]
    pub fn cancels(&self) -> usize {
        self.shared.state().cancels
    }

    /// Waits until a status update came for which `wanted` returns true, and returns it.
    pub async fn reported(&self, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut changes = self.shared.changes();
        loop {
            if let Some(report) = self.reports().into_iter().find(&wanted) {
                return report;
            }
            // The sender is ours, so it is not gone.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for ScriptedWalsender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// A test that panicked while it looked has done no harm.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Cluster) -> T) -> T {
        let result = change(&mut self.state().cluster);
        self.notify();
        result
    }

    pub(super) fn note(&self, report: Report) {
        self.state().reports.push(report);
        self.notify();
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn notify(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// Serves every client in a task of its own. All of them end with this one.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        sessions.spawn(session::serve(socket, shared.clone()));
        while sessions.try_join_next().is_some() {}
    }
}
