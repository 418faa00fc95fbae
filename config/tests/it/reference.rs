//! The same text, read by Barman and by us: every option of every server, every warning, every reason to disable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use barman_config::{Channel, Configuration, OsFiles, ServerConfig, TextFiles, Value};
use serde_json::Value as Json;
use test_support::{Barman, BarmanHome, OsUser};

/// What one reader makes of a configuration: one line for each option of each server, each reason to disable one, and
/// each warning, in a fixed order where Barman has none.
type Reading = Vec<String>;

/// Compares both readings of `[barman]` with `global` in it, followed by `sections`; `HOME` in either is barman_home.
#[track_caller]
fn check(global: &str, sections: &str) {
    let home = BarmanHome::new();
    write_configuration(&home, global, sections);
    assert_same(&ours(&home), &barmans(&home));
}

#[track_caller]
fn assert_same(ours: &Reading, barmans: &Reading) {
    let missing = |from: &Reading, other: &Reading| -> String {
        from.iter().filter(|line| !other.contains(line)).map(|line| format!("  {line}\n")).collect()
    };
    let (only_ours, only_barmans) = (missing(ours, barmans), missing(barmans, ours));
    assert!(only_ours.is_empty() && only_barmans.is_empty(), "only ours:\n{only_ours}only Barman's:\n{only_barmans}");
    let moved = ours.iter().zip(barmans).find(|(ours, barmans)| ours != barmans);
    assert_eq!(moved, None, "another order");
    assert_eq!(ours.len(), barmans.len(), "lines repeat");
}

#[expect(clippy::disallowed_methods, reason = "a throwaway file")]
fn write_configuration(home: &BarmanHome, global: &str, sections: &str) {
    let barman = format!(
        "[barman]\nbarman_home = HOME\nbarman_user = {}\nlog_file = {}\n",
        OsUser::current().name(),
        home.log_file().display()
    );
    let text = format!("{barman}{global}\n{sections}\n").replace("HOME", &home.path().display().to_string());
    std::fs::write(home.config_file(), text).unwrap();
}

fn ours(home: &BarmanHome) -> Reading {
    let configuration = Configuration::load(&home.config_file(), &OsFiles).unwrap();
    let of_servers = configuration.servers.values().flat_map(|server| &server.warnings);
    let printed = configuration.warnings.iter().chain(of_servers).filter(|w| w.channel == Channel::Console);
    configuration.servers.values().flat_map(our_server).chain(printed.map(|w| format!("WARNING: {w}"))).collect()
}

fn our_server(server: &ServerConfig) -> Vec<String> {
    let mut options: BTreeMap<_, _> = server.options().map(|(name, value)| (name.to_owned(), json(value))).collect();
    if let Some(policy) = server.retention_policy.policy() {
        // Barman shows both policies as the objects that it made of them.
        options.insert("retention_policy".to_owned(), policy.to_string().into());
        options.insert("wal_retention_policy".to_owned(), "MAIN".into());
    }
    lines(&server.name, &options, server.disabled.iter().map(ToString::to_string))
}

fn lines(server: &str, options: &BTreeMap<String, Json>, disabled: impl Iterator<Item = String>) -> Vec<String> {
    let options = options.iter().map(|(option, value)| format!("{server}: {option} = {value}"));
    options.chain(disabled.map(|reason| format!("{server}: disabled: {reason}"))).collect()
}

fn json(value: &Value) -> Json {
    match value {
        Value::Unset => Json::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Size(bytes) => (*bytes).into(),
        Value::Interval(interval) => span(interval.as_secs() / 3600).into(),
        Value::Words(words) => words.iter().copied().collect::<Vec<_>>().join(",").into(),
        Value::List(items) => items.clone().into(),
        Value::Rates(rates) => rates.iter().map(|(name, rate)| (name.clone(), Json::from(*rate))).collect(),
    }
}

/// A number of hours in Barman's words.
fn span(hours: u64) -> String {
    let unit = |count: u64, unit: &str| match count {
        0 => None,
        1 => Some(format!("1 {unit}")),
        _ => Some(format!("{count} {unit}s")),
    };
    [unit(hours / 24, "day"), unit(hours % 24, "hour")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn barmans(home: &BarmanHome) -> Reading {
    let finished = Barman::reference().run(home, &["diagnose"]);
    let document: Json = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
    let servers = document["servers"].as_object().unwrap();
    let warnings = finished.stderr.lines().filter(|line| line.starts_with("WARNING: ")).map(str::to_owned);
    servers.iter().flat_map(|(name, server)| barmans_server(name, server)).chain(warnings).collect()
}

fn barmans_server(name: &str, server: &Json) -> Vec<String> {
    let options = server["config"].as_object().unwrap();
    let mut options: BTreeMap<_, _> = options.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    // Barman's own marks, and sets that are printed in any order.
    options.remove("disabled");
    options.remove("name");
    for option in ["backup_options", "recovery_options"] {
        let words: BTreeSet<_> = options[option].as_str().unwrap().split(',').map(str::to_owned).collect();
        options.insert(option.to_owned(), words.into_iter().collect::<Vec<_>>().join(",").into());
    }
    let disabled = server["msg_list"].as_array().unwrap();
    lines(name, &options, disabled.iter().map(|reason| reason.as_str().unwrap().to_owned()))
}

/// A server that Barman accepts, with further options.
fn usable(name: &str, options: &str) -> String {
    format!("[{name}]\nbackup_method = postgres\narchiver = on\nconninfo = host=127.0.0.1 port=1 user=u\n{options}\n")
}

#[test]
fn defaults() {
    check("", &usable("s", ""));
}

#[test]
fn options_of_the_barman_section_reach_servers_that_do_not_set_them() {
    check(
        "parallel_jobs = 4\nmax_incoming_wals_queue = 7\nlast_wal_maximum_age = 1 day\nslot_name = g\n\
         retention_policy = redundancy 3\ncompression = GZIP\nactive = off\ndescription = no\nconninfo = no\n\
         keepalive_interval = 9\nxlogdb_directory = HOME/index",
        &[
            usable("inherits", ""),
            usable("sets", "parallel_jobs = 2\nslot_name = Own\nretention_policy = Recovery window of 4 week"),
            usable(
                "blocks",
                "retention_policy =\ncompression = None\nlast_wal_maximum_age =\nxlogdb_directory = HOME/x",
            ),
            usable("invalid", "parallel_jobs = x\nslot_name = a-b\nmax_incoming_wals_queue ="),
        ]
        .concat(),
    );
}

/// Every option that a server can have, set to `1`: a valid number, yes, size, text and path, an invalid anything else.
fn all_ones() -> String {
    let plain = "[barman]\nbarman_home = /b\n[s]";
    let plain = Configuration::load(Path::new("/c"), &TextFiles::from([("/c", plain)])).unwrap();
    let options = plain.servers["s"].options().map(|(option, _)| option);
    options.filter(|option| *option != "primary_ssh_command").map(|option| format!("{option} = 1\n")).collect()
}

#[test]
fn every_option_is_inherited_only_where_barman_inherits_it() {
    check(&all_ones(), &format!("[s]\n{}", &usable("t", "")));
}

#[test]
fn every_option_is_understood_as_barman_understands_it() {
    check("", &format!("[s]\n{}", all_ones()));
}

#[test]
fn every_grammar_accepts_what_barman_accepts() {
    check(
        "",
        &usable(
            "s",
            "active = 'T'\nparallel_jobs = +1_0\ncheck_timeout = \" 7 \"\nlast_backup_maximum_age = 3 WEEKS\n\
             last_wal_maximum_age = ' 2  months '\nlast_backup_minimum_size = 1 Mi\ncloud_staging_max_size = 2k\n\
             create_slot = Auto\nreuse_backup = Off\ncombine_mode = LINK\nbackup_compression_format = TAR\n\
             backup_compression_location = Client\ncompression = ZSTD\ncompression_level = HIGH\n\
             backup_options = External_Configuration ,concurrent_backup\nrecovery_options = get-wal, DELTA-restore\n\
             snapshot_disks = a, b\nstaging_path = /s\nbandwidth_limit = 1_0\nminimum_redundancy = 3\n\
             encryption = NONE\nretention_policy = ' redundancy  02 '\naws_encryption = aws:kms",
        ),
    );
}

#[test]
fn every_grammar_refuses_in_barmans_words() {
    let options = [
        "active",
        "archiver_batch_size",
        "autogenerate_manifest",
        "aws_check_object_lock",
        "aws_encryption",
        "aws_read_timeout",
        "backup_compression",
        "backup_compression_format",
        "backup_compression_level",
        "backup_compression_location",
        "backup_compression_workers",
        "backup_method",
        "backup_options",
        "basebackup_retry_sleep",
        "cloud_staging_directory",
        "cloud_staging_max_size",
        "compression",
        "compression_level",
        "encryption",
        "last_backup_maximum_age",
        "last_backup_minimum_size",
        "last_wal_maximum_age",
        "combine_mode",
        "local_staging_path",
        "max_incoming_wals_queue",
        "parallel_jobs",
        "recovery_options",
        "recovery_staging_path",
        "create_slot",
        "reuse_backup",
        "slot_name",
        "staging_path",
        "staging_location",
        "streaming_archiver",
        "warehousepg_dbid",
        "worm_mode",
    ];
    let with = |value: &str| options.iter().map(|option| format!("{option} = {value}\n")).collect::<String>();
    let servers: Vec<_> = ["It's \"1\"", "' x '", "''", "\"None\"", "1.5"]
        .iter()
        .enumerate()
        .map(|(n, value)| {
            format!("[s{n}]\nconninfo = host=x\nbackup_method = postgres\narchiver = on\n{}", with(value))
        })
        .collect();
    check("parallel_jobs = q\nlast_wal_maximum_age = 3days", &servers.concat());
}

#[test]
fn empty_values_unset_or_are_refused_or_inherit() {
    let options = [
        "aws_encryption",
        "backup_compression",
        "cloud_staging_directory",
        "cloud_staging_max_size",
        "cluster",
        "compression",
        "compression_level",
        "description",
        "encryption",
        "last_backup_minimum_size",
        "parallel_jobs",
        "path_prefix",
        "recovery_options",
        "create_slot",
        "retention_policy",
        "retention_policy_mode",
        "slot_name",
        "snapshot_disks",
        "staging_location",
        "streaming_archiver_name",
        "wal_retention_policy",
    ];
    let with = |value: &str| options.iter().map(|option| format!("{option} = {value}\n")).collect::<String>();
    check("", &[usable("none", &with("None")), usable("empty", &with("")), usable("quoted", &with("\"\""))].concat());
}

#[test]
fn lists_of_words_with_unknown_or_conflicting_words_are_left_aside_whole() {
    check(
        "",
        &[
            usable("a", "recovery_options = get-wal, bla"),
            usable("b", "recovery_options = get-wal,,delta-restore"),
            usable("c", "recovery_options = ,"),
            usable("d", "backup_options = exclusive_backup, Concurrent_backup"),
            usable("e", "backup_options = exclusive_backup, external_configuration"),
            usable("f", "snapshot_disks = a,,b"),
        ]
        .concat(),
    );
}

#[test]
fn limits_that_barman_reads_late() {
    check(
        "",
        &[
            usable("a", "bandwidth_limit = x\nminimum_redundancy = -1\nretention_policy = keep 3"),
            usable("b", "bandwidth_limit = -3\ntablespace_bandwidth_limit = a:0 b:-1 c:x d\nminimum_redundancy = x"),
            usable("c", "tablespace_bandwidth_limit = a:b\nretention_policy_mode = AUTO\nwal_retention_policy = MAIN"),
            usable("d", "bandwidth_limit = 0\nretention_policy = recovery window of 7 hours"),
        ]
        .concat(),
    );
}

#[test]
fn combinations_that_disable_a_server() {
    let server = |name: &str, options: &str| format!("[{name}]\n{options}\n");
    let connection = "conninfo = host=127.0.0.1 port=1\n";
    let postgres = |name: &str, options: &str| server(name, &format!("backup_method = postgres\n{options}"));
    let connected = |name: &str, options: &str| postgres(name, &format!("{connection}{options}"));
    let other = |name: &str, method: &str, options: &str| {
        server(name, &format!("archiver = on\nbackup_method = {method}\n{connection}{options}"))
    };
    check(
        "",
        &[
            postgres("no_connection", ""),
            postgres("invalid_connection", "conninfo = bad\narchiver = on"),
            postgres("both_invalid", "conninfo = bad\nstreaming_conninfo = worse\nstreaming_archiver = on"),
            postgres("streaming_given", "streaming_conninfo = host=x\narchiver = on"),
            connected("streaming_unset", "streaming_conninfo =\nstreaming_archiver = on\nslot_name = s"),
            connected("no_slot", "streaming_archiver = on\nreuse_backup = link\nerrors_directory = HOME/no_slot/base"),
            connected("both_archivers", "streaming_archiver = on\narchiver = on"),
            connected("bad_primary", "archiver = on\nprimary_conninfo = zz"),
            connected("wal_connection", "streaming_archiver = on\nslot_name = s\nwal_conninfo = z"),
            connected(
                "unsupported",
                "archiver = on\nreuse_backup = copy\nnetwork_compression = on\ntablespace_bandwidth_limit = a:1",
            ),
            connected("inactive", "active = off\nreuse_backup = link\nwals_directory = HOME/inactive/errors"),
            postgres("passive", "primary_ssh_command = ssh x\nconninfo =\nstreaming_archiver = on"),
            other("rsync", "rsync", ""),
            other("rsync_ssh", "rsync", "ssh_command = ssh x\nreuse_backup = link\nbackup_compression = gzip"),
            other("rsync_options", "rsync", "ssh_command = ssh x\nbackup_options = exclusive_backup"),
            other("local", "local-rsync", "ssh_command = ssh x"),
            other("local_compression", "local-rsync", "backup_compression = none"),
            other("snapshot", "snapshot", "backup_compression = gzip\nbandwidth_limit = 3"),
            other("cloud", "local-to-cloud", ""),
        ]
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<String>(),
    );
}

#[test]
fn directories_that_conflict_within_a_server() {
    let one = "backup_directory wals_directory errors_directory incoming_wals_directory basebackups_directory \
               xlogdb_directory streaming_wals_directory";
    let one: String = one.split_whitespace().map(|option| format!("{option} = HOME/one\n")).collect();
    check(
        "",
        &[
            usable("one", &one),
            usable("dots", "wals_directory = HOME/dots/../dots/base/"),
            usable("index", "xlogdb_directory = HOME/index/base"),
            usable("plain", "backup_directory = HOME/plain//x/"),
        ]
        .concat(),
    );
}

#[test]
fn interpolation_and_quotes() {
    check(
        "",
        &[
            usable("percent", "description = date +%%%%H"),
            usable("reference", "description = <%(conninfo)s>\nslot_name = %(SLOT)s\nslot = abc"),
            usable("late", "description = %%(path_prefix)s\npath_prefix = 'x'"),
            usable("quotes", "description = '\"x\"'\npath_prefix = 'a'b'\nssh_command = \"x'"),
            usable("lines", "description = 'a\n    b'\npath_prefix = x\n\n # c\n   y ; z\n"),
            usable("lone", "description = '\npath_prefix = \"\nssh_command = ' '"),
        ]
        .concat(),
    );
}

#[test]
fn unknown_options_are_remarked() {
    check("nonsense = 1", &[usable("z", "zz = 1\nAA = 1\nmodel = off"), usable("a", "log_file = x")].concat());
}

#[test]
fn models_are_not_servers() {
    let model = "[m]\nmodel = yes\ncluster = s\nconninfo = host=m\npre_backup_script = x\nwals_directory = /x\n\
                 nonsense = 1\nparallel_jobs = x\ndisabled = 1\nlog_file = x\ncloud_staging_directory = /x\n";
    check("model = 1\ndisabled = 1", &[model, &usable("s", "")].concat());
}

#[test]
fn shared_directories_are_barmans_errors() {
    let home = BarmanHome::new();
    write_configuration(
        &home,
        "",
        &[usable("a", "backup_directory = HOME/w"), usable("b", "backup_directory = HOME/./w")].concat(),
    );
    let configuration = Configuration::load(&home.config_file(), &OsFiles).unwrap();
    let ours: Vec<_> = configuration.conflicts.iter().map(|conflict| format!("ERROR: {conflict}")).collect();
    let barmans = Barman::reference().run(&home, &["list-servers"]).stderr;
    assert_eq!(ours, barmans.lines().collect::<Vec<_>>());
}

#[test]
fn what_barman_cannot_read_we_refuse() {
    for (sections, part) in [
        ("[s]\nnovalue", "line 7: expected [section], option = value or a comment, found \"novalue\""),
        ("[s", "line 6: expected"),
        ("[s]\ndescription = %p", "line 7: cannot resolve 'description' of section [s]"),
        ("[s]\ndescription = date +%%H", "line 7"),
        ("[s]\ndescription = %(barman_home)s", "line 7"),
        ("[s]\nunknown = %%(nope)s", "line 7"),
        ("[all]", "reserved word [all]"),
        ("[s]\nmodel = maybe", "expected true or false for 'model' of section [s], found 'maybe'"),
        ("[s]\nmodel = on", "expected 'cluster' in model [s]"),
        ("[s]\nbackup_directory =", "expected a directory"),
        ("[barman]\nlock_directory_cleanup = maybe", "expected true or false for 'lock_directory_cleanup'"),
    ] {
        let home = BarmanHome::new();
        write_configuration(&home, "#", sections);
        assert_ne!(Barman::reference().run(&home, &["list-servers"]).code, Some(0), "Barman accepts {sections}");
        let error = Configuration::load(&home.config_file(), &OsFiles).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert!(!part.starts_with("line") || error.starts_with(&home.config_file().display().to_string()), "{error}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "throwaway files")]
fn included_files_and_the_automatic_one_are_read_in_order() {
    let home = BarmanHome::new();
    let include = home.path().join("conf.d");
    write_configuration(&home, "configuration_files_directory = HOME/conf.d", "");
    std::fs::create_dir_all(include.join("dir.conf")).unwrap();
    let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
    write(&include.join("b.conf"), &usable("s", "description = b\nparallel_jobs = 2"));
    write(&include.join("a.conf"), &format!("{}[barman]\n", usable("s", "description = a\npath_prefix = a")));
    write(&include.join(".hidden.conf"), &usable("hidden", ""));
    write(&include.join("other.ini"), &usable("other", ""));
    write(&home.path().join(".barman.auto.conf"), "[s]\nparallel_jobs = 3\n");
    assert_same(&ours(&home), &barmans(&home));

    write(&include.join("c.conf"), "[barman]\ncompression = gzip\n");
    assert_eq!(Barman::reference().run(&home, &["list-servers"]).code, Some(1));
    let error = Configuration::load(&home.config_file(), &OsFiles).unwrap_err().to_string();
    assert!(error.contains("c.conf, line 2: expected no new option in section [barman]"), "{error}");
}
