//! Files that were fetched ahead and wait for a later call (`-p`, `--spool-dir`).

use crate::Arguments;
use crate::failure::Failure;
use crate::get_wal::RemoteBarman;
use barman_catalog::Partial;
use barman_pitr::{FeedError, FeedRequest};
use barman_storage::{Dir, RelativePath};
use std::path::Path;
use std::thread;
use wal_format::WalFileName;

const MODE: u32 = 0o700;

/// The spool of one server in recovery.
pub(crate) struct Spool {
    dir: Dir,
}

impl Spool {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self { dir: Dir::create(path, MODE).map_err(FeedError::from)? })
    }

    /// Takes a file that waits; returns whether it does.
    pub(crate) fn deliver(&self, name: &WalFileName, (dir, to): (&Dir, &RelativePath)) -> Result<bool, Failure> {
        let from = RelativePath::new(name.to_string()).map_err(|_| Failure::bad_name(&name.to_string()))?;
        match self.dir.hand_over(&from, dir, to) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(FeedError::from(error).into()),
        }
    }

    /// Fetches what is asked for and, meanwhile, up to so many files that follow it. Of those, what fails is left for the
    /// call that asks for it.
    pub(crate) fn fetch_all(
        &self,
        barman: &RemoteBarman,
        arguments: &Arguments,
        request: &FeedRequest,
        fetch: &(dyn Fn(&FeedRequest) -> Result<(), Failure> + Sync),
    ) -> Result<(), Failure> {
        let name = request.name.to_string();
        let listed = barman.peek(&name, arguments.parallel, request.partial).map_err(|error| Failure::from(&error))?;
        if listed.first() != Some(&name) {
            return Err(Failure::not_available(&name));
        }
        let following = listed.iter().skip(1).filter_map(|name| name.parse::<WalFileName>().ok());
        // An unfinished one may have grown until it is asked for.
        let ahead: Vec<_> = following
            .map(|name| FeedRequest {
                destination: self.dir.path().join(name.to_string()),
                partial: Partial::Exclude,
                name,
                ..request.clone()
            })
            .collect();
        thread::scope(|scope| {
            for request in &ahead {
                scope.spawn(move || fetch(request));
            }
            fetch(request)
        })
    }
}
