//! [`TlsOptions`]: whether and how a connection is encrypted.

use std::path::PathBuf;

use crate::conninfo::{ConninfoError, Settings};
use crate::environment::Environment;

/// How much encryption and authentication of the server there has to be (`sslmode`). Each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    /// TLS only if the server insists.
    Allow,
    /// Clear text only if the server cannot do better.
    Prefer,
    /// TLS; the server's certificate is verified if there is a file of root certificates, and only then.
    Require,
    /// And the certificate has to be one of an authority that we trust.
    VerifyCa,
    /// And it has to be that of the host.
    VerifyFull,
}

impl SslMode {
    const ALL: [Self; 6] = [Self::Disable, Self::Allow, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    fn from_settings(settings: &Settings) -> Self {
        let name = settings.given("sslmode");
        Self::ALL.into_iter().find(|mode| Some(mode.name()) == name).unwrap_or(Self::Prefer)
    }
}

/// Which authorities are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Those that the operating system trusts (`sslrootcert=system`).
    System,
    /// Those of a file, if there is one.
    File(Option<PathBuf>),
}

/// Which certificates of the server are revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RevocationLists {
    pub(crate) file: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    /// Whether the user named one of the two: then it has to be there.
    pub(crate) is_explicit: bool,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
}

/// Whether and how a connection is encrypted. A path is `None` where neither an option nor a home directory gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) mode: SslMode,
    /// Whether TLS comes first, without asking for it in PostgreSQL's protocol (`sslnegotiation=direct`).
    pub(crate) direct: bool,
    pub(crate) roots: Roots,
    /// Our certificate. `None` also where `sslcertmode=disable`.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) revoked: RevocationLists,
    /// Whether the server is told which name it is called by.
    pub(crate) server_name_indication: bool,
    pub(crate) versions: Versions,
}

impl TlsOptions {
    pub(super) fn from_settings(settings: &Settings, environment: &Environment) -> Result<Self, ConninfoError> {
        let in_home = |name: &str| environment.home().map(|home| home.join(".postgresql").join(name));
        let given = |keyword| settings.given(keyword).map(PathBuf::from);
        let roots = match settings.given("sslrootcert") {
            Some("system") => Roots::System,
            _ => Roots::File(given("sslrootcert").or_else(|| in_home("root.crt"))),
        };
        let has_certificate = settings.given("sslcertmode") != Some("disable");
        let is_explicit = given("sslcrl").or(given("sslcrldir")).is_some();
        let options = Self {
            mode: SslMode::from_settings(settings),
            direct: settings.given("sslnegotiation") == Some("direct"),
            roots,
            certificate: given("sslcert").or_else(|| in_home("postgresql.crt")).filter(|_| has_certificate),
            key: given("sslkey").or_else(|| in_home("postgresql.key")),
            revoked: RevocationLists {
                file: given("sslcrl").or_else(|| in_home("root.crl").filter(|_| !is_explicit)),
                directory: given("sslcrldir"),
                is_explicit,
            },
            server_name_indication: settings.given("sslsni").is_none_or(|value| value.starts_with('1')),
            versions: versions(settings)?,
        };
        options.refuse_weakness()?;
        Ok(options)
    }

    /// Refuses what would look safe and not be.
    fn refuse_weakness(&self) -> Result<(), ConninfoError> {
        let weak = |option, expected| Err(ConninfoError::WeakSslMode { option, expected });
        if self.roots == Roots::System && self.mode < SslMode::VerifyFull {
            return weak("sslrootcert=system", "verify-full");
        }
        if self.direct && self.mode < SslMode::Require {
            return weak("sslnegotiation=direct", "require, verify-ca or verify-full");
        }
        Ok(())
    }
}

/// Versions before 1.2 are not spoken. They may be the oldest that are allowed, but not the newest: that is refused by
/// name.
fn versions(settings: &Settings) -> Result<Versions, ConninfoError> {
    let is = |keyword, version: &str| settings.given(keyword).is_some_and(|value| value.eq_ignore_ascii_case(version));
    let versions = Versions {
        tls12: !is("ssl_min_protocol_version", "TLSv1.3"),
        tls13: !is("ssl_max_protocol_version", "TLSv1.2"),
    };
    if versions.tls12 || versions.tls13 { Ok(versions) } else { Err(ConninfoError::ProtocolRange) }
}
