//! Giving WAL to a server in recovery, so that it neither waits for WAL nor takes trouble for the end of WAL.
//!
//! PostgreSQL asks for one file at a time, replays it, and asks for the next: whatever fetching takes, replay waits for. And
//! it takes every failure to fetch for the end of WAL, unless the exit status says otherwise. So the command that it calls
//! ([`feed`]) is only a client: it starts a helper ([`help`]) that fetches the segments which follow, on the timelines that
//! recovery will read, checks them, and keeps them in a ring of files beside `pg_wal`, where the next call takes them by
//! a rename. Only what the archive is known not to have counts as missing; everything else is tried again and then is an
//! error.
//!
//! Where the helper cannot be started or has died, each call fetches for itself.
//!
//! What is fetched from is a [`WalSource`]. The parts: [`route`](self) says which segments come next, `pace` how many of them
//! are worth having, `ring` holds them, `question` is what client and helper say to each other, `nest` is the directory in
//! which they meet, and `recovering` tells whether the server still needs them.

use std::error::Error;
use std::time::Duration;

use barman_catalog::Partial;
use barman_storage::{OutFile, PublishError};
use wal_format::{SegmentHeaderError, SegmentMismatch, WalFileName};

mod client;
mod delivery;
mod helper;
mod nest;
mod pace;
mod process;
mod question;
mod recovering;
mod ring;
mod route;

pub use client::{FeedClient, feed};
pub use helper::help;
pub(crate) use nest::NAME as DIRECTORY;
pub use process::{leave_server, start_helper};
pub use recovering::RecoveringServer;

/// Where WAL comes from.
pub trait WalSource: Send + Sync {
    /// Writes a file as PostgreSQL wrote it, whole and compared with what is known of it; `partial` says whether an
    /// unfinished segment will do where there is no whole one.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched, for now or for good. What was written until then counts for nothing.
    fn fetch(&self, name: &WalFileName, partial: Partial, target: &mut OutFile) -> Result<Fetched, SourceError>;
}

/// Why a file cannot be fetched.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// What came of asking for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is there.
    Whole,
    /// An unfinished segment is there instead.
    Unfinished,
    /// The archive was asked, and does not have it.
    Missing,
}

/// What a server in recovery asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest {
    /// The file (`%f`).
    pub name: WalFileName,
    /// Where it is to be put (`%p`).
    pub destination: std::path::PathBuf,
    /// Whether an unfinished segment will do where there is no whole one.
    pub partial: Partial,
    /// For how long to try again what fails, at most. A standby tries again by itself, so for it nothing is.
    pub patience: Duration,
}

/// Why a file could not be given to a server; whether the archive has it is not known then, or it is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// It could not be fetched.
    #[error("cannot fetch {name}")]
    Fetch {
        /// The file.
        name: WalFileName,
        /// Why not.
        #[source]
        source: SourceError,
    },
    /// What was fetched does not begin like a segment.
    #[error("what was fetched as {name} is no segment of WAL")]
    NotWal {
        /// The file.
        name: WalFileName,
        /// How it begins.
        #[source]
        source: SegmentHeaderError,
    },
    /// What was fetched is another segment.
    #[error("what was fetched as {name} is something else")]
    Mismatch {
        /// The file.
        name: WalFileName,
        /// What it is.
        #[source]
        source: SegmentMismatch,
    },
    /// PostgreSQL would not take a segment of this length.
    #[error("{name} has {found} bytes, expected {expected}")]
    Length {
        /// The file.
        name: WalFileName,
        /// How long a segment is.
        expected: u64,
        /// How long this one is.
        found: u64,
    },
    /// The path to deliver to has no directory or no file name.
    #[error("'{0}' is not a place for a file")]
    Destination(std::path::PathBuf),
    /// A file could not be written.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The file system refused something.
    #[error(transparent)]
    Storage(#[from] barman_storage::Error),
    /// Talking to the helper, or to the server that it feeds, failed.
    #[error("the helper cannot work")]
    Helper(#[source] std::io::Error),
}
