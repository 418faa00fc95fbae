//! The host to restore to, and what is to be known of it beforehand.

mod answer;
mod here;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use barman_storage::{Dir, RemoteHost};
use wal_format::SystemId;

use crate::plan_error::PlanError;
use crate::survey::{Found, found_below};

/// Where a restore goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This host.
    Here,
    /// Another one.
    Remote(RemoteHost),
}

/// What is known of a host.
#[derive(Debug)]
pub(crate) struct HostFacts {
    /// The places that were asked about, in that order.
    pub(crate) places: Vec<PlaceFacts>,
    /// The number of the user who restores there.
    pub(crate) user: u32,
    /// The major versions of PostgreSQL whose server was found where packages put it.
    pub(crate) servers: Vec<u32>,
}

/// What is known of a place that is restored into.
#[derive(Debug)]
pub(crate) struct PlaceFacts {
    /// The place.
    pub(crate) path: PathBuf,
    /// What there is; nothing, where nothing can be made.
    pub(crate) contents: Contents,
    /// The text of the marker of a restore.
    pub(crate) marker: Option<Vec<u8>>,
    /// The first directory on the way there that exists, in which the rest would be made.
    pub(crate) nearest: PathBuf,
    /// Why nothing can be made in it, or in the place.
    pub(crate) refusal: Option<std::io::Error>,
    /// The number of its owner.
    pub(crate) owner: u32,
    /// What tells its file system from others.
    pub(crate) device: u64,
    /// The bytes that are free there.
    pub(crate) free: u64,
    /// Where the place is when all symbolic links are followed.
    pub(crate) real_path: Option<PathBuf>,
    /// If it is a data directory, what is known of that.
    pub(crate) data: DataFacts,
}

/// What there is in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// No such directory, or nothing in it.
    Nothing,
    /// Nothing but a marker, or what is left of writing one.
    Marker,
    /// Something.
    Something,
}

/// What is known of a data directory.
#[derive(Debug, Default)]
pub(crate) struct DataFacts {
    pub(crate) has_version: bool,
    pub(crate) has_control_file: bool,
    /// The cluster's identifier, as far as that can be read.
    pub(crate) system_id: Option<SystemId>,
    pub(crate) lock: Option<LockFacts>,
    /// Where its tablespaces are, by object identifier, all symbolic links followed.
    pub(crate) tablespaces: BTreeMap<u32, PathBuf>,
}

/// What is known of the lock file of a data directory.
#[derive(Debug, Default)]
pub(crate) struct LockFacts {
    /// Its text.
    pub(crate) text: String,
    /// Whether the process that it names is there.
    pub(crate) is_alive: bool,
    /// The kernel's table of shared memory.
    pub(crate) shared_memory: String,
}

impl Host {
    /// Looks at the places that a restore would fill.
    ///
    /// # Errors
    /// They cannot be looked at, or the host cannot be reached.
    pub(crate) fn look(&self, places: &[&Path]) -> Result<HostFacts, PlanError> {
        match self {
            Self::Here => here::look(places),
            Self::Remote(host) => answer::ask(host, places),
        }
    }

    /// Returns all that is below a directory, each directory in front of what is in it.
    ///
    /// # Errors
    /// It cannot be read, or the host cannot be reached.
    pub(crate) fn found_below(&self, place: &Path) -> Result<Vec<Found>, PlanError> {
        match self {
            Self::Here => Ok(found_below(&Dir::open(place)?)?),
            Self::Remote(host) => answer::found_below(host, place),
        }
    }
}
