//! Finding the moment before a mistake, in a history with every command that removes files without dropping anything.

use crate::scene::{Scene, ours};
use serde_json::Value;
use test_support::{Postgres, StopMode, majors, system_calls};

/// A server with a backup of a table with an index and long values, and of a view of it.
fn scene() -> Scene {
    let scene = Scene::streaming();
    scene.server.psql(
        "create table t (row int primary key, note text); insert into t select i, repeat('x', 100) from generate_series(1, 3000) i; \
         create materialized view v as select count(*) from t; create table bystander (i int); insert into bystander values (1)",
    );
    back_up(&scene);
    scene
}

fn back_up(scene: &Scene) {
    // The checkpoint of the backup would take its time.
    scene.server.psql("checkpoint");
    scene.succeed(&["backup", "--wait", "main"]);
}

fn file_of(scene: &Scene, relation: &str) -> String {
    scene.server.psql(&format!("select pg_relation_filenode('{relation}')"))
}

fn hits(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["-f", "json", "find-target"];
    all.extend(arguments);
    all.push("main");
    let document: Value = serde_json::from_str(&scene.succeed(&all)).expect("find-target prints JSON");
    assert_eq!(document["main"]["segments_not_searched"], 0);
    document["main"]["hits"].as_array().expect("a list").clone()
}

fn kinds(scene: &Scene, arguments: &[&str]) -> Vec<String> {
    hits(scene, arguments).iter().map(|hit| hit["what"]["kind"].as_str().expect("a word").to_owned()).collect()
}

#[test]
fn a_drop_is_found_and_nothing_that_is_none() {
    let scene = scene();
    let rewriting = [
        ("t", "vacuum full t"),
        ("t", "cluster t using t_pkey"),
        ("t_pkey", "reindex index t_pkey"),
        ("bystander", "alter table bystander alter column i type bigint"),
        ("v", "refresh materialized view v"),
    ];
    let mut rewritten = Vec::new();
    for (relation, sql) in rewriting {
        rewritten.push((file_of(&scene, relation), sql));
        scene.server.psql(sql);
    }
    let truncated = file_of(&scene, "bystander");
    scene.server.psql("truncate bystander");
    scene.server.psql("insert into bystander values (2)");
    let doomed = file_of(&scene, "t");
    // Where the rows lie that say what things are called changes with it.
    scene.server.psql("vacuum full pg_class");
    scene.server.psql("drop table t cascade");
    scene.server.psql("insert into bystander values (3)");
    scene.archive_everything();

    for (file, sql) in rewritten {
        assert_eq!(kinds(&scene, &["--drop-of", &file]), [""; 0], "{sql}");
    }
    assert_eq!(kinds(&scene, &["--drop-of", &truncated]), [""; 0]);
    assert_eq!(kinds(&scene, &["--truncate-of", &truncated]), ["truncated"]);
    assert_eq!(kinds(&scene, &["--drop-of", &doomed]), ["dropped"]);
    assert_eq!(kinds(&scene, &["--drop-of", "public.t"]), ["dropped"]);

    let hit = &hits(&scene, &["--drop-of", &doomed])[0];
    let command = hit["restore_command"].as_str().expect("a command");
    let words: Vec<&str> = command.split_whitespace().skip(5).collect();
    assert!(command.starts_with("barman restore main auto DESTINATION "), "{command}");
    let data = scene.restore("auto", &[&words[..], &["--target-action", "promote"]].concat());
    let mut server = Postgres::builder().start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql("select count(*) from t"), "3000", "the table is there");
    assert_eq!(server.psql("select string_agg(i::text, ' ') from bystander"), "2", "and nothing later is");
}

/// The ledger knows in which segments names change; in the others is, at most, the end of a transaction that changed some.
#[test]
fn segments_in_which_no_name_changes_are_not_read() {
    const MORE: u16 = 200;
    let scene = scene();
    let quiet = [2, 3, 4].map(|row| {
        scene.server.psql(&format!("insert into bystander values ({row})"));
        scene.server.switch_wal()
    });
    let switch = "select pg_switch_wal(); select pg_logical_emit_message(false, 'test', 'x')";
    scene.server.psql(&format!("begin; drop table t cascade; {switch}; {switch}; commit"));
    scene.archive_everything();
    for segment in quiet {
        let archived = scene.home.path().join("main/wals").join(&segment[..16]).join(segment);
        std::fs::remove_file(archived).expect("it is archived");
    }
    assert_eq!(kinds(&scene, &["--drop-of", "public.t"]), ["dropped"]);

    // Without the ledger they are looked for: each directory is listed once for all of them.
    std::fs::remove_dir_all(scene.home.path().join("main/ledger")).expect("there was one");
    let search = ["-f", "json", "find-target", "--drop-of", "public.t", "main"];
    let document: Value = serde_json::from_str(&scene.succeed(&search)).expect("JSON");
    assert_eq!(document["main"]["segments_not_searched"], 3, "{document}");
    assert_eq!(document["main"]["hits"][0]["what"]["kind"], "dropped", "{document}");
    let calls = || system_calls(ours().command(&scene.home).args(search));
    let few = calls();
    let index = scene.home.path().join("main/wals/main-xlog.db");
    let mut lines = std::fs::read_to_string(&index).expect("an index");
    let last =
        lines.lines().filter_map(|line| u32::from_str_radix(line.get(16..24)?, 16).ok()).max().expect("a segment");
    let names = (1..=u32::from(MORE)).map(|ahead| format!("0000000100000000{:08X}", last + ahead));
    lines.extend(names.map(|name| format!("{name}\t16777216\t1750000000.0\tNone\tNone\n")));
    std::fs::write(&index, lines).expect("ours");
    assert!(calls() < few + usize::from(MORE), "{few} calls, and {} with {MORE} segments more", calls());
}

#[test]
fn several_things_in_one_transaction_cannot_be_told_apart() {
    let scene = scene();
    let bystander = file_of(&scene, "bystander");
    let indexed = file_of(&scene, "t");
    // The index is dropped and made anew, and so is the table for long values.
    scene.server.psql("alter table t alter column row type bigint");
    assert_ne!(file_of(&scene, "t"), indexed);
    let t = file_of(&scene, "t");
    scene.server.psql("begin; truncate bystander; drop table t cascade; commit");
    scene.server.psql("begin; create table never (i int); rollback");
    scene.archive_everything();
    assert_eq!(kinds(&scene, &["--drop-of", &indexed]), ["cannot_tell"]);
    assert_eq!(kinds(&scene, &["--drop-of", &t]), ["cannot_tell"]);
    assert_eq!(kinds(&scene, &["--truncate-of", &bystander]), ["cannot_tell"]);
}

#[test]
fn deletes_points_transactions_and_times_are_found() {
    let scene = scene();
    let server = &scene.server;
    let table = file_of(&scene, "t");
    let before = server.psql("select clock_timestamp()");
    // Neither part is a large delete by itself.
    let printed = server.psql(
        "begin; delete from t where row <= 600; select pg_switch_wal(); delete from t where row > 600 and row <= 1200; \
         select pg_current_xact_id(); commit",
    );
    let deleted = printed.lines().rev().find(|line| line.parse::<u64>().is_ok()).expect("a number").to_owned();
    server.psql("select pg_create_restore_point('after it')");
    let after = server.psql("select pg_sleep(0.01); select clock_timestamp()");
    let last = server.psql("insert into bystander values (2) returning xmin");
    server.psql("create table gone (i int)");
    let gone = file_of(&scene, "gone");
    server.psql("drop table gone");
    // A thousand rows, of which no segment has more than fifty.
    server.psql("create table spread as select generate_series(1, 1000) i");
    let spread = file_of(&scene, "spread");
    let parts = (0..20).map(|part| {
        format!("delete from spread where i > {part} * 50 and i <= ({part} + 1) * 50; select pg_switch_wal(); ")
    });
    // Each part begins a segment, and lies in that alone.
    server.switch_wal();
    server.psql(&format!("begin; {} commit", parts.collect::<String>()));
    scene.archive_everything();

    let deleted_by: u64 = deleted.parse().expect("a number");
    for is_known in [true, false] {
        if !is_known {
            std::fs::remove_dir_all(scene.home.path().join("main/ledger")).expect("there was one");
        }
        let found = hits(&scene, &["--large-delete", "--relation", &table]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["transaction"]["xid"], &found[0]["what"]["rows"]), (&deleted_by.into(), &1200.into()));
        let found = hits(&scene, &["--large-delete", "--relation", &spread]);
        assert_eq!(found.iter().map(|hit| &hit["what"]["rows"]).collect::<Vec<_>>(), [&Value::from(1000)]);
        assert_eq!(kinds(&scene, &["--large-delete", "--relation", "1"]), [""; 0]);
        assert_eq!(kinds(&scene, &["--restore-point", "after it"]), ["restore_point"]);
        let ended = hits(&scene, &["--xid", &last]);
        assert_eq!(ended.len(), 1);
        let in_another_epoch = hits(&scene, &["--xid", &((1u64 << 32) + deleted_by).to_string()]);
        assert_eq!(in_another_epoch.len(), usize::from(!is_known), "only checkpoints in the ledger tell epochs");
        let around = hits(&scene, &["--around", after.trim()]);
        let xids: Vec<String> = around.iter().map(|hit| hit["transaction"]["xid"].to_string()).collect();
        let place = xids.iter().position(|xid| *xid == deleted).expect("it ended before that time");
        assert_eq!(xids.get(place + 1), Some(&last), "{xids:?}");
        assert_eq!(kinds(&scene, &["--drop-of", "public.gone"]), ["dropped"]);
        assert_eq!(kinds(&scene, &["--drop-of", &gone]), ["dropped"]);
    }

    let until = server.psql("select clock_timestamp()");
    let activity =
        ["-f", "json", "find-target", "--commits", "--from", &before, "--to", &until, "--every", "1h", "main"];
    let document: Value = serde_json::from_str(&scene.succeed(&activity)).expect("JSON");
    let buckets = document["main"]["activity"].as_array().expect("a list");
    let commits: u64 = buckets.iter().filter_map(|bucket| bucket["commits"].as_u64()).sum();
    assert!((2..20).contains(&commits), "{document}");
    let text = scene.succeed(&["find-target", "--large-delete", "main"]);
    assert!(text.contains("Stop just before it: barman restore main auto DESTINATION --target-lsn"), "{text}");
}

/// Names of what was made after the last backup, or where there is none that has names.
#[test]
fn names_that_no_backup_has_are_asked_of_the_server() {
    let mut scene = scene();
    let delete_from = |scene: &Scene, table: &str| {
        let rows = format!("create table {table} as select generate_series(1, 3000) i; delete from {table}");
        scene.server.psql(&rows);
        scene.archive_everything();
    };
    scene.server.psql("create database other");
    delete_from(&scene, "young");
    let found = hits(&scene, &["--large-delete"]);
    assert_eq!(names(&found), ["postgres.public.young"]);
    assert_eq!((&found[0]["name_is_as_of_now"], &found[0]["name_from_backup"]), (&Value::Bool(true), &Value::Null));
    let text = scene.succeed(&["find-target", "--large-delete", "main"]);
    assert!(text.contains("the name is as of now on the server"), "{text}");

    // Without a backup a name is that of a file, if it is that of one relation.
    let (records, aside) = (scene.home.path().join("main/meta"), scene.home.path().join("aside"));
    std::fs::rename(&records, &aside).expect("there are records");
    assert_eq!(names(&hits(&scene, &["--large-delete", "--relation", "young"])), ["postgres.public.young"]);
    let unknown = scene.run(&["find-target", "--large-delete", "--relation", "nothing", "main"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no backup has catalogs"), "{unknown:?}");
    scene.server.psql("\\connect other\ncreate table young (i int)");
    let ambiguous = scene.run(&["find-target", "--large-delete", "--relation", "young", "main"]);
    assert!(ambiguous.stderr.contains("choose one of other.public.young, postgres.public.young"), "{ambiguous:?}");
    // What was dropped is on no server any more: the numbers are shown that it may have had.
    scene.server.psql("create table gone (i int)");
    let gone = file_of(&scene, "gone");
    scene.server.psql("drop table gone");
    scene.archive_everything();
    let nameless = scene.run(&["find-target", "--drop-of", "gone", "main"]);
    assert!(nameless.code == Some(1) && nameless.stderr.contains(&format!("/{gone} at 2")), "{nameless:?}");
    assert_eq!(kinds(&scene, &["--drop-of", &gone]), ["dropped"]);
    std::fs::rename(&aside, &records).expect("they are there");

    // A backup from after it has the name, too; and without any of them a hit is one all the same.
    back_up(&scene);
    delete_from(&scene, "younger");
    scene.server.stop(StopMode::Fast);
    let found = hits(&scene, &["--large-delete"]);
    assert_eq!(names(&found), ["postgres.public.young", "-"]);
    assert_eq!((&found[0]["name_is_as_of_now"], &found[0]["name_from_backup"]), (&Value::Bool(false), &latest(&scene)));
    let warned = scene.run(&["find-target", "--large-delete", "main"]);
    assert!(warned.stderr.contains("WARNING: the server cannot be asked for names: cannot connect"), "{warned:?}");
}

fn names(hits: &[Value]) -> Vec<&str> {
    hits.iter().map(|hit| hit["name"].as_str().unwrap_or("-")).collect()
}

fn latest(scene: &Scene) -> Value {
    let document = scene.succeed(&["-f", "json", "show-backup", "main", "latest"]);
    let shown: Value = serde_json::from_str(&document).expect("JSON");
    shown["main"]["backup_id"].clone()
}

/// The commands that rewrite or remove files without dropping `t`, and some that rename or look like a drop.
const HARMLESS: [&str; 17] = [
    "vacuum full t",
    "cluster t using t_pkey",
    "reindex table t",
    "reindex table concurrently t",
    "alter table t alter column row type bigint",
    "alter table t set unlogged",
    "alter table t set logged",
    "create index extra on t (note)",
    "drop index extra",
    "begin; drop table t cascade; rollback",
    "begin; savepoint s; drop table t cascade; rollback to s; commit",
    "begin; drop table t cascade; prepare transaction 'no'",
    "rollback prepared 'no'",
    "create temp table t (i int); drop table pg_temp.t",
    "refresh materialized view v",
    "create unique index on v (count); refresh materialized view concurrently v",
    "alter table t rename to t2; alter table t2 rename to t",
];

#[test]
fn a_table_is_followed_by_its_name_through_all_that_rewrites_it() {
    for major in majors() {
        let builder = Postgres::builder().major(major).initdb_option("--wal-segsize=1");
        let scene = Scene::of(builder.setting("max_prepared_transactions", "4").setting("autovacuum", "off"));
        scene.start_streaming();
        let server = &scene.server;
        make_tables(server);
        back_up(&scene);
        server.psql(&HARMLESS.join(";\n"));
        server.psql("create database young;\n\\connect young\ncreate table baby (i int)");
        server.psql("\\connect other\ncreate table later (i int)");
        server.psql("truncate t");
        server.psql("insert into t select i, repeat('x', 100) from generate_series(1, 3000) i");
        server
            .psql("alter table t rename to renamed; create table bystander (i int); insert into bystander values (1)");
        server.psql("begin; truncate renamed; savepoint s; drop table renamed cascade; release s; commit");
        server.psql("create table t (i int); insert into bystander values (2)");
        server.psql("begin; drop table t; prepare transaction 'yes'");
        server.psql("commit prepared 'yes'");
        server.psql("drop table parent; drop schema away cascade; drop database other; drop database young");
        scene.archive_everything();

        let found = hits(&scene, &["--drop-of", "postgres.public.t"]);
        let named: Vec<_> = found.iter().map(|hit| format!("{} {}", hit["what"]["kind"], hit["name"])).collect();
        let expected = [r#""dropped" "postgres.public.renamed""#, r#""dropped" "postgres.public.t""#];
        assert_eq!(named, expected, "{major}");
        assert_eq!(kinds(&scene, &["--truncate-of", "public.t"]), ["truncated"], "{major}");
        for (name, kind) in [
            ("parent", "dropped"),
            ("part", "dropped"),
            ("away.\"Far\"", "dropped"),
            ("other.public.inside", "database_dropped"),
            ("other.public.later", "database_dropped"),
            ("baby", "database_dropped"),
        ] {
            assert_eq!(kinds(&scene, &["--drop-of", name]), [kind], "{major} {name}");
        }
        for name in ["v", "t_pkey", "bystander"] {
            let found = kinds(&scene, &["--drop-of", name]);
            // The view and the index went with the table.
            assert_eq!(found.len(), usize::from(name != "bystander"), "{major} {name}: {found:?}");
        }

        restored_before(&scene, major, &found[0], "select count(*) from renamed", "3000");
        let rows = "select (select count(*) from bystander) || ' ' || count(*) from pg_class where relname = 't'";
        restored_before(&scene, major, &found[1], rows, "2 1");
        let database = &hits(&scene, &["--drop-of", "other.public.inside"])[0];
        restored_before(&scene, major, database, "\\connect other\nselect count(*) from inside", "0");
    }
}

fn make_tables(server: &Postgres) {
    server.psql(
        "create table t (row int primary key, note text); insert into t select i, repeat('x', 100) from generate_series(1, 3000) i",
    );
    server.psql("create materialized view v as select count(*) from t");
    server.psql("create table parent (i int) partition by range (i); create table part partition of parent for values from (0) to (9)");
    server.psql("create schema away; create table away.\"Far\" (i int)");
    server.psql("create database other;\n\\connect other\ncreate table inside (i int)");
}

fn restored_before(scene: &Scene, major: u32, hit: &Value, sql: &str, expected: &str) {
    let command = hit["restore_command"].as_str().expect("a command");
    let words: Vec<&str> = command.split_whitespace().skip(5).collect();
    let data = scene.restore("auto", &[&words[..], &["--target-action", "promote"]].concat());
    let mut server = Postgres::builder().major(major).start_existing(&data);
    server.wait_until_recovered();
    assert_eq!(server.psql(sql), expected, "{major} {command}");
}
