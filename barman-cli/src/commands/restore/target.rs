//! The options that say where recovery stops.

use crate::error::CommandError;
use barman_catalog::LocalZone;
use barman_pitr::{RecoveryTarget, StopPoint, TargetAction, TargetTime, TimelineChoice};
use wal_format::TimelineId;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::commands) struct Arguments {
    /// Stop at this time
    #[arg(long, value_name = "TIME")]
    target_time: Option<String>,

    /// Stop at this transaction
    #[arg(long, value_name = "XID")]
    target_xid: Option<String>,

    /// Stop at this position
    #[arg(long, value_name = "LSN")]
    target_lsn: Option<String>,

    /// Stop at this restore point
    #[arg(long, value_name = "NAME")]
    target_name: Option<String>,

    /// Stop as soon as the backup is consistent
    #[arg(long)]
    target_immediate: bool,

    /// Follow this timeline: a number, `current` or `latest`
    #[arg(long, value_name = "TLI", value_parser = str::parse::<TimelineChoice>)]
    target_tli: Option<TimelineChoice>,

    /// What the server does at the target
    #[arg(long, value_name = "ACTION", value_parser = str::parse::<TargetAction>)]
    target_action: Option<TargetAction>,

    /// Stop just before the target instead of just after it
    #[arg(long)]
    exclusive: bool,
}

impl Arguments {
    /// Returns the target that the options mean.
    ///
    /// A time without a zone is one of `zone`.
    pub(in crate::commands) fn parse(&self, zone: &LocalZone) -> Result<RecoveryTarget, CommandError> {
        let mut stops =
            [self.time(zone)?, self.xid()?, self.lsn()?, self.name()?, self.immediate()].into_iter().flatten();
        let stop = stops.next();
        if stops.next().is_some() {
            return Err(CommandError::new("You cannot specify multiple targets for the recovery operation")
                .hinted("a timeline goes with any target; of the others, give one"));
        }
        Ok(RecoveryTarget { stop, exclusive: self.exclusive, timeline: self.target_tli, action: self.target_action })
    }

    fn time(&self, zone: &LocalZone) -> Result<Option<StopPoint>, CommandError> {
        let parse = |text: &String| match TargetTime::parse(text, zone) {
            Ok(time) => Ok(StopPoint::Time(time)),
            Err(error) => {
                let message = format!("Unable to parse the target time parameter '{text}': {}", error.reason);
                Err(CommandError::new(message).hinted("write it as 2026-11-20 18:39:13.250000+00:00"))
            }
        };
        self.target_time.as_ref().map(parse).transpose()
    }

    fn xid(&self) -> Result<Option<StopPoint>, CommandError> {
        let parse = |text: &String| text.parse().map(StopPoint::Xid).map_err(|error| refused(&error));
        self.target_xid.as_ref().map(parse).transpose()
    }

    fn lsn(&self) -> Result<Option<StopPoint>, CommandError> {
        let parse = |text: &String| {
            text.parse().map(StopPoint::Lsn).map_err(|error: wal_format::SyntaxError| {
                CommandError::new(format!("'{text}' is not an LSN: {error}")).hinted("write it as 0/4000060")
            })
        };
        self.target_lsn.as_ref().map(parse).transpose()
    }

    fn name(&self) -> Result<Option<StopPoint>, CommandError> {
        let parse = |text: &String| text.parse().map(StopPoint::Name).map_err(|error| refused(&error));
        self.target_name.as_ref().map(parse).transpose()
    }

    fn immediate(&self) -> Option<StopPoint> {
        self.target_immediate.then_some(StopPoint::Immediate)
    }
}

fn refused(error: &(dyn std::error::Error + 'static)) -> CommandError {
    CommandError::from_error(error).hinted("`barman restore --help` lists the targets")
}

/// Returns a target as Barman announces it: `time: '2026-11-20 16:47:43+00:00', timeline: '2'`; `timeline` is the one
/// that the chosen words come to.
pub(super) fn described(target: &RecoveryTarget, timeline: TimelineId) -> String {
    let stop = |wanted: &str| match &target.stop {
        Some(stop) if stop.kind() == wanted => Some(match stop {
            StopPoint::Time(time) => format!("'{time}'"),
            StopPoint::Xid(xid) => format!("'{xid}'"),
            StopPoint::Lsn(lsn) => format!("'{lsn}'"),
            StopPoint::Name(name) => format!("'{name}'"),
            _ => "True".to_owned(),
        }),
        _ => None,
    };
    let parts = [
        ("time", stop("target_time")),
        ("xid", stop("target_xid")),
        ("lsn", stop("target_lsn")),
        ("timeline", target.timeline.map(|_| format!("'{timeline}'"))),
        ("name", stop("target_name")),
        ("immediate", stop("target_immediate")),
    ];
    let parts = parts.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", value?)));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_announced_as_barman_does() {
        let target = RecoveryTarget {
            stop: Some(StopPoint::Name("rp1".parse().expect("a name"))),
            timeline: Some(TimelineChoice::Latest),
            ..RecoveryTarget::default()
        };
        assert_eq!(described(&target, TimelineId::FIRST), "timeline: '1', name: 'rp1'");
        let target = RecoveryTarget { stop: Some(StopPoint::Immediate), ..RecoveryTarget::default() };
        assert_eq!(described(&target, TimelineId::FIRST), "immediate: True");
    }
}
