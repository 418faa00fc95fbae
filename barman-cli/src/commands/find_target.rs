//! `find-target`: the moment to recover to, and the command that does.

mod histogram;

use super::restore::recovery_plan::{point_json, point_text};
use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::output::time::local_with_offset;
use barman_catalog::LocalZone;
use barman_pitr::{
    Evidence, Fate, FindError, Findings, Hit, HitKind, HitName, LiveAnswer, LiveQuestion, NameOrigin, Quarry,
    TargetTime,
};
use barman_server::Server;
use barman_storage::Cancel;
use serde_json::{Value, json};
use wal_format::{Lsn, RelFileLocator, Timestamp};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    wanted: Wanted,

    /// With --large-delete: only from this relation, known as for --drop-of
    #[arg(long, value_name = "RELATION", requires = "large_delete")]
    relation: Option<String>,

    /// With --commits: the beginning
    #[arg(long, value_name = "TIME", requires = "commits")]
    from: Option<String>,

    /// With --commits: the end
    #[arg(long, value_name = "TIME", requires = "commits")]
    to: Option<String>,

    /// With --commits: how long each line stands for, such as `1min`, `10s` or `1h`
    #[arg(long, value_name = "TIME", requires = "commits", default_value = "1min")]
    every: String,

    /// The server
    server_name: String,
}

/// What is looked for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Find restore points of this name
    #[arg(long, value_name = "NAME")]
    restore_point: Option<String>,

    /// Find the end of this transaction
    #[arg(long, value_name = "XID")]
    xid: Option<String>,

    /// Find the transactions that ended next to this time
    #[arg(long, value_name = "TIME")]
    around: Option<String>,

    /// Show how many transactions ended when: needs --from and --to
    #[arg(long, requires_all = ["from", "to"])]
    commits: bool,

    /// Find when a relation was dropped: its name ([[DATABASE.]SCHEMA.]NAME, in double quotes where SQL wants them), the
    /// number of its file (pg_relation_filenode), or DATABASE_OID/NUMBER
    #[arg(long, value_name = "RELATION")]
    drop_of: Option<String>,

    /// Find when a relation was truncated: its name, the number of its file, or DATABASE_OID/NUMBER
    #[arg(long, value_name = "RELATION")]
    truncate_of: Option<String>,

    /// Find transactions that deleted thousands of rows
    #[arg(long)]
    large_delete: bool,
}

/// Searches the archive. Nothing is changed.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Included)?;
    let cancel = Cancel::new();
    if arguments.wanted.commits {
        let request = histogram::request(&context.zone, arguments)?;
        let buckets =
            context.run_until_signal(&cancel, || barman_pitr::activity(server.catalog(), &request, &cancel))?;
        let buckets = buckets.map_err(|error| refused(&error))?;
        context.output.result(server.name(), || histogram::json(&buckets), || histogram::text(&buckets));
        return Ok(());
    }
    let quarry = quarry(&context.zone, arguments)?;
    let mut no_answer = None;
    let mut ask = |question: LiveQuestion<'_>| match names_now(context, &server, question) {
        Ok(answer) => Some(answer),
        Err(error) => {
            no_answer = Some(error);
            None
        }
    };
    let found =
        context.run_until_signal(&cancel, || barman_pitr::find(server.catalog(), &quarry, &mut ask, &cancel))?;
    if let Some(error) = no_answer {
        context.output.warning(&format!("the server cannot be asked for names: {}", error.message()));
    }
    let found = found.map_err(|error| refused(&error))?;
    if found.unread > 0 {
        context.output.warning(&format!("{} segments were not searched: they cannot be read here", found.unread));
    }
    context.output.result(server.name(), || json_of(&server, &found), || text_of(&server, &found));
    Ok(())
}

/// Asks the server that is there now, if it is.
fn names_now(context: &Context, server: &Server, question: LiveQuestion<'_>) -> Result<LiveAnswer, CommandError> {
    Ok(context.block_on(server.ask_for_names(question))??)
}

fn refused(error: &FindError) -> CommandError {
    let refused = CommandError::from_error(error);
    match error {
        FindError::NoNames { nameless } => refused.hinted(format!(
            "names are read from full backups in the plain format; give the number of the relation's file instead \
             (`select pg_relation_filenode('table')` on a copy of the database){}",
            candidates(nameless)
        )),
        FindError::UnknownRelation { .. } => refused.hinted(
            "in SQL, names with capital letters stand in double quotes, and so they do here: --drop-of 'public.\"Orders\"'",
        ),
        FindError::AmbiguousRelation { candidates, .. } => {
            let all: Vec<_> = candidates.iter().map(ToString::to_string).collect();
            refused.hinted(format!("choose one of {}", all.join(", ")))
        }
        _ => refused,
    }
}

/// What it may have been, the last ones first; each transaction with the files that it removed.
fn candidates(nameless: &[Hit]) -> String {
    const MOST: usize = 10;
    let mut transactions: Vec<(Lsn, String, Vec<String>)> = Vec::new();
    for hit in nameless.iter().rev() {
        let HitKind::Removed { relation, .. } = &hit.what else { continue };
        let file = format!("{}/{}", relation.database, relation.number);
        match transactions.last_mut().filter(|(lsn, ..)| *lsn == hit.lsn) {
            Some((_, _, files)) => files.push(file),
            None => {
                let at = hit.at.map_or_else(|| "an unknown time".to_owned(), local_with_offset);
                transactions.push((hit.lsn, at, vec![file]));
            }
        }
    }
    let shown = transactions.iter().take(MOST).map(|(_, at, files)| format!("{} at {at}", files.join(" ")));
    match transactions.len() {
        0 => String::new(),
        1..=MOST => format!("; these were: {}", shown.collect::<Vec<_>>().join(", ")),
        more => format!("; of {more} transactions the last were: {}", shown.collect::<Vec<_>>().join(", ")),
    }
}

fn quarry(zone: &LocalZone, arguments: &Arguments) -> Result<Quarry, CommandError> {
    let Wanted { restore_point, xid, around, drop_of, truncate_of, .. } = &arguments.wanted;
    Ok(if let Some(name) = restore_point {
        Quarry::RestorePoint(parsed(name)?)
    } else if let Some(xid) = xid {
        Quarry::Xid(parsed(xid)?)
    } else if let Some(time) = around {
        Quarry::Around(moment(zone, time)?)
    } else if let Some(file) = drop_of {
        Quarry::DropOf(parsed(file)?)
    } else if let Some(file) = truncate_of {
        Quarry::TruncateOf(parsed(file)?)
    } else {
        Quarry::LargeDelete(arguments.relation.as_deref().map(parsed).transpose()?)
    })
}

fn parsed<T>(text: &str) -> Result<T, CommandError>
where
    T: std::str::FromStr<Err: std::error::Error + 'static>,
{
    text.parse().map_err(|error: T::Err| CommandError::from_error(&error))
}

/// Reads a time as the target options do.
fn moment(zone: &LocalZone, text: &str) -> Result<Timestamp, CommandError> {
    let read = TargetTime::parse(text, zone).map(|time| time.instant());
    read.map_err(|error| {
        CommandError::new(format!("'{text}' is not a time: {}", error.reason))
            .hinted("write it as 2026-11-20 18:39:13Z")
    })
}

fn text_of(server: &Server, found: &Findings) -> String {
    if found.hits.is_empty() {
        return "Nothing was found".to_owned();
    }
    let block = |hit: &Hit| {
        let at = hit.at.map_or_else(|| "at an unknown time".to_owned(), local_with_offset);
        let mut lines = vec![format!("{} {at} ({} on timeline {})", what(hit), hit.lsn, hit.timeline)];
        let by = hit.transaction.filter(|_| hit.what != HitKind::TransactionEnd);
        lines.extend(by.map(|end| format!("  by transaction {}", point_text(&end))));
        lines.extend(evidence(&hit.what).map(|text| format!("  because it {text}")));
        lines.extend(hit.name.as_ref().map(|name| format!("  {}", origin(name))));
        lines.push(format!("  Stop just before it: {}", command(server, hit)));
        lines.join("\n")
    };
    found.hits.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn what(hit: &Hit) -> String {
    let file = |relation: &RelFileLocator| match &hit.name {
        Some(named) => format!("{} (file {relation})", named.name),
        None => relation.to_string(),
    };
    let named = || hit.name.as_ref().map_or_else(|| "a relation".to_owned(), |named| named.name.to_string());
    match &hit.what {
        HitKind::RestorePoint { name } => format!("Restore point '{name}'"),
        HitKind::TransactionEnd => "Transaction ended".to_owned(),
        HitKind::Removed { relation, fate, .. } => format!("{} {}", fate_words(*fate), file(relation)),
        HitKind::RelationChanged { fate, .. } => format!("{} {}", fate_words(*fate), named()),
        HitKind::DatabaseDropped { .. } => format!("Dropped {} with its database", named()),
        HitKind::Cut { relation, blocks } => format!("Cut {} to {blocks} blocks", file(relation)),
        HitKind::LargeDelete { relation, rows } => format!("Deleted {rows} rows or more of {}", file(relation)),
    }
}

fn origin(name: &HitName) -> String {
    match name.origin {
        NameOrigin::Followed(backup) => format!("the name is of that moment, followed from backup {backup} on"),
        NameOrigin::Backup(backup) => format!("the name is as of backup {backup}"),
        NameOrigin::Server => "the name is as of now on the server".to_owned(),
    }
}

const fn fate_words(fate: Fate) -> &'static str {
    match fate {
        Fate::Dropped => "Dropped",
        Fate::Truncated => "Truncated",
        Fate::Rewritten => "Wrote anew",
        Fate::NeverThere => "Rolled back the making of",
        Fate::CannotTell => "Dropped, truncated or wrote anew (cannot tell)",
    }
}

fn evidence(kind: &HitKind) -> Option<String> {
    Some(match kind {
        HitKind::Removed { evidence, .. } => {
            let Evidence { removed, created, created_empty, relations_dropped, transient_relations, .. } = evidence;
            format!(
                "removed {removed} files and created {created}, {created_empty} of them empty; it deleted \
                 {relations_dropped} rows of pg_class that were there before, and {transient_relations} that were its own"
            )
        }
        HitKind::RelationChanged { fate: Fate::Dropped, database, oid, .. } => {
            format!("deleted its row of pg_class (OID {oid} in the database with OID {database})")
        }
        HitKind::RelationChanged { fate: Fate::Truncated, oid, new_file: Some(file), .. } => {
            format!("gave the row of pg_class with OID {oid} the file {file}, and wrote nothing to that")
        }
        _ => return None,
    })
}

/// Stops in front of the record that made it true: a transaction's end, or else what is shown.
fn stop_lsn(hit: &Hit) -> Lsn {
    let end = hit.transaction.filter(|_| !matches!(hit.what, HitKind::DatabaseDropped { .. }));
    end.map_or(hit.lsn, |end| end.lsn)
}

fn command(server: &Server, hit: &Hit) -> String {
    let (name, lsn, timeline) = (server.name(), stop_lsn(hit), hit.timeline);
    format!("barman restore {name} auto DESTINATION --target-lsn {lsn} --exclusive --target-tli {timeline}")
}

fn json_of(server: &Server, found: &Findings) -> Value {
    let hit = |hit: &Hit| {
        let name = hit.name.as_ref();
        let backup = |named: &HitName| match named.origin {
            NameOrigin::Followed(backup) | NameOrigin::Backup(backup) => Some(backup.to_string()),
            NameOrigin::Server => None,
        };
        json!({
            "timeline": hit.timeline.get(),
            "lsn": hit.lsn.to_string(),
            "time": hit.at.map(local_with_offset),
            "transaction": hit.transaction.as_ref().map(point_json),
            "what": kind_json(&hit.what),
            "name": name.map(|named| named.name.to_string()),
            "name_from_backup": name.and_then(backup),
            "name_is_of_that_moment": name.map(|named| matches!(named.origin, NameOrigin::Followed(_))),
            "name_is_as_of_now": name.map(|named| named.origin == NameOrigin::Server),
            "restore_command": command(server, hit),
        })
    };
    json!({"hits": found.hits.iter().map(hit).collect::<Vec<_>>(), "segments_not_searched": found.unread})
}

const fn fate_key(fate: Fate) -> &'static str {
    match fate {
        Fate::Dropped => "dropped",
        Fate::Truncated => "truncated",
        Fate::Rewritten => "rewritten",
        Fate::NeverThere => "never_there",
        Fate::CannotTell => "cannot_tell",
    }
}

fn kind_json(kind: &HitKind) -> Value {
    let shown = |file: &Option<RelFileLocator>| file.map(|file| file.to_string());
    match kind {
        HitKind::RestorePoint { name } => json!({"kind": "restore_point", "name": name}),
        HitKind::TransactionEnd => json!({"kind": "transaction_end"}),
        HitKind::Removed { relation, fate, evidence } => json!({
            "kind": fate_key(*fate),
            "relation": relation.to_string(),
            "files_removed": evidence.removed,
            "files_created": evidence.created,
            "files_created_empty": evidence.created_empty,
            "relations_dropped": evidence.relations_dropped,
            "transient_relations": evidence.transient_relations,
        }),
        HitKind::RelationChanged { database, oid, fate, file, new_file } => json!({
            "kind": fate_key(*fate),
            "relation": shown(file),
            "new_relation": shown(new_file),
            "database_oid": database,
            "oid": oid,
        }),
        HitKind::DatabaseDropped { database, oid } => {
            json!({"kind": "database_dropped", "database_oid": database, "oid": oid})
        }
        HitKind::Cut { relation, blocks } => json!({"kind": "cut", "relation": relation.to_string(), "blocks": blocks}),
        HitKind::LargeDelete { relation, rows } => {
            json!({"kind": "large_delete", "relation": relation.to_string(), "rows": rows})
        }
    }
}
