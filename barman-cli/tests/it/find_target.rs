//! Finding the moment before a mistake, in a history with every command that removes files without dropping anything.

use crate::scene::Scene;
use serde_json::Value;
use test_support::Postgres;

/// A server with a backup of a table with an index and long values, and of a view of it.
fn scene() -> Scene {
    let scene = Scene::streaming();
    scene.server.psql(
        "create table t (row int primary key, note text); insert into t select i, repeat('x', 100) from generate_series(1, 3000) i; \
         create materialized view v as select count(*) from t; create table bystander (i int); insert into bystander values (1)",
    );
    scene.succeed(&["backup", "--wait", "main"]);
    scene
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
    scene.server.psql("drop table t cascade");
    scene.server.psql("insert into bystander values (3)");
    scene.archive_everything();

    for (file, sql) in rewritten {
        assert_eq!(kinds(&scene, &["--drop-of", &file]), [""; 0], "{sql}");
    }
    assert_eq!(kinds(&scene, &["--drop-of", &truncated]), [""; 0]);
    assert_eq!(kinds(&scene, &["--truncate-of", &truncated]), ["truncated"]);
    assert_eq!(kinds(&scene, &["--drop-of", &doomed]), ["dropped"]);

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
    scene.archive_everything();

    let found = hits(&scene, &["--large-delete", "--relation", &table]);
    let deleted_by: u64 = deleted.parse().expect("a number");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0]["transaction"]["xid"], &found[0]["what"]["rows"]), (&deleted_by.into(), &1200.into()));
    assert_eq!(kinds(&scene, &["--large-delete", "--relation", "1"]), [""; 0]);
    assert_eq!(kinds(&scene, &["--restore-point", "after it"]), ["restore_point"]);
    let ended = hits(&scene, &["--xid", &last]);
    assert_eq!(ended.len(), 1);
    let around = hits(&scene, &["--around", after.trim()]);
    let xids: Vec<String> = around.iter().map(|hit| hit["transaction"]["xid"].to_string()).collect();
    let place = xids.iter().position(|xid| *xid == deleted).expect("it ended before that time");
    assert_eq!(xids.get(place + 1), Some(&last), "{xids:?}");

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
