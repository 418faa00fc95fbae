//! From the command line to a running command: configuration, user, log, output.

use crate::commands::get_wal::feed;
use crate::commands::{Command, finish_restore, recovery_progress, wal_dump};
use crate::context::{Context, report_warnings, unknown_server};
use crate::error::CommandError;
use crate::output::{Format, Output};
use crate::{Arguments, logging, os_user};
use barman_catalog::LocalZone;
use barman_config::{Configuration, GlobalConfig, OsFiles};
use barman_server::{Server, one_line};
use nix::unistd::User;
use replication_client::Environment;
use std::path::{Path, PathBuf};
use tracing::Level;

/// Does what every command needs first, then the command; returns the exit status.
pub(crate) fn run(arguments: &Arguments, command: &Command) -> u8 {
    if let Command::WalDump(files) = command {
        return dump_wal(arguments, files);
    }
    let output = Output::new(arguments.format, arguments.color, arguments.quiet, arguments.debug);
    let surroundings = Surroundings { config: arguments.config.as_deref() };
    match command {
        Command::FinishRestore(of) => return end(&output, finish_restore::run(&output, &surroundings, of)),
        Command::RecoveryProgress(of) => return end(&output, recovery_progress::run(&output, &surroundings, of)),
        Command::GetWal(get_wal) => {
            if let Some(call) = feed::Call::of(get_wal) {
                let silent = Output::silent();
                let open = || prepare(arguments, &silent).map(|prepared| prepared.with(Output::silent()));
                return end(&output, call.run(&output, &open));
            }
        }
        _ => {}
    }
    match prepare(arguments, &output) {
        Ok(prepared) => {
            let context = prepared.with(output);
            let outcome = command.run(&context);
            end(&context.output, outcome)
        }
        Err(error) => end(&output, Err(error)),
    }
}

/// What was read and begun for a command.
struct Prepared {
    configuration: Configuration,
    config_file: PathBuf,
    environment: Environment,
}

impl Prepared {
    fn with(self, output: Output) -> Context {
        let Self { configuration, config_file, environment } = self;
        Context { configuration, config_file, output, environment, zone: LocalZone::system() }
    }
}

/// The one command without configuration, user and log: it reads files that may be anybody's. What it prints is never one
/// document, so that errors go their own way in either format.
fn dump_wal(arguments: &Arguments, files: &wal_dump::Arguments) -> u8 {
    let output = Output::new(Format::Console, arguments.color, arguments.quiet, arguments.debug);
    let outcome = wal_dump::run(&output, files);
    end(&output, outcome)
}

/// What commands get that work on a restored directory, as whoever it belongs to: the configuration is read only if they need
/// it, and there is no log.
pub(crate) struct Surroundings<'a> {
    config: Option<&'a Path>,
}

impl Surroundings<'_> {
    /// Returns a configured server.
    ///
    /// # Errors
    /// There is no configuration, or it has no such server.
    pub(crate) fn server(&self, name: &str) -> Result<Server, CommandError> {
        let configuration = self.configuration()?;
        let config = configuration.servers.get(name).ok_or_else(|| unknown_server(name))?;
        Ok(Server::assemble(&configuration.global, config, &Environment::default(), LocalZone::system()))
    }

    /// Whether this process runs as the user who owns the backups.
    pub(crate) fn is_barman_user(&self) -> bool {
        self.configuration().is_ok_and(|configuration| os_user::is_user(&configuration.global.barman_user))
    }

    fn configuration(&self) -> Result<Configuration, CommandError> {
        Ok(Configuration::load(&find_configuration(self.config)?, &OsFiles)?)
    }
}

fn end(output: &Output, outcome: Result<(), CommandError>) -> u8 {
    if let Err(error) = outcome {
        error.report(output);
    }
    output.finish();
    output.exit_code()
}

fn prepare(arguments: &Arguments, output: &Output) -> Result<Prepared, CommandError> {
    let config_file = find_configuration(arguments.config.as_deref())?;
    let configuration = Configuration::load(&config_file, &OsFiles)?;
    let user = os_user::become_user(&configuration.global.barman_user)
        .map_err(|error| CommandError::from_error(&error).hinted("the option barman_user says who owns the backups"))?;
    start_log(arguments, &configuration.global, output);
    report_warnings(output, &configuration.warnings);
    if let Some(conflict) = configuration.conflicts.first() {
        return Err(CommandError::new(conflict.to_string()).hinted("give each directory to one server only"));
    }
    // Children read the same file, wherever they are started.
    let config_file = std::path::absolute(&config_file).unwrap_or(config_file);
    Ok(Prepared { configuration, config_file, environment: libpq_environment(&user) })
}

fn find_configuration(named: Option<&Path>) -> Result<PathBuf, CommandError> {
    let surroundings = barman_config::Environment {
        home: std::env::var_os("HOME").map(PathBuf::from),
        config_file: std::env::var_os("BARMAN_CONFIG_FILE").map(PathBuf::from),
    };
    Ok(barman_config::find(named, &surroundings, &OsFiles)?)
}

fn start_log(arguments: &Arguments, global: &GlobalConfig, output: &Output) {
    let configured = global.log_level.as_deref().unwrap_or("INFO");
    let level = arguments.log_level.as_deref().unwrap_or(configured);
    let known = logging::level_from_name(level);
    if let Err(error) = logging::start(global.log_file.as_deref(), known.unwrap_or(Level::INFO)) {
        output.warning(&one_line(&error));
    }
    if known.is_none() {
        output.warning(&format!("unknown log_level in config file: {level}"));
    }
}

/// Reads what libpq would take from this process, for the user that it has become.
fn libpq_environment(user: &User) -> Environment {
    Environment::from_variables(std::env::vars_os()).with_home(&user.dir).with_user(&user.name)
}
