//! `show-backup` for people: labels and columns are Barman's, because scripts cut them out by position.

use barman_catalog::{BackupInfo, BackupType};
use barman_server::{BackupDetail, human};
use std::fmt::Display;
use std::time::Duration;

pub(super) fn of(detail: &BackupDetail) -> String {
    let info = detail.info();
    let mut text = Text(format!("Backup {}:\n", info.backup_id));
    header(&mut text, info);
    if info.status.is_copied() {
        tablespaces(&mut text, info);
        base_backup(&mut text, detail);
        wal(&mut text, detail);
        catalog(&mut text, detail);
        if !detail.reachable_timelines.is_empty() {
            text.0.push_str(
                "\nWARNING: WAL information is inaccurate due to multiple timelines interacting with this backup\n",
            );
        }
    } else {
        text.blank();
        text.top_if("Error", info.error.as_ref());
    }
    text.0
}

/// Lines of `label: value`, in one of two indentations.
struct Text(String);

impl Text {
    fn top(&mut self, label: &str, value: impl Display) {
        self.0.push_str(&format!("  {label:<23}: {value}\n"));
    }

    fn top_if(&mut self, label: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.top(label, value);
        }
    }

    fn nested(&mut self, label: &str, value: impl Display) {
        self.0.push_str(&format!("    {label:<21}: {value}\n"));
    }

    fn nested_if(&mut self, label: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.nested(label, value);
        }
    }

    fn section(&mut self, title: &str) {
        self.blank();
        self.0.push_str(&format!("  {title}:\n"));
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }
}

fn header(text: &mut Text, info: &BackupInfo) {
    text.top_if("Backup Name", info.backup_name.as_ref());
    text.top("Server Name", info.server_name.as_deref().unwrap_or_default());
    text.top_if("System Id", info.systemid);
    text.top("Status", info.status);
    if info.status.is_copied() {
        text.top("PostgreSQL Version", or_none(info.version));
        text.top("PGDATA directory", or_none(info.pgdata.as_ref()));
        text.top_if("Estimated Cluster Size", info.cluster_size.map(human::size_of));
    }
    text.section("Server information");
    text.nested_if("Checksums", info.data_checksums.as_ref());
    text.nested_if("WAL summarizer", info.summarize_wal.as_ref());
}

fn tablespaces(text: &mut Text, info: &BackupInfo) {
    let Some(tablespaces) = info.tablespaces.as_ref().filter(|list| !list.is_empty()) else {
        return;
    };
    text.section("Tablespaces");
    for tablespace in tablespaces {
        text.nested(&tablespace.name, format!("{} (oid: {})", tablespace.location, tablespace.oid));
    }
}

/// Before any of its WAL is archived, a backup has only a size of its own.
fn sizes(text: &mut Text, info: &BackupInfo, size: u64, wal_size: u64) {
    let own = human::size_of(size);
    let with_wals = || format!("{own} ({} with WALs)", human::size_of(size + wal_size));
    text.nested("Backup Size", if wal_size == 0 { own.clone() } else { with_wals() });
    text.nested_if("Backup Compression", info.compression.as_ref());
    text.nested_if("WAL Size", Some(wal_size).filter(|size| *size > 0).map(human::size_of));
}

fn base_backup(text: &mut Text, detail: &BackupDetail) {
    let info = detail.info();
    let size = detail.own_size();
    text.section("Base backup information");
    text.nested_if("Backup Method", info.mode.as_ref());
    text.nested_if("Encryption", info.encryption.as_ref());
    if let Some(kind) = info.backup_type().filter(|kind| *kind != BackupType::Rsync) {
        text.nested("Backup Type", kind.as_str());
    }
    let wal = &detail.summary.wal;
    sizes(text, info, size, wal.wal_size);
    if let Some((saved, percent)) = detail.resources_saved() {
        text.nested("Resources saved", format!("{} ({percent:.2}%)", human::size_of(saved)));
    }
    text.nested("Timeline", or_none(info.timeline));
    text.nested("Begin WAL", or_none(info.begin_wal));
    text.nested("End WAL", or_none(info.end_wal));
    text.nested_if("Number of WALs", Some(wal.wal_num).filter(|number| *number > 0));
    text.nested_if("WAL compression ratio", detail.wal_compression_ratio().map(percent));
    text.nested_if("Begin time", info.begin_time);
    text.nested_if("End time", info.end_time);
    copy(text, detail);
    text.nested("Begin Offset", or_none(info.begin_offset));
    text.nested("End Offset", or_none(info.end_offset));
    text.nested("Begin LSN", or_none(info.begin_xlog));
    text.nested("End LSN", or_none(info.end_xlog));
}

fn copy(text: &mut Text, detail: &BackupDetail) {
    let Some(seconds) = detail.info().copy_stats.as_ref().and_then(barman_catalog::CopyStats::copy_seconds) else {
        return;
    };
    let time = human::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let workers = detail.workers();
    let jobs = if workers > 1 { format!(" ({workers} jobs)") } else { String::new() };
    text.nested("Copy time", format!("{time}{jobs}"));
    text.nested_if(
        "Estimated throughput",
        detail.throughput().map(|rate| {
            let jobs = if workers > 1 { format!(" ({workers} jobs)") } else { String::new() };
            format!("{}/s{jobs}", human::size(rate))
        }),
    );
}

fn wal(text: &mut Text, detail: &BackupDetail) {
    text.section("WAL information");
    text.nested("Number of files", detail.summary.wal.wal_until_next_num);
    text.nested("Disk usage", human::size_of(detail.summary.wal.wal_until_next_size));
    text.nested_if("WAL rate", detail.summary.wal.wals_per_second().map(|rate| format!("{:.2}/hour", rate * 3600.0)));
    text.nested_if("Compression ratio", detail.later_wal_compression_ratio().map(percent));
    text.nested("Last available", or_none(detail.last_wal()));
    if !detail.reachable_timelines.is_empty() {
        let timelines: Vec<String> = detail.reachable_timelines.iter().map(ToString::to_string).collect();
        text.nested("Reachable timelines", timelines.join(", "));
    }
}

fn catalog(text: &mut Text, detail: &BackupDetail) {
    text.section("Catalog information");
    text.nested("Retention Policy", detail.retention_text());
    let previous = detail.previous.map(|id| id.to_string());
    text.nested("Previous Backup", previous.unwrap_or_else(|| OLDEST.to_owned()));
    let next = detail.next.map(|id| id.to_string());
    text.nested("Next Backup", next.unwrap_or_else(|| LATEST.to_owned()));
    if let Some(chain) = &detail.chain {
        text.nested("Root Backup", chain.root);
        text.nested("Parent Backup", chain.parent);
        text.nested("Backup chain size", chain.size);
    }
    if !detail.info().children_backup_ids.is_empty() {
        let children: Vec<String> = detail.info().children_backup_ids.iter().map(ToString::to_string).collect();
        text.nested("Children Backup(s)", children.join(","));
    }
}

/// What stands where there is no previous backup.
pub(super) const OLDEST: &str = "- (this is the oldest base backup)";
/// What stands where there is no next backup.
pub(super) const LATEST: &str = "- (this is the latest base backup)";

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| value.to_string())
}

fn percent(ratio: f64) -> String {
    format!("{:.2}%", ratio * 100.0)
}
