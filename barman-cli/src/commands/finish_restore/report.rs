//! What `finish-restore` says.

use crate::output::Output;
use barman_pitr::{FinishPlan, LineAction, LineChange};
use serde_json::{Value, json};

pub(super) fn show(output: &Output, plan: &FinishPlan, is_dry_run: bool) {
    output.console_only(&text(plan, is_dry_run).join("\n"));
    for (key, value) in json(plan, is_dry_run) {
        output.json_only(key, value);
    }
}

fn text(plan: &FinishPlan, is_dry_run: bool) -> Vec<String> {
    let destination = plan.destination.display();
    let mut lines = vec![match (plan.is_done(), is_dry_run) {
        (true, _) => format!("Nothing of the recovery is left in {destination}"),
        (false, true) => format!("This would go from {destination}; nothing was changed"),
        (false, false) => format!("Recovery in {destination} is finished, on timeline {}", plan.timeline),
    }];
    lines.extend(plan.changes().map(line_text));
    lines.extend(plan.removed.iter().map(|path| format!("  {path}: removed")));
    lines.extend(plan.removed_staging.iter().map(|path| format!("  {}: removed", path.display())));
    if plan.archives_nothing {
        lines.push("The server archives nothing: --archive gives its archive settings back".to_owned());
    }
    if !is_dry_run && plan.changes().any(|change| change.action.is_change()) {
        lines.push("If the server runs, tell it: select pg_reload_conf()".to_owned());
    }
    lines
}

fn line_text(change: &LineChange) -> String {
    let what = match change.action {
        LineAction::Removed => "removed",
        LineAction::Restored => "again",
        LineAction::Commented => "now",
        LineAction::Noted => "noted",
        LineAction::Left => "left, as the restore did not write it",
    };
    format!("  {} line {}: {what}: {}", change.file, change.line, change.text)
}

fn json(plan: &FinishPlan, is_dry_run: bool) -> [(&'static str, Value); 7] {
    let staging = plan.removed_staging.iter().map(|path| json!(path));
    let removed = plan.removed.iter().map(|path| json!(path.as_path())).chain(staging);
    [
        ("destination", json!(plan.destination)),
        ("dry_run", json!(is_dry_run)),
        ("timeline", json!(plan.timeline.get())),
        ("server_name", json!(plan.server)),
        ("lines", json!(plan.changes().collect::<Vec<_>>())),
        ("removed", removed.collect()),
        ("archives_nothing", json!(plan.archives_nothing)),
    ]
}
