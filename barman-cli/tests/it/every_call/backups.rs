//! Commands on backups.

use super::wal::{archive, name};
use super::{Case, KeptHome};
use barman_catalog::{BackupId, BackupInfo, BackupMode, BackupTime, Status, Tablespace};
use wal_format::{SegmentSize, Timestamp};

pub(super) const ONE: &str = "20260101T000000";
const TWO: &str = "20260102T000000";
const THREE: &str = "20260103T000000";
const FOUR: &str = "20260104T000000";

fn id(text: &str) -> BackupId {
    text.parse().expect("an id")
}

/// Saves the record of a backup that needs two segments from `begin` on, and some data of it.
pub(super) fn backup(home: &KeptHome, text: &str, begin: u64, change: impl FnOnce(&mut BackupInfo)) {
    let mut info = BackupInfo::new(id(text), "main");
    let end = Timestamp::from_unix_micros(1_795_193_057_000_000 + i64::try_from(begin).expect("small") * 1_000_000);
    info.status = Status::Done;
    info.mode = Some(BackupMode::Postgres);
    info.begin_wal = name(begin).parse().ok();
    info.end_wal = name(begin + 1).parse().ok();
    info.timeline = info.begin_wal.map(|name| name.timeline);
    info.xlog_segment_size = SegmentSize::new(1 << 20).expect("a power of two");
    info.begin_time = BackupTime::at_offset(end, 0);
    info.end_time = BackupTime::at_offset(end, 0);
    (info.size, info.deduplicated_size, info.cluster_size) = (Some(4), Some(4), Some(4));
    info.version = Some(170_002);
    info.pgdata = Some("/srv/pgdata".to_owned());
    info.summarize_wal = Some("on".to_owned());
    info.tablespaces = Some(vec![Tablespace { name: "tbs1".to_owned(), oid: 16386, location: "/srv/tbs1".to_owned() }]);
    change(&mut info);
    home.catalog().save(&info).expect("the home is ours");
    for file in ["data/PG_VERSION", "data/base/1/2", "16386/PG_17/1"] {
        home.write(&format!("base/{text}/{file}"), "data");
    }
}

fn of_parent(parent: &str, children: &[&str]) -> impl FnOnce(&mut BackupInfo) {
    let parent = Some(parent).filter(|parent| !parent.is_empty()).map(id);
    let children = children.iter().map(|child| id(child)).collect();
    move |info| {
        info.parent_backup_id = parent;
        info.children_backup_ids = children;
    }
}

/// A backup whose last segment has been archived meanwhile.
pub(super) fn checking() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, 1..=4);
    backup(&home, ONE, 2, |info| info.status = Status::WaitingForWals);
    home.keep();
    Case::of(home, &["check-backup", "main", ONE])
}

/// A backup without a manifest. Where there is one by now, another is refused.
pub(super) fn listing() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, 1..=4);
    backup(&home, ONE, 2, |_| {});
    home.keep();
    Case::of(home, &["generate-manifest", "main", ONE])
}

/// Deleting the oldest of three backups, or of a tree and a later one the whole tree. What was interrupted once the record is
/// gone is cron's to finish: nobody can name the backup any more.
pub(super) fn deleting(tree: bool) -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, 1..=8);
    let parents: [(&str, &[&str]); 4] =
        if tree { [("", &[TWO]), (ONE, &[THREE]), (TWO, &[]), ("", &[])] } else { [("", &[]); 4] };
    for (index, (text, (parent, children))) in [ONE, TWO, THREE, FOUR].into_iter().zip(parents).enumerate() {
        backup(&home, text, 2 + 2 * index as u64 - u64::from(index == 3), of_parent(parent, children));
    }
    home.keep();
    let command = ["delete", "main", ONE];
    Case { deletes: true, again: vec![command.to_vec(), vec!["cron"]], ..Case::of(home, &command) }
}

/// Keeping a backup, or releasing the one that is kept.
pub(super) fn keeping(command: &[&'static str], is_kept: bool) -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, 1..=4);
    backup(&home, ONE, 2, |_| {});
    if is_kept {
        home.write(&format!("meta/{ONE}-keep"), "full");
    }
    home.keep();
    Case::of(home, &[command, &["main", ONE]].concat())
}

/// The first backup counts, and of the WAL before it, which was to go, some is there with its lines and some without.
pub(super) fn purging() -> Case {
    let home = KeptHome::new(&[]);
    archive(&home, 1..=6);
    backup(&home, ONE, 4, |_| {});
    home.write("purging", format!("{ONE}\n"));
    let index = std::fs::read_to_string(home.at("wals/main-xlog.db")).expect("there is an index");
    home.write("wals/main-xlog.db", index.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>());
    home.keep();
    Case { deletes: true, ..Case::of(home, &["cron"]) }
}

/// What a crash of everything at once leaves: locks that nobody holds, a backup that was being taken, one whose deletion was
/// begun, and WAL.
pub(super) fn recovering() -> Case {
    let home = KeptHome::new(&[("retention_policy", "REDUNDANCY 1")]);
    archive(&home, 1..=6);
    backup(&home, ONE, 2, |_| {});
    backup(&home, TWO, 4, |_| {});
    backup(&home, THREE, 6, |info| info.status = Status::Started);
    home.write(&format!("meta/{ONE}-delete_this"), "");
    for lock in ["main-cron", "main-archive-wal", "main-backup", "main-20260101T000000", "main-xlogdb", "gone-cron"] {
        std::fs::write(home.path().join(format!(".{lock}.lock")), "999999\n").expect("the home is ours");
    }
    home.keep();
    Case { deletes: true, ..Case::of(home, &["cron"]) }
}
