//! A process that can be signalled in the place of a part of another one.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

/// The hidden option by which this program knows that it is to stand in. It comes alone, with the name of a server for those
/// who look at the list of processes.
const OPTION: &str = "--stands-in-for-receiver-of";

/// A child that waits until it is killed, or until this process ends or lets it go.
///
/// It tells nothing and needs no handler: that it is gone is what its end of a pipe says, and since nobody waits for it
/// before [`end`](Self::end), its number stays taken until then.
pub(crate) struct StandIn {
    child: Child,
    output: pipe::Receiver,
}

impl StandIn {
    /// Starts the child. Needs a runtime.
    ///
    /// # Errors
    /// This program cannot be started again.
    pub(crate) fn start(server: &str) -> io::Result<Self> {
        // A script that starts us in the background has us ignore SIGINT, and a child would inherit that. Of a signal
        // that is handled it inherits nothing.
        drop(signal(SignalKind::interrupt())?);
        let mut command = Command::new(std::env::current_exe()?);
        command.args([OPTION, server]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the child has no standard output"))?;
        Ok(Self { child, output: pipe::Receiver::from_owned_fd(output.into())? })
    }

    /// Returns its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it was killed.
    pub(crate) async fn gone(&self) {
        while self.output.readable().await.is_ok() {
            match self.output.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It writes nothing.
                _ => return,
            }
        }
    }

    /// Lets it go, and waits until it has.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        // It has no reason to stay, and nothing depends on how it went.
        let _ = self.child.wait();
    }
}

/// Stands in, if that is what this process was started for: returns when it is no longer needed.
pub(crate) fn stood_in() -> bool {
    let asked = std::env::args_os().nth(1).is_some_and(|option| option == OPTION);
    if asked {
        // The end of the process that holds the other end is the end of this one.
        let _ = io::stdin().read(&mut [0; 1]);
    }
    asked
}
