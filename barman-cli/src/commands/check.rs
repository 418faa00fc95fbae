//! `check`

mod nagios;

use crate::context::{Context, Disabled, Inactive};
use crate::error::CommandError;
use crate::exit_code;
use barman_config::ServerConfig;
use barman_server::{CheckReport, Error};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,

    /// Print one line for Nagios, and exit as its plugins do
    #[arg(long)]
    nagios: bool,

    /// How long the checks of one server may take, in seconds; 0 for as long as they need
    #[arg(long, value_name = "SECONDS")]
    check_timeout: Option<u64>,
}

/// What was found out about one server.
struct Checked<'a> {
    config: &'a ServerConfig,
    report: CheckReport,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let mut checked = Vec::new();
    for config in context.select(&arguments.server_name, Inactive::Included, Disabled::Included)? {
        // A server that cannot even be looked at must not hide the others.
        match check(context, config, arguments) {
            Ok(one) => checked.push(one),
            Err(error) => error.report(&context.output),
        }
    }
    if arguments.nagios {
        return nagios::report(context, &checked);
    }
    for one in &checked {
        report(context, one);
    }
    Ok(())
}

fn check<'a>(context: &Context, config: &'a ServerConfig, arguments: &Arguments) -> Result<Checked<'a>, CommandError> {
    let server = context.server(&config.name)?;
    let timeout = match arguments.check_timeout {
        Some(seconds) => (seconds > 0).then(|| Duration::from_secs(seconds)),
        None => config.check_timeout,
    };
    let report = context.block_on(async { Ok::<_, Error>(server.check(timeout, context.now()).await) })??;
    Ok(Checked { config, report })
}

fn report(context: &Context, checked: &Checked<'_>) {
    if checked.config.active && checked.report.failed().next().is_some() {
        context.output.set_exit_code(exit_code::FAILURE);
    }
    context.output.result(&checked.config.name, || json_of(&checked.report), || text_of(context, checked));
}

fn text_of(context: &Context, checked: &Checked<'_>) -> String {
    let mut text = format!("Server {}{}:\n", checked.config.name, state(checked.config));
    for result in &checked.report.results {
        // Writing to a string cannot fail.
        let _ = write!(text, "\t{}: {}", result.name, context.output.outcome(result.passed));
        let _ = match result.hint.is_empty() {
            true => writeln!(text),
            false => writeln!(text, " ({})", result.hint),
        };
    }
    text
}

fn state(config: &ServerConfig) -> &'static str {
    if !config.disabled.is_empty() {
        " (WARNING: disabled)"
    } else if !config.active {
        " (inactive)"
    } else {
        ""
    }
}

fn json_of(report: &CheckReport) -> Value {
    let results = report.results.iter().map(|result| {
        let status = if result.passed { "OK" } else { "FAILED" };
        (key(&result.name), json!({"hint": result.hint, "status": status}))
    });
    Value::Object(results.collect::<Map<_, _>>())
}

/// Returns the key under which monitoring finds a check: `receive-wal running` is `receive_wal_running`.
fn key(name: &str) -> String {
    name.to_lowercase().replace([' ', '-'], "_").replace('.', "")
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn keys_are_those_that_monitoring_knows() {
        assert_eq!(key("PostgreSQL"), "postgresql");
        assert_eq!(key("receive-wal running"), "receive_wal_running");
        assert_eq!(key("replication slot"), "replication_slot");
    }
}
