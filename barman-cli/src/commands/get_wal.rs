//! `get-wal`

pub(crate) mod feed;

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::exit_code;
use barman_catalog::{ArchivedSegment, Encoding, Partial};
use barman_pitr::answer_session;
use barman_server::{ArchiveSource, Server};
use barman_storage::codec::{Compression, Format, Level};
use barman_storage::{Dir, OutFile, RelativePath};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
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

    /// Give the file to a server in recovery, at this path (%p), and fetch ahead what it will ask for next; the exit status
    /// is 1 only if the archive does not have it
    #[arg(long, value_name = "PATH", conflicts_with_all = ["output_directory", "gzip", "bzip2", "keep_compression", "peek", "test"])]
    feed: Option<PathBuf>,

    /// For how long to try again what fails
    #[arg(long, value_name = "SECONDS", requires = "feed", default_value_t = feed::PATIENCE_SECONDS)]
    feed_patience: u64,

    /// Be the helper of such calls
    #[arg(long, hide = true, requires = "feed")]
    feed_helper: bool,

    /// Send one file after the other, as `barman-wal-restore --feed` asks for them on standard input; WAL_NAME is ignored
    #[arg(long, conflicts_with_all = ["feed", "output_directory", "gzip", "bzip2", "keep_compression", "peek", "test"])]
    session: bool,

    /// The server
    server_name: String,

    /// The file: a segment, a history file or a backup label
    wal_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Refused)?;
    if arguments.test {
        context.output.info(&format!("Ready to retrieve WAL files from the server {}", server.name()));
        return Ok(());
    }
    if arguments.session {
        return answer_questions(server);
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
    let sending = Sending::of(&found, arguments)?;
    match &arguments.output_directory {
        Some(directory) => {
            let target = directory.join(name.to_string());
            let what = format!("Sending WAL '{name}' for server '{}' into '{}' file", server.name(), target.display());
            context.output.info(&what);
            write_file(sending, directory, &name)
        }
        None => send(sending, &name),
    }
}

/// Over ssh: who asks is another host's helper.
fn answer_questions(server: Server) -> Result<(), CommandError> {
    let source = ArchiveSource::new(server);
    let answered = binary_output().and_then(|output| {
        let mut answers = BufWriter::new(output);
        answer_session(&source, &mut io::stdin().lock(), &mut answers)
    });
    answered.map_err(|error| CommandError::from_error(&error).about("the session has ended"))
}

/// Standard output without the standard library's buffer, which would look for line breaks in WAL.
fn binary_output() -> io::Result<File> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

fn parse(name: &str) -> Result<WalFileName, CommandError> {
    name.parse().map_err(|_| {
        CommandError::new(format!("'{name}' is not a valid wal file name"))
            .hinted("expected 24 hexadecimal digits, or a history file such as 00000002.history")
            .exiting(exit_code::GET_WAL_USAGE)
    })
}

/// What is sent, and how.
struct Sending {
    contents: Box<dyn Read + Send>,
    compression: Option<Compression>,
}

impl Sending {
    fn of(found: &ArchivedSegment, arguments: &Arguments) -> Result<Self, CommandError> {
        let wanted = match arguments {
            Arguments { gzip: true, .. } => Some(Format::Gzip),
            Arguments { bzip2: true, .. } => Some(Format::Bzip2),
            _ => None,
        };
        let is_as_wanted = wanted.is_some_and(|format| found.encoding == Encoding::Compressed(format));
        if arguments.keep_compression || is_as_wanted {
            return Ok(Self { contents: Box::new(found.open()?), compression: None });
        }
        let compression = wanted.map(|format| Compression { algorithm: format.into(), level: Level::Medium });
        Ok(Self { contents: found.contents()?, compression })
    }

    fn write_to<W: Write>(mut self, mut target: W) -> io::Result<W> {
        match self.compression {
            Some(compression) => {
                let mut encoder = compression.encoder(target, None)?;
                copy_all(&mut self.contents, &mut encoder)?;
                encoder.finish()
            }
            None => {
                copy_all(&mut self.contents, &mut target)?;
                Ok(target)
            }
        }
    }
}

/// With a larger buffer than that of the standard library.
fn copy_all(source: &mut impl Read, target: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            length => target.write_all(&buffer[..length])?,
        }
    }
}

fn send(sending: Sending, name: &WalFileName) -> Result<(), CommandError> {
    let sent = binary_output().and_then(|output| sending.write_to(output));
    sent.map(drop).map_err(|error| CommandError::from_error(&error).about(&format!("cannot send {name}")))
}

/// Writes the file so that it is never seen half-written: a server that finds it may take it at once.
fn write_file(sending: Sending, directory: &std::path::Path, name: &WalFileName) -> Result<(), CommandError> {
    const MODE: u32 = 0o600;
    let fail =
        |error: &(dyn std::error::Error + 'static)| CommandError::from_error(error).exiting(exit_code::GET_WAL_USAGE);
    let target = RelativePath::new(name.to_string()).map_err(|error| fail(&error))?;
    let directory = Dir::open(directory).map_err(|error| fail(&error))?;
    let write = |out: &mut OutFile| match sending.write_to(FileWriter(out)) {
        Ok(_) => Ok(()),
        Err(error) => Err(CopyError::Copy(error)),
    };
    directory.publish_new(&target, MODE, write).map_err(|error| fail(&error))?;
    Ok(())
}

/// A file of a directory, for codecs.
struct FileWriter<'a>(&'a mut OutFile);

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes).map_err(|error| io::Error::new(error.kind(), error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why a WAL file could not be written.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("cannot copy the WAL file")]
    Copy(#[source] io::Error),
    #[error(transparent)]
    Publish(#[from] barman_storage::PublishError),
}
