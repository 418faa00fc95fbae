//! [`Trust`]: the authorities that are trusted, and what they have revoked.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};

use super::certificate::Certificate;
use super::problem::CertificateProblem;

/// The authorities that are trusted, and what they have revoked.
#[derive(Debug)]
pub(super) struct Trust {
    /// In the order of `roots`.
    anchors: Vec<TrustAnchor<'static>>,
    roots: Vec<Certificate>,
    revoked: Vec<CertRevocationList<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Takes the certificates of authorities, passing over those that cannot be one.
    pub(super) fn new(roots: &[CertificateDer<'_>], algorithms: WebPkiSupportedAlgorithms) -> Self {
        let usable = roots.iter().filter_map(|der| {
            let anchor = webpki::anchor_from_trusted_cert(der).ok()?.to_owned();
            Some((anchor, Certificate::parse(der).ok()?))
        });
        let (anchors, roots) = usable.unzip();
        Self { anchors, roots, revoked: Vec::new(), algorithms }
    }

    /// Returns whether nobody is trusted.
    pub(super) fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Has certificates refused that the list has.
    ///
    /// # Errors
    /// The list is malformed, or of a kind that cannot be checked.
    pub(super) fn revoke(&mut self, list: &[u8]) -> Result<(), Error> {
        self.revoked.push(OwnedCertRevocationList::from_der(list)?.into());
        Ok(())
    }

    /// Checks that a trusted authority has signed the certificate, directly or through `intermediates`, that all of them
    /// are valid now, and that none is revoked.
    pub(super) fn verify(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateProblem> {
        match self.verify_path(der, intermediates, now) {
            // What follows is not to the letter of RFC 5280, but libpq takes it.
            Err(Error::UnsupportedCertVersion | Error::CaUsedAsEndEntity) => self.verify_directly(der, now),
            result => result.map_err(problem),
        }
    }

    fn verify_path(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let lists: Vec<&CertRevocationList<'_>> = self.revoked.iter().collect();
        let usage = KeyUsage::server_auth();
        // Path building takes an anchor for valid at all times; OpenSSL does not.
        let is_in_time = |path: &VerifiedPath<'_>| self.check_anchor(path.anchor(), now);
        let path = EndEntityCert::try_from(der)?;
        path.verify_for_usage(
            self.algorithms.all,
            &self.anchors,
            intermediates,
            now,
            usage,
            revocation(&lists),
            Some(&is_in_time),
        )
        .map(drop)
    }

    fn check_anchor(&self, anchor: &TrustAnchor<'_>, now: UnixTime) -> Result<(), Error> {
        let mut same = self.anchors.iter().zip(&self.roots).filter(|(other, _)| *other == anchor);
        if same.any(|(_, root)| root.check_time(now).is_ok()) {
            return Ok(());
        }
        Err(Error::CertExpired { time: now, not_after: now })
    }

    /// Takes a self-signed certificate that is trusted itself, and one that a trusted authority has signed directly: of
    /// version 1, as `openssl x509 -req` makes them, or marked as an authority, as `openssl req -x509` makes them.
    fn verify_directly(&self, der: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateProblem> {
        let certificate = Certificate::parse(der)?;
        let is_root = |root: &&Certificate| root.der() == certificate.der() && certificate.is_self_issued();
        let is_issuer = |root: &&Certificate| certificate.is_signed_by(root, self.algorithms.all);
        let root = self.roots.iter().find(|root| is_root(root) || is_issuer(root));
        let root = root.ok_or(CertificateProblem::UnknownIssuer)?;
        root.check_time(now)?;
        certificate.check_time(now)?;
        certificate.check_purpose()?;
        // Only paths that are to the letter are compared with revocation lists.
        if self.revoked.is_empty() { Ok(()) } else { Err(CertificateProblem::RevocationUnknown) }
    }
}

/// As libpq has OpenSSL do it: each certificate on the path is looked up, and each has to be on record as good.
fn revocation<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    let options = options.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Deny);
    Some(options.with_expiration_policy(ExpirationPolicy::Enforce).build())
}

fn problem(error: Error) -> CertificateProblem {
    match error {
        Error::CertExpired { .. } => CertificateProblem::Expired,
        Error::CertNotValidYet { .. } => CertificateProblem::NotYetValid,
        // An authority of the same name with another key is another authority.
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => CertificateProblem::UnknownIssuer,
        Error::CertRevoked => CertificateProblem::Revoked,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateProblem::Signature
        }
        Error::UnknownRevocationStatus => CertificateProblem::RevocationUnknown,
        Error::CrlExpired { .. } => CertificateProblem::RevocationExpired,
        error => CertificateProblem::Other { reason: error.to_string() },
    }
}
