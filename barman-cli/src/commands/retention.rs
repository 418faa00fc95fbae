//! `retention`

mod json;
mod text;

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use crate::moment::moment;
use barman_catalog::BackupId;
use barman_retention::{Forecast, ParsePolicyError, Plan, Rules};
use barman_server::{Inventory, Server};
use wal_format::Timestamp;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// What would be at this time, such as `2026-12-24 18:00:00`
    #[arg(long, value_name = "TIME")]
    at: Option<String>,

    /// What would be with this policy; nothing is changed
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,

    /// Also say what the policy will hold in the long run, and when the disk will be full
    #[arg(long)]
    forecast: bool,
}

/// What is shown.
struct Report<'a> {
    context: &'a Context,
    rules: &'a Rules,
    now: Timestamp,
    inventory: &'a Inventory,
    plan: &'a Plan<BackupId>,
    forecast: Option<Forecast>,
}

/// Shows what the retention policy makes of every backup and of all WAL, and why. Nothing is deleted.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Included)?;
    let rules = rules(&server, arguments.policy.as_deref())?;
    let now = arguments.at.as_deref().map_or_else(|| Ok(context.now()), |text| moment(context, text))?;
    let inventory = server.inventory()?;
    let plan = server.plan_retention(&rules, &inventory, now)?;
    let forecast = arguments.forecast.then(|| server.forecast(&rules, &inventory, now)).transpose()?;
    let report = Report { context, rules: &rules, now, inventory: &inventory, plan: &plan, forecast };
    context.output.result(server.name(), || json::of(&report), || text::of(server.name(), &report));
    Ok(())
}

fn rules(server: &Server, asked: Option<&str>) -> Result<Rules, CommandError> {
    if let Some(text) = asked {
        return text.parse().map_err(|error: ParsePolicyError| CommandError::new(error.to_string()));
    }
    let configured = server.retention_rules().map(std::borrow::Cow::into_owned);
    configured.ok_or_else(|| {
        CommandError::new(format!("Server '{}' has no valid retention policy", server.name()))
            .hinted("set retention_policy, or try one: --policy \"RECOVERY WINDOW OF 7 DAYS\"")
    })
}
