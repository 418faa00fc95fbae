//! Sizes and durations in Barman's words: check hints, listings and messages all use them.

use std::time::Duration;

/// Returns `size` bytes in the unit that keeps it below 1024, for example `22.3 MiB`; bytes have no fraction.
#[must_use]
pub fn size(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"B");
    while value.abs() >= 1024.0
        && let Some(larger) = units.next()
    {
        value /= 1024.0;
        unit = larger;
    }
    if *unit == "B" { format!("{:.0} B", value.trunc()) } else { format!("{value:.1} {unit}") }
}

/// Returns [`size`] of a whole number of bytes.
#[must_use]
pub fn size_of(bytes: u64) -> String {
    // Above 2^53 the lost bytes do not show in a number with one decimal.
    #[allow(clippy::cast_precision_loss)]
    size(bytes as f64)
}

/// Returns `duration` in days, hours, minutes and seconds, for example `14 minutes, 54 seconds`.
///
/// Parts that are zero are left out; what is shorter than a second is `less than one second`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut seconds = duration.as_secs();
    let mut parts = Vec::new();
    for (length, unit) in UNITS {
        let count = seconds / length;
        seconds %= length;
        if count > 0 {
            parts.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { "less than one second".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected texts as Barman 3.19.1 prints them for the same numbers.
    #[test]
    fn sizes_are_barmans() {
        let cases = [
            (0.0, "0 B"),
            (0.5, "0 B"),
            (1023.0, "1023 B"),
            (1024.0, "1.0 KiB"),
            (1_048_575.0, "1024.0 KiB"),
            (10_000_000.0, "9.5 MiB"),
            (1e18, "888.2 PiB"),
            (-5000.0, "-4.9 KiB"),
            (833_985.3, "814.4 KiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn durations_are_barmans() {
        let cases = [
            (0.0, "less than one second"),
            (0.99, "less than one second"),
            (1.9, "1 second"),
            (60.0, "1 minute"),
            (3601.0, "1 hour, 1 second"),
            (90_061.0, "1 day, 1 hour, 1 minute, 1 second"),
            (615_665.0, "7 days, 3 hours, 1 minute, 5 seconds"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
