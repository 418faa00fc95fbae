//! The `barman-wal-restore` command: WAL for a server in recovery, from the Barman of another host, over ssh.
//!
//! It stands alone: it reads no configuration, and all that it needs of Barman is `get-wal` at the other end, be that ours or
//! Barman's own.

mod call;
mod connection;
mod failure;
mod get_wal;
mod spool;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Fetch a WAL file from Barman, for use as restore_command
#[derive(Debug, Parser)]
#[command(name = "barman-wal-restore", disable_version_flag = true, args_override_self = true)]
#[allow(clippy::struct_excessive_bools)]
struct Arguments {
    /// Print the version and end
    #[arg(short = 'V', long)]
    version: bool,

    /// Become this user on Barman's host
    #[arg(short = 'U', long, value_name = "USER", default_value = "barman")]
    user: String,

    /// The port of Barman's ssh server
    #[arg(long)]
    port: Option<u16>,

    /// Wait so many seconds after a failure
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0)]
    sleep: u64,

    /// Fetch so many files at a time, those that follow into the spool
    #[arg(short, long, value_name = "JOBS", default_value_t = 0, conflicts_with = "feed")]
    parallel: usize,

    /// Where files wait that were fetched ahead
    #[arg(long, value_name = "DIR", default_value = "/var/tmp/walrestore")]
    spool_dir: PathBuf,

    /// Take an unfinished segment where there is no whole one
    #[arg(short = 'P', long)]
    partial: bool,

    /// Have the files compressed with gzip for the transfer
    #[arg(short = 'z', long, conflicts_with_all = ["bzip2", "keep_compression"])]
    gzip: bool,

    /// Have the files compressed with bzip2 for the transfer
    #[arg(short = 'j', long, conflicts_with = "keep_compression")]
    bzip2: bool,

    /// Transfer the files as they are stored, and decompress them here
    #[arg(long)]
    keep_compression: bool,

    /// The configuration file to read on Barman's host
    #[arg(short, long, value_name = "FILE")]
    config: Option<String>,

    /// Only test that WAL can be fetched
    #[arg(short, long)]
    test: bool,

    /// Fetch ahead what the server will ask for next; the exit status is 1 only if the archive does not have the file, and
    /// above 125 if it is not known
    #[arg(long)]
    feed: bool,

    /// With --feed: for how long to try again what fails
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    feed_patience: u64,

    /// Be the helper of such calls
    #[arg(long, hide = true, requires = "feed")]
    feed_helper: bool,

    /// Barman's host
    #[arg(required_unless_present = "version")]
    barman_host: Option<String>,

    /// The server, by Barman's name
    #[arg(required_unless_present = "version")]
    server_name: Option<String>,

    /// The file (%f)
    #[arg(required_unless_present = "version")]
    wal_name: Option<String>,

    /// Where to put it (%p)
    #[arg(required_unless_present = "version")]
    wal_dest: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        println!("barman-wal-restore 3.19.1 barman-rs {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match call::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("ERROR: {failure}");
            if arguments.sleep > 0 && !arguments.feed {
                std::thread::sleep(std::time::Duration::from_secs(arguments.sleep));
            }
            failure.exit_code().into()
        }
    }
}
