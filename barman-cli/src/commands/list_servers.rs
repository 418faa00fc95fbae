//! `list-servers`

use crate::context::Context;
use crate::error::CommandError;
use barman_config::ServerConfig;
use serde_json::json;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print the names only
    #[arg(long)]
    minimal: bool,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    for server in context.all_servers() {
        let description = description(server);
        context.output.result(
            &server.name,
            || json!({"description": description}),
            || if arguments.minimal { server.name.clone() } else { format!("{} - {description}", server.name) },
        );
    }
    Ok(())
}

/// Returns the description followed by the state that needs attention.
fn description(server: &ServerConfig) -> String {
    let state = if !server.disabled.is_empty() {
        " (WARNING: disabled)"
    } else if !server.active {
        " (inactive)"
    } else {
        ""
    };
    format!("{}{state}", server.description.as_deref().unwrap_or_default())
}
