//! Versions of servers, as `server_version_num` spells them: 150018 is 15.18.

/// The first version whose replication commands take options in parentheses, that sends a base backup as one COPY, and
/// that knows `READ_REPLICATION_SLOT`.
pub(crate) const V15: u32 = 150_000;

/// The first version that takes incremental backups: `UPLOAD_MANIFEST`, and `INCREMENTAL` of `BASE_BACKUP`.
pub(crate) const V17: u32 = 170_000;

/// Reads `server_version` as `PQserverVersion` does: `15.18 (Debian)`, `18beta2`, `19devel`.
pub(crate) fn parse(text: &str) -> Option<u32> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = text.split_at(digits(text));
    let minor = rest.strip_prefix('.').map_or("", |rest| rest.split_at(digits(rest)).0);
    let minor = if minor.is_empty() { "0" } else { minor };
    major.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(minor.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("15.18", Some(150_018)),
            ("15.18 (Debian 15.18-0+deb12u1)", Some(150_018)),
            ("13.0", Some(130_000)),
            ("18beta2", Some(180_000)),
            ("19devel", Some(190_000)),
            ("devel", None),
            ("", None),
            ("99999999999", None),
            ("429497.1", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
