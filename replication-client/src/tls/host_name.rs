//! [`Names`]: whether a certificate is that of a host.

use std::net::IpAddr;

use super::problem::CertificateProblem;

/// The names that a certificate is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The common name of the subject.
    pub(super) common: Option<String>,
    /// Alternative names.
    pub(super) dns: Vec<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl Names {
    /// Checks that one of them is `host`, which is a name or an address.
    ///
    /// Mirrors `pq_verify_peer_name_matches_certificate` (`fe-secure-common.c`, PostgreSQL 15 and newer): the common name
    /// counts only where there is no alternative name of the kind of `host`.
    pub(super) fn check(&self, host: &str) -> Result<(), CertificateProblem> {
        let address: Option<IpAddr> = host.parse().ok();
        let matches_alternative = self.dns.iter().any(|pattern| matches_host(pattern, host))
            || address.is_some_and(|address| self.addresses.contains(&address));
        let has_alternative = if address.is_some() { !self.addresses.is_empty() } else { !self.dns.is_empty() };
        let matches_common = || self.common.as_ref().is_some_and(|pattern| matches_host(pattern, host));
        if matches_alternative || (!has_alternative && matches_common()) {
            return Ok(());
        }
        Err(CertificateProblem::Name { host: host.to_owned(), names: self.all() })
    }

    fn all(&self) -> Vec<String> {
        let alternative = self.dns.iter().cloned().chain(self.addresses.iter().map(IpAddr::to_string));
        let mut all: Vec<String> = alternative.collect();
        all.extend(self.common.iter().filter(|common| !self.dns.contains(common)).cloned());
        all
    }
}

/// Compares without regard to case. `*.` at the beginning stands for one label.
fn matches_host(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = pattern.strip_prefix("*.").filter(|suffix| !suffix.is_empty()) else { return false };
    host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(common: Option<&str>, dns: &[&str], addresses: &[&str]) -> Names {
        Names {
            common: common.map(str::to_owned),
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn alternative_names_count_before_the_common_name() {
        let cases = [
            (names(Some("db1"), &[], &[]), "db1", true),
            (names(Some("db1"), &[], &[]), "DB1", true),
            (names(Some("db1"), &[], &[]), "db2", false),
            (names(Some("db1"), &["db2"], &[]), "db2", true),
            (names(Some("db1"), &["db2"], &[]), "db1", false),
            // An address among the alternative names says nothing about host names, nor the other way round.
            (names(Some("db1"), &[], &["10.0.0.5"]), "db1", true),
            (names(Some("10.0.0.5"), &["db1"], &[]), "10.0.0.5", true),
            (names(Some("10.0.0.5"), &[], &["10.0.0.6"]), "10.0.0.5", false),
            (names(None, &[], &["10.0.0.5"]), "10.0.0.5", true),
            (names(None, &[], &["::1"]), "::1", true),
            (names(None, &["10.0.0.5"], &[]), "10.0.0.5", true),
            (names(None, &[], &[]), "db1", false),
        ];
        for (names, host, expected) in cases {
            assert_eq!(names.check(host).is_ok(), expected, "{names:?} {host}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label_at_the_beginning() {
        for (pattern, host, expected) in [
            ("*.example.com", "db1.example.com", true),
            ("*.EXAMPLE.com", "DB1.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.com", "example.com", true),
            ("*", "db1", false),
            ("*.", "db1.", false),
            ("d*.example.com", "db1.example.com", false),
            ("db1.*.com", "db1.example.com", false),
        ] {
            assert_eq!(matches_host(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn all_names_are_told() {
        let error = names(Some("db1"), &["db2", "*.local"], &["10.0.0.5"]).check("db3").unwrap_err();
        assert_eq!(error.to_string(), r#"it is not for host "db3": its names are db2, *.local, 10.0.0.5, db1"#);
    }
}
