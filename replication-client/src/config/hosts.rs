//! [`Host`]: one of the servers that a connection string names.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::conninfo::{self, ConninfoError, Settings};

/// The directory of the server's Unix sockets that Debian and the PostgreSQL project's packages build libpq with.
pub(crate) const DEFAULT_SOCKET_DIRECTORY: &str = "/var/run/postgresql";
const DEFAULT_PORT: u16 = 5432;

/// One of the servers that a connection string names: `host`, `hostaddr` and `port` at the same place of their lists.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    name: Option<String>,
    address: Option<IpAddr>,
    /// The interface at which a link-local address is one: `eth0` of `fe80::1%eth0`.
    zone: Option<String>,
    port: u16,
    /// Whether none of this may be seen.
    is_concealed: bool,
}

impl Host {
    /// Returns the host name, address or socket directory, or `None` for the default socket directory.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns `hostaddr`, which saves looking up the name.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns what to look up: the address with its zone, which only the operating system knows, or else the name.
    pub(crate) fn to_resolve(&self) -> Cow<'_, str> {
        self.address_text().map_or_else(|| self.name().unwrap_or_default().into(), Cow::from)
    }

    fn address_text(&self) -> Option<String> {
        let zone = self.zone.iter().map(|zone| format!("%{zone}"));
        Some(std::iter::once(self.address?.to_string()).chain(zone).collect())
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory of the socket, `@` in front for the abstract name space, or `None` for a host to reach over
    /// TCP.
    pub(crate) fn socket_directory(&self) -> Option<&str> {
        let name = self.name().unwrap_or(DEFAULT_SOCKET_DIRECTORY);
        (self.address.is_none() && name.starts_with(['/', '@'])).then_some(name)
    }

    /// Returns the host as a password file names it. The default socket directory is `localhost` there.
    pub(crate) fn passfile_name(&self) -> Cow<'_, str> {
        match (self.name(), self.address_text()) {
            (None, Some(address)) => address.into(),
            (None | Some(DEFAULT_SOCKET_DIRECTORY), _) => "localhost".into(),
            (Some(name), _) => name.into(),
        }
    }

    /// Returns whether name and port may be pieces of a password (invariant 9).
    pub(crate) fn is_concealed(&self) -> bool {
        self.is_concealed
    }

    /// Returns the name for messages, or stars where it may hold a piece of a password.
    pub(crate) fn shown(&self) -> Cow<'_, str> {
        match (self.name(), self.address_text()) {
            _ if self.is_concealed => conninfo::STARS.into(),
            (Some(name), _) => conninfo::shown(name).into(),
            (None, Some(address)) => address.into(),
            (None, None) => DEFAULT_SOCKET_DIRECTORY.into(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_concealed {
            return write!(f, "host \"{}\", not shown because of an \"@\" that is not written %40", self.shown());
        }
        write!(f, "host \"{}\", port {}", self.shown(), self.port)
    }
}

/// Shows what messages show.
impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({self})")
    }
}

/// Returns the servers in the order in which they are named.
///
/// Mirrors `pqConnectOptions2`: there are as many as `hostaddr` has items or, without it, `host`; one port may stand for
/// all of them.
pub(super) fn hosts(settings: &Settings) -> Result<Vec<Host>, ConninfoError> {
    let names = list(settings, "host");
    let addresses = list(settings, "hostaddr");
    let ports = list(settings, "port");
    let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
    check_length("host", names.as_deref(), count)?;
    check_length("port", ports.as_deref().filter(|ports| ports.len() > 1), count)?;
    let item = |list: &Option<Vec<&str>>, index: usize| list.as_ref()?.get(index).copied().map(str::to_owned);
    (0..count)
        .map(|index| {
            let name = item(&names, index).filter(|name| !name.is_empty());
            let address = item(&addresses, index).unwrap_or_default();
            let port = item(&ports, if ports.as_ref().is_some_and(|ports| ports.len() == 1) { 0 } else { index });
            let (address, zone) = self::address(&address)?;
            let port = self::port(&port.unwrap_or_default())?.unwrap_or(DEFAULT_PORT);
            Ok(Host { name, address, zone, port, is_concealed: settings.conceals_hosts() })
        })
        .collect()
}

fn list<'a>(settings: &'a Settings, keyword: &str) -> Option<Vec<&'a str>> {
    settings.given(keyword).map(|value| value.split(',').collect())
}

fn check_length(option: &'static str, list: Option<&[&str]>, expected: usize) -> Result<(), ConninfoError> {
    match list.map(<[_]>::len).filter(|&found| found != expected) {
        Some(found) => Err(ConninfoError::ListLength { option, found, expected }),
        None => Ok(()),
    }
}

/// Reads an address; one of version 6 may have a zone.
fn address(text: &str) -> Result<(Option<IpAddr>, Option<String>), ConninfoError> {
    let (address, zone) = match text.trim().split_once('%') {
        Some((address, zone)) if address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() => (address, Some(zone)),
        _ => (text, None),
    };
    Ok((Settings::item(address, "hostaddr", "an IP address")?, zone.map(str::to_owned)))
}

fn port(text: &str) -> Result<Option<u16>, ConninfoError> {
    const EXPECTED: &str = "a number from 1 to 65535";
    match Settings::item(text, "port", EXPECTED)? {
        Some(0) => Err(ConninfoError::InvalidValue { option: "port", expected: EXPECTED }),
        port => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts_of(conninfo: &str) -> Result<Vec<String>, ConninfoError> {
        let hosts = hosts(&conninfo::parse(conninfo).unwrap())?;
        Ok(hosts.iter().map(|host| format!("{:?} {:?} {}", host.name, host.address, host.port)).collect())
    }

    #[test]
    fn lists_are_read_in_step() {
        for (conninfo, expected) in [
            ("", vec!["None None 5432"]),
            ("port=1", vec!["None None 1"]),
            ("host=a,b", vec![r#"Some("a") None 5432"#, r#"Some("b") None 5432"#]),
            ("host=a,b port=1", vec![r#"Some("a") None 1"#, r#"Some("b") None 1"#]),
            ("host=a,,c port=1,,3", vec![r#"Some("a") None 1"#, "None None 5432", r#"Some("c") None 3"#]),
            ("host=a,b hostaddr=10.0.0.1,", vec![r#"Some("a") Some(10.0.0.1) 5432"#, r#"Some("b") None 5432"#]),
            ("hostaddr=10.0.0.1,::1", vec!["None Some(10.0.0.1) 5432", "None Some(::1) 5432"]),
        ] {
            assert_eq!(hosts_of(conninfo).unwrap(), expected, "{conninfo}");
        }
    }

    #[test]
    fn an_address_of_version_6_may_have_a_zone() {
        let host = |conninfo: &str| hosts(&conninfo::parse(conninfo).unwrap()).map(|hosts| hosts[0].clone());
        let local = host("hostaddr=fe80::1%eth0").unwrap();
        assert_eq!(
            (local.address(), &*local.to_resolve()),
            (Some([0xfe80, 0, 0, 0, 0, 0, 0, 1].into()), "fe80::1%eth0")
        );
        assert_eq!((local.passfile_name(), local.shown()), ("fe80::1%eth0".into(), "fe80::1%eth0".into()));
        for invalid in ["hostaddr=10.0.0.1%eth0", "hostaddr=fe80::1%", "hostaddr=%eth0"] {
            assert!(host(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn lists_of_different_lengths_are_refused() {
        for (conninfo, option, found, expected) in [
            ("host=a,b hostaddr=10.0.0.1", "host", 2, 1),
            ("host=a,b port=1,2,3", "port", 3, 2),
            ("port=1,2", "port", 2, 1),
        ] {
            assert_eq!(hosts_of(conninfo), Err(ConninfoError::ListLength { option, found, expected }), "{conninfo}");
        }
    }

    #[test]
    fn the_password_file_calls_the_default_socket_localhost() {
        for (conninfo, expected) in [
            ("", "localhost"),
            ("host=/var/run/postgresql", "localhost"),
            ("host=/tmp", "/tmp"),
            ("host=db1", "db1"),
            ("host=db1 hostaddr=10.0.0.5", "db1"),
            ("hostaddr=10.0.0.5", "10.0.0.5"),
        ] {
            let hosts = hosts(&conninfo::parse(conninfo).unwrap()).unwrap();
            assert_eq!(hosts[0].passfile_name(), expected, "{conninfo}");
        }
    }
}
