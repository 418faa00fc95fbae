//! Which files are read.

use std::path::{Path, PathBuf};

use barman_config::{Configuration, Environment, Error, Files, OsFiles, TextFiles, find};

const HOME: &str = "/home/u/.barman.conf";
const ETC: &str = "/etc/barman.conf";
const ETC_DIR: &str = "/etc/barman/barman.conf";

fn environment(config_file: Option<&str>) -> Environment {
    Environment { home: Some("/home/u".into()), config_file: config_file.map(PathBuf::from) }
}

fn found(named: Option<&str>, variable: Option<&str>, files: &TextFiles) -> String {
    find(named.map(Path::new), &environment(variable), files).unwrap().display().to_string()
}

#[test]
fn the_first_default_place_that_exists_wins() {
    assert_eq!(found(None, None, &TextFiles::from([(HOME, ""), (ETC, ""), (ETC_DIR, "")])), HOME);
    assert_eq!(found(None, None, &TextFiles::from([(ETC, ""), (ETC_DIR, "")])), ETC);
    assert_eq!(found(None, None, &TextFiles::from([(ETC_DIR, "")])), ETC_DIR);
    let error = find(None, &environment(None), &TextFiles::default()).unwrap_err();
    assert!(matches!(&error, Error::NotFound { places } if places.len() == 3), "{error}");
}

#[test]
fn a_named_file_wins_and_must_exist() {
    let files = TextFiles::from([("/a", ""), ("/b", ""), ("/home/u/c", ""), (ETC, "")]);
    assert_eq!(found(Some("/a"), Some("/b"), &files), "/a");
    assert_eq!(found(None, Some("/b"), &files), "/b");
    assert_eq!(found(Some("~/c"), None, &files), "/home/u/c");
    assert_eq!(found(None, Some(""), &files), ETC);
    for (named, variable) in [(Some("/x"), Some("/b")), (None, Some("/x"))] {
        let error = find(named.map(Path::new), &environment(variable), &files).unwrap_err();
        assert_eq!(error.to_string(), "configuration file '/x' does not exist");
    }
}

#[test]
fn an_include_directory_that_is_none_is_remarked() {
    let text = "[barman]\nbarman_home = /b\nconfiguration_files_directory = /nowhere\n";
    let configuration = Configuration::load(Path::new("/c"), &TextFiles::from([("/c", text)])).unwrap();
    let warnings: Vec<_> = configuration.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["Ignoring the \"configuration_files_directory\" option as \"/nowhere\" is not a directory"]);
}

#[test]
fn global_options_and_their_defaults() {
    let load = |options: &str| {
        let text = format!("[barman]\nbarman_home = /b\n{options}\n");
        Configuration::load(Path::new("/c"), &TextFiles::from([("/c", text.as_str())])).unwrap().global
    };
    let global = load("");
    assert_eq!(global.barman_user, "barman");
    assert_eq!(global.lock_directory, Path::new("/b"));
    assert_eq!(global.config_changes_queue, Path::new("/b/cfg_changes.queue"));
    assert_eq!((global.log_file, global.log_level, global.lock_directory_cleanup), (None, None, true));

    let global = load("barman_user = 'u'\nbarman_lock_directory = /l\nlog_level = DEBUG\nlock_directory_cleanup = off");
    assert_eq!((global.barman_user.as_str(), global.lock_directory.as_path()), ("u", Path::new("/l")));
    assert_eq!((global.log_level.as_deref(), global.lock_directory_cleanup), (Some("DEBUG"), false));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "throwaway files")]
fn real_paths_follow_links_and_take_the_rest_literally() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("real")).unwrap();
    std::os::unix::fs::symlink("real", root.join("link")).unwrap();
    for (path, real) in [("link", "real"), ("link/../x/./y/", "x/y"), ("none/../link/a", "real/a"), ("real//", "real")]
    {
        assert_eq!(OsFiles.real_path(&root.join(path)), root.join(real), "{path}");
    }
}
