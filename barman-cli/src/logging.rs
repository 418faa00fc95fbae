//! Barman's log: one line an event, in the file that `log_file` names or on standard error.

use jiff::Zoned;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The log file could not be opened; messages go to standard error instead.
#[derive(Debug, thiserror::Error)]
#[error("cannot open log file '{}': {source}", path.display())]
pub(crate) struct LogFileError {
    path: PathBuf,
    source: io::Error,
}

/// Starts logging to `file`, or to standard error where there is none or it cannot be opened.
///
/// # Errors
/// The file could not be opened. Logging works all the same.
pub(crate) fn start(file: Option<&Path>, level: Level) -> Result<(), LogFileError> {
    match file.map(open) {
        Some(Ok(opened)) => {
            install(level, Mutex::new(opened));
            Ok(())
        }
        Some(Err(error)) => {
            install(level, io::stderr);
            Err(error)
        }
        None => {
            install(level, io::stderr);
            Ok(())
        }
    }
}

/// Returns the level that `log_level` or `--log-level` names: a word of Python's logging module, or its number.
pub(crate) fn level_from_name(name: &str) -> Option<Level> {
    match name.to_ascii_uppercase().as_str() {
        "NOTSET" | "DEBUG" | "0" | "10" => Some(Level::DEBUG),
        "INFO" | "20" => Some(Level::INFO),
        "WARNING" | "WARN" | "30" => Some(Level::WARN),
        "ERROR" | "CRITICAL" | "FATAL" | "40" | "50" => Some(Level::ERROR),
        _ => None,
    }
}

// The log is not part of the catalog and nothing depends on its durability, so it does not go through `Dir`.
#[allow(clippy::disallowed_methods)]
fn open(path: &Path) -> Result<File, LogFileError> {
    if let Some(parent) = path.parent() {
        // Where this fails, opening the file says why.
        let _ = std::fs::create_dir_all(parent);
    }
    let options = File::options().create(true).append(true).to_owned();
    options.open(path).map_err(|source| LogFileError { path: path.to_owned(), source })
}

fn install<W>(level: Level, writer: W)
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let subscriber = tracing_subscriber::fmt().with_max_level(level).event_format(BarmanFormat).with_writer(writer);
    // Only a second start in one process could fail, and `main` starts logging once.
    let _ = subscriber.try_init();
}

/// `2026-11-20 18:37:18,983 [11006] barman.server ERROR: message`
struct BarmanFormat;

impl<S, N> FormatEvent<S, N> for BarmanFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string();
        let name = event.metadata().target().replace("::", ".");
        let level = level_name(*event.metadata().level());
        write!(writer, "{time} [{}] {name} {level}: ", std::process::id())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}
