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
//! What is fetched from is a [`WalSource`]; `session` is what two ends say to each other where it lies on another host. The
//! parts: [`route`](self) says which segments come next, `pace` how many of them are worth having, `ring` holds them,
//! `segment_check` looks at each, `question` is what client and helper say to each other, `nest` is the directory in which they
//! meet, and `recovering` tells whether the server still needs them.

use std::error::Error;
use std::time::Duration;

use barman_catalog::{Content, Partial};
use barman_storage::PublishError;
use wal_format::{Damage, SegmentHeaderError, SegmentMismatch, SegmentName, WalFileName};

mod client;
mod delivery;
mod found;
mod helper;
mod nest;
mod pace;
mod process;
mod question;
mod recovering;
mod ring;
mod route;
mod segment_check;
mod session;

pub use client::{FeedClient, feed};
pub use found::FoundWal;
pub use helper::help;
pub(crate) use nest::NAME as DIRECTORY;
pub use process::{HelperProcess, start_helper};
pub use recovering::RecoveringServer;
pub use session::{Session, SessionError, answer_session};

/// Where WAL comes from.
pub trait WalSource: Send + Sync {
    /// Finds a file; `None` if the archive was asked, and does not have it. `partial` says whether an unfinished segment will
    /// do where there is no whole one.
    ///
    /// # Errors
    /// Whatever keeps it from being fetched, for now or for good.
    fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SourceError>;
}

/// Why a file cannot be fetched.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// What came of asking for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is where the server wants it.
    Delivered,
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
    /// Whether damage within a segment is an error. Otherwise it is for the server to find, to which it is the end of WAL.
    pub refuses_damage: bool,
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
    /// What was fetched is not what was archived.
    #[error(
        "what was fetched as {name} has {} bytes with checksum {:08X}, expected {} bytes with {:08X}, as they were archived",
        found.bytes, found.crc32c, expected.bytes, expected.crc32c
    )]
    Changed {
        /// The file.
        name: WalFileName,
        /// What PostgreSQL wrote.
        expected: Content,
        /// What was fetched, decompressed.
        found: Content,
    },
    /// What was fetched does not begin like a segment.
    #[error("what was fetched as {name} is no segment of WAL")]
    NotWal {
        /// The file.
        name: SegmentName,
        /// How it begins.
        #[source]
        source: SegmentHeaderError,
    },
    /// What was fetched is another segment.
    #[error("what was fetched as {name} is something else")]
    Mismatch {
        /// The file.
        name: SegmentName,
        /// What it is.
        #[source]
        source: SegmentMismatch,
    },
    /// PostgreSQL would not take a segment of this length.
    #[error("{name} has {found} bytes, expected {expected}")]
    Length {
        /// The file.
        name: SegmentName,
        /// How long a segment is.
        expected: u64,
        /// How long this one is.
        found: u64,
    },
    /// A record in it cannot be believed, and the archive does not know that this is how it was archived.
    #[error("what was fetched as {name} is damaged")]
    Damaged {
        /// The file.
        name: SegmentName,
        /// Where, and how.
        #[source]
        source: Box<Damage>,
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
