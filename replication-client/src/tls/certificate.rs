//! [`Certificate`]: what of a certificate is needed beside the verification of a chain.

use std::net::IpAddr;

use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Any, Decode, Encode, EncodeValue, TagNumber, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::host_name::Names;
use super::problem::CertificateProblem;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SERVER_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
/// Basic constraints, key usage, extended key usage and alternative names.
const KNOWN_EXTENSIONS: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
];

/// A certificate of any version, as OpenSSL would take it.
#[derive(Debug)]
pub(super) struct Certificate {
    der: Vec<u8>,
    parsed: CertificateInner<Raw>,
}

impl Certificate {
    pub(super) fn parse(der: &[u8]) -> Result<Self, CertificateProblem> {
        let parsed = CertificateInner::from_der(der)
            .map_err(|error| CertificateProblem::Other { reason: format!("it is malformed: {error}") })?;
        Ok(Self { der: der.to_vec(), parsed })
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(super) fn public_key(&self) -> SubjectPublicKeyInfoDer<'static> {
        // What was decoded can be encoded.
        self.parsed.tbs_certificate().subject_public_key_info().to_der().unwrap_or_default().into()
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.parsed.tbs_certificate().issuer() == self.parsed.tbs_certificate().subject()
    }

    /// Checks that `now` is between the certificate's two times.
    pub(super) fn check_time(&self, now: UnixTime) -> Result<(), CertificateProblem> {
        let validity = self.parsed.tbs_certificate().validity();
        if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
            return Err(CertificateProblem::NotYetValid);
        }
        if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
            return Err(CertificateProblem::Expired);
        }
        Ok(())
    }

    /// Checks that it may be a server's: nothing critical is in it that nobody here understands.
    pub(super) fn check_purpose(&self) -> Result<(), CertificateProblem> {
        let other = |reason: &str| CertificateProblem::Other { reason: reason.to_owned() };
        let tbs = self.parsed.tbs_certificate();
        let is_strange = |extension: &&x509_cert::ext::Extension| {
            extension.critical && !KNOWN_EXTENSIONS.contains(&extension.extn_id)
        };
        if tbs.extensions().is_some_and(|extensions| extensions.iter().any(|extension| is_strange(&extension))) {
            return Err(other("it has an unknown critical extension"));
        }
        let usage = tbs.get_extension::<ExtendedKeyUsage>().map_err(|_| other("its key usage is malformed"))?;
        match usage {
            Some((_, usage)) if !usage.0.contains(&SERVER_AUTHENTICATION) => Err(other("it is not for servers")),
            _ => Ok(()),
        }
    }

    /// Returns whether `issuer` is named as its issuer and has signed it.
    pub(super) fn is_signed_by(&self, issuer: &Self, algorithms: &[&dyn SignatureVerificationAlgorithm]) -> bool {
        let tbs = self.parsed.tbs_certificate();
        if tbs.issuer() != issuer.parsed.tbs_certificate().subject() {
            return false;
        }
        let (Ok(message), Some(signature)) = (tbs.to_der(), self.parsed.signature().as_bytes()) else { return false };
        let Some(identifier) = contents(self.parsed.signature_algorithm()) else { return false };
        let key = issuer.public_key();
        let Ok(key) = webpki::RawPublicKeyEntity::try_from(&key) else { return false };
        let fitting = algorithms.iter().filter(|algorithm| algorithm.signature_alg_id().as_ref() == identifier);
        fitting.into_iter().any(|algorithm| key.verify_signature(*algorithm, &message, signature).is_ok())
    }

    /// Returns the names of the server that it is for.
    pub(super) fn names(&self) -> Result<Names, CertificateProblem> {
        let malformed = |_| CertificateProblem::Other { reason: "its alternative names are malformed".to_owned() };
        let tbs = self.parsed.tbs_certificate();
        let alternative = tbs.get_extension::<SubjectAltName>().map_err(malformed)?;
        let mut names = Names { common: None, dns: Vec::new(), addresses: Vec::new() };
        let common = tbs.subject().iter().find(|attribute| attribute.oid == COMMON_NAME);
        names.common = common.map(|attribute| String::from_utf8_lossy(attribute.value.value()).into_owned());
        for name in alternative.into_iter().flat_map(|(_, names)| names.0) {
            match name {
                GeneralName::DnsName(name) => names.dns.push(name.as_str().to_owned()),
                GeneralName::IpAddress(bytes) => names.addresses.extend(ip_address(bytes.as_bytes())),
                _ => {}
            }
        }
        Ok(names)
    }

    /// Returns the channel binding data `tls-server-end-point` (RFC 5929): the certificate's hash, by the hash function of
    /// its signature, or `None` where the signature has none, as Ed25519.
    pub(super) fn end_point(&self) -> Option<Vec<u8>> {
        let algorithm = self.parsed.signature_algorithm();
        let hash = if algorithm.oid == RSA_PSS { pss_hash(algorithm)? } else { Hash::of_signature(algorithm.oid)? };
        Some(hash.digest(&self.der))
    }
}

/// The hash functions of signatures. MD5 and SHA-1 are replaced by SHA-256, as RFC 5929 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of_signature(oid: ObjectIdentifier) -> Option<Self> {
        match oid.to_string().as_str() {
            // RSA with MD5, SHA-1 and SHA-256; ECDSA with SHA-1 and SHA-256.
            "1.2.840.113549.1.1.4"
            | "1.2.840.113549.1.1.5"
            | "1.2.840.113549.1.1.11"
            | "1.2.840.10045.4.1"
            | "1.2.840.10045.4.3.2" => Some(Self::Sha256),
            "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Self::Sha384),
            "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// Reads the hash function from the parameters of RSASSA-PSS. Its default, SHA-1, is replaced too.
fn pss_hash(algorithm: &AlgorithmIdentifierOwned) -> Option<Hash> {
    let parameters = algorithm.parameters.as_ref()?.to_der().ok()?;
    let parameters = Vec::<Any>::from_der(&parameters).ok()?;
    // hashAlgorithm [0] AlgorithmIdentifier DEFAULT sha1
    let is_hash = |part: &&Any| part.tag() == TagNumber(0).context_specific(true);
    let Some(hash) = parameters.iter().find(is_hash) else { return Some(Hash::Sha256) };
    let hash = AlgorithmIdentifierOwned::from_der(hash.value()).ok()?;
    match hash.oid.to_string().as_str() {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Some(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Some(Hash::Sha512),
        _ => None,
    }
}

/// Returns what is inside of the identifier's SEQUENCE, as rustls identifies algorithms.
fn contents(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let mut encoded = algorithm.to_der().ok()?;
    let length = usize::try_from(u32::from(algorithm.value_len().ok()?)).ok()?;
    Some(encoded.split_off(encoded.len().checked_sub(length)?))
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
