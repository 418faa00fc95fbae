//! What an operator is told after a restore.

use crate::context::Context;
use crate::output::time::unix_seconds;
use barman_catalog::BackupTime;
use barman_pitr::{RestorePlan, RestoreReport, RestoreRequest, WalSupply};
use barman_server::human;
use serde_json::{Value, json};
use std::time::Instant;
use wal_format::Timestamp;

pub(super) fn show(
    context: &Context,
    plan: &RestorePlan,
    request: &RestoreRequest,
    report: &RestoreReport,
    (start, clock): (Timestamp, Instant),
) {
    let elapsed = clock.elapsed();
    let uses_get_wal = matches!(request.wal, WalSupply::GetWal { .. });
    let file = plan.configuration.file.as_path().display().to_string();
    let start_time = BackupTime::utc(start).to_string();
    context.output.console_only(&text(report, uses_get_wal.then_some(file.as_str())));
    context.output.console_only(&format!(
        "\nRestore operation completed (start time: {start_time}, elapsed time: {})\n\
         Your PostgreSQL server has been successfully prepared for recovery!",
        human::duration(elapsed)
    ));
    for (key, value) in json(report) {
        context.output.json_only(key, value);
    }
    context.output.json_only("recovery_start_time", json!(start_time));
    context.output.json_only("recovery_start_time_timestamp", json!(unix_seconds(start)));
    context.output.json_only("recovery_elapsed_time", json!(human::duration(elapsed)));
    context.output.json_only("recovery_elapsed_time_seconds", json!(elapsed.as_secs_f64()));
    for warning in json_warnings(report, uses_get_wal) {
        context.output.json_warning(&warning);
    }
}

fn text(report: &RestoreReport, get_wal_file: Option<&str>) -> String {
    let mut text = String::new();
    if !report.changes.is_empty() {
        text.push_str("\nIMPORTANT\nThese settings have been modified to prevent data losses\n\n");
        for change in &report.changes {
            let value = change.value.as_deref().unwrap_or("None");
            text.push_str(&format!("{} line {}: {} = {value}\n", change.file, change.line, change.key));
        }
    }
    if !report.dangerous.is_empty() {
        text.push_str("\nWARNING\nYou are required to review the following options as potentially dangerous\n\n");
        for setting in &report.dangerous {
            text.push_str(&format!("{} line {}: {} = {}\n", setting.file, setting.line, setting.key, setting.value));
        }
    }
    if !report.missing_files.is_empty() {
        text.push_str(
            "\nWARNING\nThe following configuration files have not been saved during backup, hence they \
                       have not been restored.\nYou need to manually restore them in order to start the recovered \
                       PostgreSQL instance:\n\n",
        );
        text.extend(report.missing_files.iter().map(|file| format!("    {file}\n")));
    }
    if let Some(file) = get_wal_file {
        text.push_str(&format!(
            "\nWARNING: 'get-wal' is in the specified 'recovery_options'.\n\
             Before you start up the PostgreSQL server, please review the {file} file\n\
             inside the target directory. Make sure that 'restore_command' can be executed by the PostgreSQL user.\n"
        ));
    }
    text
}

fn json(report: &RestoreReport) -> [(&'static str, Value); 5] {
    let changes: Vec<Value> =
        report.changes.iter().map(|one| json!([one.file, one.line, one.key, one.value])).collect();
    let warnings: Vec<Value> =
        report.dangerous.iter().map(|one| json!([one.file, one.line, one.key, one.value])).collect();
    [
        ("changes_count", json!(changes.len())),
        ("changes", Value::Array(changes)),
        ("warnings_count", json!(warnings.len())),
        ("warnings", Value::Array(warnings)),
        ("missing_files", json!(report.missing_files)),
    ]
}

/// Barman's JSON has its own wording of what the terminal shows in blocks.
fn json_warnings(report: &RestoreReport, uses_get_wal: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.dangerous.is_empty() {
        warnings.push(
            "WARNING! You are required to review the options as potentially dangerous. See 'warnings' key.".to_owned(),
        );
    }
    if uses_get_wal {
        warnings.push(
            "WARNING: 'get-wal' is in the specified 'recovery_options'. Before you start up the PostgreSQL server, \
             please review the recovery configuration inside the target directory. Make sure that 'restore_command' \
             can be executed by the PostgreSQL user."
                .to_owned(),
        );
    }
    warnings
}
