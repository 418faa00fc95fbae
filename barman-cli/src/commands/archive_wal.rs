//! `archive-wal`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use crate::exit_code;
use barman_catalog::{IngestEvent, WalSource};
use barman_server::{Error, Server, one_line};
use barman_storage::Cancel;
use std::time::Duration;
use wal_format::WalFileName;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take the cluster that the server is now for the one whose WAL belongs here: after pg_upgrade, or a new initdb
    #[arg(long)]
    accept_new_system: bool,

    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    context.for_each_server(&arguments.server_name, Inactive::Skipped, |name| {
        if arguments.accept_new_system {
            accept_new_system(context, name)?;
        }
        archive(context, name)
    })
}

fn accept_new_system(context: &Context, name: &str) -> Result<(), CommandError> {
    let server = context.server(name)?;
    let (before, now) = context.block_on(server.accept_new_system())??;
    match before {
        Some(before) if before == now => context.output.info(&format!("Server {name} is cluster {now}, as before")),
        Some(before) => {
            context.output.info(&format!("Server {name} is cluster {now} from now on, and was cluster {before}"));
            context.output.warning("Take a backup now: what is archived from now on cannot be replayed on older ones");
        }
        None => context.output.info(&format!("Server {name} is cluster {now}")),
    }
    Ok(())
}

fn archive(context: &Context, name: &str) -> Result<(), CommandError> {
    let server = context.server(name)?;
    let connected = super::put_wal::cluster(context, &server)?;
    let mut report = IngestReport::new(context, name, Verbosity::Everything);
    match server.archive_wal(connected, context.now(), &Cancel::new(), &mut |event| report.event(&event)) {
        Err(Error::Busy { .. }) => {
            let skipped = "Another archive-wal process is already running on server";
            context.output.info(&format!("{skipped} {name}. Skipping to the next server"));
        }
        archived => archived?,
    }
    report.end();
    Ok(())
}

/// Archives until the file is in the archive, and says what was archived meanwhile.
pub(super) fn wait_for(
    context: &Context,
    server: &Server,
    file: &WalFileName,
    timeout: Option<Duration>,
) -> Result<(), CommandError> {
    let name = server.name();
    context.output.info(&waiting(file, name, timeout));
    let mut report = IngestReport::new(context, name, Verbosity::OnlyArchived);
    let cancel = Cancel::new();
    let clock = || context.now();
    let mut events = |event: IngestEvent<'_>| report.event(&event);
    let wait = server.wait_for_wal(file, timeout, &clock, &cancel, &mut events);
    Ok(context.block_on_until_signal(&cancel, wait)??)
}

/// Returns what is said before waiting for a WAL file.
pub(super) fn waiting(file: &WalFileName, server: &str, timeout: Option<Duration>) -> String {
    let limit = timeout.map(|timeout| format!(" (max: {} seconds)", timeout.as_secs())).unwrap_or_default();
    format!("Waiting for the WAL file {file} from server '{server}'{limit}")
}

/// How much a run of the archiver says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// Also that there was nothing to do.
    Everything,
    /// Only what was archived: while one waits, the same nothing would be said again and again.
    OnlyArchived,
}

/// Says what a run of the archiver does.
pub(super) struct IngestReport<'a> {
    context: &'a Context,
    server: &'a str,
    verbosity: Verbosity,
    /// The heading of the present directory, until it has been printed.
    heading: Option<String>,
}

impl<'a> IngestReport<'a> {
    pub(super) fn new(context: &'a Context, server: &'a str, verbosity: Verbosity) -> Self {
        Self { context, server, verbosity, heading: None }
    }

    pub(super) fn event(&mut self, event: &IngestEvent<'_>) {
        match event {
            IngestEvent::Started { source, files, candidates } => self.start(*source, *files, *candidates),
            IngestEvent::File { name, .. } => self.line(&format!("\t{name}")),
            IngestEvent::Unverified(name, reason) => {
                self.context.output.warning(&format!("{name} is archived unverified: {}", one_line(reason)));
            }
            // Both are archived, and no state needs a human; but the log has them as errors, and `check` fails.
            IngestEvent::Damaged { name, at, what } => {
                let place = format!("WAL at {at} cannot be believed: {what}");
                self.alarm(&format!("{name} is archived with damage in it: {place}"));
            }
            IngestEvent::Gap(gap) => self.alarm(&gap.to_string()),
            IngestEvent::Refused { name, reason, .. } => {
                let message = one_line(reason);
                self.context.output.set_exit_code(exit_code::FAILURE);
                self.line(&format!(
                    "\tError: {name} of server {}: {message}. File moved to errors directory.",
                    self.server
                ));
                if let Some(expected) = reason.expected_system() {
                    self.context.output.hint(&super::put_wal::new_system(self.server, &expected.to_string()));
                }
            }
            IngestEvent::Unreadable { error, .. } => {
                self.context.output.set_exit_code(exit_code::FAILURE);
                self.line(&format!("\tError: {}. It stays where it is.", one_line(*error)));
            }
            IngestEvent::Unknown(names) => self.unknown(names),
            IngestEvent::Stopped(name) => {
                self.context.output.warning(&format!("a hook stopped archiving before {name}"));
            }
            _ => {}
        }
    }

    /// Says that the last directory held nothing, if that is so.
    fn end(&mut self) {
        if let Some(heading) = self.heading.take()
            && self.verbosity == Verbosity::Everything
        {
            self.context.output.info(&heading);
            self.context.output.info("\tno file found");
        }
    }

    fn start(&mut self, source: WalSource, files: usize, candidates: usize) {
        self.end();
        let batch = if candidates > files && files > 0 { format!(" (batch size: {files})") } else { String::new() };
        self.heading = Some(format!("Processing xlog segments from {source} for {}{batch}", self.server));
    }

    fn alarm(&self, message: &str) {
        tracing::error!(target: "barman.wal_archiver", "{}: {message}", self.server);
        self.context.output.warning(&format!("{}: {message}", self.server));
    }

    fn line(&mut self, line: &str) {
        if let Some(heading) = self.heading.take() {
            self.context.output.info(&heading);
        }
        self.context.output.info(line);
    }

    fn unknown(&mut self, names: &[std::ffi::OsString]) {
        self.end();
        let what = "Some unknown objects have been found while processing xlog segments for";
        self.context.output.info(&format!("{what} {}. Objects moved to errors directory:", self.server));
        for name in names {
            self.context.output.info(&format!("\t{}", name.to_string_lossy()));
        }
    }
}
