//! Files in `streaming/` that are named ahead of the server.

use barman_catalog::ServerProgress;
use wal_format::{Lsn, SystemId, TimelineId, Timestamp};

use crate::repository::{Repository, SEGMENT_BYTES, SYSTEM, name, segment, segment_of, segment_size};

/// A server in the middle of this segment.
fn server_within(number: u64) -> ServerProgress {
    let position = Lsn::new(number * SEGMENT_BYTES + SEGMENT_BYTES / 2);
    ServerProgress { system_id: SYSTEM, timeline: TimelineId::FIRST, position, segment_size: segment_size() }
}

fn quarantined(repository: &Repository) -> Vec<String> {
    let moved = repository.catalog.quarantine_strays(&server_within(5), Timestamp::from_unix_micros(0));
    moved.expect("readable").into_iter().map(|(name, _)| name.to_string()).collect()
}

#[test]
fn what_would_lead_astray_goes_to_errors_with_the_reason() {
    let repository = Repository::new();
    let partial = |number: u64| format!("{}.partial", name(number));
    let foreign = segment_of(SystemId::new(1), &name(8), 1);
    for (file, content) in [
        (name(7), b"junk".to_vec()),
        (partial(7), vec![0; 1 << 20]),
        (name(8), foreign),
        // WAL, but of another place.
        (name(9), segment(&name(4), 1)),
        // Genuine, but each would be taken for the file that is being received.
        (partial(9), segment(&name(9), 1)),
        ("000000020000000000000005.partial".to_owned(), segment(&name(9), 1)),
        // No segment of this size has such a name.
        ("00000001000000000000FFFF".to_owned(), segment(&name(4), 1)),
    ] {
        repository.write(&format!("streaming/{file}"), content);
    }
    let moved = quarantined(&repository);
    let odd = ["00000001000000000000FFFF".to_owned(), "000000020000000000000005.partial".to_owned()];
    assert_eq!(moved, [&[name(7), partial(7), name(8), name(9), partial(9)][..], &odd].concat());
    assert_eq!(repository.names("streaming"), [""; 0]);
    assert_eq!(repository.catalog.error_files().expect("readable").refused, 7);
    let reason = repository.text(&format!("errors/{}.19700101T000000Z.refused.reason", name(7)));
    assert!(reason.contains("is ahead of the server, which is at 0/580000"), "{reason}");
}

#[test]
fn what_may_be_needed_stays() {
    let repository = Repository::new();
    for (file, content) in [
        // The server's own segments, the one that it may have gone on to, and what is none.
        (name(5), b"junk".to_vec()),
        (format!("{}.partial", name(6)), vec![0; 1 << 20]),
        ("00000002.history".to_owned(), b"junk".to_vec()),
        ("notes".to_owned(), b"junk".to_vec()),
        // WAL that this server has lost or has yet to receive, and of a timeline that it knows nothing of.
        (name(9), segment(&name(9), 1)),
        ("000000020000000000000009".to_owned(), b"junk".to_vec()),
    ] {
        repository.write(&format!("streaming/{file}"), content);
    }
    assert_eq!(quarantined(&repository), [""; 0]);
    assert_eq!(repository.names("streaming").len(), 6);
}
