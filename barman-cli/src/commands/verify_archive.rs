//! `verify-archive`

use crate::context::{Context, Inactive};
use crate::error::CommandError;
use crate::exit_code;
use barman_catalog::{ArchiveFault, Due, Verification};
use barman_pitr::TargetTime;
use barman_storage::Cancel;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Read what was not read again since then
    #[arg(long, value_name = "TIME", conflicts_with = "all")]
    since: Option<String>,

    /// Read everything, whenever it was read last
    #[arg(long)]
    all: bool,

    /// The servers, or `all`
    #[arg(required = true)]
    server_name: Vec<String>,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let (due, cancel) = (arguments.due(context)?, Cancel::new());
    context.for_each_server(&arguments.server_name, Inactive::Included, |name| {
        let server = context.server(name)?;
        let mut faults = Vec::new();
        let mut found = |fault: &ArchiveFault| faults.push(fault.clone());
        let work = || server.verify_archive(due, context.now(), &cancel, &mut found);
        let done = context.run_until_signal(&cancel, work)??;
        context.output.result(name, || json_of(&done, &faults), || text_of(name, &done, &faults));
        if !faults.is_empty() {
            context.output.set_exit_code(exit_code::FAILURE);
        }
        Ok(())
    })
}

impl Arguments {
    fn due(&self, context: &Context) -> Result<Due, CommandError> {
        let Some(text) = &self.since else { return Ok(if self.all { Due::All } else { Due::Never }) };
        let time = TargetTime::parse(text, &context.zone).map_err(|error| {
            CommandError::new(format!("Unable to parse the time '{text}': {}", error.reason))
                .hinted("write it as 2026-11-20 18:39:13+00:00")
        })?;
        if time.is_zone_assumed() {
            context.output.warning(&format!("The time is read as {time}: name a zone to mean another one"));
        }
        Ok(Due::Since(time.instant()))
    }
}

fn text_of(server: &str, done: &Verification, faults: &[ArchiveFault]) -> String {
    let mut text: String = faults.iter().map(|fault| format!("{}: {}\n", name_of(fault), described(fault))).collect();
    let Verification { sound, unread, faults, not_due } = done;
    text += &format!("Server {server}: {sound} files are what was archived, {faults} are not, {not_due} were not due");
    if *unread > 0 {
        text += &format!("; the records of {unread} cannot be read here, only their checksums were compared");
    }
    text
}

fn json_of(done: &Verification, faults: &[ArchiveFault]) -> Value {
    let faults: Vec<Value> = faults
        .iter()
        .map(|fault| json!({"name": name_of(fault), "fault": kind_of(fault), "detail": described(fault)}))
        .collect();
    json!({"sound": done.sound, "unread": done.unread, "not_due": done.not_due, "faults": faults})
}

fn name_of(fault: &ArchiveFault) -> String {
    match fault {
        ArchiveFault::Missing { name }
        | ArchiveFault::Unreadable { name, .. }
        | ArchiveFault::Changed { name, .. }
        | ArchiveFault::Damaged { name, .. } => name.to_string(),
        _ => String::new(),
    }
}

fn kind_of(fault: &ArchiveFault) -> &'static str {
    match fault {
        ArchiveFault::Missing { .. } => "missing",
        ArchiveFault::Unreadable { .. } => "unreadable",
        ArchiveFault::Changed { .. } => "changed",
        ArchiveFault::Damaged { .. } => "damaged",
        _ => "unknown",
    }
}

fn described(fault: &ArchiveFault) -> String {
    match fault {
        ArchiveFault::Missing { .. } => "the index has it, and it is gone".to_owned(),
        ArchiveFault::Unreadable { why, .. } => format!("it cannot be read: {why}"),
        ArchiveFault::Changed { expected, found, .. } => format!(
            "{} bytes with checksum {:08X}, expected {} with {:08X} as they were archived",
            found.bytes, found.crc32c, expected.bytes, expected.crc32c
        ),
        ArchiveFault::Damaged { at, what, .. } => format!("was archived with damage: WAL at {at}: {what}"),
        _ => String::new(),
    }
}
