//! The start of a session, without I/O: start-up parameters and authentication.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::message::backend::{
    AuthenticationMd5PasswordBody, AuthenticationSaslBody, AuthenticationSaslContinueBody, AuthenticationSaslFinalBody,
    Message,
};
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use crate::backend_message::BackendMessage;
use crate::config::{AuthenticationPolicy, ChannelBinding, Method};
use crate::error::{ChannelBindingProblem, ErrorKind};
use crate::passfile::PassfileProblem;
use crate::password::Password;
use crate::protocol_error::ProtocolError;
use crate::scram::{Binding, Opening, Proof, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, Salting};
use crate::server_error::ServerError;
use crate::tls::TlsSession;

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
    policy: AuthenticationPolicy,
    /// What the TLS handshake has shown, if there was one.
    tls: Option<TlsSession>,
    phase: Phase,
    /// Whether the proof of the password, ours and the server's, is tied to this TLS connection.
    is_bound: bool,
}

enum Phase {
    /// Nothing but the start-up message has been sent.
    Greeting,
    /// A password, in clear or hashed, has been sent.
    PasswordSent,
    /// The first message of SCRAM has been sent.
    ScramBegun(Opening),
    /// The password is being salted for the second message of SCRAM.
    ScramSalting,
    /// The second message of SCRAM has been sent.
    ScramProven(Proof),
    /// The server has proven that it knows the password.
    ServerProven,
    /// Authentication is over.
    Authenticated,
}

/// Where a [`Startup`] is.
#[derive(Debug)]
pub(crate) enum Progress {
    Authenticating,
    /// The password is to be salted for [`Startup::handle_salted`], which may take long.
    Salting(Box<Salting>),
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
        policy: AuthenticationPolicy,
        tls: Option<TlsSession>,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        out: &mut BytesMut,
    ) -> Result<Self, ErrorKind> {
        let is_binding_required = policy.channel_binding == ChannelBinding::Require;
        if is_binding_required && tls.is_none() {
            return Err(ChannelBindingProblem::NoTls.into());
        }
        frontend::startup_message(parameters, out).map_err(|_| ErrorKind::Nul { what: "a start-up parameter" })?;
        Ok(Self { credentials, policy, tls, phase: Phase::Greeting, is_bound: false })
    }

    /// Returns whether `message` refuses us before it is known who we are: another kind of connection may be let in.
    pub(crate) fn is_refused_by(&self, message: &BackendMessage) -> bool {
        matches!(message, BackendMessage::Error(_)) && !self.is_authenticated()
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

    /// Takes the password that was salted, and writes the answer to the server to `out`.
    ///
    /// # Errors
    /// It was not asked for.
    pub(crate) fn handle_salted(&mut self, salting: Salting, out: &mut BytesMut) -> Result<(), ErrorKind> {
        let Phase::ScramSalting = self.phase else { return Err(unexpected("a salted password")) };
        let proof = salting.proof();
        write(frontend::sasl_response(proof.message().as_bytes(), out))?;
        self.phase = Phase::ScramProven(proof);
        Ok(())
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
            Message::AuthenticationSaslContinue(body) => return self.continue_scram(&body),
            Message::AuthenticationSaslFinal(body) => self.finish_scram(&body)?,
            message => return Err(ErrorKind::AuthenticationMethod { method: method(&message) }),
        }
        Ok(if self.is_authenticated() { Progress::Authenticated } else { Progress::Authenticating })
    }

    /// Takes AuthenticationOk for what it is. In the midst of SCRAM it is worth nothing: a server that skips its proof
    /// may be an impostor that wants to be taken for the real one. Nor is it where more was required than was asked for.
    fn believe(&mut self) -> Result<(), ErrorKind> {
        match self.phase {
            Phase::ScramBegun(_) | Phase::ScramSalting | Phase::ScramProven(_) => {
                return Err(ErrorKind::ServerNotAuthenticated(None));
            }
            Phase::Authenticated => return Err(unexpected("AuthenticationOk")),
            Phase::Greeting => self.expect_allowed(Method::None)?,
            Phase::PasswordSent | Phase::ServerProven => {}
        }
        if self.policy.channel_binding == ChannelBinding::Require && !self.is_bound {
            return Err(ChannelBindingProblem::NotBound.into());
        }
        self.expect_certificate_sent()?;
        self.phase = Phase::Authenticated;
        Ok(())
    }

    fn expect_certificate_sent(&self) -> Result<(), ErrorKind> {
        let tls = self.tls.as_ref();
        if !self.policy.certificate_required || tls.is_some_and(|tls| tls.certificate_sent) {
            return Ok(());
        }
        Err(ErrorKind::CertificateNotUsed { requested: tls.is_some_and(|tls| tls.certificate_requested) })
    }

    fn expect_allowed(&self, method: Method) -> Result<(), ErrorKind> {
        if self.policy.allows(method) {
            return Ok(());
        }
        Err(ErrorKind::AuthenticationNotAllowed { method: method.name(), allowed: self.policy.words() })
    }

    /// Checks that the password may be sent in a form that does not depend on the TLS connection.
    fn expect_no_binding(&self) -> Result<(), ErrorKind> {
        match self.policy.channel_binding {
            ChannelBinding::Require => Err(ChannelBindingProblem::NotOffered.into()),
            ChannelBinding::Disable | ChannelBinding::Prefer => Ok(()),
        }
    }

    fn send_password(&mut self, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationCleartextPassword")?;
        self.expect_allowed(Method::Password)?;
        self.expect_no_binding()?;
        let password = self.take_password()?;
        self.phase = Phase::PasswordSent;
        write(frontend::password_message(password.reveal().as_bytes(), out))
    }

    fn send_md5(&mut self, body: &AuthenticationMd5PasswordBody, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationMD5Password")?;
        self.expect_allowed(Method::Md5)?;
        self.expect_no_binding()?;
        let password = self.take_password()?;
        let hash = md5_hash(self.credentials.user.as_bytes(), password.reveal().as_bytes(), body.salt());
        self.phase = Phase::PasswordSent;
        write(frontend::password_message(hash.as_bytes(), out))
    }

    fn begin_scram(&mut self, body: &AuthenticationSaslBody, out: &mut BytesMut) -> Result<(), ErrorKind> {
        self.expect_greeting("AuthenticationSASL")?;
        let is_bindable = offers(body, SCRAM_SHA_256_PLUS)?;
        if !is_bindable && !offers(body, SCRAM_SHA_256)? {
            return Err(ErrorKind::AuthenticationMethod { method: other_mechanism(body)? });
        }
        self.expect_allowed(Method::Scram)?;
        let (mechanism, binding) = self.mechanism(is_bindable)?;
        let opening = Opening::new(self.take_password()?.reveal(), binding);
        write(frontend::sasl_initial_response(mechanism, opening.message().as_bytes(), out))?;
        self.phase = Phase::ScramBegun(opening);
        Ok(())
    }

    /// Decides about channel binding. `is_bindable` tells whether the server offers SCRAM-SHA-256-PLUS.
    fn mechanism(&mut self, is_bindable: bool) -> Result<(&'static str, Binding), ErrorKind> {
        let is_wanted = self.policy.channel_binding != ChannelBinding::Disable;
        let Some(tls) = self.tls.as_ref().filter(|_| is_wanted) else {
            if is_bindable && self.tls.is_none() {
                // Somebody between us has taken the TLS away.
                return Err(unexpected("SCRAM-SHA-256-PLUS without TLS"));
            }
            return Ok((SCRAM_SHA_256, Binding::Unsupported));
        };
        match (is_bindable, tls.end_point.clone()) {
            (true, Some(end_point)) => {
                self.is_bound = true;
                return Ok((SCRAM_SHA_256_PLUS, Binding::EndPoint(end_point)));
            }
            _ if self.policy.channel_binding == ChannelBinding::Prefer => {}
            (true, None) => return Err(ChannelBindingProblem::NoHash.into()),
            (false, _) => return Err(ChannelBindingProblem::NotOffered.into()),
        }
        // By this the server notices if somebody has taken SCRAM-SHA-256-PLUS out of its offer.
        let could_bind = tls.end_point.is_some();
        Ok((SCRAM_SHA_256, if could_bind { Binding::Unrequested } else { Binding::Unsupported }))
    }

    fn continue_scram(&mut self, body: &AuthenticationSaslContinueBody) -> Result<Progress, ErrorKind> {
        let Phase::ScramBegun(opening) = &self.phase else { return Err(unexpected("AuthenticationSASLContinue")) };
        let salting = opening.challenged(body.data()).map_err(not_proven)?;
        self.phase = Phase::ScramSalting;
        Ok(Progress::Salting(Box::new(salting)))
    }

    fn finish_scram(&mut self, body: &AuthenticationSaslFinalBody) -> Result<(), ErrorKind> {
        let Phase::ScramProven(proof) = &self.phase else { return Err(unexpected("AuthenticationSASLFinal")) };
        proof.confirmed(body.data()).map_err(not_proven)?;
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
fn other_mechanism(body: &AuthenticationSaslBody) -> Result<&'static str, ErrorKind> {
    Ok(if offers(body, "OAUTHBEARER")? { "OAuth" } else { "an unknown SASL" })
}

fn offers(body: &AuthenticationSaslBody, mechanism: &str) -> Result<bool, ErrorKind> {
    body.mechanisms().any(|offered| Ok(offered == mechanism)).map_err(malformed)
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
