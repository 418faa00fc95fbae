//! The table of libpq's connection options: which there are, where their defaults come from, and what is built.

use super::syntax::ConninfoError;
use ConninfoOption as Opt;
use Support::{Built, Only, OnlyOf, Values, WithoutEffect};

/// One option of libpq (`PQconninfoOptions` in `fe-connect.c`, PostgreSQL 19).
pub(crate) struct ConninfoOption {
    pub(crate) keyword: &'static str,
    /// The environment variable that gives the value where the connection string does not.
    pub(crate) variable: Option<&'static str>,
    pub(crate) support: Support,
    pub(crate) secret: bool,
}

/// What this crate does with an option.
pub(crate) enum Support {
    /// It has libpq's meaning.
    Built,
    /// It has libpq's meaning; other values are wrong.
    Values(Choices),
    /// It only qualifies something else, which is refused by name or is not used here.
    WithoutEffect,
    /// Not built. These values, and the empty one, mean what happens without it; any other is refused by name.
    Only(&'static [&'static str]),
    /// Like `Only`; values outside the second list are wrong altogether.
    OnlyOf(&'static [&'static str], Choices),
}

/// The values that an option can have, and the same in words.
pub(crate) struct Choices {
    values: &'static [&'static str],
    words: &'static str,
}

impl Choices {
    /// Compares exactly, but for the case of versions of TLS, as libpq does.
    fn contain(&self, value: &str) -> bool {
        self.values
            .iter()
            .any(|choice| *choice == value || choice.starts_with("TLS") && choice.eq_ignore_ascii_case(value))
    }
}

impl ConninfoOption {
    /// Returns whether `value` asks for something that is not built.
    pub(crate) fn is_unsupported(&self, value: &str) -> bool {
        match &self.support {
            Support::Built | Support::Values(_) | Support::WithoutEffect => false,
            Support::Only(built) | Support::OnlyOf(built, _) => {
                !value.is_empty() && !built.iter().any(|built| built.eq_ignore_ascii_case(value))
            }
        }
    }

    /// Checks that the option can have `value`.
    pub(crate) fn check(&self, value: &str) -> Result<(), ConninfoError> {
        let (Support::Values(choices) | Support::OnlyOf(_, choices)) = &self.support else { return Ok(()) };
        if value.is_empty() || choices.contain(value) {
            return Ok(());
        }
        Err(ConninfoError::InvalidValue { option: self.keyword, expected: choices.words })
    }

    /// Returns `value`, or stars where it is a secret or may hold a piece of one.
    pub(crate) fn shown<'a>(&self, value: &'a str) -> &'a str {
        if self.secret { STARS } else { shown(value) }
    }

    const fn new(keyword: &'static str, variable: Option<&'static str>, support: Support) -> Self {
        Self { keyword, variable, support, secret: false }
    }

    const fn secret(keyword: &'static str, variable: Option<&'static str>, support: Support) -> Self {
        Self { keyword, variable, support, secret: true }
    }
}

/// What stands for a secret.
pub(crate) const STARS: &str = "***";

/// Returns `value`, or stars where a piece of a password may be in it (invariant 9): an equals sign belongs to the next
/// option, from which it was not kept apart, and an at sign to a URI whose password has one that is not encoded. The
/// one in front of a socket's directory is neither.
pub(crate) fn shown(value: &str) -> &str {
    if value.strip_prefix('@').unwrap_or(value).contains(['=', '@']) { STARS } else { value }
}

/// Returns a keyword that is none, at `position` of a connection string, or stars where a piece of a password may be in
/// it: behind an option with a secret, whose value may lack its quotes, and within what may be a URI's user and password.
pub(super) fn shown_keyword(keyword: String, position: usize, text: &str) -> String {
    let (before, behind) = text.split_at_checked(position).unwrap_or(("", text));
    let is_behind_secret = OPTIONS.iter().any(|option| option.secret && before.contains(option.keyword));
    if is_behind_secret || behind.contains('@') { STARS.to_owned() } else { keyword }
}

/// Returns the option with this keyword. Keywords are in lower case, as for libpq.
pub(super) fn find(keyword: &str) -> Option<&'static ConninfoOption> {
    OPTIONS.iter().find(|option| option.keyword == keyword)
}

/// Every option that libpq 13 to 19 accepts.
pub(crate) const OPTIONS: &[ConninfoOption] = &[
    // Where.
    Opt::new("host", Some("PGHOST"), Built),
    Opt::new("hostaddr", Some("PGHOSTADDR"), Built),
    Opt::new("port", Some("PGPORT"), Built),
    Opt::new("target_session_attrs", Some("PGTARGETSESSIONATTRS"), Values(TARGETS)),
    Opt::new("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), Values(LOAD_BALANCING)),
    Opt::new("service", Some("PGSERVICE"), Built),
    Opt::new("servicefile", Some("PGSERVICEFILE"), Built),
    // Who.
    Opt::new("user", Some("PGUSER"), Built),
    Opt::secret("password", Some("PGPASSWORD"), Built),
    Opt::new("passfile", Some("PGPASSFILE"), Built),
    Opt::new("require_auth", Some("PGREQUIREAUTH"), Built),
    Opt::new("channel_binding", Some("PGCHANNELBINDING"), Values(PREFERENCES)),
    Opt::new("requirepeer", Some("PGREQUIREPEER"), Built),
    Opt::secret("scram_client_key", None, Only(&[])),
    Opt::secret("scram_server_key", None, Only(&[])),
    // A server that asks for OAuth is refused by name.
    Opt::new("oauth_issuer", None, WithoutEffect),
    Opt::new("oauth_client_id", None, WithoutEffect),
    Opt::secret("oauth_client_secret", None, WithoutEffect),
    Opt::new("oauth_scope", None, WithoutEffect),
    Opt::new("oauth_ca_file", Some("PGOAUTHCAFILE"), WithoutEffect),
    // The session.
    Opt::new("dbname", Some("PGDATABASE"), Built),
    Opt::new("replication", None, Built),
    Opt::new("options", Some("PGOPTIONS"), Built),
    Opt::new("application_name", Some("PGAPPNAME"), Built),
    Opt::new("fallback_application_name", None, Built),
    // All text is Unicode on this side and the session's encoding UTF8, so the value makes no difference.
    Opt::new("client_encoding", Some("PGCLIENTENCODING"), WithoutEffect),
    Opt::new("min_protocol_version", Some("PGMINPROTOCOLVERSION"), OnlyOf(&["3.0"], PROTOCOL_VERSIONS)),
    Opt::new(
        "max_protocol_version",
        Some("PGMAXPROTOCOLVERSION"),
        OnlyOf(&["3.0", "3.2", "latest"], PROTOCOL_VERSIONS),
    ),
    // The connection.
    Opt::new("connect_timeout", Some("PGCONNECT_TIMEOUT"), Built),
    Opt::new("keepalives", None, Built),
    Opt::new("keepalives_idle", None, Built),
    Opt::new("keepalives_interval", None, Built),
    Opt::new("keepalives_count", None, Built),
    Opt::new("tcp_user_timeout", None, Built),
    // TLS.
    Opt::new("sslmode", Some("PGSSLMODE"), Values(SSL_MODES)),
    Opt::new("sslnegotiation", Some("PGSSLNEGOTIATION"), Values(SSL_NEGOTIATIONS)),
    // TLS 1.3 has no compression, and nobody compresses in TLS 1.2 any more.
    Opt::new("sslcompression", Some("PGSSLCOMPRESSION"), WithoutEffect),
    Opt::new("sslcert", Some("PGSSLCERT"), Built),
    Opt::new("sslkey", Some("PGSSLKEY"), Built),
    Opt::new("sslcertmode", Some("PGSSLCERTMODE"), Values(SSL_CERTIFICATES)),
    // Encrypted keys are refused by name.
    Opt::secret("sslpassword", None, WithoutEffect),
    Opt::new("sslrootcert", Some("PGSSLROOTCERT"), Built),
    Opt::new("sslcrl", Some("PGSSLCRL"), Built),
    Opt::new("sslcrldir", Some("PGSSLCRLDIR"), Built),
    Opt::new("sslsni", Some("PGSSLSNI"), Built),
    // Keys of sessions have no place in a file of a backup server.
    Opt::new("sslkeylogfile", None, Only(&[])),
    Opt::new("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), Values(SSL_VERSIONS)),
    Opt::new(
        "ssl_max_protocol_version",
        Some("PGSSLMAXPROTOCOLVERSION"),
        OnlyOf(&["TLSv1.2", "TLSv1.3"], SSL_VERSIONS),
    ),
    // GSSAPI. A server that asks for it is refused by name.
    Opt::new("gssencmode", Some("PGGSSENCMODE"), OnlyOf(&["disable", "prefer"], PREFERENCES)),
    Opt::new("krbsrvname", Some("PGKRBSRVNAME"), WithoutEffect),
    Opt::new("gsslib", Some("PGGSSLIB"), WithoutEffect),
    Opt::new("gssdelegation", Some("PGGSSDELEGATION"), WithoutEffect),
];

const TARGETS: Choices = Choices {
    values: &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"],
    words: "any, read-write, read-only, primary, standby or prefer-standby",
};
const LOAD_BALANCING: Choices = Choices { values: &["disable", "random"], words: "disable or random" };
const PREFERENCES: Choices = Choices { values: &["disable", "prefer", "require"], words: "disable, prefer or require" };
const PROTOCOL_VERSIONS: Choices = Choices { values: &["3.0", "3.2", "latest"], words: "3.0, 3.2 or latest" };
const SSL_MODES: Choices = Choices {
    values: &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
    words: "disable, allow, prefer, require, verify-ca or verify-full",
};
const SSL_NEGOTIATIONS: Choices = Choices { values: &["postgres", "direct"], words: "postgres or direct" };
const SSL_CERTIFICATES: Choices =
    Choices { values: &["disable", "allow", "require"], words: "disable, allow or require" };
const SSL_VERSIONS: Choices =
    Choices { values: &["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"], words: "TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_keyword_and_no_variable_occurs_twice() {
        let mut names: Vec<&str> =
            OPTIONS.iter().flat_map(|option| [Some(option.keyword), option.variable]).flatten().collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn built_values_are_among_the_choices() {
        for option in OPTIONS {
            if let OnlyOf(built, choices) = &option.support {
                assert!(built.iter().all(|value| choices.values.contains(value)), "{}", option.keyword);
            }
        }
    }
}
