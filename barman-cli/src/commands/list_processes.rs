//! `list-processes`

use crate::context::Context;
use crate::error::CommandError;
use barman_server::Process;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let Some(server) = context.single_active_server(&arguments.server_name)? else { return Ok(()) };
    let processes = server.processes()?;
    context.output.result(server.name(), || json(&processes), || text(server.name(), &processes));
    Ok(())
}

fn json(processes: &[Process]) -> Value {
    processes.iter().map(|process| json!({"name": process.task, "pid": process.pid})).collect()
}

fn text(server: &str, processes: &[Process]) -> String {
    if processes.is_empty() {
        return format!("No active subprocesses found for server {server}.");
    }
    let lines: String = processes.iter().map(|process| format!("\n{} {}", process.pid, process.task)).collect();
    format!("Active subprocesses for server {server}:{lines}")
}
