//! `get-wal --feed`: called by a server in recovery.

use super::{Arguments, parse};
use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::exit_code;
use crate::output::Output;
use barman_catalog::Partial;
use barman_pitr::{
    FeedClient, FeedError, FeedRequest, Fetched, HelperProcess, RecoveringServer, SourceError, WalSource, feed, help,
    start_helper,
};
use barman_server::{ArchiveSource, Error, one_line};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For how long a call tries again what fails, unless it is told.
pub(crate) const PATIENCE_SECONDS: u64 = 60;

/// The hidden option that makes a call the helper.
const HELPER: &str = "--feed-helper";

/// One call.
pub(crate) struct Call<'a> {
    arguments: &'a Arguments,
    destination: &'a Path,
}

impl<'a> Call<'a> {
    /// Returns the call that the command is, if it is one.
    pub(crate) fn of(arguments: &'a Arguments) -> Option<Self> {
        let destination = arguments.feed.as_deref()?;
        Some(Self { arguments, destination })
    }

    /// Carries it out. The configuration is read only if no helper has done so already: this is called for each segment.
    pub(crate) fn run(
        &self,
        output: &Output,
        open: &dyn Fn() -> Result<Context, CommandError>,
    ) -> Result<(), CommandError> {
        if self.arguments.feed_helper {
            return self.help(open);
        }
        let server = RecoveringServer::find(self.destination);
        let is_standby = server.as_ref().is_some_and(RecoveringServer::is_standby);
        let fed = self.feed(server.as_ref(), output, open);
        // A standby tries again by itself, and would end.
        fed.map_err(|error| if is_standby { error.exiting(exit_code::FAILURE) } else { error })
    }

    fn feed(
        &self,
        server: Option<&RecoveringServer>,
        output: &Output,
        open: &dyn Fn() -> Result<Context, CommandError>,
    ) -> Result<(), CommandError> {
        let abort = |error: CommandError| error.exiting(exit_code::FEED_ABORT);
        let name = parse(&self.arguments.wal_name).map_err(abort)?;
        let request = FeedRequest {
            name,
            destination: self.destination.to_owned(),
            partial: if self.arguments.partial { Partial::Include } else { Partial::Exclude },
            refuses_damage: true,
            patience: Duration::from_secs(self.arguments.feed_patience),
        };
        let mut client = Client { open: &|| self.source(open), source: None, output };
        match feed(&request, server, &mut client) {
            Ok(Fetched::Missing) => {
                Err(Error::WalNotFound { name, server: self.arguments.server_name.clone() }.into())
            }
            Ok(Fetched::Delivered) => Ok(()),
            Err(error) => Err(abort(CommandError::from_error(&error)).hinted(
                "recovery stops here instead of taking this for the end of WAL: mend the cause and start the server again",
            )),
        }
    }

    fn source(&self, open: &dyn Fn() -> Result<Context, CommandError>) -> Result<ArchiveSource, CommandError> {
        Ok(ArchiveSource::new(open()?.single_server(&self.arguments.server_name, Disabled::Refused)?))
    }

    fn help(&self, open: &dyn Fn() -> Result<Context, CommandError>) -> Result<(), CommandError> {
        let process = HelperProcess::begin().map_err(|error| CommandError::from_error(&error))?;
        let Some(server) = RecoveringServer::find(self.destination) else { return Ok(()) };
        let source = Arc::new(self.source(open)?);
        help(source, &server, &process).map_err(|error| CommandError::from_error(&error))
    }
}

/// What a call does where no helper has the file.
struct Client<'a> {
    open: &'a dyn Fn() -> Result<ArchiveSource, CommandError>,
    source: Option<ArchiveSource>,
    output: &'a Output,
}

impl FeedClient for Client<'_> {
    fn start_helper(&mut self) -> std::io::Result<std::process::Child> {
        start_helper(HELPER)
    }

    fn source(&mut self) -> Result<&dyn WalSource, SourceError> {
        let source = match self.source.take() {
            Some(source) => source,
            None => (self.open)().map_err(|error| error.message().to_owned())?,
        };
        Ok(self.source.insert(source))
    }

    fn trying_again(&mut self, error: &FeedError) {
        self.output.warning(&format!("{}; trying again", one_line(error)));
    }
}
