//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS from the client's side (RFC 5802, RFC 7677), without I/O.
//!
//! Three values, each made from the one before: [`Opening`] has sent our first message, [`Salting`] works on the password as
//! often as the server wants, [`Proof`] holds our answer and what the server must say to it. The work is a value of its own
//! because a server may ask for minutes of it: PostgreSQL's `scram_iterations` goes up to 2³¹ − 1, libpq computes as many,
//! and postgres-protocol refuses more than 100,000.

use std::fmt;
use std::io::{self, ErrorKind::InvalidData};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The mechanism without channel binding.
pub(crate) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub(crate) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Random bytes of ours in an exchange: as many as libpq has (`SCRAM_RAW_NONCE_LEN`).
const NONCE_LENGTH: usize = 18;

type HmacSha256 = Hmac<Sha256>;
type Hash = [u8; 32];

/// What an exchange says about the TLS connection around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// We cannot tie the exchange to it, or there is none.
    Unsupported,
    /// We could, and the server did not offer it.
    Unrequested,
    /// The exchange is tied to the server's certificate, of which this is the hash (`tls-server-end-point`).
    EndPoint(Vec<u8>),
}

impl Binding {
    fn header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::Unrequested => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// Returns what our second message repeats of this.
    fn repeated(&self) -> String {
        let data = if let Self::EndPoint(hash) = self { hash.as_slice() } else { &[] };
        BASE64_STANDARD.encode([self.header().as_bytes(), data].concat())
    }
}

/// An exchange of which the server has not said anything yet.
pub(crate) struct Opening {
    password: String,
    binding: Binding,
    nonce: String,
}

impl Opening {
    pub(crate) fn new(password: &str, binding: Binding) -> Self {
        let nonce: [u8; NONCE_LENGTH] = rand::random();
        Self::with_nonce(password, binding, BASE64_STANDARD.encode(nonce))
    }

    fn with_nonce(password: &str, binding: Binding, nonce: String) -> Self {
        // PostgreSQL takes what cannot be prepared as it is.
        let password = stringprep::saslprep(password).unwrap_or(password.into()).into_owned();
        Self { password, binding, nonce }
    }

    /// Returns our first message.
    pub(crate) fn message(&self) -> String {
        format!("{}{}", self.binding.header(), self.message_bare())
    }

    /// The user is left out: PostgreSQL knows it from the start-up message.
    fn message_bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Takes the server's first message.
    ///
    /// # Errors
    /// It is malformed, or no answer to ours.
    pub(crate) fn challenged(&self, message: &[u8]) -> io::Result<Salting> {
        let message = text(message)?;
        let mut attributes = message.split(',');
        let nonce = attribute(&mut attributes, "r=")?;
        let salt = decoded(attribute(&mut attributes, "s=")?)?;
        let iterations = attribute(&mut attributes, "i=")?.parse::<u32>().ok();
        let iterations = iterations.filter(|asked| (1..=i32::MAX.unsigned_abs()).contains(asked));
        let iterations =
            iterations.ok_or_else(|| invalid("SCRAM iterations that are no number from 1 to 2147483647"))?;
        end(attributes)?;
        if !nonce.starts_with(&self.nonce) {
            return Err(invalid("a SCRAM nonce that does not begin with ours"));
        }
        let unproven = format!("c={},r={nonce}", self.binding.repeated());
        let exchange = format!("{},{message},{unproven}", self.message_bare());
        Ok(Salting::begin(self.password.as_bytes(), &salt, iterations, unproven, exchange))
    }
}

/// The function `Hi` of RFC 5802 (PBKDF2), as far as it is computed.
pub(crate) struct Salting {
    password: HmacSha256,
    last: Hash,
    salted: Hash,
    left: u32,
    /// Our second message, without the proof that it ends with.
    unproven: String,
    /// All that is said before the proofs, which these are about.
    exchange: String,
}

/// Shows nothing of the password.
impl fmt::Debug for Salting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salting").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Salting {
    fn begin(password: &[u8], salt: &[u8], iterations: u32, unproven: String, exchange: String) -> Self {
        let password = keyed(password);
        let first = finish(password.clone().chain_update(salt).chain_update(1u32.to_be_bytes()));
        Self { password, last: first, salted: first, left: iterations - 1, unproven, exchange }
    }

    /// Returns how many iterations are to be computed.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Computes up to so many iterations.
    pub(crate) fn advance(&mut self, at_most: u32) {
        let now = self.left.min(at_most);
        for _ in 0..now {
            self.last = finish(self.password.clone().chain_update(self.last));
            xor(&mut self.salted, &self.last);
        }
        self.left -= now;
    }

    /// Returns the proof, once no iteration is left.
    pub(crate) fn proof(self) -> Proof {
        debug_assert_eq!(self.left, 0, "the password is not salted yet");
        let client_key = finish(keyed(&self.salted).chain_update("Client Key"));
        let stored_key: Hash = Sha256::digest(client_key).into();
        let mut proof = client_key;
        xor(&mut proof, &finish(keyed(&stored_key).chain_update(&self.exchange)));
        let server_key = finish(keyed(&self.salted).chain_update("Server Key"));
        Proof {
            message: format!("{},p={}", self.unproven, BASE64_STANDARD.encode(proof)),
            signature: finish(keyed(&server_key).chain_update(&self.exchange)),
        }
    }
}

/// That we know the password, and how to tell whether the server does.
pub(crate) struct Proof {
    message: String,
    /// What the server sends if it knows the password.
    signature: Hash,
}

impl Proof {
    /// Returns our second message.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Takes the server's last message.
    ///
    /// # Errors
    /// It does not prove that the server knows the password.
    pub(crate) fn confirmed(&self, message: &[u8]) -> io::Result<()> {
        let mut attributes = text(message)?.split(',');
        let signature = decoded(attribute(&mut attributes, "v=")?)?;
        end(attributes)?;
        // As libpq does, in no constant time: whoever guesses has one try, for each exchange has a signature of its own.
        if signature == self.signature {
            Ok(())
        } else {
            Err(invalid("a SCRAM signature that is not of this password"))
        }
    }
}

#[allow(clippy::expect_used, reason = "there is no key that it does not take")]
fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn finish(mac: HmacSha256) -> Hash {
    mac.finalize().into_bytes().into()
}

fn xor(to: &mut Hash, other: &Hash) {
    to.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}

fn text(message: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(message).map_err(|_| invalid("a SCRAM message that is not UTF-8"))
}

/// Takes the next attribute, which must be this one: RFC 5802 has them in one order.
fn attribute<'a>(attributes: &mut impl Iterator<Item = &'a str>, name: &'static str) -> io::Result<&'a str> {
    let value = attributes.next().and_then(|attribute| attribute.strip_prefix(name));
    value.ok_or_else(|| invalid(format!("a SCRAM message without \"{name}\" at its place")))
}

fn end<'a>(mut attributes: impl Iterator<Item = &'a str>) -> io::Result<()> {
    attributes.next().map_or(Ok(()), |_| Err(invalid("a SCRAM message with text behind its end")))
}

fn decoded(base64: &str) -> io::Result<Vec<u8>> {
    BASE64_STANDARD.decode(base64).map_err(|_| invalid("a SCRAM message with malformed base64"))
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, but for the user, whom PostgreSQL does not want to be named.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn opening(binding: Binding) -> Opening {
        Opening::with_nonce("pencil", binding, NONCE.to_owned())
    }

    fn salted(mut salting: Salting, piece: u32) -> Hash {
        while salting.left() > 0 {
            salting.advance(piece);
        }
        salting.salted
    }

    #[test]
    fn salting_is_pbkdf2_in_pieces_of_any_length() {
        // RFC 7914, section 11.
        let begin = |iterations| Salting::begin(b"Password", b"NaCl", iterations, String::new(), String::new());
        let expected = "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56";
        for piece in [1, 7, 80_000, u32::MAX] {
            let found: String = salted(begin(80_000), piece).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{piece}");
        }
    }

    #[test]
    fn the_first_message_says_what_becomes_of_channel_binding() {
        for (binding, expected) in [
            (Binding::Unsupported, "n,,n=,r=rOprNGfwEbeRWgbNEkqO"),
            (Binding::Unrequested, "y,,n=,r=rOprNGfwEbeRWgbNEkqO"),
            (Binding::EndPoint(vec![1]), "p=tls-server-end-point,,n=,r=rOprNGfwEbeRWgbNEkqO"),
        ] {
            assert_eq!(opening(binding).message(), expected);
        }
        assert_ne!(Opening::new("", Binding::Unsupported).nonce, Opening::new("", Binding::Unsupported).nonce);
    }

    /// By Python's hashlib, as RFC 7677 has another user.
    #[test]
    fn both_sides_prove_that_they_know_the_password() {
        let mut salting = opening(Binding::Unsupported).challenged(FIRST.as_bytes()).unwrap();
        salting.advance(u32::MAX);
        let proof = salting.proof();
        let (nonce, _) = FIRST.split_once(',').unwrap();
        assert_eq!(proof.message(), format!("c=biws,{nonce},p=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k="));
        proof.confirmed(b"v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg=").unwrap();
        for wrong in ["v=qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k=", "v=", "v=?", "e=other-error", ""] {
            assert!(proof.confirmed(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_end_point_is_part_of_the_second_message() {
        let mut salting = opening(Binding::EndPoint(vec![0xab])).challenged(FIRST.as_bytes()).unwrap();
        salting.advance(u32::MAX);
        assert!(salting.proof().message().starts_with("c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsqw==,r="));
    }

    #[test]
    fn messages_that_are_none_are_refused() {
        let opening = opening(Binding::Unsupported);
        let of_ours = |rest: &str| format!("r={NONCE}x{rest}");
        for message in [
            String::new(),
            "r=other,s=c2FsdA==,i=4096".to_owned(),
            of_ours(",s=c2FsdA=="),
            of_ours(",s=?,i=4096"),
            of_ours(",i=4096,s=c2FsdA=="),
            of_ours(",s=c2FsdA==,i=0"),
            of_ours(",s=c2FsdA==,i=-1"),
            of_ours(",s=c2FsdA==,i=2147483648"),
            of_ours(",s=c2FsdA==,i=4096,"),
        ] {
            assert!(opening.challenged(message.as_bytes()).is_err(), "{message}");
        }
        assert_eq!(opening.challenged(of_ours(",s=c2FsdA==,i=2147483647").as_bytes()).unwrap().left(), 2_147_483_646);
    }
}
