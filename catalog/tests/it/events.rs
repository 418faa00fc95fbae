//! What a real server's WAL says to the ledger about databases, tablespaces, files that are cut, and timelines.

use std::path::Path;

use barman_catalog::{WalEventKind, WalSource};
use test_support::{OsUser, Postgres, TempDir};
use wal_format::TimelineId;

use crate::repository::Repository;

/// Copies the segments of a timeline up to `last`, which is complete.
fn deliver(repository: &Repository, server: &Postgres, last: &str) {
    for entry in std::fs::read_dir(server.data_dir().join("pg_wal")).expect("list") {
        let entry = entry.expect("entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        let is_complete = name.len() == last.len() && name[..8] == last[..8] && name.as_str() <= last;
        if is_complete || name.ends_with(".history") {
            copy(repository, &entry.path(), &name);
        }
    }
}

fn copy(repository: &Repository, from: &Path, name: &str) {
    std::fs::copy(from, repository.path(&format!("incoming/{name}"))).expect("copied");
}

/// Every event of the archived segments, in the order of their names.
fn events(repository: &Repository) -> Vec<WalEventKind> {
    repository.ingest(WalSource::Incoming).expect("a run");
    let segments = repository.archived().into_iter().filter(|name| name.len() == 24);
    let records = segments.filter_map(|name| repository.facts(&name).records);
    records.flat_map(|records| records.events).map(|event| event.kind).collect()
}

#[test]
fn what_a_server_does_to_databases_tablespaces_and_files_is_known() {
    const DEFAULT_TABLESPACE: u32 = 1663;
    let repository = Repository::new();
    let directory = TempDir::new();
    let path = directory.path().join("space");
    std::fs::create_dir(&path).expect("created");
    let server = Postgres::builder().initdb_option("--wal-segsize=1").setting("wal_keep_size", "1GB").start();
    OsUser::of_servers().own_tree(&path);
    let number = |query: &str| server.psql(query).parse::<u32>().expect("a number");
    server.psql("create database logged strategy wal_log");
    server.psql("create database copied strategy file_copy");
    let [logged, copied] =
        ["logged", "copied"].map(|name| number(&format!("select oid from pg_database where datname = '{name}'")));
    server.psql("drop database logged");
    server.psql("drop database copied");
    server.psql(&format!("create tablespace space location '{}'", path.display()));
    let tablespace = number("select oid from pg_tablespace where spcname = 'space'");
    server.psql("drop tablespace space");
    server.psql("create table cut as select generate_series(1, 10000) i");
    let cut = number("select pg_relation_filenode('cut')");
    server.psql("delete from cut where i > 10");
    server.psql("vacuum cut");
    server.psql("create table emptied as select 1");
    let emptied = number("select pg_relation_filenode('emptied')");
    server.psql("truncate emptied");
    deliver(&repository, &server, &server.switch_wal());
    let mut standby = Postgres::builder().start_standby_of(&server);
    standby.promote();
    deliver(&repository, &standby, &standby.switch_wal());

    let events = events(&repository);
    let places = |found: &WalEventKind| events.iter().filter(|event| *event == found).count();
    for database in [logged, copied] {
        assert_eq!(places(&WalEventKind::DatabaseCreate { database, tablespace: DEFAULT_TABLESPACE }), 1, "{events:?}");
        assert_eq!(places(&WalEventKind::DatabaseDrop { database }), 1, "{events:?}");
    }
    let path = path.to_str().expect("UTF-8").as_bytes().to_vec();
    assert_eq!(places(&WalEventKind::TablespaceCreate { tablespace, path }), 1, "{events:?}");
    assert_eq!(places(&WalEventKind::TablespaceDrop { tablespace }), 1, "{events:?}");
    let is_cut =
        |event: &WalEventKind| matches!(event, WalEventKind::FileCut { relation, blocks: 1 } if relation.number == cut);
    assert_eq!(events.iter().filter(|event| is_cut(event)).count(), 1, "{events:?}");
    let is_emptied = |event: &WalEventKind| {
        matches!(event, WalEventKind::FilesRemoved { relations, committed: true }
            if relations.iter().any(|relation| relation.number == emptied))
    };
    assert_eq!(events.iter().filter(|event| is_emptied(event)).count(), 1, "{events:?}");
    let (timeline, previous) = (TimelineId::new(2).expect("not 0"), TimelineId::FIRST);
    assert_eq!(places(&WalEventKind::TimelineBegin { timeline, previous }), 1, "{events:?}");
}
