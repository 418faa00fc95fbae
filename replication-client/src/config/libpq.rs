//! The same connection strings, environments and files, read by us and by libpq itself.
//!
//! libpq is asked through Python: the one that came with psycopg2 in the reference Barman's environment, which is 17 or
//! newer, so that it knows all options. `PQconnectStart` fills in the options from everywhere before it looks for a server,
//! and `PQconninfo` tells what they are.

#![allow(clippy::disallowed_methods, reason = "tests write files of their own")]

use std::path::{Path, PathBuf};
use std::process::Command;

use test_support::{CommandExt, TempDir};

use super::*;

/// Prints, for each of the strings in the file that is named, a line of its options, or `invalid`.
const ASK_LIBPQ: &str = r#"
import ctypes, glob, os, sys
libpq = ctypes.CDLL(glob.glob(sys.argv[1] + '/lib/python3*/site-packages/psycopg2_binary.libs/libpq-*')[0])
class Option(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ('keyword', 'envvar', 'compiled', 'val', 'label', 'dispchar')] + [('dispsize', ctypes.c_int)]
libpq.PQconnectStart.restype = ctypes.c_void_p
libpq.PQconnectStart.argtypes = [ctypes.c_char_p]
libpq.PQconninfo.restype = ctypes.POINTER(Option)
libpq.PQconninfo.argtypes = [ctypes.c_void_p]
libpq.PQfinish.argtypes = [ctypes.c_void_p]
libpq.PQerrorMessage.restype = ctypes.c_char_p
libpq.PQerrorMessage.argtypes = [ctypes.c_void_p]
for line in open(sys.argv[2], 'rb').read().split(b'\0')[:-1]:
    connection = libpq.PQconnectStart(line)
    options, index, found = libpq.PQconninfo(connection), 0, {}
    while options and options[index].keyword:
        found[options[index].keyword.decode()] = options[index].val
        index += 1
    refused = libpq.PQerrorMessage(connection).decode(errors='replace')
    unreachable = any(words in refused for words in ('onnection refused', 'No such file', 'translate host name'))
    # While an attempt is under way, the message is begun.
    if not options or (refused and not unreachable and not refused.endswith('failed: ')):
        print('invalid')
    else:
        shown = ('host', 'hostaddr', 'port', 'user', 'dbname', 'password', 'application_name', 'sslmode', 'options')
        print('\t'.join('%s=%s' % (name, found[name].decode()) for name in shown if found.get(name)))
    libpq.PQfinish(connection)
"#;

/// What surrounds the strings: a service file and variables.
fn surroundings(dir: &Path) -> Vec<(&'static str, String)> {
    let services = "# services\n[main]\nhost=/service\nport=1111\nuser=service user\npassword=s p\n\n[second]\n sslmode=disable \n\
                    host=/a\n[main]\nuser=late\n[broken]\nhots=x\n[nested]\nservice=main\n[spaces]\nport = 1\n";
    std::fs::write(dir.join("services"), services).unwrap();
    vec![
        ("PGSERVICEFILE", dir.join("services").display().to_string()),
        ("PGSYSCONFDIR", dir.display().to_string()),
        ("PGUSER", "environment".to_owned()),
        ("PGHOST", "/environment".to_owned()),
        ("PGAPPNAME", "from environment".to_owned()),
        ("PGPASSFILE", dir.join("none").display().to_string()),
    ]
}

/// Returns a few hundred strings: each combination of a beginning, a middle and an end.
fn strings() -> Vec<String> {
    let pairs = [
        "",
        "service=main",
        "service=second",
        "service=none",
        "service=broken",
        "service=nested",
        "service=spaces",
        "service=main servicefile=/nonexistent/services",
        "service=main servicefile=''",
        "host=/x,/y",
        "host=/x,/y port=1,2",
        "host=/x,/y port=1,2,3",
        "port=0",
        "port=65536",
        "port=' 7 '",
        "port=7x",
        "hostaddr=127.0.0.1,127.0.0.2 host=a,b",
        "hostaddr=127.0.0.1 host=a,b",
        "user='it\\'s' dbname=d\\ d",
        "sslmode=require",
        "sslmode=always",
        "sslmode=verify-full sslrootcert=system",
        "sslrootcert=system",
        "sslmode=require sslrootcert=system",
        "sslnegotiation=direct",
        "sslnegotiation=direct sslmode=require",
        "requiressl=1",
        "require_auth=md5,scram-sha-256",
        "require_auth=md5,!none",
        "require_auth=md5,md5",
        "require_auth=!none,!password",
        "require_auth=nothing",
        "channel_binding=always",
        "channel_binding=require",
        "target_session_attrs=standby",
        "target_session_attrs=master",
        "load_balance_hosts=random",
        "load_balance_hosts=yes",
        "ssl_min_protocol_version=tlsv1.3 ssl_max_protocol_version=TLSv1.3",
        "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
        "ssl_min_protocol_version=SSLv3",
        "gssencmode=maybe",
        "sslcertmode=sometimes",
        "sslcertmode=require",
        "postgresql://",
        "postgresql:///db?host=/x",
        "postgresql://u:p@%2Fx:5/db",
        "postgres://?service=main",
        "postgresql://%2Fx:1,%2Fy:2/db?sslmode=prefer",
        "postgres://%2Fx:1,%2Fy/?port=3,4",
        "postgresql://[::1]x/",
        "postgresql://u@%2Fx/db?ssl=true",
        "postgresql://%2Fx/db?sslmode=bad",
        "hots=x",
        "host",
        "password='open",
    ];
    let ends =
        ["", " dbname=late", " user='u v'", " application_name=''", " password=secret", " options='-c geqo=off'"];
    let with_ends = |pair: &&'static str| {
        let is_uri = pair.starts_with("postgres");
        ends.iter().filter(move |end| !is_uri || end.is_empty()).map(|end| format!("{pair}{end}")).collect::<Vec<_>>()
    };
    pairs.iter().flat_map(with_ends).collect()
}

/// What the program above prints, said by us.
fn ours(text: &str, environment: &Environment) -> String {
    if Config::from_conninfo(text, environment).is_err() {
        return "invalid".to_owned();
    }
    let mut settings = conninfo::parse(text).unwrap();
    settings.complete(environment).unwrap();
    settings.fill("port", "5432");
    settings.fill("sslmode", "prefer");
    if let Some(user) = settings.given("user").map(str::to_owned) {
        settings.fill("dbname", &user);
    }
    let shown = ["host", "hostaddr", "port", "user", "dbname", "password", "application_name", "sslmode", "options"];
    let pair = |keyword: &&str| Some(format!("{keyword}={}", settings.given(keyword)?));
    shown.iter().filter_map(pair).collect::<Vec<_>>().join("\t")
}

#[test]
fn libpq_reads_strings_services_and_variables_alike() {
    let venv = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/barman-3.19.1");
    let dir = TempDir::new();
    let variables = surroundings(dir.path());
    let strings = strings();
    assert!(strings.len() > 250, "{}", strings.len());
    let input: String = strings.iter().map(|text| format!("{text}\0")).collect();
    std::fs::write(dir.path().join("strings"), input).unwrap();
    let mut python = Command::new(venv.join("bin/python3"));
    python.arg("-c").arg(ASK_LIBPQ).arg(&venv).arg(dir.path().join("strings"));
    let answer = python.env_clear().envs(variables.iter().cloned()).succeed();
    let named = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let environment = Environment::from_variables(named);
    let lines: Vec<&str> = answer.lines().collect();
    assert_eq!(lines.len(), strings.len());
    let pairs = strings.iter().zip(lines);
    let different: Vec<_> = pairs.map(|(text, libpqs)| (text, ours(text, &environment), libpqs)).collect();
    let different: Vec<_> = different.iter().filter(|(_, ours, libpqs)| ours != libpqs).collect();
    assert!(different.is_empty(), "{different:#?}");
}
