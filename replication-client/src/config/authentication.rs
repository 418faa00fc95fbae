//! [`AuthenticationPolicy`]: which ways to authenticate are good enough (`require_auth`, `channel_binding`).

use crate::conninfo::{ConninfoError, Settings};

/// A way in which a server lets a client in, by the name that `require_auth` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// It asks for nothing, or is content with what TLS told it.
    None,
    /// The password in clear text.
    Password,
    Md5,
    Gss,
    Sspi,
    Scram,
    OAuth,
}

impl Method {
    const ALL: [Self; 7] = [Self::None, Self::Password, Self::Md5, Self::Gss, Self::Sspi, Self::Scram, Self::OAuth];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Gss => "gss",
            Self::Sspi => "sspi",
            Self::Scram => "scram-sha-256",
            Self::OAuth => "oauth",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// Whether authentication is tied to the TLS connection, so that nobody can pass it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// Which ways to authenticate are good enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuthenticationPolicy {
    allowed: Vec<Method>,
    pub(crate) channel_binding: ChannelBinding,
    /// Whether the server has to ask for our certificate (`sslcertmode=require`).
    pub(crate) certificate_required: bool,
}

impl AuthenticationPolicy {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConninfoError> {
        Ok(Self {
            allowed: settings.given("require_auth").map_or(Ok(Method::ALL.to_vec()), allowed)?,
            channel_binding: match settings.given("channel_binding") {
                Some("disable") => ChannelBinding::Disable,
                Some("require") => ChannelBinding::Require,
                _ => ChannelBinding::Prefer,
            },
            certificate_required: settings.given("sslcertmode") == Some("require"),
        })
    }

    pub(crate) fn allows(&self, method: Method) -> bool {
        self.allowed.contains(&method)
    }

    /// Returns the allowed methods, for messages.
    pub(crate) fn words(&self) -> String {
        self.allowed.iter().map(|method| method.name()).collect::<Vec<_>>().join(", ")
    }
}

/// Reads a list of methods that are allowed or, with `!` before each, of those that are not.
fn allowed(list: &str) -> Result<Vec<Method>, ConninfoError> {
    const EXPECTED: &str = "different ones of password, md5, gss, sspi, scram-sha-256, oauth and none, separated by \
                            commas, with ! before all of them or none";
    let invalid = || ConninfoError::InvalidValue { option: "require_auth", expected: EXPECTED };
    let is_negative = list.starts_with('!');
    let mut named = Vec::new();
    for item in list.split(',') {
        let name = match item.strip_prefix('!') {
            Some(name) if is_negative => name,
            None if !is_negative => item,
            _ => return Err(invalid()),
        };
        let method = Method::parse(name).filter(|method| !named.contains(method)).ok_or_else(invalid)?;
        named.push(method);
    }
    let is_allowed = |method: &Method| named.contains(method) != is_negative;
    Ok(Method::ALL.into_iter().filter(is_allowed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conninfo;

    fn words(require_auth: &str) -> Result<String, ConninfoError> {
        let settings = conninfo::parse(&format!("require_auth='{require_auth}'")).unwrap();
        Ok(AuthenticationPolicy::from_settings(&settings)?.words())
    }

    #[test]
    fn methods_are_named_or_excluded() {
        for (list, expected) in [
            ("", "none, password, md5, gss, sspi, scram-sha-256, oauth"),
            ("scram-sha-256", "scram-sha-256"),
            ("md5,scram-sha-256", "md5, scram-sha-256"),
            ("none", "none"),
            ("!none", "password, md5, gss, sspi, scram-sha-256, oauth"),
            ("!password,!md5", "none, gss, sspi, scram-sha-256, oauth"),
        ] {
            assert_eq!(words(list).unwrap(), expected, "{list}");
        }
    }

    #[test]
    fn lists_that_libpq_refuses_are_refused() {
        for list in ["md5,!none", "!md5,none", "md5,md5", "!none,!none", "md5,", ",md5", "!", "scram", " md5"] {
            let refused = matches!(words(list), Err(ConninfoError::InvalidValue { option: "require_auth", .. }));
            assert!(refused, "{list}");
        }
    }
}
