//! The text of replication commands (`repl_gram.y`), and what may stand in it.

use bytes::BytesMut;
use postgres_protocol::message::frontend::{self, CopyData};
use wal_format::{Lsn, SegmentSize, TimelineId};

use crate::error::ErrorKind;
use crate::server_version;
use crate::slot::PhysicalSlot;

/// The longest name of a replication slot: `NAMEDATALEN` without the final NUL.
const LONGEST_SLOT_NAME: usize = 63;

/// Writes a query or replication command to `out`.
pub(crate) fn query(text: &str, out: &mut BytesMut) -> Result<(), ErrorKind> {
    // A NUL character is all that the encoder can object to; it must find the buffer as it was.
    if text.contains('\0') {
        return Err(ErrorKind::Nul { what: "the query" });
    }
    frontend::query(text, out).map_err(|_| ErrorKind::Nul { what: "the query" })
}

/// Writes a piece of an upload to `out`.
pub(crate) fn copy_data(piece: &[u8], out: &mut BytesMut) -> Result<(), ErrorKind> {
    // Fails for pieces above 2 GiB, which nobody makes.
    let piece = CopyData::new(piece).map_err(ErrorKind::ManifestUnreadable)?;
    piece.write(out);
    Ok(())
}

/// Gives an upload up. The server answers with an error that has `reason` in it.
pub(crate) fn copy_fail(reason: &str, out: &mut BytesMut) -> Result<(), ErrorKind> {
    frontend::copy_fail(reason, out).map_err(|_| ErrorKind::Nul { what: "the reason" })
}

/// Checks the name of a slot as `ReplicationSlotValidateName` does, before it becomes part of a command.
pub(crate) fn check_slot_name(slot: &str) -> Result<(), ErrorKind> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=LONGEST_SLOT_NAME).contains(&slot.len()) && slot.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(ErrorKind::SlotName { slot: slot.to_owned() })
}

/// Makes `SHOW`, which means the same in SQL and to a walsender.
pub(crate) fn show(name: &str) -> Result<String, ErrorKind> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if name.is_empty() || !name.bytes().all(is_allowed) {
        return Err(ErrorKind::SettingName { name: name.to_owned() });
    }
    Ok(format!("SHOW {name}"))
}

/// Reads what `SHOW wal_segment_size` prints: `16MB`, `1GB`.
pub(crate) fn parse_segment_size(shown: &str) -> Option<SegmentSize> {
    let (number, unit) = shown.split_at_checked(shown.len().checked_sub(2)?)?;
    let unit: u64 = match unit {
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    SegmentSize::new(number.parse::<u64>().ok()?.checked_mul(unit)?)
}

pub(crate) fn create_physical_slot(slot: &PhysicalSlot, version: u32) -> String {
    let PhysicalSlot { name, reserve_wal, temporary } = slot;
    let temporary = if *temporary { " TEMPORARY" } else { "" };
    let reserve = match (reserve_wal, version >= server_version::V15) {
        (false, _) => "",
        (true, true) => " (RESERVE_WAL)",
        (true, false) => " RESERVE_WAL",
    };
    format!("CREATE_REPLICATION_SLOT \"{name}\"{temporary} PHYSICAL{reserve}")
}

pub(crate) fn drop_slot(slot: &str, wait: bool) -> String {
    let wait = if wait { " WAIT" } else { "" };
    format!("DROP_REPLICATION_SLOT \"{slot}\"{wait}")
}

pub(crate) fn start_replication(slot: Option<&str>, start: Lsn, timeline: TimelineId) -> String {
    let slot = slot.map(|slot| format!("SLOT \"{slot}\" ")).unwrap_or_default();
    format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {timeline}")
}

/// Quotes a text for a replication command, whose grammar knows no backslash escapes.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_are_those_of_postgresql() {
        for good in ["barman", "a", "0_9", &"x".repeat(63)] {
            assert!(check_slot_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Barman", "bar-man", "bär", "a\" PHYSICAL", &"x".repeat(64)] {
            assert!(matches!(check_slot_name(bad), Err(ErrorKind::SlotName { .. })), "{bad}");
        }
    }

    #[test]
    fn segment_sizes_are_read_as_the_server_shows_them() {
        for (shown, expected) in [("1MB", Some(1 << 20)), ("16MB", Some(16 << 20)), ("1GB", Some(1 << 30))] {
            assert_eq!(parse_segment_size(shown).map(SegmentSize::bytes), expected);
        }
        for bad in ["", "MB", "16", "3MB", "16kB", "2GB", "16ä", "99999999999999999999MB"] {
            assert_eq!(parse_segment_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_names_of_settings_are_shown() {
        assert_eq!(show("wal_segment_size").unwrap(), "SHOW wal_segment_size");
        assert_eq!(show("pg_stat_statements.max").unwrap(), "SHOW pg_stat_statements.max");
        for bad in ["", "all; DROP TABLE t", "a'b"] {
            assert!(matches!(show(bad), Err(ErrorKind::SettingName { .. })), "{bad}");
        }
    }

    #[test]
    fn commands_are_written_as_the_servers_version_wants_them() {
        let slot = |reserve_wal, temporary| PhysicalSlot { reserve_wal, temporary, ..PhysicalSlot::new("a") };
        for (slot, version, expected) in [
            (slot(false, false), 150_000, r#"CREATE_REPLICATION_SLOT "a" PHYSICAL"#),
            (slot(true, false), 150_000, r#"CREATE_REPLICATION_SLOT "a" PHYSICAL (RESERVE_WAL)"#),
            (slot(true, true), 140_000, r#"CREATE_REPLICATION_SLOT "a" TEMPORARY PHYSICAL RESERVE_WAL"#),
        ] {
            assert_eq!(create_physical_slot(&slot, version), expected);
        }
        assert_eq!(drop_slot("a", true), r#"DROP_REPLICATION_SLOT "a" WAIT"#);
        let start = Lsn::new(0x1600_0000);
        assert_eq!(
            start_replication(None, start, TimelineId::FIRST),
            "START_REPLICATION PHYSICAL 0/16000000 TIMELINE 1"
        );
        let with_slot = start_replication(Some("a"), start, TimelineId::FIRST);
        assert_eq!(with_slot, r#"START_REPLICATION SLOT "a" PHYSICAL 0/16000000 TIMELINE 1"#);
    }

    #[test]
    fn quotes_in_texts_are_doubled_and_backslashes_are_not() {
        assert_eq!(literal(r"it's \ here"), r"'it''s \ here'");
    }
}
