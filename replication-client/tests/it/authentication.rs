//! Every method of authentication, with and without TLS, on every version.
//!
//! `PG_MAJORS="13 14 15 16 17 18 19"` names the versions. Each has one server, which goes through all cases.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use replication_client::{
    CertificateProblem, ChannelBindingProblem, Client, Config, Environment, Error, ErrorKind, Mode, SqlState, TlsFile,
    TlsFileProblem, TlsProblem,
};
use test_support::{Authority, CommandExt, Issued, Postgres, Wanted, majors};

use crate::{config, in_environment};

/// A role for each method, over TLS and, with an `n` in front, in clear text. Channel binding exists for `scram` alone.
const RULES: &[&str] = &[
    "hostssl   all,replication scram  127.0.0.1/32 scram-sha-256",
    "hostnossl all,replication nscram 127.0.0.1/32 scram-sha-256",
    "hostssl   all,replication md5u   127.0.0.1/32 md5",
    "hostnossl all,replication nmd5u  127.0.0.1/32 md5",
    "hostssl   all,replication clear  127.0.0.1/32 password",
    "hostnossl all,replication nclear 127.0.0.1/32 password",
    "hostssl   all,replication certu  127.0.0.1/32 cert",
    "hostssl   all,replication twice  127.0.0.1/32 scram-sha-256 clientcert=verify-full",
    "hostssl   all,replication trusts 127.0.0.1/32 trust",
    "hostnossl all,replication ntrust 127.0.0.1/32 trust",
    "host      all,replication scram,nscram,md5u,nmd5u,clear,nclear,certu,twice,trusts,ntrust 127.0.0.1/32 reject",
];
const ROLES: &str = "set password_encryption = 'scram-sha-256';
    create role scram login replication password 'geheim'; create role nscram login replication password 'geheim';
    create role clear login replication password 'geheim'; create role nclear login replication password 'geheim';
    create role twice login replication password 'geheim'; create role certu login replication;
    create role trusts login replication; create role ntrust login replication;
    set password_encryption = 'md5';
    create role md5u login replication password 'geheim'; create role nmd5u login replication password 'geheim';";

/// A server with TLS, and the files of its clients.
struct Matrix {
    server: Postgres,
    authority: Authority,
    client: Issued,
}

impl Matrix {
    async fn start(major: u32) -> Self {
        let authority = Authority::new();
        let builder = RULES.iter().fold(Postgres::builder().major(major), |builder, rule| builder.hba(rule));
        let server = builder.tls(&authority, &authority.issue("server", &Wanted::server())).start();
        crate::sql(&server).await.simple_query(ROLES).await.unwrap();
        let client = authority.issue("client", &Wanted::client("certu"));
        Self { server, authority, client }
    }

    /// A connection as `user` that verifies the server, with what `options` change.
    fn config(&self, user: &str, options: &str) -> Config {
        config(&self.conninfo(user, options))
    }

    fn conninfo(&self, user: &str, options: &str) -> String {
        let roots = self.authority.certificate();
        let server = self.server.conninfo_as(user);
        format!("{server} sslmode=verify-full sslrootcert={} password=geheim {options}", roots.display())
    }

    /// Whether psql, and libpq with it, would connect.
    fn libpq_connects(&self, user: &str, options: &str) -> bool {
        let mut psql = Command::new(test_support::pg_tool(15, "psql"));
        psql.args(["--no-psqlrc", "-d", &self.conninfo(user, options), "-c", "select 1"]).finish().code == Some(0)
    }

    fn certificate(&self, issued: &Issued) -> String {
        format!("sslcert={} sslkey={}", issued.certificate.display(), issued.key.display())
    }

    async fn connect(&self, user: &str, options: &str, mode: Mode) -> Result<Client, Error> {
        Client::connect(&self.config(user, options), mode).await
    }

    async fn error(&self, user: &str, options: &str) -> ErrorKind {
        let error = self.connect(user, options, Mode::PhysicalReplication).await.expect_err(options);
        assert!(error.host().contains(&self.server.port().to_string()), "{error}");
        assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        error.into_kind()
    }

    async fn problem(&self, user: &str, options: &str) -> TlsProblem {
        match self.error(user, options).await {
            ErrorKind::Tls(problem) => problem,
            other => panic!("{options}: {other:?}"),
        }
    }

    /// Connects, and returns whether the connection is encrypted, as the server sees it.
    async fn is_encrypted(&self, user: &str, options: &str) -> bool {
        tls_version(&self.config(user, options)).await.is_some()
    }
}

/// Connects, and returns the version of TLS that the server sees, if there is any.
async fn tls_version(config: &Config) -> Option<String> {
    let mut client = Client::connect(config, Mode::Sql).await.unwrap_or_else(|error| panic!("{config:?}: {error:?}"));
    let answer = client.simple_query("select version from pg_stat_ssl where pid = pg_backend_pid()").await.unwrap();
    answer[0].rows[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_lets_us_in_by_every_method_it_has() {
    for major in majors() {
        let mut matrix = Matrix::start(major).await;
        methods(&matrix).await;
        modes(&matrix).await;
        requirements(&matrix).await;
        for (options, expected) in [("", "TLSv1.3"), ("ssl_max_protocol_version=TLSv1.2", "TLSv1.2")] {
            assert_eq!(tls_version(&matrix.config("scram", options)).await.as_deref(), Some(expected), "{major}");
        }
        certificates_of_clients(&matrix).await;
        if major >= 17 {
            assert!(matrix.is_encrypted("scram", "sslnegotiation=direct").await);
        }
        certificates_of_servers(&mut matrix).await;
    }
}

async fn methods(matrix: &Matrix) {
    let certificate = matrix.certificate(&matrix.client);
    for (user, options) in [
        ("scram", "channel_binding=require require_auth=scram-sha-256"),
        ("scram", "channel_binding=disable"),
        ("scram", "ssl_max_protocol_version=TLSv1.2 channel_binding=require"),
        ("scram", "ssl_min_protocol_version=TLSv1.3"),
        ("nscram", "sslmode=disable require_auth=scram-sha-256"),
        ("md5u", "require_auth=md5"),
        ("nmd5u", "sslmode=disable"),
        ("clear", "require_auth=password"),
        ("nclear", "sslmode=disable"),
        ("certu", &format!("{certificate} sslcertmode=require")),
        ("trusts", "require_auth=none"),
        ("ntrust", "sslmode=disable"),
    ] {
        for mode in [Mode::Sql, Mode::PhysicalReplication] {
            matrix.connect(user, options, mode).await.unwrap_or_else(|error| panic!("{user} {options}: {error:?}"));
        }
        if ["scram", "nscram", "md5u", "nmd5u", "clear", "nclear"].contains(&user) {
            let wrong = matrix.error(user, &format!("{options} password=wrong")).await;
            let is_refused =
                |server: &replication_client::ServerError| server.sqlstate() == Some(SqlState::INVALID_PASSWORD);
            assert!(
                matches!(&wrong, ErrorKind::AuthenticationFailed(server) if is_refused(server)),
                "{user}: {wrong:?}"
            );
            let none = matrix.error(user, &format!("{options} password=''")).await;
            assert!(matches!(none, ErrorKind::NoPassword(None)), "{user}: {none:?}");
        }
    }
}

/// What `sslmode` leaves open is settled by what the server lets in.
async fn modes(matrix: &Matrix) {
    for (user, mode, encrypted) in [
        ("scram", "require", true),
        ("scram", "verify-ca", true),
        ("scram", "prefer", true),
        ("nscram", "prefer", false),
        ("nscram", "allow", false),
        ("scram", "allow", true),
        ("nscram", "disable", false),
    ] {
        assert_eq!(matrix.is_encrypted(user, &format!("sslmode={mode}")).await, encrypted, "{user} {mode}");
    }
    for (user, mode) in [("nscram", "require"), ("scram", "disable")] {
        let refused = matrix.error(user, &format!("sslmode={mode}")).await;
        assert!(matches!(refused, ErrorKind::AuthenticationFailed(_)), "{user} {mode}: {refused:?}");
    }
    let sockets = matrix.server.socket_dir();
    // On a Unix socket sslmode means nothing.
    let socket = format!("host={} sslmode=verify-full", sockets.display());
    matrix.connect("postgres", &socket, Mode::Sql).await.unwrap();
}

async fn requirements(matrix: &Matrix) {
    let not_allowed = matrix.error("md5u", "require_auth=scram-sha-256").await;
    assert!(matches!(not_allowed, ErrorKind::AuthenticationNotAllowed { method: "md5", .. }), "{not_allowed:?}");
    let not_asked = matrix.error("trusts", "require_auth=!none").await;
    assert!(matches!(not_asked, ErrorKind::AuthenticationNotAllowed { method: "none", .. }), "{not_asked:?}");
    for (user, options, expected) in [
        ("md5u", "", ChannelBindingProblem::NotOffered),
        ("trusts", "", ChannelBindingProblem::NotBound),
        ("nscram", "sslmode=disable", ChannelBindingProblem::NoTls),
    ] {
        let error = matrix.error(user, &format!("{options} channel_binding=require")).await;
        assert!(matches!(error, ErrorKind::ChannelBinding(found) if found == expected), "{user}: {error:?}");
    }
    let certificate = matrix.error("scram", "sslcertmode=require").await;
    assert!(matches!(certificate, ErrorKind::CertificateNotUsed { requested: true }), "{certificate:?}");
}

async fn certificates_of_clients(matrix: &Matrix) {
    let twice = matrix.certificate(&matrix.authority.issue("twice", &Wanted::client("twice")));
    matrix.connect("twice", &twice, Mode::PhysicalReplication).await.unwrap();
    // Made as PostgreSQL's documentation makes them.
    let old = matrix.certificate(&matrix.authority.issue("old", &Wanted::named("certu")));
    matrix.connect("certu", &old, Mode::PhysicalReplication).await.unwrap();

    let others = matrix.error("certu", &twice).await;
    assert!(matches!(others, ErrorKind::AuthenticationFailed(_)), "{others:?}");
    let none = matrix.error("certu", "").await;
    assert!(matches!(none, ErrorKind::AuthenticationFailed(_)), "{none:?}");
    let expired = matrix.certificate(&matrix.authority.issue("late", &Wanted::client("certu").expired()));
    let unknown = Authority::new();
    let stranger = matrix.certificate(&unknown.issue("stranger", &Wanted::client("certu")));
    for (options, expected) in [(expired, "CertificateExpired"), (stranger, "UnknownCA")] {
        let refused = matrix.problem("certu", &options).await;
        assert!(matches!(&refused, TlsProblem::Refused { alert } if alert == expected), "{refused:?}");
    }
}

/// The same host by another name, another authority, and another time.
async fn certificates_of_servers(matrix: &mut Matrix) {
    let stranger = Authority::new();
    let other_roots = format!("sslrootcert={}", stranger.certificate().display());
    let missing_roots = "sslrootcert=/nonexistent/root.crt";
    for mode in ["require", "verify-ca", "verify-full"] {
        let wrong = matrix.problem("scram", &format!("{other_roots} sslmode={mode}")).await;
        assert!(matches!(wrong, TlsProblem::Certificate(CertificateProblem::UnknownIssuer)), "{mode}: {wrong:?}");
    }
    let missing = matrix.problem("scram", missing_roots).await;
    assert!(matches!(missing, TlsProblem::File { what: TlsFile::Roots, .. }), "{missing:?}");
    // As for libpq: encrypted, and no more than that.
    assert!(matrix.is_encrypted("scram", &format!("{missing_roots} sslmode=require")).await);
    // The server's certificate is refused, so there is no TLS, and that may be.
    assert!(!matrix.is_encrypted("nscram", &format!("{other_roots} sslmode=prefer")).await);
    matrix.connect("scram", "host=localhost hostaddr=127.0.0.1", Mode::Sql).await.unwrap();
    let other_name = matrix.problem("scram", "host=db1 hostaddr=127.0.0.1").await;
    let expected =
        CertificateProblem::Name { host: "db1".into(), names: ["localhost", "127.0.0.1"].map(str::to_owned).into() };
    assert!(matches!(&other_name, TlsProblem::Certificate(found) if *found == expected), "{other_name:?}");
    // What calls itself a host may be a piece of a password in which an `@` stands as it is.
    let (port, roots) = (matrix.server.port(), matrix.authority.certificate());
    let half = format!(
        "postgresql://scram:p@geheim:{port}/w@db1/x?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert={}",
        roots.display()
    );
    let half = Client::connect(&config(&half), Mode::PhysicalReplication).await.unwrap_err();
    assert!(
        matches!(half.kind(), ErrorKind::Tls(TlsProblem::Certificate(CertificateProblem::Name { .. }))),
        "{half:?}"
    );
    assert!(!format!("{half} {half:?} {}", half.kind()).contains("geheim"), "{half:?}");
    matrix.connect("scram", "host=db1 hostaddr=127.0.0.1 sslmode=verify-ca", Mode::Sql).await.unwrap();
    let no_name = matrix.problem("scram", "host='' hostaddr=127.0.0.1").await;
    assert!(matches!(no_name, TlsProblem::Certificate(CertificateProblem::NoHostName)), "{no_name:?}");

    for (wanted, expected) in [
        (Wanted::server().expired(), CertificateProblem::Expired),
        (Wanted::server().not_yet_valid(), CertificateProblem::NotYetValid),
    ] {
        let untimely = matrix.authority.issue("untimely", &wanted);
        matrix.server.use_certificate(&untimely);
        let found = matrix.problem("scram", "").await;
        assert!(matches!(&found, TlsProblem::Certificate(found) if *found == expected), "{found:?}");
    }
}

/// What OpenSSL takes, and what a library that goes by the letter does not.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_libpq_accepts_are_accepted() {
    let mut matrix = Matrix::start(15).await;
    let ed25519: &[&str] = &["-algorithm", "ED25519"];
    let rsa: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let p384: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    for wanted in [
        // Of version 1, with a common name alone.
        Wanted::named("localhost"),
        Wanted::named("localhost").extensions("keyUsage=digitalSignature"),
        Wanted::named("localhost").extensions("basicConstraints=CA:TRUE"),
        Wanted::named("other").extensions("subjectAltName=DNS:*.local,DNS:LOCALHOST"),
        Wanted::server().key(ed25519),
        Wanted::server().key(rsa),
        Wanted::server().key(p384),
    ] {
        let issued = matrix.authority.issue("variant", &wanted);
        matrix.server.use_certificate(&issued);
        for version in ["TLSv1.2", "TLSv1.3"] {
            let options = format!("host=localhost hostaddr=127.0.0.1 ssl_max_protocol_version={version}");
            let connected = matrix.connect("scram", &options, Mode::PhysicalReplication).await;
            assert!(connected.is_ok(), "{wanted:?} {version}: {connected:?}");
        }
    }
}

/// The server's only with TLS 1.3: before that it has to be on a curve that keys can be exchanged on. Servers want the same of
/// a client's, also where that is libpq.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_all_three_parties_may_be_on_the_curve_p_521() {
    const P521: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let authority = Authority::with(&Wanted::authority().key(P521));
    let mut matrix = Matrix::start(15).await;
    let roots = format!("sslrootcert={}", authority.certificate().display());
    let old = format!("{roots} ssl_max_protocol_version=TLSv1.2");
    matrix.server.use_certificate(&authority.issue("server", &Wanted::server()));
    for options in [&roots, &old] {
        let connected = matrix.connect("scram", options, Mode::PhysicalReplication).await;
        assert!(connected.is_ok(), "{options}: {connected:?}");
    }
    matrix.server.use_certificate(&authority.issue("p521", &Wanted::server().key(P521)));
    let client = matrix.authority.issue("p521", &Wanted::client("certu").key(P521));
    let certified = format!("{} {roots}", matrix.certificate(&client));
    let connected = matrix.connect("certu", &certified, Mode::PhysicalReplication).await;
    assert!(connected.is_ok(), "{connected:?}");
    let refused = matrix.problem("scram", &old).await;
    assert_eq!(refused.to_string(), "the server ended TLS with the alert HandshakeFailure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_its_own_root() {
    for extensions in
        ["subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:TRUE\nsubjectAltName=IP:127.0.0.1", ""]
    {
        let authority = Authority::with(&Wanted::named("127.0.0.1").extensions(extensions));
        let server = Postgres::builder().tls(&authority, &authority.as_issued()).start();
        let with = |root: &Authority| {
            config(&format!("{} sslmode=verify-full sslrootcert={}", server.conninfo(), root.certificate().display()))
        };
        let connected = Client::connect(&with(&authority), Mode::Sql).await;
        assert!(connected.is_ok(), "{extensions}: {connected:?}");
        let twin = Authority::with(&Wanted::named("127.0.0.1").extensions(extensions));
        let refused = Client::connect(&with(&twin), Mode::Sql).await.unwrap_err().into_kind();
        let expected = TlsProblem::Certificate(CertificateProblem::UnknownIssuer);
        assert!(matches!(&refused, ErrorKind::Tls(found) if found.to_string() == expected.to_string()), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_an_authority_can_be_over_too() {
    let authority = Authority::with(&Wanted::named("late").extensions("basicConstraints=CA:TRUE").expired());
    let server = Postgres::builder().tls(&authority, &authority.issue("server", &Wanted::server())).start();
    let conninfo = format!("{} sslmode=verify-ca sslrootcert={}", server.conninfo(), authority.certificate().display());
    let error = Client::connect(&config(&conninfo), Mode::Sql).await.unwrap_err();
    assert!(!error.is_transient());
    let kind = error.into_kind();
    assert!(matches!(&kind, ErrorKind::Tls(TlsProblem::Certificate(CertificateProblem::Expired))), "{kind:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_tls_below_the_oldest_that_is_allowed_is_not_spoken() {
    let authority = Authority::new();
    let issued = authority.issue("server", &Wanted::server());
    let server = Postgres::builder().setting("ssl_max_protocol_version", "TLSv1.2").tls(&authority, &issued).start();
    let with = |options: &str| config(&format!("{} sslmode=require {options}", server.conninfo()));
    assert_eq!(tls_version(&with("")).await.as_deref(), Some("TLSv1.2"));
    let refused = Client::connect(&with("ssl_min_protocol_version=TLSv1.3"), Mode::Sql).await.unwrap_err().into_kind();
    let is_version = |alert: &str| alert == "ProtocolVersion";
    assert!(matches!(&refused, ErrorKind::Tls(TlsProblem::Refused { alert }) if is_version(alert)), "{refused:?}");
}

/// openssl's own server, which speaks TLS and nothing of PostgreSQL's, takes one connection, and tells what it was told.
struct OpensslServer {
    process: std::process::Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl OpensslServer {
    fn start(issued: &Issued) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-naccept", "1", "-tlsextdebug", "-accept", &free.to_string()]);
        openssl.arg("-cert").arg(&issued.certificate).arg("-key").arg(&issued.key);
        let mut process = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ACCEPT") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "openssl did not start");
        }
        Self { process, output, port: free.port() }
    }

    /// Waits until the connection is over.
    fn was_told(mut self) -> String {
        let mut told = String::new();
        self.output.read_to_string(&mut told).unwrap();
        self.process.wait().unwrap();
        told
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_confirm_the_protocol_is_left_and_told_its_name_only_where_that_is_wanted() {
    let authority = Authority::new();
    let issued = authority.issue("server", &Wanted::server());
    for (sni, is_told) in [("1", true), ("0", false)] {
        let server = OpensslServer::start(&issued);
        let conninfo = format!(
            "host=localhost hostaddr=127.0.0.1 port={} user=postgres sslnegotiation=direct sslmode=verify-full \
             sslrootcert={} sslsni={sni}",
            server.port,
            authority.certificate().display()
        );
        let refused = Client::connect(&config(&conninfo), Mode::Sql).await.unwrap_err().into_kind();
        assert!(matches!(refused, ErrorKind::Tls(TlsProblem::NoAlpn)), "{refused:?}");
        let told = server.was_told();
        assert!(told.contains("application layer protocol negotiation"), "{told}");
        assert_eq!(told.contains("\"server name\""), is_told, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_certificates_are_refused() {
    let matrix = Matrix::start(15).await;
    let served = Issued {
        certificate: matrix.authority.certificate().with_file_name("server.crt"),
        key: matrix.authority.certificate().with_file_name("server.key"),
    };
    let list = |authority: &Authority| format!("sslcrl={}", authority.revocation_list().display());
    matrix.connect("scram", &list(&matrix.authority), Mode::Sql).await.unwrap();
    let unknown = matrix
        .problem(
            "scram",
            &list(&Authority::with(
                &Wanted::named("stranger").extensions("basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash"),
            )),
        )
        .await;
    assert!(matches!(unknown, TlsProblem::Certificate(CertificateProblem::RevocationUnknown)), "{unknown:?}");

    matrix.authority.revoke(&served);
    let file = list(&matrix.authority);
    let directory = test_support::TempDir::new();
    std::fs::copy(matrix.authority.revocation_list(), directory.path().join("0a1b2c3d.r0")).unwrap();
    for options in [file, format!("sslcrldir={}", directory.path().display())] {
        let revoked = matrix.problem("scram", &options).await;
        assert!(matches!(revoked, TlsProblem::Certificate(CertificateProblem::Revoked)), "{options}: {revoked:?}");
    }
    // Lists in a directory are found by their names, so that in these two there is none. Nor does libpq connect.
    let (empty, unprepared) = (test_support::TempDir::new(), test_support::TempDir::new());
    std::fs::copy(matrix.authority.revocation_list(), unprepared.path().join("root.crl")).unwrap();
    for directory in [&empty, &unprepared] {
        let options = format!("sslcrldir={}", directory.path().display());
        let none = matrix.problem("scram", &options).await;
        assert!(matches!(none, TlsProblem::File { what: TlsFile::RevocationList, .. }), "{none:?}");
        assert!(!matrix.libpq_connects("scram", &options));
    }
    assert!(matrix.libpq_connects("scram", "application_name=judge"));
    // libpq would go on without the list.
    let missing = matrix.problem("scram", "sslcrl=/nonexistent.crl").await;
    assert!(matches!(missing, TlsProblem::File { what: TlsFile::RevocationList, .. }), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_keys_are_private_and_fit() {
    use std::os::unix::fs::PermissionsExt;
    let matrix = Matrix::start(15).await;
    let certificate = matrix.certificate(&matrix.client);
    let problem = |options: String| {
        let matrix = &matrix;
        async move {
            match matrix.problem("certu", &options).await {
                TlsProblem::File { what: TlsFile::Key, problem, .. } => problem,
                other => panic!("{other:?}"),
            }
        }
    };
    let set_mode = |mode| std::fs::set_permissions(&matrix.client.key, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o644);
    let readable = problem(certificate.clone()).await;
    assert!(matches!(readable, TlsFileProblem::Permissions { mode: 0o644 }), "{readable:?}");
    set_mode(0o600);
    matrix.connect("certu", &certificate, Mode::Sql).await.unwrap();

    let other = matrix.authority.issue("other", &Wanted::client("other"));
    let other = format!("sslcert={} sslkey={}", matrix.client.certificate.display(), other.key.display());
    assert!(matches!(problem(other).await, TlsFileProblem::Content(_)));
    let missing = format!("{certificate} sslkey=/nonexistent.key");
    assert!(matches!(problem(missing).await, TlsFileProblem::Unreadable(_)));
    assert!(matches!(problem(format!("{certificate} sslkey=engine:key")).await, TlsFileProblem::Engine));
    // PKCS #8, and the form of OpenSSL before it.
    for encrypt in ["pkcs8 -topk8 -v2 aes-256-cbc", "ec -aes256"] {
        let encrypted = matrix.client.key.with_extension("encrypted");
        let mut openssl = Command::new("openssl");
        openssl.args(encrypt.split(' ')).args(["-passout", "pass:geheim", "-in"]).arg(&matrix.client.key);
        openssl.arg("-out").arg(&encrypted).succeed();
        std::fs::set_permissions(&encrypted, std::fs::Permissions::from_mode(0o600)).unwrap();
        let encrypted = problem(format!("{certificate} sslkey={} sslpassword=geheim", encrypted.display())).await;
        assert!(matches!(encrypted, TlsFileProblem::Encrypted), "{encrypt}: {encrypted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_directory_has_certificates_for_all_connections() {
    let matrix = Matrix::start(15).await;
    let home = test_support::TempDir::new();
    let files = home.path().join(".postgresql");
    std::fs::create_dir(&files).unwrap();
    let copy = |from: &std::path::Path, name: &str| std::fs::copy(from, files.join(name)).map(drop).unwrap();
    copy(&matrix.authority.certificate(), "root.crt");
    copy(&matrix.client.certificate, "postgresql.crt");
    copy(&matrix.client.key, "postgresql.key");
    let environment = Environment::default().with_home(home.path()).with_variable("PGSSLMODE", "verify-full");
    let config = in_environment(&matrix.server.conninfo_as("certu"), &environment);
    Client::connect(&config, Mode::PhysicalReplication).await.unwrap();

    matrix
        .authority
        .revoke(&Issued { certificate: matrix.authority.certificate().with_file_name("server.crt"), key: "".into() });
    copy(&matrix.authority.revocation_list(), "root.crl");
    let revoked = Client::connect(&config, Mode::Sql).await.unwrap_err().into_kind();
    assert!(matches!(revoked, ErrorKind::Tls(TlsProblem::Certificate(CertificateProblem::Revoked))), "{revoked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_scram_iterations_as_the_server_wants() {
    for major in majors() {
        let matrix = Matrix::start(major).await;
        // From 16 on there is a setting for it. What is stored may say any number in every version.
        if major >= 16 {
            matrix.server.psql("set scram_iterations = 150000; alter role scram password 'geheim'");
            matrix.connect("scram", "channel_binding=require", Mode::Sql).await.unwrap();
        }
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let stored = format!("SCRAM-SHA-256$2147483647:c2FsdHNhbHRzYWx0c2FsdA==${key}:{key}");
        // `alter role` would compute whether that is the empty password.
        matrix.server.psql(&format!("update pg_authid set rolpassword = '{stored}' where rolname = 'scram'"));
        // Minutes of work, which nobody goes on with once the time is over: or this test would not end.
        let started = Instant::now();
        let endless = matrix.error("scram", "connect_timeout=1").await;
        assert!(matches!(endless, ErrorKind::ConnectTimeout { .. }), "{endless:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_bound_by_a_certificate_that_is_signed_with_rsa_pss() {
    const RSA: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    for major in majors() {
        for hash in ["sha256", "sha384"] {
            let authority = Authority::with(&Wanted::authority().key(RSA).signed_with_pss(hash));
            let issued = authority.issue("server", &Wanted::server().signed_with_pss(hash));
            let builder = Postgres::builder().major(major).password_roles();
            let server = builder.tls(&authority, &issued).start();
            let roots = authority.certificate();
            let conninfo = format!("{} password=pw sslrootcert={}", server.conninfo_as("scram"), roots.display());
            for version in ["TLSv1.2", "TLSv1.3"] {
                let options = format!("sslmode=verify-full channel_binding=require ssl_max_protocol_version={version}");
                let connected = Client::connect(&config(&format!("{conninfo} {options}")), Mode::Sql).await;
                assert!(connected.is_ok(), "{major} {hash} {version}: {connected:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_says_so() {
    let server = Postgres::start();
    let connect = |mode: &str| config(&format!("{} sslmode={mode}", server.conninfo()));
    for mode in ["prefer", "allow", "disable"] {
        Client::connect(&connect(mode), Mode::Sql).await.unwrap();
    }
    let refused = Client::connect(&connect("require"), Mode::Sql).await.unwrap_err().into_kind();
    assert!(matches!(refused, ErrorKind::Tls(TlsProblem::NotOffered { mode: "require" })), "{refused:?}");
}
