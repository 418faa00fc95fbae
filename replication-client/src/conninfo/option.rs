//! The table of libpq's connection options: which there are, where their defaults come from, and what is built.

use super::syntax::ConninfoError;
use ConninfoOption as Opt;
use Support::{Built, Except, Only, OnlyOf, WithoutEffect};

/// One option of libpq (`PQconninfoOptions` in `fe-connect.c`, PostgreSQL 18).
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
    /// It only qualifies something else that is refused by name as long as it is not built, TLS for example.
    WithoutEffect,
    /// Not built. These values, and the empty one, mean what happens without it; any other is refused by name.
    Only(&'static [&'static str]),
    /// Like `Only`; values outside the second list are wrong altogether.
    OnlyOf(&'static [&'static str], Choices),
    /// Not built, with this one value; every other only qualifies something else.
    Except(&'static str),
}

/// The values that an option can have, and the same in words.
pub(crate) struct Choices {
    values: &'static [&'static str],
    words: &'static str,
}

impl ConninfoOption {
    /// Returns whether `value` asks for something that is not built.
    pub(crate) fn is_unsupported(&self, value: &str) -> bool {
        match &self.support {
            Support::Built | Support::WithoutEffect => false,
            Support::Only(built) | Support::OnlyOf(built, _) => !value.is_empty() && !built.contains(&value),
            Support::Except(refused) => value == *refused,
        }
    }

    /// Checks that the option can have `value`.
    pub(crate) fn check(&self, value: &str) -> Result<(), ConninfoError> {
        let Support::OnlyOf(_, choices) = &self.support else { return Ok(()) };
        if value.is_empty() || choices.values.contains(&value) {
            return Ok(());
        }
        Err(ConninfoError::InvalidValue { option: self.keyword, expected: choices.words })
    }

    /// Returns `value`, or stars where it is a secret or may hold one: a list of ports that are no numbers may be a
    /// password with a stray comma, and an equals sign belongs to the next option, from which it was not kept apart.
    pub(crate) fn shown<'a>(&self, value: &'a str) -> &'a str {
        let is_list_of_numbers = |value: &str| value.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
        let is_hidden = self.secret || value.contains('=') || self.keyword == "port" && !is_list_of_numbers(value);
        if is_hidden { "***" } else { value }
    }

    const fn new(keyword: &'static str, variable: Option<&'static str>, support: Support) -> Self {
        Self { keyword, variable, support, secret: false }
    }

    const fn secret(keyword: &'static str, variable: Option<&'static str>, support: Support) -> Self {
        Self { keyword, variable, support, secret: true }
    }
}

/// Returns the option with this keyword. Keywords are in lower case, as for libpq.
pub(super) fn find(keyword: &str) -> Option<&'static ConninfoOption> {
    OPTIONS.iter().find(|option| option.keyword == keyword)
}

/// Every option that libpq 13 to 18 accepts.
pub(crate) const OPTIONS: &[ConninfoOption] = &[
    // Where.
    Opt::new("host", Some("PGHOST"), Built),
    Opt::new("hostaddr", Some("PGHOSTADDR"), Built),
    Opt::new("port", Some("PGPORT"), Built),
    Opt::new("target_session_attrs", Some("PGTARGETSESSIONATTRS"), OnlyOf(&["any"], TARGETS)),
    Opt::new("load_balance_hosts", Some("PGLOADBALANCEHOSTS"), OnlyOf(&["disable"], LOAD_BALANCING)),
    Opt::new("service", Some("PGSERVICE"), Only(&[])),
    Opt::new("servicefile", Some("PGSERVICEFILE"), WithoutEffect),
    // Who.
    Opt::new("user", Some("PGUSER"), Built),
    Opt::secret("password", Some("PGPASSWORD"), Built),
    Opt::new("passfile", Some("PGPASSFILE"), Built),
    Opt::new("require_auth", Some("PGREQUIREAUTH"), Only(&[])),
    Opt::new("channel_binding", Some("PGCHANNELBINDING"), OnlyOf(&["disable", "prefer"], PREFERENCES)),
    Opt::new("requirepeer", Some("PGREQUIREPEER"), Only(&[])),
    Opt::secret("scram_client_key", None, Only(&[])),
    Opt::secret("scram_server_key", None, Only(&[])),
    Opt::new("oauth_issuer", None, WithoutEffect),
    Opt::new("oauth_client_id", None, WithoutEffect),
    Opt::secret("oauth_client_secret", None, WithoutEffect),
    Opt::new("oauth_scope", None, WithoutEffect),
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
    Opt::new("sslmode", Some("PGSSLMODE"), OnlyOf(&["disable", "allow", "prefer"], SSL_MODES)),
    Opt::new("sslnegotiation", Some("PGSSLNEGOTIATION"), OnlyOf(&["postgres"], SSL_NEGOTIATIONS)),
    Opt::new("sslcompression", Some("PGSSLCOMPRESSION"), WithoutEffect),
    Opt::new("sslcert", Some("PGSSLCERT"), WithoutEffect),
    Opt::new("sslkey", Some("PGSSLKEY"), WithoutEffect),
    Opt::new("sslcertmode", Some("PGSSLCERTMODE"), OnlyOf(&["disable", "allow"], SSL_CERTIFICATES)),
    Opt::secret("sslpassword", None, WithoutEffect),
    // `system` makes verify-full the default of sslmode, and refuses any weaker one.
    Opt::new("sslrootcert", Some("PGSSLROOTCERT"), Except("system")),
    Opt::new("sslcrl", Some("PGSSLCRL"), WithoutEffect),
    Opt::new("sslcrldir", Some("PGSSLCRLDIR"), WithoutEffect),
    Opt::new("sslsni", Some("PGSSLSNI"), WithoutEffect),
    Opt::new("sslkeylogfile", None, WithoutEffect),
    Opt::new("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION"), WithoutEffect),
    Opt::new("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION"), WithoutEffect),
    // GSSAPI.
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
