//! `wal-dump` beside pg_waldump: of golden segments of every version, and of real servers (`PG_MAJORS` names the versions).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use test_support::{CommandExt, Finished, PgbenchLoad, Postgres, StopMode, TempDir, majors, pg_tool};

/// Kinds whose description is more than we decode: theirs may say more between the name and the blocks.
const NOT_DECODED: [&str; 4] = ["ASSIGNMENT", "INVALIDATION", "CHECKPOINT_REDO", "NEXTOID"];
/// Of all records of these managers neither.
const MANAGERS_NOT_DECODED: [&str; 16] = [
    "Heap",
    "Heap2",
    "Btree",
    "Hash",
    "Gin",
    "Gist",
    "SPGist",
    "BRIN",
    "Sequence",
    "Standby",
    "CLOG",
    "CommitTs",
    "MultiXact",
    "LogicalMessage",
    "ReplicationOrigin",
    "Generic",
];

fn dump(arguments: &[&str], files: &[PathBuf]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_barman"));
    // No configuration and no user are needed.
    command.env_clear().env("TZ", "UTC").arg("wal-dump").args(arguments).args(files).finish()
}

/// What is printed where nothing is wrong.
fn lines(arguments: &[&str], files: &[PathBuf]) -> Vec<String> {
    let finished = dump(arguments, files);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{arguments:?} {files:?}");
    finished.stdout.lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_same(ours: &[String], theirs: &[String]) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(is_same(ours, theirs), "\nours:   {ours}\ntheirs: {theirs}");
    }
    assert_eq!(ours.len(), theirs.len());
}

fn is_same(ours: &str, theirs: &str) -> bool {
    // What a transaction dropped of the statistics is not decoded.
    let theirs: Vec<_> = theirs.split("; ").filter(|part| !part.contains("dropped stats: ")).collect();
    let theirs = theirs.join("; ");
    let (_, description) = ours.split_once("desc: ").expect("a description");
    let name = description.split(' ').next().unwrap_or_default();
    let manager = ours.split_whitespace().nth(1).unwrap_or_default();
    let is_decoded = !NOT_DECODED.contains(&name) && !MANAGERS_NOT_DECODED.contains(&manager);
    if is_decoded || (manager, name) == ("Heap", "TRUNCATE") {
        return ours.trim_end() == theirs.trim_end();
    }
    let (head, blocks) = ours.split_at(ours.find(", blkref #").unwrap_or(ours.len()));
    theirs.starts_with(head) && theirs.ends_with(blocks)
}

/// A golden segment of a version in its full length, and what pg_waldump of that version says of it.
fn golden(dir: &TempDir, major: u32) -> (PathBuf, Vec<String>) {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wal-format").join("testdata");
    let mut bytes = std::fs::read(testdata.join(format!("{major}/segment"))).expect("golden");
    bytes.resize(1 << 20, 0);
    let path = dir.path().join(format!("segment of {major}"));
    std::fs::write(&path, bytes).expect("the directory is ours");
    let text = std::fs::read_to_string(testdata.join(format!("{major}/segment.waldump"))).expect("golden");
    (path, text.lines().map(str::to_owned).collect())
}

#[test]
fn every_version_is_printed_as_its_own_pg_waldump_prints_it() {
    let dir = TempDir::new();
    for major in [13, 15, 16, 17, 18, 19] {
        let (segment, theirs) = golden(&dir, major);
        assert_same(&lines(&[], &[segment]), &theirs);
    }
}

/// A server that did a bit of everything, and its segments.
fn worked(major: u32) -> (Postgres, Vec<PathBuf>) {
    let settings = [("wal_level", "logical"), ("max_prepared_transactions", "2"), ("wal_keep_size", "1GB")];
    let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
    let mut server = settings.into_iter().fold(builder, |builder, (name, value)| builder.setting(name, value)).start();
    server.psql(
        "create table t (i int primary key, s text); create table dropped ();
         insert into t select i, repeat(i::text, 10) from generate_series(1, 2000) i;
         begin; savepoint a; update t set s = 'x' where i < 100; savepoint b; delete from t where i < 50; commit;
         begin; savepoint a; drop table dropped; rollback;
         begin; insert into t values (-1, ''); drop table dropped; prepare transaction 'it''s';
         commit prepared 'it''s';
         begin; insert into t values (-2, ''); prepare transaction 'two'; rollback prepared 'two';
         select pg_create_restore_point('before \"it\"');
         vacuum full t; vacuum full pg_class; truncate t; create index on t using brin (i);
         create database d; checkpoint; drop database d;",
    );
    PgbenchLoad::initialise(&server, 1);
    server.switch_wal();
    server.stop(StopMode::Fast);
    let mut segments: Vec<PathBuf> = std::fs::read_dir(server.data_dir().join("pg_wal"))
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.len() == 24))
        .collect();
    segments.sort();
    (server, segments)
}

/// What pg_waldump prints from the beginning of the first of these segments on. It fails where WAL ends.
fn judge(major: u32, arguments: &[&str], segments: &[PathBuf]) -> Vec<String> {
    let (first, last) = (&segments[0], &segments[segments.len() - 1]);
    let mut command = Command::new(pg_tool(major, "pg_waldump"));
    command.env("TZ", "UTC").args(arguments);
    match arguments.contains(&"-s") {
        // It refuses a file that does not hold the position.
        true => command.arg("-p").arg(first.parent().expect("a directory")),
        false => command.arg(first).arg(last),
    };
    let finished = command.finish();
    assert!(!finished.stdout.is_empty(), "{}", finished.stderr);
    finished.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_real_server_is_printed_as_pg_waldump_prints_it() {
    for major in majors() {
        let (_server, segments) = worked(major);
        // The last ones are recycled and empty, or not there yet.
        let full = |path: &&PathBuf| !lines(&[], &[(*path).clone()]).is_empty();
        let used = segments.iter().take_while(full).count();
        let segments = &segments[..used];
        assert!(segments.len() > 10, "{segments:?}");
        let theirs = judge(major, &[], segments);
        let ours = lines(&[], segments);
        assert_same(&ours, &theirs);
        for kind in
            ["CHECKPOINT_ONLINE redo", "RESTORE_POINT before", "COMMIT_PREPARED ", "Storage", "Database", "SWITCH"]
        {
            assert!(ours.iter().any(|line| line.contains(kind)), "no {kind} to compare");
        }
        // A table of the same form since 15.
        if major == 15 {
            assert_eq!(lines(&["--stats"], segments), judge(major, &["--stats"], segments));
        }
        selected(major, segments, &ours);
        compressed_and_unfinished(segments, &ours);
        json(segments, &ours);
    }
}

/// The options that choose records mean what they mean there.
fn selected(major: u32, segments: &[PathBuf], all: &[String]) {
    let word_after = |line: &str, word: &str| {
        let (_, behind) = line.split_once(word).expect("the word");
        behind.trim_start().split([',', ' ']).next().expect("a word").to_owned()
    };
    let (middle, later) = (&all[all.len() / 2], &all[all.len() * 3 / 4]);
    let (start, end) = (word_after(middle, "lsn: "), word_after(later, "lsn: "));
    let xid = all.iter().rev().map(|line| word_after(line, "tx: ")).find(|xid| xid != "0").expect("a transaction");
    let block = all.iter().rev().find_map(|line| line.split_once(": rel ")).expect("a block").1;
    let relation = block.split(' ').next().expect("a relation");
    let short = relation.split_once('/').expect("a tablespace").1;
    for arguments in [&["-s", &start, "-e", &end][..], &["-r", "Btree"], &["-x", &xid], &["-s", &start, "-r", "Heap"]] {
        assert_same(&lines(arguments, segments), &judge(major, arguments, segments));
    }
    let of_relation = lines(&["--relation", short], segments);
    let expected: Vec<_> = all.iter().filter(|line| line.contains(&format!("rel {relation} "))).cloned().collect();
    assert_eq!((of_relation.len() > 1, of_relation), (true, expected));
}

fn compressed_and_unfinished(segments: &[PathBuf], all: &[String]) {
    let dir = TempDir::new();
    let mut files = segments.to_vec();
    for (index, tool) in [(0, "gzip"), (2, "zstd"), (3, "xz")] {
        let target = dir.path().join(segments[index].file_name().expect("a name"));
        let script = format!("{tool} -c < {} > {}", segments[index].display(), target.display());
        Command::new("sh").args(["-c", &script]).succeed();
        files[index] = target;
    }
    let last = files.last_mut().expect("segments");
    let partial =
        dir.path().join(format!("{}.partial", last.file_name().and_then(|name| name.to_str()).expect("a name")));
    std::fs::copy(&*last, &partial).expect("copy");
    *last = partial;
    assert_eq!(lines(&[], &files), all);
}

fn json(segments: &[PathBuf], all: &[String]) {
    let objects: Vec<Value> =
        lines(&["--json"], segments).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), all.len());
    for (object, line) in objects.iter().zip(all) {
        let text = |key: &str| object[key].as_str().unwrap_or_else(|| panic!("{key} in {object}")).to_owned();
        assert!(line.contains(&format!("desc: {} ", text("name"))), "{object} {line}");
        assert!(line.starts_with(&format!("rmgr: {:<11} ", text("manager"))), "{object} {line}");
        assert!(line.contains(&format!(", tx: {:10},", object["xid"].as_u64().expect("a number"))), "{object} {line}");
        assert_eq!(object["blocks"].as_array().map_or(0, Vec::len), line.matches("blkref #").count());
    }
    let point = objects.iter().find(|object| object["name"] == "RESTORE_POINT").expect("a restore point");
    assert_eq!(point["data"]["restore_point"], "before \"it\"");
    assert!(point["data"]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{point}");
}

#[test]
fn damage_is_named_and_reading_goes_on() {
    let dir = TempDir::new();
    let (_server, segments) = worked(15);
    let all = lines(&[], &segments);
    let damaged = dir.path().join(segments[2].file_name().expect("a name"));
    let mut bytes = std::fs::read(&segments[2]).expect("read");
    bytes[500_000] ^= 1;
    std::fs::write(&damaged, bytes).expect("write");
    let mut files = segments.clone();
    files[2] = damaged.clone();
    let finished = dump(&[], &files);
    let left: Vec<_> = finished.stdout.lines().map(str::to_owned).collect();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let missing = all.len() - left.len();
    assert!(left.iter().all(|line| all.contains(line)) && (1..1000).contains(&missing), "{missing}");
    assert_eq!((left.first(), left.last()), (all.first(), all.last()));
    let name = damaged.display().to_string();
    assert!(finished.stderr.contains(&format!("ERROR: {name}: invalid WAL at 0/")), "{}", finished.stderr);
    assert!(finished.stderr.contains("nothing could be read from 0/"), "{}", finished.stderr);

    // A segment that is missing in between: each side is read, and the record that crosses is not there.
    let without = [&segments[..2], &segments[3..]].concat();
    let finished = dump(&[], &without);
    assert!(finished.stdout.lines().count() < all.len());
    // One that is cut short, with another behind it.
    let short = dir.path().join("short");
    std::fs::write(&short, &std::fs::read(&segments[0]).expect("read")[..100_000]).expect("write");
    let finished = dump(&[], &[short, segments[1].clone()]);
    assert!(finished.code == Some(1) && finished.stderr.contains("WAL ends here"), "{}", finished.stderr);
    // One that is not what it is called.
    let renamed = dir.path().join("0000000100000000000000AA");
    std::fs::copy(&segments[1], &renamed).expect("copy");
    let finished = dump(&[], &[renamed]);
    assert!(finished.code == Some(1) && finished.stderr.contains("is not what it is called"), "{}", finished.stderr);
    assert_eq!(finished.stdout.lines().count(), lines(&[], &segments[1..2]).len());
}

#[test]
fn what_is_no_wal_is_said_to_be_none_and_the_rest_is_read() {
    let dir = TempDir::new();
    let (segment, theirs) = golden(&dir, 15);
    let bytes = std::fs::read(&segment).expect("read");
    let mut foreign = bytes.clone();
    foreign[..2].reverse();
    let mut cut = Command::new("gzip").arg("-c").arg(&segment).output().expect("gzip").stdout;
    cut.truncate(cut.len() / 2);
    for (name, contents, error, hint) in [
        ("missing", None, "No such file", "name WAL files"),
        (
            "text",
            Some(&b"not WAL at all, but long enough for a header of a page\n"[..]),
            "is no WAL segment",
            "13 to 19",
        ),
        ("empty", Some(b""), "holds no WAL", "before they write to it"),
        ("zeros", Some(&[0; 9000]), "it begins with zeros", "before they write to it"),
        ("foreign", Some(&foreign), "the other byte order", "of the byte order"),
        ("middle", Some(&bytes[8192..]), "not the first page", "from its beginning"),
        ("encrypted", Some(b"\x85\x01\x0c\x03\x01\x02 and so on"), "is encrypted", "gpg --decrypt"),
        ("cut.gz", Some(&cut), "broken gzip stream", ""),
    ] {
        let path = dir.path().join(name);
        if let Some(contents) = contents {
            std::fs::write(&path, contents).expect("write");
        }
        let finished = dump(&[], &[path.clone(), segment.clone()]);
        let stderr = &finished.stderr;
        assert_eq!(finished.code, Some(1), "{name}: {stderr}");
        assert!(stderr.contains(error) && stderr.contains(&path.display().to_string()), "{name}: {stderr}");
        assert!(
            hint.is_empty() || stderr.lines().any(|line| line.starts_with("HINT: ") && line.contains(hint)),
            "{stderr}"
        );
        assert!(finished.stdout.lines().count() >= theirs.len(), "{name}: what follows is read");
    }
    let finished = dump(&["--rmgr", "heap3"], &[segment]);
    assert!(finished.code == Some(2) && finished.stderr.contains("Heap2, Heap,"), "{}", finished.stderr);
}

#[test]
fn whoever_reads_may_stop_and_a_full_disk_is_an_error() {
    let dir = TempDir::new();
    let (segment, theirs) = golden(&dir, 15);
    let many = vec![segment.display().to_string().replace(' ', "\\ "); 50].join(" ");
    let program = env!("CARGO_BIN_EXE_barman");
    let script = format!("set -o pipefail; {program} wal-dump {many} | head -1");
    let mut shell = Command::new("bash");
    let shown = shell.env("TZ", "UTC").args(["-c", &script]).succeed();
    assert_eq!(shown.split("desc").next(), theirs[0].split("desc").next());
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the kernel has it");
    let status = Command::new(program).arg("wal-dump").arg(&segment).stdout(full).status().expect("it can be started");
    assert_eq!(status.code(), Some(1));
}
