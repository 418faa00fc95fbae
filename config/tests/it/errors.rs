//! Configurations that are refused: each error says where, what was expected and what was found.

use std::path::Path;

use barman_config::{Configuration, Error, TextFiles};
use proptest::prelude::*;

fn load(text: &str) -> Result<Configuration, Error> {
    Configuration::load(Path::new("/c"), &TextFiles::from([("/c", text)]))
}

/// The error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(chain(&load(text).unwrap_err()), expected);
}

#[test]
fn malformed_lines() {
    check(
        "barman_home = /b",
        "/c, line 1: expected a section header such as [barman] before the first option, found \"barman_home =\"",
    );
    check(
        "[barman]\nbarman_home",
        "/c, line 2: expected [section], option = value or a comment, found \"barman_home\"",
    );
    check("[barman]\n= x", "/c, line 2: expected the name of an option before the separator, found \"=\"");
}

#[test]
fn values_are_not_part_of_messages() {
    let error = load("password = secret").unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
    let error = chain(&load("[barman]\nbarman_home = /b\n[s]\nconninfo = password=s3cr%et").unwrap_err());
    assert!(!error.contains("s3cr"), "{error}");
}

#[test]
fn percent_signs() {
    let text = |value: &str| format!("[barman]\nbarman_home = /b\n[s]\ndescription = {value}");
    let place = "/c, line 4: cannot resolve 'description' of section [s]: ";
    check(&text("%x"), &format!("{place}expected %% or %(option)s, found % before something else"));
    check(&text("%%x"), &format!("{place}expected %% or %(option)s, found % before something else"));
    check(&text("%(x)s"), &format!("{place}expected an option of the same section, found %(x)s"));
    check(&text("%(description)s"), &format!("{place}expected at most ten levels of %(option)s, found more"));
}

#[test]
fn what_is_required() {
    for text in ["", "[s]\nconninfo = host=h", "[barman]\nbarman_user = u", "[barman]\nbarman_home ="] {
        check(text, "/c: expected 'barman_home' in section [barman], found none");
    }
    let text = "[barman]\nbarman_home = /b\n[s]\nwals_directory =";
    check(text, "/c, line 4: expected a directory for 'wals_directory' of section [s], found ''");
}

#[test]
fn files_that_cannot_be_read() {
    let missing = Configuration::load(Path::new("/x"), &TextFiles::default()).unwrap_err();
    assert_eq!(chain(&missing), "cannot read configuration file '/x': entity not found");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a throwaway file")]
fn text_that_is_not_utf_8() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c");
    std::fs::write(&path, b"[barman]\nbarman_home = /b\ndescription = caf\xe9\n").unwrap();
    let error = Configuration::load(&path, &barman_config::OsFiles).unwrap_err();
    let expected = format!("{}, line 3: expected UTF-8 text, found another encoding", path.display());
    assert_eq!(error.to_string(), expected);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).*") {
        let _ = load(&text);
    }

    #[test]
    fn no_value_makes_the_reader_panic(option in 0..150usize, value in "\\PC{0,12}") {
        // Any option of the table, by its place among those that a plain server shows.
        let plain = load("[barman]\nbarman_home = /b\n[s]").unwrap();
        let options: Vec<_> = plain.servers["s"].options().map(|(option, _)| option).collect();
        let option = options[option % options.len()];
        let _ = load(&format!("[barman]\nbarman_home = /b\n{option} = {value}\n[s]\n{option} = {value}"));
    }
}
