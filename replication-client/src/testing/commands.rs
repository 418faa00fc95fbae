//! Commands that are answered with a result: a physical walsender's, and queries that a test has foreseen.

use wal_format::{Lsn, TimelineId};

use super::backend_bytes::BackendBytes;
use super::cluster::{Cluster, ScriptedSlot};
use crate::server_version;

const SYNTAX_ERROR: &str = "42601";
const UNDEFINED_OBJECT: &str = "42704";

/// Returns what the server says, up to the ReadyForQuery.
pub(super) fn answer(cluster: &mut Cluster, query: &str) -> BackendBytes {
    let words: Vec<&str> = query.split_whitespace().collect();
    let answered = match words[..] {
        _ if cluster.answers.contains_key(query) => foreseen(cluster, query),
        ["IDENTIFY_SYSTEM"] => identify_system(cluster),
        ["SHOW", name] => show(cluster, name),
        ["TIMELINE_HISTORY", timeline] => history(cluster, timeline),
        ["CREATE_REPLICATION_SLOT", slot, ..] => create_slot(cluster, slot, query.contains("RESERVE_WAL")),
        ["DROP_REPLICATION_SLOT", slot, ..] => drop_slot(cluster, slot),
        ["READ_REPLICATION_SLOT", slot] => Ok(read_slot(cluster, slot)),
        ["SELECT", ..] if query.contains("pg_replication_slots") => Ok(select_slot(cluster, query)),
        _ => Err((SYNTAX_ERROR, format!("this walsender has no answer to {query:?}"))),
    };
    match answered {
        Ok(bytes) => bytes.ready(),
        Err((sqlstate, message)) => BackendBytes::new().error(sqlstate, &message).ready(),
    }
}

type Answer = Result<BackendBytes, (&'static str, String)>;

fn row(columns: &[&str], values: &[Option<&str>]) -> BackendBytes {
    BackendBytes::new().result(columns, &[values])
}

fn foreseen(cluster: &Cluster, query: &str) -> Answer {
    let set = &cluster.answers[query];
    let columns: Vec<&str> = set.columns.iter().map(String::as_str).collect();
    let described = BackendBytes::new().row_description(&columns);
    let with_row = |bytes: BackendBytes, row: &Vec<Option<String>>| {
        bytes.data_row(&row.iter().map(Option::as_deref).collect::<Vec<_>>())
    };
    Ok(set.rows.iter().fold(described, with_row).command_complete())
}

fn identify_system(cluster: &Cluster) -> Answer {
    let (system, timeline) = (cluster.system_id.to_string(), cluster.timeline().to_string());
    let columns = ["systemid", "timeline", "xlogpos", "dbname"];
    Ok(row(&columns, &[Some(&system), Some(&timeline), Some(&cluster.end().to_string()), None]))
}

fn show(cluster: &Cluster, name: &str) -> Answer {
    let unknown = || (UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""));
    let value = cluster.setting(name).ok_or_else(unknown)?;
    Ok(row(&[name], &[Some(&value)]))
}

fn history(cluster: &Cluster, timeline: &str) -> Answer {
    let timeline: Option<TimelineId> = timeline.parse().ok().and_then(TimelineId::new);
    let found = timeline.and_then(|timeline| Some((timeline, cluster.history_of(timeline)?)));
    let (timeline, content) = found.ok_or(("58P01", "could not open file \"pg_wal/history\"".to_owned()))?;
    Ok(row(&["filename", "content"], &[Some(&format!("{:08X}.history", timeline.get())), Some(content)]))
}

fn create_slot(cluster: &mut Cluster, slot: &str, reserve_wal: bool) -> Answer {
    let name = slot.trim_matches('"');
    if cluster.slots.contains_key(name) {
        return Err(("42710", format!("replication slot \"{name}\" already exists")));
    }
    let restart_lsn = reserve_wal.then(|| cluster.end());
    cluster.slots.insert(name.to_owned(), ScriptedSlot { restart_lsn, ..ScriptedSlot::default() });
    let columns = ["slot_name", "consistent_point", "snapshot_name", "output_plugin"];
    Ok(row(&columns, &[Some(name), Some("0/0"), None, None]))
}

fn drop_slot(cluster: &mut Cluster, slot: &str) -> Answer {
    let name = slot.trim_matches('"');
    match cluster.slots.get(name) {
        None => Err((UNDEFINED_OBJECT, format!("replication slot \"{name}\" does not exist"))),
        Some(slot) if slot.active => Err(("55006", format!("replication slot \"{name}\" is active for PID 7"))),
        Some(_) => {
            cluster.slots.remove(name);
            Ok(BackendBytes::new().command_complete())
        }
    }
}

fn read_slot(cluster: &Cluster, slot: &str) -> BackendBytes {
    if server_version::parse(&cluster.version).unwrap_or_default() < server_version::V15 {
        return BackendBytes::new().error(SYNTAX_ERROR, "syntax error");
    }
    let slot = cluster.slots.get(slot.trim_matches('"'));
    let lsn = slot.and_then(|slot| slot.restart_lsn).map(|lsn| lsn.to_string());
    let timeline = lsn.as_ref().map(|_| cluster.timeline().to_string());
    let kind = slot.map(|_| "physical");
    row(&["slot_type", "restart_lsn", "restart_tli"], &[kind, lsn.as_deref(), timeline.as_deref()])
}

/// The view `pg_replication_slots`, of which one slot is asked for by its name.
fn select_slot(cluster: &Cluster, query: &str) -> BackendBytes {
    let described = BackendBytes::new().row_description(&["restart_lsn", "active", "wal_status"]);
    let mut named = cluster.slots.iter().filter(|(name, _)| query.contains(&format!("'{name}'")));
    let with_row = |bytes: BackendBytes, slot: &ScriptedSlot| {
        let lsn = slot.restart_lsn.map(|lsn: Lsn| lsn.to_string());
        let status = if slot.lost { Some("lost") } else { lsn.as_ref().map(|_| "reserved") };
        bytes.data_row(&[lsn.as_deref(), Some(if slot.active { "t" } else { "f" }), status])
    };
    named.next().map_or(described.clone(), |(_, slot)| with_row(described, slot)).command_complete()
}
