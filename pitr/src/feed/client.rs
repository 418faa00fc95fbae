//! One call of `restore_command`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use barman_storage::RelativePath;

use super::delivery::{deliver, place};
use super::question::{Answer, LONGEST_LINE, Question};
use super::{FeedError, FeedRequest, Fetched, RecoveringServer, SourceError, WalSource, nest};

/// How long a helper that was just started may take until it listens.
const START: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

/// How long a helper may take to answer. It tells itself when the transport is slow to fail.
const ANSWER: Duration = Duration::from_secs(120);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a call needs besides the request; only as much of it is used as it takes.
pub trait FeedClient {
    /// Starts the helper, detached from this process, without waiting for it.
    ///
    /// # Errors
    /// It cannot be started.
    fn start_helper(&mut self) -> io::Result<Child>;

    /// Returns what to fetch from where there is no helper.
    ///
    /// # Errors
    /// It cannot be reached.
    fn source(&mut self) -> Result<&dyn WalSource, SourceError>;

    /// A failure that will be tried again.
    fn trying_again(&mut self, error: &FeedError);
}

/// Puts a file where a server in recovery wants it, or finds out that the archive does not have it. What fails is tried again
/// for as long as the request says.
///
/// # Errors
/// It cannot be told, or the file cannot be put there: this is not the end of WAL.
pub fn feed(
    request: &FeedRequest,
    server: Option<&RecoveringServer>,
    client: &mut dyn FeedClient,
) -> Result<Fetched, FeedError> {
    let begun = Instant::now();
    let patience = match server {
        Some(server) if server.is_standby() => Duration::ZERO,
        _ => request.patience,
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match attempt(request, server, client) {
            Err(error) if begun.elapsed() + pause <= patience => error,
            outcome => return outcome,
        };
        client.trying_again(&error);
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn attempt(
    request: &FeedRequest,
    server: Option<&RecoveringServer>,
    client: &mut dyn FeedClient,
) -> Result<Fetched, FeedError> {
    // Whatever is wrong with a helper: it is not needed.
    if let Some(server) = server
        && let Ok(Some(fetched)) = ask_helper(request, server, client)
    {
        return Ok(fetched);
    }
    let fetch = |source| FeedError::Fetch { name: request.name, source };
    deliver(client.source().map_err(fetch)?, request)
}

/// Has the helper answer; `None` if it cannot.
fn ask_helper(
    request: &FeedRequest,
    server: &RecoveringServer,
    client: &mut dyn FeedClient,
) -> Result<Option<Fetched>, FeedError> {
    let mut stream = reach(server, client).map_err(FeedError::Helper)?;
    let question = Question { name: request.name, partial: request.partial };
    match ask(&mut stream, question).map_err(FeedError::Helper)? {
        Answer::Missing => Ok(Some(Fetched::Missing)),
        Answer::Failed(_) => Ok(None),
        Answer::Ready(name) => {
            let (to_dir, to) = place(&request.destination)?;
            let unusable = |error| FeedError::Helper(io::Error::new(io::ErrorKind::InvalidData, error));
            let from = RelativePath::new(name).map_err(unusable)?;
            // By this process and no other: one that PostgreSQL has not waited for must not touch `pg_wal`.
            nest::open(server)?.hand_over(&from, &to_dir, &to)?;
            Ok(Some(Fetched::Delivered))
        }
    }
}

/// Calls the helper, which is started if there is none.
fn reach(server: &RecoveringServer, client: &mut dyn FeedClient) -> io::Result<UnixStream> {
    if let Ok(stream) = nest::call(server) {
        return Ok(stream);
    }
    let mut helper = client.start_helper()?;
    let begun = Instant::now();
    loop {
        // First: one that ends at once may do so because there is another one.
        let has_ended = helper.try_wait()?.is_some();
        match nest::call(server) {
            Err(_) if !has_ended && begun.elapsed() < START => thread::sleep(LOOK),
            called => return called,
        }
    }
}

fn ask(stream: &mut UnixStream, question: Question) -> io::Result<Answer> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(&*stream).take(LONGEST_LINE).read_line(&mut line)?;
    line.trim_end_matches('\n').parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
