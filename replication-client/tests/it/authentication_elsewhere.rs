//! Methods of authentication for which PostgreSQL asks somebody else, and those that are refused by name: with and without
//! TLS, on every version that was built with them, and compared with libpq.

use std::process::Command;

use replication_client::{ChannelBindingProblem, Client, Error, ErrorKind, Mode};
use test_support::{Authority, CommandExt, Freeradius, Oidentd, OsUser, Postgres, Slapd, Wanted, majors, pg_tool};

use crate::config;

/// Has PAM ask a shell, which is told the password on its standard input. The outer brackets quote it for PAM.
const PAM: &str = r#"auth required pam_exec.so quiet expose_authtok /bin/sh -c [[ "$PAM_USER$(cat)" = pamugeheim \]]
account required pam_permit.so
"#;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Connected,
    /// The server refuses.
    Refused,
    NoPassword,
    /// `require_auth` does not allow this.
    NotAllowed(&'static str),
    /// `channel_binding` requires what there is not.
    NotBound,
    /// It is not built.
    NotBuilt(&'static str),
}

impl Outcome {
    fn of(connected: &Result<Client, Error>) -> Self {
        let Err(error) = connected else { return Self::Connected };
        match error.kind() {
            ErrorKind::AuthenticationFailed(_) => Self::Refused,
            ErrorKind::NoPassword(None) => Self::NoPassword,
            ErrorKind::AuthenticationNotAllowed { method, .. } => Self::NotAllowed(method),
            ErrorKind::ChannelBinding(ChannelBindingProblem::NoTls | ChannelBindingProblem::NotOffered) => {
                Self::NotBound
            }
            ErrorKind::AuthenticationMethod { method } => Self::NotBuilt(method),
            other => panic!("{other:?}"),
        }
    }
}

use Outcome::{Connected, NoPassword, NotAllowed, NotBound, NotBuilt, Refused};

/// What a server that wants the password in clear text, to show it to somebody else, gets from us.
const BY_PASSWORD: &[(&str, Outcome)] = &[
    ("", Connected),
    ("require_auth=password", Connected),
    ("require_auth=scram-sha-256,md5", NotAllowed("password")),
    ("require_auth=!password", NotAllowed("password")),
    ("channel_binding=require", NotBound),
    ("password=wrong", Refused),
    ("password=''", NoPassword),
];
/// What a server that asks the operating system who we are gets from us: nothing.
const BY_SYSTEM: &[(&str, Outcome)] =
    &[("", Connected), ("require_auth=none", Connected), ("require_auth=!none", NotAllowed("none"))];
const NEVER: &[(&str, Outcome)] = &[("", Refused), ("require_auth=none", Refused), ("require_auth=password", Refused)];
const BY_GSS: &[(&str, Outcome)] = &[
    ("", NotBuilt("GSSAPI")),
    ("require_auth=gss", NotBuilt("GSSAPI")),
    ("require_auth=password", NotBuilt("GSSAPI")),
];
const BY_OAUTH: &[(&str, Outcome)] =
    &[("", NotBuilt("OAuth")), ("require_auth=oauth", NotBuilt("OAuth")), ("require_auth=!oauth", NotBuilt("OAuth"))];

/// A role, the end of its line in `pg_hba.conf`, and what becomes of its connections.
struct Rule {
    role: &'static str,
    method: String,
    cases: &'static [(&'static str, Outcome)],
}

impl Rule {
    fn new(role: &'static str, method: &str, cases: &'static [(&'static str, Outcome)]) -> Self {
        Self { role, method: method.to_owned(), cases }
    }

    /// Over a socket the operating system knows who connects; everything else is for TCP.
    fn is_local(&self) -> bool {
        self.method.starts_with("peer")
    }

    fn line(&self) -> String {
        let Self { role, method, .. } = self;
        if self.is_local() {
            format!("local all,replication {role} {method}\n")
        } else {
            format!("host all,replication {role} 127.0.0.1/32 {method}\n")
        }
    }
}

/// A server with a role for each of the rules that it understands.
struct Subject<'a> {
    server: Postgres,
    authority: &'a Authority,
    rules: Vec<&'a Rule>,
}

impl<'a> Subject<'a> {
    fn start(major: u32, authority: &'a Authority, rules: &'a [Rule]) -> Self {
        let builder = Postgres::builder().major(major).pam_service("backup", PAM);
        let server = builder.tls(authority, &authority.issue("server", &Wanted::server())).start();
        for rule in rules {
            server.psql(&format!("create role {} login replication", rule.role));
        }
        if major >= 18 {
            server.psql("alter system set oauth_validator_libraries = 'never_loaded'; select pg_reload_conf()");
        }
        let name = OsUser::current().name().to_owned();
        let ident = format!("test {name} peered\ntest {name} identu\n");
        std::fs::write(server.data_dir().join("pg_ident.conf"), ident).unwrap();
        let understood = rules.iter().filter(|rule| understands(&server, rule)).collect();
        let subject = Self { server, authority, rules: understood };
        let lines: String = subject.rules.iter().map(|rule| rule.line()).collect();
        prepend_hba(&subject.server, &lines);
        subject.server.psql("select pg_reload_conf()");
        subject
    }

    /// Returns the ways to connect: with and without TLS, or over the socket.
    fn ways(&self, rule: &Rule) -> Vec<String> {
        if rule.is_local() {
            return vec![format!("host={}", self.server.socket_dir().display())];
        }
        let roots = self.authority.certificate();
        vec!["sslmode=disable".to_owned(), format!("sslmode=verify-full sslrootcert={}", roots.display())]
    }

    /// Returns whether libpq is asked, too. It does the same with every server, so the first and the last version with all
    /// methods are enough; and it has `require_auth` from 16 on.
    fn is_judged(&self, options: &str) -> bool {
        let major = self.server.major();
        major == 18 || major == 15 && !options.contains("require_auth")
    }

    async fn is_as_expected(&self, rule: &Rule, way: &str, (options, expected): (&str, Outcome)) {
        let conninfo = format!("{} password=geheim {way} {options}", self.server.conninfo_as(rule.role));
        let context = format!("PostgreSQL {}: {} {way} {options}", self.server.major(), rule.role);
        for mode in [Mode::Sql, Mode::PhysicalReplication] {
            let connected = Client::connect(&config(&conninfo), mode).await;
            assert_eq!(Outcome::of(&connected), expected, "{context}: {connected:?}");
        }
        if self.is_judged(options) {
            let mut psql = Command::new(pg_tool(self.server.major(), "psql"));
            let judged = psql.args(["--no-psqlrc", "-d", &conninfo, "-c", "select 1"]).finish();
            assert_eq!(judged.code == Some(0), expected == Connected, "{context}: {judged:?}");
        }
    }
}

/// Asks the server whether it was built with a method: what it would not take from the file, it says of the file.
fn understands(server: &Postgres, rule: &Rule) -> bool {
    let file = server.data_dir().join("pg_hba.conf");
    let before = std::fs::read(&file).unwrap();
    prepend_hba(server, &rule.line());
    let problem = server.psql("select error from pg_hba_file_rules where error is not null");
    std::fs::write(&file, before).unwrap();
    assert!(problem.is_empty() || problem.starts_with("invalid authentication method"), "{problem}");
    problem.is_empty()
}

fn prepend_hba(server: &Postgres, lines: &str) {
    let file = server.data_dir().join("pg_hba.conf");
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{lines}{before}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_entered_or_refused_as_by_libpq_whomever_it_asks() {
    let (slapd, freeradius) = (Slapd::start("ldapu", "geheim"), Freeradius::start("radiusu", "geheim"));
    let oidentd = Oidentd::start();
    let authority = Authority::new();
    let mut rules = vec![
        Rule::new("ldapu", &slapd.hba_method(), BY_PASSWORD),
        Rule::new("radiusu", &freeradius.hba_method(), BY_PASSWORD),
        Rule::new("pamu", "pam pamservice=backup", BY_PASSWORD),
        Rule::new("peered", "peer map=test", BY_SYSTEM),
        Rule::new("other", "peer map=test", NEVER),
        Rule::new("rejected", "reject", NEVER),
        Rule::new("gssu", "gss", BY_GSS),
        Rule::new("oauthu", "oauth issuer=https://localhost scope=backup", BY_OAUTH),
    ];
    if oidentd.is_some() {
        rules.push(Rule::new("identu", "ident map=test", BY_SYSTEM));
        rules.push(Rule::new("another", "ident map=test", NEVER));
    }
    for major in majors() {
        let subject = Subject::start(major, &authority, &rules);
        let understood: Vec<_> = subject.rules.iter().map(|rule| rule.role).collect();
        // Debian's is built with all there is in this version.
        if major == 15 {
            let without_ident = understood.strip_suffix(&["identu", "another"]).unwrap_or(&understood);
            assert_eq!(without_ident, ["ldapu", "radiusu", "pamu", "peered", "other", "rejected", "gssu"]);
            assert_eq!(without_ident.len() < understood.len(), oidentd.is_some());
        }
        for rule in &subject.rules {
            for way in subject.ways(rule) {
                for case in rule.cases {
                    subject.is_as_expected(rule, &way, *case).await;
                }
            }
        }
    }
}
