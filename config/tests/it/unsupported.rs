//! Options that are not built are named, with what they stop, and the rest never stops anything.

use std::path::Path;

use barman_config::{Command, Configuration, ServerConfig, TextFiles};

fn load(sections: &str, more: (&str, &str)) -> Configuration {
    let text = format!("[barman]\nbarman_home = /b\n{sections}\n");
    Configuration::load(Path::new("/c"), &TextFiles::from([("/c", text.as_str()), more])).unwrap()
}

fn server(options: &str) -> ServerConfig {
    let section = format!("[s]\nconninfo = host=h\nbackup_method = postgres\narchiver = on\n{options}");
    load(&section, ("/other", "")).servers.remove("s").unwrap()
}

/// `option=value: commands` of everything that is not built.
fn missing(server: &ServerConfig) -> Vec<String> {
    let shown = |missing: &barman_config::UnsupportedOption| {
        let affects: Vec<_> = missing.affects.iter().map(|command| format!("{command:?}")).collect();
        format!("{}={}: {}", missing.option, missing.value, affects.join(" "))
    };
    server.unsupported.iter().map(shown).collect()
}

#[track_caller]
fn check(options: &str, expected: &[&str]) {
    assert_eq!(missing(&server(options)), expected, "{options}");
}

#[test]
fn each_option_that_is_not_built_stops_what_it_would_change() {
    let archiving = "ArchiveWal Backup";
    for (option, value, stops) in [
        ("backup_compression", "gzip", "Backup"),
        ("backup_compression", "none", "Backup"),
        ("backup_method", "rsync", "Backup"),
        ("backup_method", "local-to-cloud", "Backup"),
        ("encryption", "gpg", "Backup"),
        ("post_archive_retry_script", "x", archiving),
        ("pre_archive_script", "x", archiving),
        ("post_backup_script", "x", "Backup"),
        ("pre_backup_retry_script", "x", "Backup"),
        ("pre_delete_script", "x", "Delete"),
        ("post_delete_retry_script", "x", "Delete"),
        ("pre_recovery_script", "x", "Restore"),
        ("post_recovery_retry_script", "x", "Restore"),
        ("pre_wal_delete_script", "x", "Backup Delete"),
        ("post_wal_delete_retry_script", "x", "Backup Delete"),
        ("primary_conninfo", "host=p", "Backup SwitchWal"),
        ("primary_ssh_command", "ssh p", "Cron"),
        ("warehousepg_dbid", "1", "Backup"),
    ] {
        check(&format!("{option} = {value}"), &[&format!("{option}={value}: {stops}")]);
    }
}

#[test]
fn an_object_store_stops_everything() {
    for url in [
        "s3://b/p",
        "gs://b",
        "https://console.cloud.google.com/storage/browser/b",
        "https://a.blob.core.windows.net/c",
    ] {
        let server = server(&format!("basebackups_directory = {url}"));
        assert!(Command::ALL.iter().all(|command| server.unsupported_for(*command).count() == 1), "{url}");
    }
}

#[test]
fn what_asks_for_nothing_stops_nothing() {
    check(
        "compression =\nencryption = none\nbackup_compression_level = 3\ncompression_level = 3\nreuse_backup = off\n\
         recovery_options = get-wal,delta-restore\nretention_policy = nonsense\npre_backup_script =\nssh_command = ssh x\n\
         path_prefix = /x\nparallel_jobs = 4\nstaging_path = /s\ncombine_mode = link\nnetwork_compression = off\n\
         custom_compression_filter = x\naws_region = x\nbandwidth_limit = 9\nwal_conninfo = host=w",
        &[],
    );
}

#[test]
fn hooks_that_every_server_inherits_are_named_too() {
    let configuration = load("pre_backup_script = x\n[s]\nbackup_method = postgres", ("/other", ""));
    assert_eq!(missing(&configuration.servers["s"]), ["pre_backup_script=x: Backup"]);
}

#[test]
fn values_are_shown_without_passwords() {
    check(
        "primary_conninfo = host=p password=secret",
        &["primary_conninfo=host=p password=*REDACTED*: Backup SwitchWal"],
    );
}

#[test]
fn a_model_matters_once_it_is_active() {
    let sections = "[s]\nconninfo = host=h\nbackup_method = postgres\narchiver = on\n[m]\nmodel = true\ncluster = s";
    let inactive = load(sections, ("/other", ""));
    assert_eq!(inactive.servers.keys().collect::<Vec<_>>(), ["s"]);
    assert!(missing(&inactive.servers["s"]).is_empty());

    let active = &load(sections, ("/b/s/.active-model.auto", "m")).servers["s"];
    assert!(Command::ALL.iter().all(|command| active.unsupported_for(*command).next().is_some()));

    let unknown = &load(sections, ("/b/s/.active-model.auto", "x")).servers["s"];
    let reason = "Model 'x' is set as the active model for the server 's' but the model does not exist.";
    assert_eq!(unknown.disabled, [reason]);
}
