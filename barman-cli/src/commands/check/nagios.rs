//! `check --nagios`: one line with performance data, then one line a failed check.

use super::Checked;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

pub(super) fn report(context: &Context, checked: &[Checked<'_>]) -> Result<(), CommandError> {
    let (failed, passed): (Vec<_>, Vec<_>) = checked.iter().partition(|one| one.report.failed().next().is_some());
    // A server that nobody maintains raises no alarm by itself, but is told of beside one that does.
    let critical = failed.iter().any(|one| one.config.active);
    let headline = if critical { issues(&failed, checked.len()) } else { ready(&passed, &failed) };
    let told_of = if critical || !passed.is_empty() { checked } else { &[] };
    let performance: Vec<String> = told_of.iter().map(performance).collect();
    let separator = if performance.is_empty() { "" } else { "|" };
    context.output.info(&format!("{headline}{separator}{}", performance.join(" ")));
    if !critical {
        return Ok(());
    }
    for one in &failed {
        for result in one.report.failed() {
            let hint = if result.hint.is_empty() { String::new() } else { format!(" ({})", result.hint) };
            context.output.info(&format!("{}.{}: FAILED{hint}", one.config.name, result.name));
        }
    }
    context.output.set_exit_code(exit_code::USAGE);
    Ok(())
}

fn ready(passed: &[&Checked<'_>], ignored: &[&Checked<'_>]) -> String {
    let mut text = match passed {
        [] => "BARMAN OK - No server configured".to_owned(),
        [one] => format!("BARMAN OK - Ready to serve the Espresso backup for {}", one.config.name),
        many => {
            let names = many.iter().map(|one| format!(" * {}", one.config.name)).collect::<String>();
            format!("BARMAN OK - Ready to serve the Espresso backup for {} servers{names}", many.len())
        }
    };
    text.extend(ignored.iter().map(|one| format!(" * IGNORING: {}", one.config.name)));
    text
}

fn issues(critical: &[&Checked<'_>], total: usize) -> String {
    let who = match critical {
        [one] if total == 1 => format!("server {} has issues", one.config.name),
        _ => format!("{} server out of {total} have issues", critical.len()),
    };
    let failures = critical.iter().map(|one| {
        let names: Vec<&str> = one.report.failed().map(|result| result.name.as_str()).collect();
        format!(" * {} FAILED: {}", one.config.name, names.join(", "))
    });
    format!("BARMAN CRITICAL - {who}{}", failures.collect::<String>())
}

fn performance(checked: &Checked<'_>) -> String {
    let name = &checked.config.name;
    format!("{name}={}B {name}_wals={}B", checked.report.backup_bytes, checked.report.wal_bytes)
}
