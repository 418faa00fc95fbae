//! What every command gets: the configuration, the way to speak, and the edges of the process as values.

use crate::error::CommandError;
use crate::exit_code;
use crate::output::Output;
use barman_catalog::LocalZone;
use barman_config::{Channel, Configuration, ServerConfig, Warning};
use barman_server::Server;
use barman_storage::Cancel;
use replication_client::Environment;
use std::path::PathBuf;
use wal_format::Timestamp;

/// The configuration, the output, and what was read from the process once.
pub(crate) struct Context {
    pub(crate) configuration: Configuration,
    /// The main configuration file, which children started in the background read as well.
    pub(crate) config_file: PathBuf,
    pub(crate) output: Output,
    /// What libpq would take from the process.
    pub(crate) environment: Environment,
    pub(crate) zone: LocalZone,
}

/// What a command does about a server with `active = off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inactive {
    Included,
    Skipped,
}

/// What a command does about a server whose configuration does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disabled {
    Included,
    Refused,
    Skipped,
}

impl Context {
    /// Returns the present time.
    pub(crate) fn now(&self) -> Timestamp {
        clock()
    }

    /// Returns every configured server in the order of their names.
    pub(crate) fn all_servers(&self) -> impl Iterator<Item = &ServerConfig> {
        self.configuration.servers.values()
    }

    /// Returns the servers that a list of names, or `all`, means; what is wrong with one of them is reported.
    ///
    /// # Errors
    /// `all` stands beside other names.
    pub(crate) fn select(
        &self,
        names: &[String],
        inactive: Inactive,
        disabled: Disabled,
    ) -> Result<Vec<&ServerConfig>, CommandError> {
        let mut selected = Vec::new();
        for name in self.expand(names)? {
            let Some(config) = self.configuration.servers.get(name) else {
                unknown_server(name).report(&self.output);
                continue;
            };
            report_warnings(&self.output, &config.warnings);
            if self.is_wanted(config, inactive, disabled) {
                selected.push(config);
            }
        }
        Ok(selected)
    }

    fn expand<'a>(&'a self, names: &'a [String]) -> Result<Vec<&'a str>, CommandError> {
        if !names.iter().any(|name| name == "all") {
            let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.sort_unstable();
            return Ok(names);
        }
        if names.len() > 1 {
            return Err(CommandError::new("You cannot use 'all' with other server names")
                .hinted("name the servers one by one, or say 'all' alone"));
        }
        Ok(self.configuration.servers.keys().map(String::as_str).collect())
    }

    fn is_wanted(&self, config: &ServerConfig, inactive: Inactive, disabled: Disabled) -> bool {
        let name = &config.name;
        if inactive == Inactive::Skipped && self.skips(config) {
            return false;
        }
        match (disabled, config.disabled.first()) {
            (Disabled::Refused, Some(reason)) => {
                CommandError::new(reason.to_string()).hinted(check_hint(name)).report(&self.output);
                false
            }
            (Disabled::Skipped, Some(_)) => {
                self.output.info(&format!("Skipping temporarily disabled server '{name}'"));
                false
            }
            _ => true,
        }
    }

    /// Returns whether a server is inactive, and says that it is skipped then.
    fn skips(&self, config: &ServerConfig) -> bool {
        if !config.active {
            self.output.info(&format!("Skipping inactive server '{}'", config.name));
        }
        !config.active
    }

    /// Calls `action` for each of the servers; what fails for one does not keep the others from their turn.
    ///
    /// # Errors
    /// `all` stands beside other names.
    pub(crate) fn for_each_server(
        &self,
        names: &[String],
        inactive: Inactive,
        mut action: impl FnMut(&str) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        for config in self.select(names, inactive, Disabled::Refused)? {
            if let Err(error) = action(&config.name) {
                error.report(&self.output);
            }
        }
        Ok(())
    }

    /// Returns one server, for commands that take a single name.
    ///
    /// # Errors
    /// The name is `all` or unknown, or the server's configuration does not work and the command does not allow that.
    pub(crate) fn single_server(&self, name: &str, disabled: Disabled) -> Result<Server, CommandError> {
        if name == "all" {
            return Err(CommandError::new("You cannot use 'all' in a single server context").hinted("name one server"));
        }
        let config = self.configuration.servers.get(name).ok_or_else(|| unknown_server(name))?;
        report_warnings(&self.output, &config.warnings);
        match config.disabled.first() {
            Some(reason) if disabled == Disabled::Refused => {
                Err(CommandError::new(reason.to_string()).hinted(check_hint(name)))
            }
            _ => self.server(name),
        }
    }

    /// Returns one server like [`single_server`](Self::single_server), or `None`, with a word about it, if it is inactive.
    ///
    /// # Errors
    /// As [`single_server`](Self::single_server).
    pub(crate) fn single_active_server(&self, name: &str) -> Result<Option<Server>, CommandError> {
        let server = self.single_server(name, Disabled::Refused)?;
        Ok(if self.skips(server.config()) { None } else { Some(server) })
    }

    /// Assembles a server, whatever state its configuration is in.
    ///
    /// # Errors
    /// The name is unknown, or a connection string cannot be understood.
    pub(crate) fn server(&self, name: &str) -> Result<Server, CommandError> {
        let config = self.configuration.servers.get(name).ok_or_else(|| unknown_server(name))?;
        Ok(Server::assemble(&self.configuration.global, config, &self.environment, self.zone.clone()))
    }

    /// Runs what connects. Only commands that do pay for a runtime.
    ///
    /// # Errors
    /// The runtime cannot be built, or the work failed.
    pub(crate) fn block_on<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CommandError::new(format!("cannot start the runtime: {error}")))?;
        Ok(runtime.block_on(work))
    }

    /// Like [`block_on`](Self::block_on), and cancels `cancel` when the process is told to end.
    ///
    /// # Errors
    /// As [`block_on`](Self::block_on).
    pub(crate) fn block_on_until_signal<T, E>(
        &self,
        cancel: &Cancel,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<Result<T, E>, CommandError> {
        self.block_on(async {
            let _watch = AbortOnDrop(tokio::spawn(cancel_on_signal(cancel.clone())));
            work.await
        })
    }

    /// Runs what blocks, and cancels `cancel` when the process is told to end.
    ///
    /// # Errors
    /// The watch cannot be set up.
    pub(crate) fn run_until_signal<T>(&self, cancel: &Cancel, work: impl FnOnce() -> T) -> Result<T, CommandError> {
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                self.block_on(async {
                    tokio::select! {
                        () = cancel_on_signal(cancel.clone()) => {}
                        _ = is_done => {}
                    }
                    Ok::<(), std::convert::Infallible>(())
                })
            });
            let result = work();
            drop(done);
            match watch.join() {
                Ok(watched) => watched.map(|_| result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// Shows what the configuration has to be remarked, where Barman shows it.
pub(crate) fn report_warnings(output: &Output, warnings: &[Warning]) {
    for warning in warnings {
        match warning.channel {
            Channel::Console => output.warning(&warning.to_string()),
            Channel::Log => tracing::warn!(target: "barman.config", "{warning}"),
        }
    }
}

/// Reads the clock, which only the edge of the program does.
pub(crate) fn clock() -> Timestamp {
    Timestamp::from_unix_micros(jiff::Timestamp::now().as_microsecond())
}

/// Ends a task together with the scope that started it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for SIGINT or SIGTERM and asks the work to end in good order.
async fn cancel_on_signal(cancel: Cancel) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    cancel.cancel();
    // Whoever asks twice does not want to wait for good order: everything on disk can cope with that (invariant 7).
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    std::process::exit(exit_code::FAILURE.into());
}

pub(crate) fn unknown_server(name: &str) -> CommandError {
    CommandError::new(format!("Unknown server '{name}'"))
        .hinted("`barman list-servers` lists those that are configured")
}

fn check_hint(name: &str) -> String {
    format!("`barman check {name}` lists everything that is wrong with its configuration")
}
