//! Values as the rest of the program sees them.

use std::path::Path;
use std::time::Duration;

use barman_config::{BackupMethod, Configuration, CreateSlot, RetentionPolicy, ServerConfig, TextFiles};

/// The server `s` with these options.
fn server(options: &str) -> ServerConfig {
    let text = format!("[barman]\nbarman_home = /b\n[s]\nbackup_method = postgres\nconninfo = host=h\n{options}\n");
    let files = TextFiles::from([("/c", text.as_str())]);
    Configuration::load(Path::new("/c"), &files).unwrap().servers.remove("s").unwrap()
}

#[test]
fn defaults() {
    let server = server("");
    assert_eq!(server.backup_method, BackupMethod::Postgres);
    assert_eq!(server.create_slot, CreateSlot::Manual);
    assert_eq!(server.check_timeout, Some(Duration::from_secs(30)));
    assert_eq!(server.basebackup_retry_sleep, Duration::from_secs(30));
    assert_eq!((server.basebackup_retry_times, server.parallel_jobs), (0, 1));
    assert_eq!((server.archiver_batch_size, server.bandwidth_limit_kb), (None, None));
    assert_eq!(server.retention_policy, RetentionPolicy::Unset);
    assert_eq!(server.streaming_archiver_name, "barman_receive_wal");
    assert_eq!(server.streaming_backup_name, "barman_streaming_backup");
    assert!(server.active && server.archiver && !server.streaming_archiver && !server.passive && !server.get_wal);
}

#[test]
fn directories_follow_from_the_backup_directory() {
    let server = server("backup_directory = /x\nerrors_directory = /e\nwals_directory = /w");
    assert_eq!(server.basebackups_directory, Path::new("/x/base"));
    assert_eq!(server.errors_directory, Path::new("/e"));
    assert_eq!(server.xlogdb_directory, Path::new("/w"));
}

#[test]
fn an_object_store_leaves_the_local_default_in_its_place() {
    let server = server("wals_directory = s3://bucket/wals");
    assert_eq!(server.wals_directory, Path::new("/b/s/wals"));
    assert_eq!(server.xlogdb_directory, Path::new("/b/s/meta"));
}

#[test]
fn numbers_below_one_mean_without_limit_or_the_least_that_works() {
    let none = server("archiver_batch_size = -1\nbandwidth_limit = 0\ncheck_timeout = 0\nparallel_jobs = 0");
    assert_eq!((none.archiver_batch_size, none.bandwidth_limit_kb, none.check_timeout), (None, None, None));
    assert_eq!(none.parallel_jobs, 1);
    let one = server("archiver_batch_size = 1\nbandwidth_limit = 1\ncheck_timeout = 1\nparallel_jobs = 1");
    assert_eq!((one.archiver_batch_size, one.bandwidth_limit_kb, one.parallel_jobs), (Some(1), Some(1), 1));
    assert_eq!(one.check_timeout, Some(Duration::from_secs(1)));
}

#[test]
fn a_queue_of_zero_is_a_limit() {
    assert_eq!(server("max_incoming_wals_queue = 0").max_incoming_wals_queue, Some(0));
    assert_eq!(server("").max_incoming_wals_queue, None);
}

#[test]
fn spans_sizes_and_words() {
    let server = server(
        "last_backup_maximum_age = 2 weeks\nlast_wal_maximum_age = 1 month\nlast_backup_minimum_size = 2Ki\n\
         recovery_options = get-wal\nbackup_options = external_configuration\ncreate_slot = auto",
    );
    assert_eq!(server.last_backup_maximum_age, Some(Duration::from_secs(14 * 86_400)));
    assert_eq!(server.last_wal_maximum_age, Some(Duration::from_secs(31 * 86_400)));
    assert_eq!(server.last_backup_minimum_size, Some(2048));
    assert!(server.get_wal && server.external_configuration);
    assert_eq!(server.create_slot, CreateSlot::Auto);
}

#[test]
fn a_retention_policy_is_one_or_says_that_it_is_none() {
    let valid = server("retention_policy = redundancy 2\nminimum_redundancy = 3");
    assert_eq!(valid.retention_policy.policy().unwrap().to_string(), "REDUNDANCY 2");
    assert_eq!(valid.minimum_redundancy, 3);
    let invalid = server("retention_policy = keep 2");
    assert_eq!(invalid.retention_policy, RetentionPolicy::Invalid("keep 2".to_owned()));
}

#[test]
fn wal_has_its_own_connections_or_those_of_the_server() {
    let connections = |options: &str| {
        let server = server(options);
        let text = |conninfo: &Option<barman_config::Conninfo>| conninfo.as_deref().unwrap().to_owned();
        (text(&server.wal_conninfo), text(&server.wal_streaming_conninfo), server.overrides_wal_connection())
    };
    let (h, s, w, n) = ("host=h".to_owned(), "host=s".to_owned(), "host=w".to_owned(), "host=n".to_owned());
    assert_eq!(connections(""), (h.clone(), h.clone(), false));
    assert_eq!(connections("streaming_conninfo = host=s"), (h, s.clone(), false));
    assert_eq!(connections("streaming_conninfo = host=s\nwal_conninfo = host=n"), (n.clone(), s, true));
    assert_eq!(connections("wal_streaming_conninfo = host=w"), (w.clone(), w.clone(), true));
    assert_eq!(connections("wal_streaming_conninfo = host=w\nwal_conninfo = host=n"), (n, w, true));
}

#[test]
fn connection_strings_that_postgresql_accepts_do_not_disable_a_server() {
    for conninfo in ["host=h password='a b'", "host = h", "postgresql://h/d"] {
        assert_eq!(server(&format!("conninfo = {conninfo}")).disabled, <[String; 0]>::default(), "{conninfo}");
    }
}

#[test]
fn debug_output_and_reasons_show_no_password() {
    let server =
        server("conninfo = password=secret host\nprimary_conninfo = password='secret'\nstreaming_archiver = on");
    assert!(!format!("{server:?}").contains("secret"), "{server:?}");
    assert!(server.disabled[0].contains("password=*REDACTED*"), "{:?}", server.disabled);
}
