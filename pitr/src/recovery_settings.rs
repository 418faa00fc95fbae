//! The settings that tell a restored server how to recover, in Barman's order and form.

use std::path::Path;

use crate::target::{RecoveryTarget, StopPoint};

/// Where the recovering server gets its WAL from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestoreCommand {
    /// It asks Barman for each segment (`--get-wal`).
    GetWal {
        /// Barman's name of the server.
        server: String,
        /// The user that has to run `barman get-wal`.
        user: String,
        /// Whether an incomplete segment will do: not for a standby, which would take it for the end of WAL.
        partial: bool,
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
        Some(RestoreCommand::GetWal { server, user, partial }) => {
            lines.push(format!("# The 'barman get-wal' command must run as '{user}' user"));
            let partial = if *partial { "-P" } else { "" };
            let server = shell_word(server);
            lines.push(setting("restore_command", &format!("barman get-wal {partial} {server} %f > %p")));
        }
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
    use wal_format::Lsn;

    fn staged(directory: &str) -> RestoreCommand {
        RestoreCommand::Staged { directory: directory.to_owned() }
    }

    fn get_wal(partial: bool) -> RestoreCommand {
        RestoreCommand::GetWal { server: "main".to_owned(), user: "barman".to_owned(), partial }
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
    fn name_the_user_of_get_wal_and_leave_out_partial_segments_for_a_standby() {
        assert_eq!(
            recovery_settings(Some(&get_wal(true)), &stop(StopPoint::Lsn(Lsn::new(0x400_0000)))),
            "# The 'barman get-wal' command must run as 'barman' user\n\
             restore_command = 'barman get-wal -P main %f > %p'\n\
             recovery_target_lsn = '0/4000000'\n"
        );
        assert_eq!(
            recovery_settings(Some(&get_wal(false)), &RecoveryTarget::default()),
            "# The 'barman get-wal' command must run as 'barman' user\n\
             restore_command = 'barman get-wal  main %f > %p'\n"
        );
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
