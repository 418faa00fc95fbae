//! [`TlsProblem`]: why there is no TLS.

use std::io;
use std::path::PathBuf;

/// Why a connection is not encrypted as it has to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsProblem {
    /// The server has no TLS, and clear text is not allowed.
    #[error("the server does not support TLS, and sslmode={mode} requires it")]
    NotOffered {
        /// The value of `sslmode`.
        mode: &'static str,
    },
    /// The server answered the request for TLS with something that is no answer.
    #[error("the server answered the request for TLS with byte 0x{answer:02X}, expected S or N")]
    Answer {
        /// What it sent.
        answer: u8,
    },
    /// The server's certificate is not accepted.
    #[error("the server's certificate was refused")]
    Certificate(#[from] CertificateProblem),
    /// A file of ours cannot be used.
    #[error("the {what} {} cannot be used", path.display())]
    File {
        /// What the file is.
        what: TlsFile,
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        problem: TlsFileProblem,
    },
    /// `sslmode` asks for the certificate to be verified, and nobody is trusted.
    #[error("no root certificates are configured, and sslmode={mode} requires them")]
    NoRoots {
        /// The value of `sslmode`.
        mode: &'static str,
    },
    /// The operating system's root certificates cannot be read.
    #[error("the operating system's root certificates cannot be used")]
    SystemRoots(#[source] io::Error),
    /// The server sent a fatal alert: it does not accept our certificate, or nothing that both can speak is left.
    #[error("the server ended TLS with the alert {alert}")]
    Refused {
        /// The name of the alert in RFC 8446, for example `CertificateExpired`.
        alert: String,
    },
    /// With `sslnegotiation=direct` the server has to say that it speaks PostgreSQL's protocol; this one did not.
    #[error("the server did not confirm PostgreSQL's protocol (ALPN), as sslnegotiation=direct requires")]
    NoAlpn,
    /// Anything else that ended the handshake.
    #[error("TLS could not be established")]
    Handshake(#[source] io::Error),
}

/// Why the server's certificate is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Its time is over, or that of an authority on the way to it.
    #[error("it has expired")]
    Expired,
    /// Its time has not begun. The clock of either side may be wrong.
    #[error("it is not valid yet")]
    NotYetValid,
    /// None of the authorities that we trust has signed it.
    #[error("it is not signed by a trusted authority")]
    UnknownIssuer,
    /// A revocation list has it.
    #[error("it has been revoked")]
    Revoked,
    /// Revocation lists are configured, and none says anything about it.
    #[error("no revocation list of its authority is at hand")]
    RevocationUnknown,
    /// The revocation list of its authority is out of date.
    #[error("the revocation list of its authority has expired")]
    RevocationExpired,
    /// It is another server's.
    #[error("it is not for host {host:?}: its names are {}", names.join(", "))]
    Name {
        /// The host of the connection string.
        host: String,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// It, or an authority on the way to it, is signed by an algorithm or with a key that the TLS library does not know.
    #[error("it is not signed by RSA, by ECDSA on P-256, P-384 or P-521, or by Ed25519, which alone are supported")]
    Signature,
    /// `sslmode=verify-full` compares the name of the host, and the connection string has none (`hostaddr` is none).
    #[error("there is no host name to compare it with")]
    NoHostName,
    /// Anything else that is wrong with it.
    #[error("{reason}")]
    Other {
        /// What, in words.
        reason: String,
    },
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsFile {
    /// The authorities that we trust (`sslrootcert`).
    Roots,
    /// Our certificate (`sslcert`).
    Certificate,
    /// Its private key (`sslkey`).
    Key,
    /// Certificates that are revoked (`sslcrl`, `sslcrldir`).
    RevocationList,
}

impl std::fmt::Display for TlsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Roots => "root certificate file",
            Self::Certificate => "certificate file",
            Self::Key => "private key file",
            Self::RevocationList => "certificate revocation list",
        })
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFileProblem {
    /// It is not there, or cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] io::Error),
    /// What is needed is not in it, or is malformed.
    #[error("{0}")]
    Content(String),
    /// Others have access to the private key.
    #[error("it has group or world access (mode {mode:04o}); expected 0600 or less, or 0640 if it belongs to root")]
    Permissions {
        /// Its permission bits.
        mode: u32,
    },
    /// The private key is encrypted. Nothing is built that would take its passphrase.
    #[error("the key is encrypted, which is not supported")]
    Encrypted,
    /// The private key is in a cryptographic engine.
    #[error("keys in engines are not supported")]
    Engine,
}
