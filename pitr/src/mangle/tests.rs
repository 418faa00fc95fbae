use proptest::prelude::*;

use super::*;

const SETTINGS: &str = "recovery_target = 'immediate'\n";

fn text(original: &str, settings: &str) -> String {
    String::from_utf8(mangle("f", original.as_bytes(), settings).text).unwrap()
}

fn changes(mangled: &Mangled) -> Vec<(usize, &str, Option<&str>)> {
    mangled.changes.iter().map(|change| (change.line, change.key.as_str(), change.value.as_deref())).collect()
}

fn dangerous(mangled: &Mangled) -> Vec<(usize, &str, &str)> {
    mangled.dangerous.iter().map(|setting| (setting.line, setting.key.as_str(), setting.value.as_str())).collect()
}

/// Contents, line numbers and values as Barman 3.19.1 produced them for this file, apart from lines 2, 7 and 8: it
/// overlooks settings that are not in lower case.
#[test]
fn a_configuration_file_becomes_what_barman_makes_of_it() {
    let original = "# comment\n  \
                    archive_command = 'x %p'   # tail\n\
                    Archive_Command = 'y'\n\
                    archive_command 'z'\n\
                    #archive_command = 'no'\n\
                    recovery_target_time = '2020-01-01'\n\
                    RECOVERY_TARGET = 'immediate'\n\
                    data_directory='/x'\n\
                    Include 'foo.conf'\n\
                    hba_file   =   '/etc/x'  # note\n\
                    \n\
                    port = 5\n\
                    recovery_target_timeline=latest\n\
                    external_pid_file = ''\n\
                    primary_conninfo='x'";
    let mangled = mangle("postgresql.conf", original.as_bytes(), "");
    let expected = "# comment\n\
                    #BARMAN#  archive_command = 'x %p'   # tail\n\
                    archive_command = false\n\
                    #BARMAN#Archive_Command = 'y'\n\
                    archive_command = false\n\
                    #BARMAN#archive_command 'z'\n\
                    archive_command = false\n\
                    #archive_command = 'no'\n\
                    #BARMAN#recovery_target_time = '2020-01-01'\n\
                    #BARMAN#RECOVERY_TARGET = 'immediate'\n\
                    data_directory='/x'\n\
                    Include 'foo.conf'\n\
                    hba_file   =   '/etc/x'  # note\n\
                    \n\
                    port = 5\n\
                    #BARMAN#recovery_target_timeline=latest\n\
                    external_pid_file = ''\n\
                    primary_conninfo='x'";
    assert_eq!(std::str::from_utf8(&mangled.text).unwrap(), expected);
    assert_eq!(
        changes(&mangled),
        [
            (1, "archive_command", Some("false")),
            (2, "archive_command", Some("false")),
            (3, "archive_command", Some("false")),
            (5, "recovery_target_time", None),
            (6, "recovery_target", None),
            (12, "recovery_target_timeline", None),
        ]
    );
    assert_eq!(
        dangerous(&mangled),
        [
            (10, "data_directory", "'/x'"),
            (11, "include", "'foo.conf'"),
            (12, "hba_file", "'/etc/x'  # note"),
            (16, "external_pid_file", "''"),
        ]
    );
}

/// Barman 3.19.1 made these, but for the two marked rows, where it glues the replacement to the comment.
#[test]
fn settings_are_appended_on_lines_of_their_own() {
    for (original, expected) in [
        ("a = 1\n", "a = 1\n\nrecovery_target = 'immediate'\n"),
        ("a = 1", "a = 1\nrecovery_target = 'immediate'\n"),
        ("", "recovery_target = 'immediate'\n"),
        ("recovery_target_name = 'gl'\n", "#BARMAN#recovery_target_name = 'gl'\nrecovery_target = 'immediate'\n"),
        (
            "a = 1\nrecovery_target_name = 'gl'",
            "a = 1\n#BARMAN#recovery_target_name = 'gl'\nrecovery_target = 'immediate'\n",
        ),
        ("recovery_target_name = 'gl'\n\n", "#BARMAN#recovery_target_name = 'gl'\n\n\nrecovery_target = 'immediate'\n"),
        // Glued by Barman.
        (
            "archive_command = 'x'",
            "#BARMAN#archive_command = 'x'\narchive_command = false\nrecovery_target = 'immediate'\n",
        ),
        // Glued by Barman.
        (
            "a = 1\narchive_command = 'x'",
            "a = 1\n#BARMAN#archive_command = 'x'\narchive_command = false\n\nrecovery_target = 'immediate'\n",
        ),
        // Barman would lose the first appended setting here.
        ("recovery_target_name = 'gl'", "#BARMAN#recovery_target_name = 'gl'\nrecovery_target = 'immediate'\n"),
    ] {
        assert_eq!(text(original, SETTINGS), expected, "{original:?}");
    }
}

#[test]
fn every_way_to_write_a_setting_is_seen() {
    for line in ["archive_command='x'", "archive_command'x'", "\tarchive_command\t=x", "ARCHIVE_COMMAND = 'x'\r\n"] {
        let mangled = mangle("f", line.as_bytes(), "");
        assert_eq!(changes(&mangled), [(0, "archive_command", Some("false"))], "{line:?}");
    }
    for line in
        ["archive_commands = 'x'", "my.archive_command = 'x'", "# archive_command = 'x'", "restore_command = ''"]
    {
        assert!(mangle("f", line.as_bytes(), "").changes.is_empty(), "{line:?}");
    }
}

/// Barman leaves it, and the restored server archives through it.
#[test]
fn a_library_that_archives_is_disarmed_too() {
    let original = "Archive_Library = 'basic_archive' # ours\nbasic_archive.archive_directory = '/a'";
    let expected = "#BARMAN#Archive_Library = 'basic_archive' # ours\narchive_library = ''\n\
                    basic_archive.archive_directory = '/a'";
    assert_eq!(text(original, ""), expected);
    assert_eq!(changes(&mangle("f", original.as_bytes(), "")), [(0, "archive_library", Some("''"))]);
}

#[test]
fn text_in_another_encoding_survives() {
    let original = b"a = 'caf\xe9'\narchive_command = '\xe9'\n";
    let mangled = mangle("f", original, "");
    assert_eq!(mangled.text, b"a = 'caf\xe9'\n#BARMAN#archive_command = '\xe9'\narchive_command = false\n");
}

proptest! {
    /// What PostgreSQL would read afterwards: no setting that must not survive, all lines that may, and ours at the end.
    #[test]
    fn nothing_survives_and_nothing_is_lost(
        lines in prop::collection::vec("(archive_command|RECOVERY_target_time|port|#x|) ?=? ?[a-z' ]{0,5}", 0..8),
        newline_at_end: bool,
    ) {
        let original = lines.join("\n") + if newline_at_end { "\n" } else { "" };
        let text = text(&original, SETTINGS);
        let again = mangle("f", text.strip_suffix(SETTINGS).unwrap().as_bytes(), "");
        prop_assert!(again.changes.iter().all(|change| change.value.is_some()), "{:?}", text);
        let restored = text.replace("archive_command = false\n", "").replace("#BARMAN#", "");
        for line in original.lines().filter(|line| !line.is_empty()) {
            prop_assert!(restored.lines().any(|restored| restored == line), "{line:?} in {:?}", text);
        }
    }
}
