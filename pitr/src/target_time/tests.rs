use proptest::prelude::*;

use super::*;

fn rome() -> LocalZone {
    LocalZone::named("Europe/Rome").unwrap()
}

fn read(text: &str) -> Result<String, TargetTimeReason> {
    TargetTime::parse(text, &LocalZone::UTC).map(|time| time.to_string()).map_err(|error| error.reason)
}

/// The right-hand sides are what python-dateutil 2.9 makes of the left-hand sides, with UTC as the host's zone.
#[test]
fn common_forms_mean_what_dateutil_says() {
    for (text, expected) in [
        ("2025-01-21 14:30:00", "2025-01-21 14:30:00+00:00"),
        ("  2025-01-21 14:30:00  ", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21T14:30:00", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21t14:30:00z", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21T14:30:00.5Z", "2025-01-21 14:30:00.500000+00:00"),
        ("2025-01-21 14:30:00.123456", "2025-01-21 14:30:00.123456+00:00"),
        ("2025-01-21 14:30:00.123456789", "2025-01-21 14:30:00.123456+00:00"),
        ("2025-01-21 14:30:00,5", "2025-01-21 14:30:00.500000+00:00"),
        ("2025-01-21 14:30", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21 14", "2025-01-21 14:00:00+00:00"),
        ("2025-01-21 2pm", "2025-01-21 14:00:00+00:00"),
        ("2025-01-21 12:30 AM", "2025-01-21 00:30:00+00:00"),
        ("2025-01-21", "2025-01-21 00:00:00+00:00"),
        ("2025-1-2 3:4:5", "2025-01-02 03:04:05+00:00"),
        ("20250121", "2025-01-21 00:00:00+00:00"),
        ("20250121T143000", "2025-01-21 14:30:00+00:00"),
        ("20250121T143000Z", "2025-01-21 14:30:00+00:00"),
        ("20250121 143000", "2025-01-21 14:30:00+00:00"),
        ("20250121143000", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21 14:30:00+02", "2025-01-21 14:30:00+02:00"),
        ("2025-01-21 14:30:00+0200", "2025-01-21 14:30:00+02:00"),
        ("2025-01-21 14:30:00+02:00", "2025-01-21 14:30:00+02:00"),
        ("2025-01-21 14:30:00 +02:00", "2025-01-21 14:30:00+02:00"),
        ("2025-01-21 14:30:00-03:30", "2025-01-21 14:30:00-03:30"),
        ("2025-01-21 14:30:00 -03", "2025-01-21 14:30:00-03:00"),
        ("2025-01-21 14:30:00 UTC", "2025-01-21 14:30:00+00:00"),
        ("2025-01-21 14:30:00 GMT", "2025-01-21 14:30:00+00:00"),
        ("Thu Nov 20 18:32:11 2025", "2025-11-20 18:32:11+00:00"),
        ("Thu Nov 20 18:32:11.123456 2025", "2025-11-20 18:32:11.123456+00:00"),
        ("Thu Nov 20 18:32:11 UTC 2025", "2025-11-20 18:32:11+00:00"),
        ("Thu Nov 20 2025 18:32:11", "2025-11-20 18:32:11+00:00"),
        ("Nov 20 2025 18:32", "2025-11-20 18:32:00+00:00"),
        ("20 Nov 2025 18:32:11", "2025-11-20 18:32:11+00:00"),
        ("20 November 2025", "2025-11-20 00:00:00+00:00"),
        ("November 20, 2025 6:32 PM", "2025-11-20 18:32:00+00:00"),
        ("Jan 2, 2025 at 3pm", "2025-01-02 15:00:00+00:00"),
        ("Thu, 20 Nov 2025 18:32:11 +0000", "2025-11-20 18:32:11+00:00"),
        ("Thu 20 Nov 2025 06:32:11 PM UTC", "2025-11-20 18:32:11+00:00"),
        ("11/20/2025 18:32", "2025-11-20 18:32:00+00:00"),
        ("20/11/2025 18:32", "2025-11-20 18:32:00+00:00"),
        ("20.11.2025 18:32", "2025-11-20 18:32:00+00:00"),
        ("2025/11/20 18:32", "2025-11-20 18:32:00+00:00"),
        ("2025.11.20 18:32", "2025-11-20 18:32:00+00:00"),
    ] {
        assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "notatime",
        "now",
        "0/1234567",
        "1732127531",
        "2025-01-21 14:30:00 foo",
        "2025-01-21_14:30:00",
        "2025-01-21 14:30:00 2025-01-22",
        "2025-01-21 14:30:00 15:00:00",
        "2025-01-21 14:30:00 PM",
        "2025-01-21 PM",
        "2025-01-21 +02:00",
        "2025-01-21 14:30:00 UTC+3",
        "2025-01-21 14:30:00 Europe/Rome",
    ] {
        assert_eq!(read(text), Err(TargetTimeReason::UnknownFormat), "{text}");
    }
    for (text, part) in [
        ("2025-13-01", "month"),
        ("2025-00-01", "month"),
        ("2025-02-30", "day"),
        ("2025-01-21 24:00:00", "hour"),
        ("2025-01-21 14:60", "minute"),
        ("2025-01-21 14:30:61", "second"),
        ("2025-01-21 14:30:00 +99:00", "offset"),
    ] {
        assert_eq!(read(text), Err(TargetTimeReason::OutOfRange(part)), "{text}");
    }
}

/// dateutil fills these in from today's date or reads them the American way.
#[test]
fn what_would_be_a_guess_is_refused() {
    for text in ["18:32", "18:32:11", "Thu Nov 20", "2025 18:00", "Nov 2025"] {
        assert_eq!(read(text), Err(TargetTimeReason::IncompleteDate), "{text}");
    }
    assert_eq!(read("01-02-2025 10:00"), Err(TargetTimeReason::DayOrMonth));
    assert_eq!(read("02/02/2025"), Ok("2025-02-02 00:00:00+00:00".to_owned()));
    for zone in ["CET", "EST", "CEST"] {
        let refused = Err(TargetTimeReason::UnknownZone(zone.to_owned()));
        assert_eq!(read(&format!("2025-01-21 14:30:00 {zone}")), refused);
        assert_eq!(read(&format!("Thu Nov 20 18:32:11 {zone} 2025")), refused);
    }
}

#[test]
fn a_time_without_a_zone_is_in_the_hosts() {
    let assumed = TargetTime::parse("2025-07-01 12:00:00", &rome()).unwrap();
    assert!(assumed.is_zone_assumed());
    assert_eq!(assumed.to_string(), "2025-07-01 12:00:00+02:00");
    let given = TargetTime::parse("2025-07-01 10:00:00Z", &rome()).unwrap();
    assert!(!given.is_zone_assumed());
    assert_eq!(given.instant(), assumed.instant());
}

#[test]
fn a_local_time_that_happened_twice_or_never_is_refused() {
    let read = |text: &str| TargetTime::parse(text, &rome()).map_err(|error| error.reason);
    let twice = TargetTimeReason::HappenedTwice {
        zone: "Europe/Rome".to_owned(),
        first: "2025-10-26 02:30:00+02:00".to_owned(),
        second: "2025-10-26 02:30:00+01:00".to_owned(),
    };
    assert_eq!(read("2025-10-26 02:30:00"), Err(twice));
    assert!(read("2025-10-26 01:59:59").is_ok());
    assert!(read("2025-10-26 03:00:00").is_ok());
    assert!(read("2025-10-26 02:30:00+01:00").is_ok());
    let never = TargetTimeReason::NeverHappened { zone: "Europe/Rome".to_owned() };
    assert_eq!(read("2025-03-30 02:30:00"), Err(never));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        let _ = TargetTime::parse(&text, &rome());
    }

    #[test]
    fn any_arrangement_of_time_like_pieces_is_read_or_refused(text in "[0-9TZ:+,./ -]{0,30}|([0-9]{1,6}[:/ .-]){1,8}") {
        let _ = TargetTime::parse(&text, &rome());
    }

    #[test]
    fn what_is_printed_reads_back(micros in -946_684_800_000_000_i64..8_000_000_000_000_000) {
        let time = TargetTime::from(Timestamp::from_pg_micros(micros));
        prop_assert_eq!(TargetTime::parse(&time.to_string(), &rome()).unwrap(), time);
    }
}
