//! `get-wal`

use super::unbuilt::UnbuiltOptions;
use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::exit_code;
use barman_catalog::{ArchivedSegment, Partial};
use barman_storage::{Dir, OutFile, RelativePath};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use wal_format::WalFileName;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Arguments {
    /// Write to a file of that name in this directory instead of standard output
    #[arg(short, long, value_name = "DIR")]
    output_directory: Option<PathBuf>,

    /// Take an unfinished segment where there is no whole one
    #[arg(short = 'P', long)]
    partial: bool,

    /// Compress with gzip
    #[arg(short = 'z', visible_short_alias = 'x', long)]
    gzip: bool,

    /// Compress with bzip2
    #[arg(short = 'j', long)]
    bzip2: bool,

    /// Send the file as it is stored
    #[arg(long, conflicts_with_all = ["gzip", "bzip2"])]
    keep_compression: bool,

    /// List the files that are there, this many at most, from this one on
    #[arg(short, long, value_name = "N")]
    peek: Option<usize>,

    /// Only test that WAL can be fetched
    #[arg(short, long)]
    test: bool,

    /// The server
    server_name: String,

    /// The file: a segment, a history file or a backup label
    wal_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    UnbuiltOptions::default().option("--gzip", arguments.gzip).option("--bzip2", arguments.bzip2).refuse()?;
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    if arguments.test {
        context.output.info(&format!("Ready to retrieve WAL files from the server {}", server.name()));
        return Ok(());
    }
    let name = parse(&arguments.wal_name)?;
    let partial = if arguments.partial { Partial::Include } else { Partial::Exclude };
    if let Some(limit) = arguments.peek {
        for name in server.peek_wal(&name, limit, partial)? {
            context.output.info(&name.to_string());
        }
        return Ok(());
    }
    let found = match arguments.keep_compression {
        true => server.get_wal_as_stored(&name, partial)?,
        false => server.get_wal(&name, partial)?,
    };
    match &arguments.output_directory {
        Some(directory) => {
            let target = directory.join(name.to_string());
            let what = format!("Sending WAL '{name}' for server '{}' into '{}' file", server.name(), target.display());
            context.output.info(&what);
            write_file(&found, directory, &name)
        }
        None => send(&found),
    }
}

fn parse(name: &str) -> Result<WalFileName, CommandError> {
    name.parse().map_err(|_| {
        CommandError::new(format!("'{name}' is not a valid wal file name"))
            .hinted("expected 24 hexadecimal digits, or a history file such as 00000002.history")
            .exiting(exit_code::GET_WAL_USAGE)
    })
}

fn send(found: &ArchivedSegment) -> Result<(), CommandError> {
    let mut file = found.open()?;
    let copied = io::copy(&mut file, &mut io::stdout().lock()).and_then(|_| io::stdout().flush());
    copied.map_err(|error| CommandError::new(format!("cannot send {}: {error}", found.name)))
}

/// Writes the file so that it is never seen half-written: a server that finds it may take it at once.
fn write_file(found: &ArchivedSegment, directory: &std::path::Path, name: &WalFileName) -> Result<(), CommandError> {
    const MODE: u32 = 0o600;
    let fail =
        |error: &(dyn std::error::Error + 'static)| CommandError::from_error(error).exiting(exit_code::GET_WAL_USAGE);
    let target = RelativePath::new(name.to_string()).map_err(|error| fail(&error))?;
    let directory = Dir::open(directory).map_err(|error| fail(&error))?;
    let mut source = found.open()?;
    let copy = |out: &mut OutFile| copy_to(&mut source, out);
    directory.publish_new(&target, MODE, copy).map_err(|error| fail(&error))?;
    Ok(())
}

fn copy_to(source: &mut impl Read, target: &mut OutFile) -> Result<(), CopyError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = source.read(&mut buffer).map_err(CopyError::Read)?;
        if length == 0 {
            return Ok(());
        }
        target.write_all(&buffer[..length])?;
    }
}

/// Why a WAL file could not be written.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("cannot read the WAL file")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Write(#[from] barman_storage::Error),
    #[error(transparent)]
    Publish(#[from] barman_storage::PublishError),
}
