use super::*;
use crate::testing::backend_bytes::{BackendBytes, feed};
use crate::wire::Wire;

/// A client with a password, or without, and what it has sent since it was last looked at.
struct Session {
    startup: Startup,
    wire: Wire,
}

impl Session {
    fn new(password: Option<&str>) -> Self {
        let credentials = Credentials { user: "md5_user".into(), password: password.map(Password::new), problem: None };
        let mut wire = Wire::default();
        let startup = Startup::begin(credentials, [("user", "md5_user")], &mut wire.outgoing).unwrap();
        let mut session = Self { startup, wire };
        session.sent();
        session
    }

    fn receive(&mut self, bytes: BackendBytes) -> Result<Progress, ErrorKind> {
        let startup = &mut self.startup;
        let (progress, error) = feed(&mut self.wire, bytes.bytes(), &[1], |wire| {
            let Some(message) = wire.inbox.poll()? else { return Ok(None) };
            startup.handle(message, &mut wire.outgoing).map(Some)
        });
        error.map_or_else(|| Ok(*progress.last().unwrap()), Err)
    }

    fn sent(&mut self) -> Vec<u8> {
        self.wire.outgoing.split().to_vec()
    }

    /// Begins SCRAM and returns our nonce.
    fn begin_scram(&mut self) -> String {
        let progress = self.receive(server().authentication(10, b"SCRAM-SHA-256\0\0"));
        assert_eq!(progress.unwrap(), Progress::Authenticating);
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
    assert_eq!(session.receive(ok()).unwrap(), Progress::Authenticated);
    let rest = server().parameter("server_version", "15.18").message(b'K', &[0; 8]).ready();
    assert_eq!(session.receive(rest).unwrap(), Progress::Ready);
    assert_eq!(session.sent(), b"");
}

#[test]
fn a_password_is_sent_in_clear_where_the_server_asks_for_that() {
    let mut session = Session::new(Some("secret"));
    assert_eq!(session.receive(server().authentication(3, &[])).unwrap(), Progress::Authenticating);
    assert_eq!(session.sent(), b"p\0\0\0\x0bsecret\0");
    assert_eq!(session.receive(ok()).unwrap(), Progress::Authenticated);
}

#[test]
fn a_password_is_hashed_with_the_user_and_the_salt_for_md5() {
    let mut session = Session::new(Some("password"));
    session.receive(server().authentication(5, &[0x2a, 0x3d, 0x8f, 0xe0])).unwrap();
    assert_eq!(session.sent(), b"p\0\0\0\x28md562af4dd09bbb41884907a838a3233294\0");
    assert_eq!(session.receive(ok()).unwrap(), Progress::Authenticated);
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
fn too_many_scram_iterations_are_named_and_not_computed() {
    assert!(Session::new(Some("secret")).continue_scram(MOST_SCRAM_ITERATIONS).is_ok());
    for asked in [MOST_SCRAM_ITERATIONS + 1, u64::MAX] {
        let error = Session::new(Some("secret")).continue_scram(asked).unwrap_err();
        assert!(matches!(error, ErrorKind::ScramIterations { asked: found, .. } if found == asked), "{error}");
    }
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
        (server().authentication(10, b"SCRAM-SHA-256-PLUS\0\0"), "SCRAM-SHA-256-PLUS"),
        (server().authentication(10, b"OAUTHBEARER\0\0"), "OAUTHBEARER"),
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
