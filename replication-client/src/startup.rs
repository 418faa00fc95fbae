//! The start of a session, without I/O: start-up parameters and authentication.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{
    AuthenticationMd5PasswordBody, AuthenticationSaslBody, AuthenticationSaslContinueBody, AuthenticationSaslFinalBody,
    Message,
};
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use crate::backend_message::BackendMessage;
use crate::error::ErrorKind;
use crate::passfile::PassfileProblem;
use crate::password::Password;
use crate::protocol_error::ProtocolError;
use crate::server_error::ServerError;

/// The most SCRAM iterations that postgres-protocol computes: PostgreSQL's default is 4096, and a hostile server could
/// ask for years.
const MOST_SCRAM_ITERATIONS: u64 = 100_000;

const DURING: &str = "starting a session";

/// What the password file, or the lack of one, has to offer.
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Option<Password>,
    /// Why there is no password.
    pub(crate) problem: Option<PassfileProblem>,
}

/// Leads a session from its first byte to the first ReadyForQuery.
pub(crate) struct Startup {
    credentials: Credentials,
    phase: Phase,
}

enum Phase {
    /// Nothing but the start-up message has been sent.
    Greeting,
    /// A password, in clear or hashed, has been sent.
    PasswordSent,
    /// The first or second message of SCRAM has been sent.
    Scram(Box<ScramSha256>),
    /// The server has proven that it knows the password.
    ServerProven,
    /// Authentication is over.
    Authenticated,
}

/// Where a [`Startup`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Authenticating,
    Authenticated,
    Ready,
}

impl Startup {
    /// Writes the start-up message to `out`.
    ///
    /// # Errors
    /// A parameter contains a NUL character.
    pub(crate) fn begin<'a>(
        credentials: Credentials,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        out: &mut BytesMut,
    ) -> Result<Self, ErrorKind> {
        frontend::startup_message(parameters, out).map_err(|_| ErrorKind::Nul { what: "a start-up parameter" })?;
        Ok(Self { credentials, phase: Phase::Greeting })
    }

    /// Takes a message of the server's, and writes what there is to answer to `out`.
    ///
    /// # Errors
    /// The server refuses us, asks for what is not built, or cannot prove that it knows the password.
    pub(crate) fn handle(&mut self, message: BackendMessage, out: &mut BytesMut) -> Result<Progress, ErrorKind> {
        match message {
            BackendMessage::Error(server) => Err(refusal(server)),
            BackendMessage::Authentication(message) => self.authenticate(message, out),
            BackendMessage::BackendKeyData if self.is_authenticated() => Ok(Progress::Authenticated),
            BackendMessage::ReadyForQuery if self.is_authenticated() => Ok(Progress::Ready),
            message => Err(message.unexpected(DURING).into()),
        }
    }

    fn is_authenticated(&self) -> bool {
        matches!(self.phase, Phase::Authenticated)
    }

    fn authenticate(&mut self, message: Message, out: &mut BytesMut) -> Result<Progress, ErrorKind> {
        match message {
            Message::AuthenticationOk => self.believe()?,
            Message::AuthenticationCleartextPassword => self.send_password(out)?,
            Message::AuthenticationMd5Password(body) => self.send_md5(&body, out)?,
            Message::AuthenticationSasl(body) => self.begin_scram(&body, out)?,
            Message::AuthenticationSaslContinue(body) => self.continue_scram(&body, out)?,
            Message::AuthenticationSaslFinal(body) => self.finish_scram(&body)?,
            message => return Err(ErrorKind::AuthenticationMethod { method: method(&message) }),
        }
        Ok(if self.is_authenticated() { Progress::Authenticated } else { Progress::Authenticating })
    }

    /// Takes AuthenticationOk for what it is. In the midst of SCRAM it is worth nothing: a server that skips its proof
    /// may be an impostor that wants to be taken for the real one.
    fn believe(&mut self) -> Result<(), ErrorKind> {
        match self.phase {
            Phase::Scram(_) => Err(ErrorKind::ServerNotAuthenticated(None)),
            Phase::Authenticated => Err(unexpected("AuthenticationOk")),
            Phase::Greeting | Phase::PasswordSent | Phase::ServerProven => {
                self.phase = Phase::Authenticated;
                Ok(())
            }
        }
    }

    fn send_password(&mut self, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationCleartextPassword")?;
        let password = self.take_password()?;
        self.phase = Phase::PasswordSent;
        write(frontend::password_message(password.reveal().as_bytes(), out))
    }

    fn send_md5(&mut self, body: &AuthenticationMd5PasswordBody, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationMD5Password")?;
        let password = self.take_password()?;
        let hash = md5_hash(self.credentials.user.as_bytes(), password.reveal().as_bytes(), body.salt());
        self.phase = Phase::PasswordSent;
        write(frontend::password_message(hash.as_bytes(), out))
    }

    fn begin_scram(&mut self, body: &AuthenticationSaslBody, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationSASL")?;
        let offered = body.mechanisms().any(|mechanism| Ok(mechanism == SCRAM_SHA_256));
        if !offered.map_err(malformed)? {
            return Err(ErrorKind::AuthenticationMethod { method: other_mechanism(body) });
        }
        // Channel binding needs TLS.
        let scram = ScramSha256::new(self.take_password()?.reveal().as_bytes(), ChannelBinding::unsupported());
        write(frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), out))?;
        self.phase = Phase::Scram(Box::new(scram));
        Ok(())
    }

    fn continue_scram(&mut self, body: &AuthenticationSaslContinueBody, out: &mut BytesMut) -> Result<(), ErrorKind> {
        let Phase::Scram(scram) = &mut self.phase else { return Err(unexpected("AuthenticationSASLContinue")) };
        if let Some(asked) = iterations(body.data()).filter(|&asked| asked > MOST_SCRAM_ITERATIONS) {
            return Err(ErrorKind::ScramIterations { asked, limit: MOST_SCRAM_ITERATIONS });
        }
        scram.update(body.data()).map_err(not_proven)?;
        write(frontend::sasl_response(scram.message(), out))
    }

    fn finish_scram(&mut self, body: &AuthenticationSaslFinalBody) -> Result<(), ErrorKind> {
        let Phase::Scram(scram) = &mut self.phase else { return Err(unexpected("AuthenticationSASLFinal")) };
        scram.finish(body.data()).map_err(not_proven)?;
        self.phase = Phase::ServerProven;
        Ok(())
    }

    /// A server asks once. One that asks again, in another way, wants to have the password in a form that it can use.
    fn expect_greeting(&self, message: &'static str) -> Result<(), ErrorKind> {
        if matches!(self.phase, Phase::Greeting) { Ok(()) } else { Err(unexpected(message)) }
    }

    fn take_password(&mut self) -> Result<Password, ErrorKind> {
        let problem = &mut self.credentials.problem;
        self.credentials.password.take().ok_or_else(|| ErrorKind::NoPassword(problem.take()))
    }
}

/// Sorts what the server said while the session started.
fn refusal(server: ServerError) -> ErrorKind {
    let is_authentication = server.sqlstate().is_some_and(|state| state.class() == *b"28");
    if is_authentication { ErrorKind::AuthenticationFailed(server) } else { ErrorKind::Server(server) }
}

/// Reads `i=<number>` of a server-first-message (RFC 5802), to say by name what the SCRAM code would refuse.
fn iterations(server_first: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(server_first).ok()?;
    text.split(',').find_map(|attribute| attribute.strip_prefix("i="))?.parse().ok()
}

fn method(message: &Message) -> &'static str {
    match message {
        Message::AuthenticationGss | Message::AuthenticationGssContinue(_) => "GSSAPI",
        Message::AuthenticationSspi => "SSPI",
        Message::AuthenticationKerberosV5 => "Kerberos V5",
        Message::AuthenticationScmCredential => "SCM credential",
        _ => "an unknown kind of",
    }
}

/// Names the mechanism of a server that offers SASL without SCRAM-SHA-256.
fn other_mechanism(body: &AuthenticationSaslBody) -> &'static str {
    const KNOWN: [&str; 2] = ["SCRAM-SHA-256-PLUS", "OAUTHBEARER"];
    let offers = |known: &&str| body.mechanisms().any(|mechanism| Ok(mechanism == *known)).unwrap_or(false);
    KNOWN.into_iter().find(offers).unwrap_or("an unknown SASL")
}

fn not_proven(source: std::io::Error) -> ErrorKind {
    ErrorKind::ServerNotAuthenticated(Some(source))
}

fn malformed(source: std::io::Error) -> ErrorKind {
    ProtocolError::Malformed { tag: 'R', source }.into()
}

fn unexpected(message: &'static str) -> ErrorKind {
    ProtocolError::Unexpected { message, during: DURING }.into()
}

/// The encoders fail for NUL characters alone; what SCRAM sends has none.
fn write(result: std::io::Result<()>) -> Result<(), ErrorKind> {
    result.map_err(|_| ErrorKind::Nul { what: "the password" })
}

#[cfg(test)]
mod tests;
