//! Checks of the configuration itself, and of the directories it names.

use super::CheckReport;
use crate::{Server, one_line};
use barman_config::RetentionPolicy;

/// Every directory of the server can be created, or is there.
pub(super) fn directories(server: &Server, report: &mut CheckReport) {
    let problems = server.catalog().check_directories();
    if problems.is_empty() {
        return report.pass("directories");
    }
    let hints = problems.iter().map(|(path, error)| format!("{}: {}", path.display(), one_line(error)));
    report.fail("directories", hints.collect::<Vec<_>>().join("; "));
}

/// A retention policy, where one is set, could be read.
pub(super) fn retention_policy(server: &Server, report: &mut CheckReport) {
    const NAME: &str = "retention policy settings";
    match &server.config().retention_policy {
        RetentionPolicy::Invalid(_) => report.fail(NAME, "see log"),
        RetentionPolicy::Unset | RetentionPolicy::Policy(_) => report.pass(NAME),
    }
}

/// The client programs that Barman looks for. We have their protocol built in, for every version that we know, so these
/// pass by being here; monitoring expects the names.
pub(super) fn client_programs(server: &Server, report: &mut CheckReport) {
    if server.config().backup_method.is_postgres() {
        report.pass("pg_basebackup");
        report.pass("pg_basebackup compatible");
        report.pass("pg_basebackup supports tablespaces mapping");
    }
}

/// The name of the check that lists options which are set and not built.
pub(super) const UNBUILT: &str = "options not built yet";

/// What disables the server, and every option that is set but not built.
pub(super) fn problems(server: &Server, report: &mut CheckReport) {
    let config = server.config();
    if !config.disabled.is_empty() {
        report.fail("configuration", config.disabled.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    if !config.unsupported.is_empty() {
        let options = config.unsupported.iter().map(|option| format!("{} = {}", option.option, option.value));
        report.fail(UNBUILT, options.collect::<Vec<_>>().join("; "));
    }
}
