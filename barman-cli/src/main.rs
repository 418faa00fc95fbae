//! The `barman` command: arguments in, one call into the libraries, text or JSON and an exit status out.
//!
//! A subcommand is one file in `commands`; `output` writes what it says; `error` is how it fails.

mod commands;
mod context;
mod detached;
mod error;
mod exit_code;
mod failure;
mod logging;
mod moment;
mod os_user;
mod output;
mod progress;
mod stand_in;
mod start_up;
mod usage;

use clap::{CommandFactory, Parser};
use commands::Command;
use output::{Colour, Format};
use std::path::PathBuf;
use std::process::ExitCode;

/// Backup and recovery manager for PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "barman", disable_version_flag = true, infer_long_args = true, args_override_self = true)]
struct Arguments {
    /// Print the version and end
    #[arg(short = 'v', long)]
    version: bool,

    /// Read this configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// When to use colours
    #[arg(long, visible_alias = "colour", value_enum, default_value = "auto")]
    color: Colour,

    /// Log from this level on, whatever `log_level` says
    #[arg(long, value_name = "LEVEL", value_parser = ["NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])]
    log_level: Option<String>,

    /// Print errors and warnings only
    #[arg(short, long)]
    quiet: bool,

    /// Print details
    #[arg(short, long)]
    debug: bool,

    /// How to write results
    #[arg(short, long, value_enum, default_value = "console")]
    format: Format,

    /// Leave the terminal's session first; `cron` starts its children so
    #[arg(long, hide = true)]
    detached: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    // Before anything takes memory: there may be many of these.
    if stand_in::stood_in() {
        return ExitCode::from(exit_code::SUCCESS);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error).into(),
    };
    if arguments.detached {
        detached::leave_session();
    }
    match &arguments.command {
        _ if arguments.version => print_version(),
        Some(command) => return start_up::run(&arguments, command).into(),
        None => print_help(),
    }
    ExitCode::from(exit_code::SUCCESS)
}

/// The first word is the version of Barman whose language this program speaks: scripts compare it.
fn print_version() {
    println!("3.19.1 barman-rs {}, compatible with Barman 3.19.1", env!("CARGO_PKG_VERSION"));
}

fn print_help() {
    // Only a closed pipe makes this fail, and then nobody reads it.
    let _ = Arguments::command().print_help();
}
