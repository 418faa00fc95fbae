//! `recovery-window`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use crate::output::window;
use barman_catalog::BackupId;
use barman_retention::RecoveryWindow;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    context.for_each_server(&arguments.server_name, Inactive::Included, |name| {
        let window = context.server(name)?.recovery_window(context.now())?;
        context.output.result(name, || window::json(&window), || text_of(name, &window));
        Ok(())
    })
}

fn text_of(server: &str, window: &RecoveryWindow<BackupId>) -> String {
    let mut lines = vec![match window.intervals.is_empty() {
        true => format!("Server {server}: nothing can be recovered"),
        false => format!("Server {server} can be recovered to any point"),
    }];
    lines.extend(window::lines(window));
    lines.join("\n")
}
