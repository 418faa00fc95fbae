//! `check-wal-archive`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use serde_json::json;
use wal_format::TimelineId;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The earliest timeline of which nothing may be archived; without it, nothing at all may be
    #[arg(long, value_parser = timeline)]
    timeline: Option<TimelineId>,
}

fn timeline(text: &str) -> Result<TimelineId, String> {
    let number: u32 = text.parse().map_err(|_| format!("'{text}' is not a valid input"))?;
    TimelineId::new(number).ok_or_else(|| format!("'{text}' is not a valid positive integer"))
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let name = &arguments.server_name;
    let server = context.single_server(name, Disabled::Refused)?;
    let found = server.count_archived_from(arguments.timeline)?;
    context.output.console_only(&format!("Server {name}:"));
    if found == 0 {
        let passed = format!("WAL archive check for server {name} passed");
        context.output.result(name, || json!(passed), || format!(" - {passed}"));
        return Ok(());
    }
    context.output.result(name, || json!({}), String::new);
    let why = match arguments.timeline {
        Some(timeline) => format!("Found {found} files in WAL archive equal to or newer than timeline {timeline}"),
        None => "Expected empty archive".to_owned(),
    };
    context.output.error(&format!("WAL archive check failed for server {name}: {why}"));
    Ok(())
}
