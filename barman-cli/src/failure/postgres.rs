//! What PostgreSQL, or the way to it, refused.

use crate::error::CommandError;
use replication_client::{CertificateProblem, Error, ErrorKind, PassfileProblem, TlsFile, TlsFileProblem, TlsProblem};

pub(super) fn explain(error: &Error) -> CommandError {
    let plain = CommandError::from_error(error);
    match error.kind() {
        ErrorKind::SlotMissing { slot, .. } => missing_slot(slot),
        ErrorKind::SlotExists { slot, .. } => CommandError::new(format!("Replication slot '{slot}' already exists"))
            .hinted("with --if-not-exists that is no error"),
        ErrorKind::SlotInUse { .. } => plain.hinted("another receiver uses the slot: stop it first"),
        ErrorKind::SlotNotPhysical { .. } => {
            plain.hinted("slot_name is the name of somebody else's slot: choose another one")
        }
        ErrorKind::SlotUnusable { .. } => plain.hinted("drop the slot, create it again, and take a new backup"),
        ErrorKind::WalRemoved { .. } => {
            plain.hinted("the WAL between is lost for streaming: take a new backup, and use a slot from now on")
        }
        ErrorKind::Resolve(_) | ErrorKind::Connect(_) | ErrorKind::ConnectTimeout { .. } => {
            plain.hinted("see whether the server runs, and whether host and port in the configuration are right")
        }
        ErrorKind::Tls(problem) => plain.hinted(tls(problem)),
        ErrorKind::TargetSession { .. } => {
            plain.hinted("see whether the server with the role that target_session_attrs asks for is among the hosts")
        }
        ErrorKind::AuthenticationNotAllowed { .. } => {
            plain.hinted("compare require_auth in the connection string with the method in the server's pg_hba.conf")
        }
        ErrorKind::ChannelBinding(_) => plain.hinted(
            "channel_binding=require needs TLS, scram-sha-256 in pg_hba.conf, and a password that is stored as such",
        ),
        ErrorKind::CertificateNotUsed { .. } => {
            plain.hinted("see whether sslcert is there, and whether pg_hba.conf has `cert` or `clientcert`")
        }
        ErrorKind::NoPassword(Some(PassfileProblem::Permissions { path, .. })) => {
            plain.hinted(format!("chmod 0600 {}", path.display()))
        }
        ErrorKind::NoPassword(Some(PassfileProblem::NoMatch { .. })) => plain.hinted(
            "a line is host:port:database:user:password; for a replication connection the database is `replication`",
        ),
        ErrorKind::NoPassword(_) => plain.hinted("put the password into ~/.pgpass of Barman's user (mode 0600)"),
        ErrorKind::AuthenticationFailed(_) => {
            plain.hinted("compare user and password with pg_hba.conf; replication connections need a line of their own")
        }
        ErrorKind::Unsupported(option) => plain.hinted(format!("remove {} from the connection string", option.option)),
        _ => plain,
    }
}

fn tls(problem: &TlsProblem) -> &'static str {
    match problem {
        TlsProblem::NotOffered { .. } => "set `ssl = on` on the server, or choose a weaker sslmode",
        TlsProblem::Certificate(CertificateProblem::Expired) => {
            "renew the server's certificate, or that of its authority, and have the server reload"
        }
        TlsProblem::Certificate(CertificateProblem::NotYetValid) => "compare the clocks of both machines",
        TlsProblem::Certificate(CertificateProblem::UnknownIssuer) => {
            "put the certificate of the authority that signed the server's into sslrootcert"
        }
        TlsProblem::Certificate(CertificateProblem::Name { .. }) => {
            "use one of these names as host (hostaddr can give its address), or sslmode=verify-ca"
        }
        TlsProblem::Certificate(CertificateProblem::NoHostName) => "give the server's name as host, beside hostaddr",
        TlsProblem::Certificate(CertificateProblem::RevocationUnknown | CertificateProblem::RevocationExpired) => {
            "fetch the current revocation lists, of each authority on the way to the server's certificate"
        }
        TlsProblem::Certificate(CertificateProblem::Revoked) => "have a new certificate issued for the server",
        TlsProblem::File { what: TlsFile::Key, problem: TlsFileProblem::Permissions { .. }, .. } => {
            "make the key private: chmod 0600"
        }
        TlsProblem::File { what: TlsFile::Key, problem: TlsFileProblem::Encrypted, .. } => {
            "store the key without a passphrase, with mode 0600: `openssl pkey -in OLD -out NEW`"
        }
        TlsProblem::File { what: TlsFile::Roots, .. } | TlsProblem::NoRoots { .. } => {
            "name the file in sslrootcert, or use sslrootcert=system for public authorities"
        }
        TlsProblem::File { .. } => "see whether Barman's user can read the file",
        TlsProblem::Refused { .. } => "the server's log says what is wrong with our certificate (sslcert)",
        _ => "the server's log may say more",
    }
}

pub(super) fn missing_slot(slot: &str) -> CommandError {
    CommandError::new(format!("replication slot '{slot}' doesn't exist"))
        .hinted("`barman receive-wal --create-slot` creates it")
}
