//! Reading what TLS needs from files: trusted authorities, our certificate and key, revocation lists.
//!
//! Mirrors `initialize_SSL` of PostgreSQL's `fe-secure-openssl.c`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::problem::{TlsFile, TlsFileProblem, TlsProblem};
use crate::bounded_file;
use crate::config::{RevocationLists, Roots, TlsOptions};

/// More than all authorities of the world, and than any key.
const LONGEST: u64 = 16 << 20;
/// Revocation lists of large authorities have tens of megabytes.
const LONGEST_REVOCATION_LIST: u64 = 256 << 20;

/// What is wrong with a directory that nobody has prepared, or in which nothing is.
const NO_LIST: &str =
    "no revocation list is in it: expected files with names like 1a2b3c4d.r0, as `openssl rehash` makes them";

/// Our own certificate, with those that lead to it, and its key.
pub(super) struct Identity {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Returns the authorities to trust, or `None` where there is no file of them.
pub(super) fn roots(options: &TlsOptions) -> Result<Option<Vec<CertificateDer<'static>>>, TlsProblem> {
    match &options.roots {
        Roots::System => system_roots().map(Some),
        Roots::File(None) => Ok(None),
        Roots::File(Some(path)) => match bounded_file::read(path, LONGEST) {
            Err(error) if is_missing(&error) => Ok(None),
            bytes => certificates(TlsFile::Roots, path, bytes).map(Some),
        },
    }
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let mut loaded = rustls_native_certs::load_native_certs();
    match loaded.errors.pop() {
        Some(error) if loaded.certs.is_empty() => Err(TlsProblem::SystemRoots(io::Error::other(error))),
        None if loaded.certs.is_empty() => Err(TlsProblem::SystemRoots(io::ErrorKind::NotFound.into())),
        // One certificate that cannot be read takes nothing away from the others.
        _ => Ok(loaded.certs),
    }
}

/// Returns our certificate and its key, or `None` where there is no certificate.
pub(super) fn identity(options: &TlsOptions) -> Result<Option<Identity>, TlsProblem> {
    let Some(path) = &options.certificate else { return Ok(None) };
    let certificates = match bounded_file::read(path, LONGEST) {
        Err(error) if is_missing(&error) => return Ok(None),
        bytes => certificates(TlsFile::Certificate, path, bytes)?,
    };
    let path = options.key.as_deref().unwrap_or(Path::new(""));
    let key = key(path).map_err(|problem| TlsProblem::File { what: TlsFile::Key, path: path.to_owned(), problem })?;
    Ok(Some(Identity { certificates, key }))
}

fn certificates(
    what: TlsFile,
    path: &Path,
    bytes: io::Result<Vec<u8>>,
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let error = |problem| TlsProblem::File { what, path: path.to_owned(), problem };
    let bytes = bytes.map_err(|source| error(TlsFileProblem::Unreadable(source)))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|source| error(TlsFileProblem::Content(source.to_string())))?;
    if certificates.is_empty() {
        return Err(error(TlsFileProblem::Content("no certificate is in it".into())));
    }
    Ok(certificates)
}

/// Reads a private key, in PEM or DER.
fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileProblem> {
    // OpenSSL takes `engine:key` from a variable that is called like a file.
    if path.to_str().is_some_and(|path| path.contains(':')) {
        return Err(TlsFileProblem::Engine);
    }
    let metadata = fs::metadata(path).map_err(TlsFileProblem::Unreadable)?;
    // What belongs to root may be readable for a group of services.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & forbidden != 0 {
        return Err(TlsFileProblem::Permissions { mode: metadata.mode() & 0o7777 });
    }
    let bytes = bounded_file::read(path, LONGEST).map_err(TlsFileProblem::Unreadable)?;
    if is_encrypted(&bytes) {
        return Err(TlsFileProblem::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(&bytes)
        .or_else(|_| PrivateKeyDer::try_from(bytes))
        .map_err(|_| TlsFileProblem::Content("no private key is in it".into()))
}

/// Recognises the encryption of PKCS #8 and the older one of OpenSSL.
fn is_encrypted(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

/// Returns all revocation lists.
///
/// libpq passes over a file that it cannot read. Who names one relies on it, so it has to be there; and where a directory
/// is named, there has to be a list: without one nothing would be checked.
pub(super) fn revocation_lists(
    lists: &RevocationLists,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsProblem> {
    let mut found = Vec::new();
    for path in lists.file.iter().cloned().chain(files_of(lists.directory.as_deref())?) {
        match bounded_file::read(&path, LONGEST_REVOCATION_LIST) {
            Err(error) if is_missing(&error) && !lists.is_explicit => {}
            bytes => found.extend(lists_of(&path, bytes).map_err(|problem| unusable_list(&path, problem))?),
        }
    }
    match &lists.directory {
        Some(directory) if found.is_empty() => Err(unusable_list(directory, TlsFileProblem::Content(NO_LIST.into()))),
        _ => Ok(found),
    }
}

fn lists_of(
    path: &Path,
    bytes: io::Result<Vec<u8>>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFileProblem> {
    let bytes = bytes.map_err(TlsFileProblem::Unreadable)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = lists.map_err(|source| TlsFileProblem::Content(source.to_string()))?;
    if lists.is_empty() {
        return Err(TlsFileProblem::Content(format!("no revocation list is in {}", path.display())));
    }
    Ok(lists)
}

/// Returns the files of a directory that `openssl rehash` has prepared: those with names like `1a2b3c4d.r0`.
fn files_of(directory: Option<&Path>) -> Result<Vec<PathBuf>, TlsProblem> {
    let Some(directory) = directory else { return Ok(Vec::new()) };
    let is_list = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        extension.strip_prefix('r').is_some_and(|digits| digits.parse::<u32>().is_ok())
    };
    let entries = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    let entries = entries.map_err(|source| unusable_list(directory, TlsFileProblem::Unreadable(source)))?;
    Ok(entries.into_iter().filter(is_list).collect())
}

fn unusable_list(path: &Path, problem: TlsFileProblem) -> TlsProblem {
    TlsProblem::File { what: TlsFile::RevocationList, path: path.to_owned(), problem }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
