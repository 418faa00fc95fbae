//! The settings that tell a restored server how to recover, in Barman's order and form.

use std::path::Path;

use crate::request::WalFetch;
use crate::target::{RecoveryTarget, StopPoint};

/// Where the recovering server gets its WAL from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestoreCommand {
    /// It asks Barman for each segment (`--get-wal`).
    Fetch {
        /// By which way.
        fetch: WalFetch,
        /// Barman's name of the server.
        server: String,
        /// Whether it starts as a standby. That would take an incomplete segment for the end of WAL and not look at it
        /// again, so it gets none; and what fails for now it tries again by itself.
        standby: bool,
    },
    /// From a directory that the restore fills and the end of recovery removes.
    Staged {
        /// That directory, in UTF-8.
        directory: String,
    },
}

/// What makes PostgreSQL recover from an archive instead of from its own `pg_wal` alone; since version 12 an empty file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `recovery.signal`: recover to the target, then act on it.
    Recovery,
    /// `standby.signal`: recover, and then go on following.
    Standby,
}

impl Signal {
    /// Returns the name of its file in the data directory.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Recovery => "recovery.signal",
            Self::Standby => "standby.signal",
        }
    }
}

/// Returns the lines to append to the configuration.
pub(crate) fn recovery_settings(command: Option<&RestoreCommand>, target: &RecoveryTarget) -> String {
    let mut lines = Vec::new();
    match command {
        Some(RestoreCommand::Fetch { fetch, server, standby }) => lines.extend(fetch_lines(fetch, server, *standby)),
        Some(RestoreCommand::Staged { directory }) => {
            let directory = shell_word(directory);
            lines.push(setting("restore_command", &format!("cp {directory}/%f %p")));
            lines.push(setting("recovery_end_command", &format!("rm -fr {directory}")));
        }
        None => {}
    }
    lines.extend(target_lines(target));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// PostgreSQL takes every exit status up to 125 for the end of WAL, ends recovery there and promotes (`RestoreArchivedFile`
/// in xlogarchive.c). With `--feed` our commands end with 1 only when the archive is known not to have the file; but Barman's
/// own commands of that name end with 2, not knowing the option.
const ABORT_UNLESS_MISSING: &str = " || exit $(($? == 1 ? 1 : 255))";

fn fetch_lines(fetch: &WalFetch, server: &str, standby: bool) -> Vec<String> {
    let partial = if standby { "" } else { "-P " };
    let abort = if standby { "" } else { ABORT_UNLESS_MISSING };
    let server = shell_word(server);
    let (remark, command) = match fetch {
        WalFetch::Local { user } => (
            Some(format!("# The 'barman get-wal' command must run as '{user}' user")),
            format!("barman get-wal --feed %p {partial}{server} %f{abort}"),
        ),
        WalFetch::Remote { host, user, port } => {
            let port = port.map(|port| format!("--port {port} ")).unwrap_or_default();
            let (user, host) = (shell_word(user), shell_word(host));
            (
                Some("# The 'barman-wal-restore' command is provided in the 'barman-cli' package".to_owned()),
                format!("barman-wal-restore --feed {partial}-U {user} {port}{host} {server} %f %p{abort}"),
            )
        }
        WalFetch::Command(command) => (None, command.clone()),
    };
    remark.into_iter().chain([setting("restore_command", &command)]).collect()
}

fn target_lines(target: &RecoveryTarget) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(target.stop.as_ref().map(|stop| match stop {
        StopPoint::Time(time) => setting("recovery_target_time", &time.to_string()),
        StopPoint::Xid(xid) => setting("recovery_target_xid", &xid.to_string()),
        StopPoint::Lsn(lsn) => setting("recovery_target_lsn", &lsn.to_string()),
        StopPoint::Name(name) => setting("recovery_target_name", name.as_str()),
        StopPoint::Immediate => setting("recovery_target", "immediate"),
    }));
    if target.has_exclusive_stop() {
        lines.push(setting("recovery_target_inclusive", "False"));
    }
    lines.extend(target.timeline.map(|timeline| format!("recovery_target_timeline = {timeline}")));
    lines.extend(target.action.map(|action| setting("recovery_target_action", &action.to_string())));
    lines
}

/// Returns one setting, its value quoted as PostgreSQL's `guc-file.l` reads it back.
fn setting(key: &str, value: &str) -> String {
    let quoted = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
    format!("{key} = '{quoted}'")
}

/// Returns the text as one word of a shell command in which PostgreSQL replaces what follows a `%`.
fn shell_word(text: &str) -> String {
    shell_words::quote(text).replace('%', "%%")
}

/// Returns the path as text that can stand in a configuration file and in a shell command.
pub(crate) fn as_plain_text(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| !text.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TargetTime, TimelineChoice};
    use barman_catalog::LocalZone;

    fn staged(directory: &str) -> RestoreCommand {
        RestoreCommand::Staged { directory: directory.to_owned() }
    }

    fn fetched(fetch: WalFetch, standby: bool) -> String {
        let command = RestoreCommand::Fetch { fetch, server: "main".to_owned(), standby };
        recovery_settings(Some(&command), &RecoveryTarget::default())
    }

    fn stop(stop: StopPoint) -> RecoveryTarget {
        RecoveryTarget { stop: Some(stop), ..RecoveryTarget::default() }
    }

    fn time(text: &str) -> StopPoint {
        StopPoint::Time(TargetTime::parse(text, &LocalZone::UTC).unwrap())
    }

    /// The texts were written by Barman 3.19.1.
    #[test]
    fn are_what_barman_writes() {
        let exclusive = RecoveryTarget {
            exclusive: true,
            action: Some("promote".parse().unwrap()),
            ..stop(time("2026-11-20 18:39:13"))
        };
        let name = RecoveryTarget { exclusive: true, ..stop(StopPoint::Name("rp1".parse().unwrap())) };
        let timeline = |choice| RecoveryTarget { timeline: Some(choice), ..RecoveryTarget::default() };
        let pause = RecoveryTarget { action: Some("pause".parse().unwrap()), ..stop(StopPoint::Immediate) };
        let staged_lines = "restore_command = 'cp /srv/r/barman_wal/%f %p'\n\
                            recovery_end_command = 'rm -fr /srv/r/barman_wal'\n";
        for (target, lines) in [
            (stop(time("2026-11-20 18:39:13")), "recovery_target_time = '2026-11-20 18:39:13+00:00'\n"),
            (
                exclusive,
                "recovery_target_time = '2026-11-20 18:39:13+00:00'\n\
                 recovery_target_inclusive = 'False'\n\
                 recovery_target_action = 'promote'\n",
            ),
            (stop(StopPoint::Xid("740".parse().unwrap())), "recovery_target_xid = '740'\n"),
            (name, "recovery_target_name = 'rp1'\n"),
            (pause, "recovery_target = 'immediate'\nrecovery_target_action = 'pause'\n"),
            (timeline(TimelineChoice::Current), "recovery_target_timeline = current\n"),
            (timeline(TimelineChoice::Latest), "recovery_target_timeline = latest\n"),
            (timeline("1".parse().unwrap()), "recovery_target_timeline = 1\n"),
        ] {
            let expected = format!("{staged_lines}{lines}");
            assert_eq!(recovery_settings(Some(&staged("/srv/r/barman_wal")), &target), expected);
        }
    }

    #[test]
    fn abort_a_recovery_that_cannot_fetch_and_leave_out_partial_segments_for_a_standby() {
        let remote = |port| WalFetch::Remote { host: "backup".to_owned(), user: "barman".to_owned(), port };
        let user = "# The 'barman get-wal' command must run as 'barman' user\n";
        let package = "# The 'barman-wal-restore' command is provided in the 'barman-cli' package\n";
        let abort = "|| exit $(($? == 1 ? 1 : 255))";
        for (fetch, standby, remark, command) in [
            (WalFetch::local("barman"), false, user, format!("barman get-wal --feed %p -P main %f {abort}")),
            (WalFetch::local("barman"), true, user, "barman get-wal --feed %p main %f".to_owned()),
            (remote(None), false, package, format!("barman-wal-restore --feed -P -U barman backup main %f %p {abort}")),
            (
                remote(Some(2222)),
                true,
                package,
                "barman-wal-restore --feed -U barman --port 2222 backup main %f %p".to_owned(),
            ),
            (WalFetch::Command("fetch it %f %p".to_owned()), false, "", "fetch it %f %p".to_owned()),
        ] {
            assert_eq!(fetched(fetch, standby), format!("{remark}restore_command = '{command}'\n"));
        }
        assert_eq!(recovery_settings(None, &RecoveryTarget::default()), "");
    }

    /// Barman writes these as they are, and PostgreSQL then stops at a syntax error or runs another command.
    #[test]
    fn quote_what_the_shell_or_postgresql_would_misread() {
        let text =
            recovery_settings(Some(&staged("/srv/it's 5% \\")), &stop(StopPoint::Name("a'b\\".parse().unwrap())));
        assert_eq!(
            text,
            "restore_command = 'cp ''/srv/it''\\\\''''s 5%% \\\\''/%f %p'\n\
             recovery_end_command = 'rm -fr ''/srv/it''\\\\''''s 5%% \\\\'''\n\
             recovery_target_name = 'a''b\\\\'\n"
        );
    }

    #[test]
    fn a_path_with_a_line_break_cannot_be_written() {
        assert_eq!(as_plain_text(Path::new("/srv/a b")), Some("/srv/a b"));
        assert_eq!(as_plain_text(Path::new("/srv/a\nb")), None);
    }
}
