use super::*;
use crate::config::Config;
use crate::environment::Environment;
use crate::testing::backend_bytes::{BackendBytes, feed};
use crate::wire::Wire;

/// A client with a password, or without, and what it has sent since it was last looked at.
struct Session {
    startup: Startup,
    wire: Wire,
}

impl Session {
    fn new(password: Option<&str>) -> Self {
        Self::with(password, "", None)
    }

    /// A client with connection options, and what a TLS handshake has shown.
    fn with(password: Option<&str>, options: &str, tls: Option<TlsSession>) -> Self {
        Self::try_with(password, options, tls).unwrap()
    }

    fn try_with(password: Option<&str>, options: &str, tls: Option<TlsSession>) -> Result<Self, ErrorKind> {
        let credentials = Credentials { user: "md5_user".into(), password: password.map(Password::new), problem: None };
        let environment = Environment::default().with_user("md5_user");
        let policy = Config::from_conninfo(options, &environment).unwrap().authentication().clone();
        let mut wire = Wire::default();
        let startup = Startup::begin(credentials, policy, tls, [("user", "md5_user")], &mut wire.outgoing)?;
        wire.outgoing.clear();
        Ok(Self { startup, wire })
    }

    fn receive(&mut self, bytes: BackendBytes) -> Result<Progress, ErrorKind> {
        let startup = &mut self.startup;
        let (mut progress, error) = feed(&mut self.wire, bytes.bytes(), &[1], |wire| {
            let Some(message) = wire.inbox.poll()? else { return Ok(None) };
            let progress = startup.handle(message, &mut wire.outgoing)?;
            let Progress::Salting(mut salting) = progress else { return Ok(Some(progress)) };
            salting.advance(u32::MAX);
            startup.handle_salted(*salting, &mut wire.outgoing)?;
            Ok(Some(Progress::Authenticating))
        });
        error.map_or_else(|| Ok(progress.pop().unwrap()), Err)
    }

    fn sent(&mut self) -> Vec<u8> {
        self.wire.outgoing.split().to_vec()
    }

    /// Begins SCRAM and returns our nonce.
    fn begin_scram(&mut self) -> String {
        let progress = self.receive(server().authentication(10, b"SCRAM-SHA-256\0\0"));
        assert!(matches!(progress.unwrap(), Progress::Authenticating));
        let sent = String::from_utf8(self.sent()).unwrap();
        sent.split_once("r=").unwrap().1.to_owned()
    }

    fn continue_scram(&mut self, iterations: u64) -> Result<Progress, ErrorKind> {
        let nonce = self.begin_scram();
        let first = format!("r={nonce}server,s=c2FsdA==,i={iterations}");
        self.receive(server().authentication(11, first.as_bytes()))
    }
}

fn server() -> BackendBytes {
    BackendBytes::new()
}

fn ok() -> BackendBytes {
    server().authentication(0, &[])
}

#[test]
fn a_server_may_trust_us() {
    let mut session = Session::new(None);
    assert!(matches!(session.receive(ok()).unwrap(), Progress::Authenticated));
    let rest = server().parameter("server_version", "15.18").message(b'K', &[0; 8]).ready();
    assert!(matches!(session.receive(rest).unwrap(), Progress::Ready));
    assert_eq!(session.sent(), b"");
}

#[test]
fn a_password_is_sent_in_clear_where_the_server_asks_for_that() {
    let mut session = Session::new(Some("secret"));
    assert!(matches!(session.receive(server().authentication(3, &[])).unwrap(), Progress::Authenticating));
    assert_eq!(session.sent(), b"p\0\0\0\x0bsecret\0");
    assert!(matches!(session.receive(ok()).unwrap(), Progress::Authenticated));
}

#[test]
fn a_password_is_hashed_with_the_user_and_the_salt_for_md5() {
    let mut session = Session::new(Some("password"));
    session.receive(server().authentication(5, &[0x2a, 0x3d, 0x8f, 0xe0])).unwrap();
    assert_eq!(session.sent(), b"p\0\0\0\x28md562af4dd09bbb41884907a838a3233294\0");
    assert!(matches!(session.receive(ok()).unwrap(), Progress::Authenticated));
}

#[test]
fn without_a_password_the_lack_of_one_is_named() {
    for request in [server().authentication(3, &[]), server().authentication(10, b"SCRAM-SHA-256\0\0")] {
        let error = Session::new(None).receive(request).unwrap_err();
        assert!(matches!(error, ErrorKind::NoPassword(None)), "{error}");
    }
}

#[test]
fn a_server_that_skips_its_proof_is_not_believed() {
    let mut at_once = Session::new(Some("secret"));
    at_once.begin_scram();
    let mut later = Session::new(Some("secret"));
    later.continue_scram(4096).unwrap();
    for mut session in [at_once, later] {
        let error = session.receive(ok()).unwrap_err();
        assert!(matches!(error, ErrorKind::ServerNotAuthenticated(None)), "{error}");
    }
}

#[test]
fn a_server_with_a_wrong_proof_is_not_believed() {
    let mut session = Session::new(Some("secret"));
    session.continue_scram(4096).unwrap();
    let error = session.receive(server().authentication(12, b"v=AAAA")).unwrap_err();
    assert!(matches!(error, ErrorKind::ServerNotAuthenticated(Some(_))), "{error}");
}

#[test]
fn a_server_that_changes_our_nonce_is_not_believed() {
    let mut session = Session::new(Some("secret"));
    session.begin_scram();
    let error = session.receive(server().authentication(11, b"r=other,s=c2FsdA==,i=4096")).unwrap_err();
    assert!(matches!(error, ErrorKind::ServerNotAuthenticated(Some(_))), "{error}");
}

#[test]
fn scram_iterations_that_no_server_asks_for_are_refused() {
    for asked in [0, 1 << 31, u64::MAX] {
        let error = Session::new(Some("secret")).continue_scram(asked).unwrap_err();
        assert!(matches!(error, ErrorKind::ServerNotAuthenticated(Some(_))), "{error}");
    }
}

#[test]
fn a_password_is_not_salted_twice() {
    let mut session = Session::new(Some("secret"));
    session.continue_scram(2).unwrap();
    let again = session.receive(server().authentication(11, b"r=any,s=c2FsdA==,i=2"));
    assert!(matches!(again, Err(ErrorKind::Protocol(ProtocolError::Unexpected { .. }))), "{again:?}");
}

#[test]
fn a_second_question_for_the_password_is_not_answered() {
    let questions = [
        server().authentication(3, &[]),
        server().authentication(5, &[0; 4]),
        server().authentication(10, b"SCRAM-SHA-256\0\0"),
    ];
    for first in &questions {
        for second in &questions {
            let mut session = Session::new(Some("secret"));
            session.receive(first.clone()).unwrap();
            session.sent();
            let error = session.receive(second.clone()).unwrap_err();
            assert!(matches!(error, ErrorKind::Protocol(ProtocolError::Unexpected { .. })), "{error}");
            assert_eq!(session.sent(), b"");
        }
    }
}

#[test]
fn methods_that_are_not_built_are_named() {
    for (request, expected) in [
        (server().authentication(7, &[]), "GSSAPI"),
        (server().authentication(9, &[]), "SSPI"),
        (server().authentication(2, &[]), "Kerberos V5"),
        (server().authentication(10, b"OAUTHBEARER\0\0"), "OAuth"),
        (server().authentication(10, b"OTHER\0\0"), "an unknown SASL"),
    ] {
        let error = Session::new(Some("secret")).receive(request).unwrap_err();
        assert!(matches!(error, ErrorKind::AuthenticationMethod { method } if method == expected), "{error}");
    }
}

#[test]
fn what_the_server_refuses_is_sorted() {
    let refused = |sqlstate| Session::new(None).receive(server().error(sqlstate, "no")).unwrap_err();
    assert!(matches!(refused("28P01"), ErrorKind::AuthenticationFailed(_)));
    assert!(matches!(refused("28000"), ErrorKind::AuthenticationFailed(_)));
    assert!(matches!(refused("53300"), ErrorKind::Server(_)));
}

#[test]
fn nothing_is_ready_before_authentication_is_over() {
    for message in [server().ready(), server().message(b'K', &[0; 8])] {
        let error = Session::new(None).receive(message).unwrap_err();
        assert!(matches!(error, ErrorKind::Protocol(ProtocolError::Unexpected { .. })), "{error}");
    }
}

#[test]
fn a_password_with_a_nul_character_is_refused() {
    let error = Session::new(Some("a\0b")).receive(server().authentication(3, &[])).unwrap_err();
    assert!(matches!(error, ErrorKind::Nul { .. }), "{error}");
}

fn tls() -> Option<TlsSession> {
    Some(TlsSession { end_point: Some(vec![0xab; 32]), ..TlsSession::default() })
}

/// Has a server offer these mechanisms, and returns the one that is chosen with the beginning of the message to it.
fn chosen(options: &str, tls: Option<TlsSession>, offer: &[u8]) -> Result<String, ErrorKind> {
    let mut session = Session::with(Some("secret"), options, tls);
    session.receive(server().authentication(10, offer))?;
    let sent = session.sent();
    // Tag, length, mechanism, NUL, length, message.
    let mechanism = sent[5..].split(|byte| *byte == 0).next().unwrap();
    let message = &sent[5 + mechanism.len() + 5..];
    let header = message.split(|byte| *byte == b',').next().unwrap();
    Ok(format!("{} {}", String::from_utf8_lossy(mechanism), String::from_utf8_lossy(header)))
}

const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";

#[test]
fn channel_binding_is_used_where_both_sides_can() {
    let unhashed = || Some(TlsSession::default());
    for (options, tls, offer, expected) in [
        ("", tls(), BOTH, "SCRAM-SHA-256-PLUS p=tls-server-end-point"),
        ("channel_binding=require", tls(), BOTH, "SCRAM-SHA-256-PLUS p=tls-server-end-point"),
        ("channel_binding=disable", tls(), BOTH, "SCRAM-SHA-256 n"),
        // `y`: we could, and the server notices if somebody has changed its offer.
        ("", tls(), PLAIN, "SCRAM-SHA-256 y"),
        ("", None, PLAIN, "SCRAM-SHA-256 n"),
        // Ed25519.
        ("", unhashed(), BOTH, "SCRAM-SHA-256 n"),
    ] {
        assert_eq!(chosen(options, tls, offer).unwrap(), expected, "{options}");
    }
}

#[test]
fn required_channel_binding_is_not_done_without() {
    let problem = |error| match error {
        ErrorKind::ChannelBinding(problem) => problem,
        other => panic!("{other:?}"),
    };
    let required = "channel_binding=require";
    let no_tls = Session::try_with(Some("secret"), required, None).err().unwrap();
    assert_eq!(problem(no_tls), ChannelBindingProblem::NoTls);
    assert_eq!(problem(chosen(required, tls(), PLAIN).unwrap_err()), ChannelBindingProblem::NotOffered);
    let no_hash = chosen(required, Some(TlsSession::default()), BOTH).unwrap_err();
    assert_eq!(problem(no_hash), ChannelBindingProblem::NoHash);
    for request in [server().authentication(3, &[]), server().authentication(5, &[1, 2, 3, 4])] {
        let mut session = Session::with(Some("secret"), required, tls());
        assert_eq!(problem(session.receive(request).unwrap_err()), ChannelBindingProblem::NotOffered);
        assert_eq!(session.sent(), b"");
    }
    let trusted = Session::with(None, required, tls()).receive(ok()).unwrap_err();
    assert_eq!(problem(trusted), ChannelBindingProblem::NotBound);
}

#[test]
fn an_offer_of_channel_binding_without_tls_is_none_of_the_servers() {
    assert!(matches!(chosen("", None, BOTH), Err(ErrorKind::Protocol(_))));
}

#[test]
fn only_methods_that_require_auth_allows_get_an_answer() {
    let scram = || server().authentication(10, PLAIN);
    let requests = [
        ("password", server().authentication(3, &[])),
        ("md5", server().authentication(5, &[1, 2, 3, 4])),
        ("scram-sha-256", scram()),
        ("none", ok()),
    ];
    for (method, request) in requests {
        let mut allowed = Session::with(Some("secret"), &format!("require_auth={method}"), None);
        allowed.receive(request.clone()).unwrap();
        let mut refused = Session::with(Some("secret"), &format!("require_auth=!{method}"), None);
        let error = refused.receive(request).unwrap_err();
        assert!(
            matches!(&error, ErrorKind::AuthenticationNotAllowed { method: named, .. } if *named == method),
            "{error:?}"
        );
        assert_eq!(refused.sent(), b"", "{method}");
    }
    let error = Session::with(Some("secret"), "require_auth=md5,password", None).receive(scram()).unwrap_err();
    let expected = "the server asks for scram-sha-256 authentication, and require_auth allows only password, md5";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_required_certificate_has_to_be_asked_for_and_sent() {
    let session = |requested, sent| {
        let tls = TlsSession { certificate_requested: requested, certificate_sent: sent, ..TlsSession::default() };
        Session::with(None, "sslcertmode=require", Some(tls)).receive(ok())
    };
    assert!(matches!(session(true, true).unwrap(), Progress::Authenticated));
    assert!(matches!(session(true, false), Err(ErrorKind::CertificateNotUsed { requested: true })));
    assert!(matches!(session(false, false), Err(ErrorKind::CertificateNotUsed { requested: false })));
}
