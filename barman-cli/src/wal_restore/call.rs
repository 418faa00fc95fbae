//! One call, of whichever kind.

use crate::Arguments;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::get_wal::RemoteBarman;
use crate::spool::Spool;
use barman_catalog::Partial;
use barman_pitr::{
    FeedClient, FeedError, FeedRequest, Fetched, HelperProcess, RecoveringServer, SourceError, WalSource, feed, help,
    start_helper,
};
use barman_storage::{Dir, RelativePath, one_line};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The hidden option that makes a call the helper.
const HELPER: &str = "--feed-helper";

/// Does what was asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (Some(host), Some(server), Some(name), Some(destination)) =
        (&arguments.barman_host, &arguments.server_name, &arguments.wal_name, &arguments.wal_dest)
    else {
        return Ok(());
    };
    if arguments.gzip || arguments.bzip2 {
        println!(
            "WARNING: `{}` option is deprecated and will be removed in future versions. For WAL compression, please make \
             sure to enable it directly on the Barman server via the `compression` configuration option",
            if arguments.gzip { "gzip" } else { "bzip2" }
        );
    }
    let barman = RemoteBarman::of(arguments, host, server);
    if arguments.feed_helper {
        return be_helper(barman, destination);
    }
    if arguments.test {
        return barman.test().map_err(|error| Failure::from(&error));
    }
    let bad_name = || if arguments.feed { Failure::bad_name(name).aborting() } else { Failure::bad_name(name) };
    let request = FeedRequest {
        name: name.parse().map_err(|_| bad_name())?,
        destination: destination.clone(),
        partial: if arguments.partial { Partial::Include } else { Partial::Exclude },
        refuses_damage: arguments.feed,
        patience: Duration::from_secs(if arguments.feed { arguments.feed_patience } else { 0 }),
    };
    match arguments.feed {
        true => feed_server(&barman, server, &request),
        false => restore(arguments, &barman, server, &request),
    }
}

/// As Barman does it: one file a call, or several.
fn restore(arguments: &Arguments, barman: &RemoteBarman, server: &str, request: &FeedRequest) -> Result<(), Failure> {
    let (dir, path) = place(&request.destination)?;
    let fetch = |request: &FeedRequest| fetch(request, None, barman, server);
    if arguments.parallel == 0 {
        return fetch(request);
    }
    let spool = Spool::open(&arguments.spool_dir)?;
    if spool.deliver(&request.name, (&dir, &path))? {
        return Ok(());
    }
    spool.fetch_all(barman, arguments, request, &fetch)
}

/// With a helper, and with the exit codes that PostgreSQL needs.
fn feed_server(barman: &RemoteBarman, name: &str, request: &FeedRequest) -> Result<(), Failure> {
    let server = RecoveringServer::find(&request.destination);
    let is_standby = server.as_ref().is_some_and(RecoveringServer::is_standby);
    fetch(request, server.as_ref(), barman, name).map_err(|failure| match failure {
        failure if is_standby => failure.passing(),
        failure if failure.is_missing() => failure,
        failure => failure.aborting(),
    })
}

fn be_helper(barman: RemoteBarman, destination: &Path) -> Result<(), Failure> {
    let process = HelperProcess::begin().map_err(FeedError::Helper)?;
    match RecoveringServer::find(destination) {
        Some(server) => Ok(help(Arc::new(Connection::to(barman)), &server, &process)?),
        None => Ok(()),
    }
}

fn fetch(
    request: &FeedRequest,
    recovering: Option<&RecoveringServer>,
    barman: &RemoteBarman,
    server: &str,
) -> Result<(), Failure> {
    match feed(request, recovering, &mut Client { barman })? {
        Fetched::Missing => Err(Failure::missing(&request.name, server)),
        Fetched::Delivered => Ok(()),
    }
}

/// Looks at where the file is to go before anything is fetched.
fn place(destination: &Path) -> Result<(Dir, RelativePath), Failure> {
    let shown = destination.display();
    if destination.is_dir() {
        return Err(Failure::destination(format!("WAL_DEST cannot be a directory: {shown}")));
    }
    let unusable = |why: String| Failure::destination(format!("Cannot open '{shown}' (WAL_DEST) for writing: {why}"));
    let name = destination.file_name().and_then(|name| RelativePath::new(name).ok());
    let name = name.ok_or_else(|| unusable("it names no file".to_owned()))?;
    let parent = destination.parent().unwrap_or(Path::new(""));
    Ok((Dir::open(parent).map_err(|error| unusable(one_line(&error)))?, name))
}

struct Client<'a> {
    barman: &'a RemoteBarman,
}

impl FeedClient for Client<'_> {
    fn start_helper(&mut self) -> std::io::Result<std::process::Child> {
        start_helper(HELPER)
    }

    fn source(&mut self) -> Result<&dyn WalSource, SourceError> {
        Ok(self.barman)
    }

    fn trying_again(&mut self, error: &FeedError) {
        eprintln!("WARNING: {}; trying again", one_line(error));
    }
}
