//! `wal-dump`: what records WAL files hold.

mod description;
mod input;
mod json;
mod selection;
mod statistics;
mod text;
mod walk;

use crate::error::CommandError;
use crate::output::Output;
use jiff::tz::TimeZone;
use selection::{ManagerName, Relation, Selection};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use wal_format::{Lsn, Record};
use walk::{Walker, WriteError};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print how many records there are of each resource manager, and how long they are
    #[arg(long)]
    stats: bool,

    /// Print one JSON object a line
    #[arg(long, conflicts_with = "stats")]
    json: bool,

    /// Begin with the first record from this position on
    #[arg(short, long, value_name = "LSN")]
    start: Option<Lsn>,

    /// End before the first record from this position on
    #[arg(short, long, value_name = "LSN")]
    end: Option<Lsn>,

    /// Only records of this resource manager; may be given several times
    #[arg(short, long, value_name = "NAME")]
    rmgr: Vec<ManagerName>,

    /// Only records of this transaction
    #[arg(short, long, value_name = "N")]
    xid: Option<u32>,

    /// Only records that refer to blocks of this relation, by the OID of its database and the number of its file
    #[arg(short = 'R', long, value_name = "DB/REL")]
    relation: Option<Relation>,

    /// WAL segments, plain or compressed; each that follows the one before it continues it
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Needs no configuration, and runs as whoever calls it: the files need not be Barman's.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<(), CommandError> {
    let mut printer = printer(arguments, BufWriter::with_capacity(1 << 17, io::stdout().lock()));
    let mut walker = Walker::new(output, selection(arguments), &mut *printer);
    let walked = walker.walk(&arguments.files).and_then(|()| printer.finish().map_err(WriteError));
    match walked {
        // Whoever reads has seen enough: `wal-dump … | head` is no error.
        Err(WriteError(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(format!("cannot write the records: {error}")))
        }
        _ => Ok(()),
    }
}

fn selection(arguments: &Arguments) -> Selection {
    let Arguments { start, end, rmgr, xid, relation, .. } = arguments;
    Selection { start: *start, end: *end, managers: rmgr.clone(), xid: *xid, relation: *relation }
}

/// What becomes of records.
trait Printer {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()>;

    /// Prints what can only be said at the end.
    fn finish(&mut self) -> io::Result<()>;
}

type Target = BufWriter<io::StdoutLock<'static>>;

fn printer(arguments: &Arguments, target: Target) -> Box<dyn Printer> {
    if arguments.stats {
        Box::new(statistics::Statistics::new(target))
    } else if arguments.json {
        Box::new(json::JsonLines::new(target))
    } else {
        Box::new(text::TextLines::new(target, TimeZone::system()))
    }
}

/// A buffer that is on its way out.
fn flush(target: &mut Target) -> io::Result<()> {
    target.flush()
}
