//! How many transactions ended when.

use super::{Arguments, moment};
use crate::error::CommandError;
use crate::output::time::local_with_offset;
use barman_catalog::LocalZone;
use barman_pitr::{ActivityBucket, ActivityRequest};
use serde_json::{Value, json};

pub(super) fn request(zone: &LocalZone, arguments: &Arguments) -> Result<ActivityRequest, CommandError> {
    let time = |text: &Option<String>| moment(zone, text.as_deref().unwrap_or_default());
    let (from, to) = (time(&arguments.from)?, time(&arguments.to)?);
    if from >= to {
        return Err(CommandError::new("--from is not before --to"));
    }
    Ok(ActivityRequest { from, to, every_micros: every(&arguments.every)? })
}

/// Reads `90s`, `1min`, `2h` or `1d`.
fn every(text: &str) -> Result<i64, CommandError> {
    let refused =
        || CommandError::new(format!("'{text}' is not a length of time")).hinted("write it as 10s, 1min, 2h or 1d");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "s" | "" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    let micros = number.parse::<i64>().ok().and_then(|number| number.checked_mul(seconds * 1_000_000));
    micros.filter(|micros| *micros > 0).ok_or_else(refused)
}

pub(super) fn text(buckets: &[ActivityBucket]) -> String {
    /// So that lines fit on a terminal.
    const WIDTH: u64 = 40;
    let most = buckets.iter().map(|bucket| bucket.commits).max().unwrap_or(0).max(1);
    let line = |bucket: &ActivityBucket| {
        let length = bucket.commits.saturating_mul(WIDTH).div_ceil(most);
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        let start = local_with_offset(bucket.start);
        format!("{start} {:>8} commits {:>6} rolled back {bar}", bucket.commits, bucket.rollbacks).trim_end().to_owned()
    };
    buckets.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn json(buckets: &[ActivityBucket]) -> Value {
    let bucket = |bucket: &ActivityBucket| json!({"start": local_with_offset(bucket.start), "commits": bucket.commits, "rollbacks": bucket.rollbacks});
    json!({"activity": buckets.iter().map(bucket).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, seconds) in [("10s", 10), ("1min", 60), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("7", 7)] {
            assert_eq!(every(text).ok(), Some(seconds * 1_000_000), "{text}");
        }
        for text in ["", "0s", "min", "1week", "-1s", "99999999999999999d"] {
            assert!(every(text).is_err(), "{text}");
        }
    }
}
