//! Certificates of a test's own, made by the `openssl` program: not by a library that the code under test uses too.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::CommandExt;
use crate::{OsUser, TempDir};

/// A certificate authority, with what it has issued and revoked.
///
/// ```no_run
/// use test_support::{Authority, Postgres, Wanted};
///
/// let authority = Authority::new();
/// let server = Postgres::builder().tls(&authority, &authority.issue("server", &Wanted::server())).start();
/// let conninfo = format!("{} sslmode=verify-full sslrootcert={}", server.conninfo(), authority.certificate().display());
/// ```
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// A certificate and its private key, in PEM. The key has mode 0600.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The file of the certificate.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

/// What certificate to issue.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The common name.
    pub common_name: String,
    /// Lines of an extension section of openssl, such as `subjectAltName=DNS:localhost`. Without any, the certificate is
    /// of X.509 version 1.
    pub extensions: String,
    /// When it is valid, as `openssl ca` takes it: `YYMMDDHHMMSSZ`.
    pub start: &'static str,
    /// Until when it is valid.
    pub end: &'static str,
    /// Options of `openssl genpkey`.
    pub key: &'static [&'static str],
    /// Options of `openssl ca` for its signature.
    pub signature: Vec<&'static str>,
}

/// Keys on the curve P-256, which are made in no time.
const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
/// All that `openssl ca` wants to be told by a file.
const CONFIGURATION: &str = "
[ca]
default_ca = authority
[authority]
dir = .
database = index.txt
new_certs_dir = .
serial = serial
crlnumber = crlnumber
default_md = sha256
default_crl_days = 365
policy = anything
unique_subject = no
crl_extensions = list
[anything]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
[req]
distinguished_name = name
[name]
";

impl Wanted {
    /// A certificate for 127.0.0.1 and localhost.
    #[must_use]
    pub fn server() -> Self {
        Self::named("localhost").extensions("subjectAltName=DNS:localhost,IP:127.0.0.1")
    }

    /// A certificate of a role, for the method `cert` of `pg_hba.conf`.
    #[must_use]
    pub fn client(role: &str) -> Self {
        Self::named(role).extensions("extendedKeyUsage=clientAuth")
    }

    /// A certificate of X.509 version 1, without anything but a common name.
    #[must_use]
    pub fn named(common_name: &str) -> Self {
        Self {
            common_name: common_name.to_owned(),
            extensions: String::new(),
            start: "20240101000000Z",
            end: "20990101000000Z",
            key: P256,
            signature: Vec::new(),
        }
    }

    /// The certificate of an authority.
    #[must_use]
    pub fn authority() -> Self {
        Self::named("authority").extensions("basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash")
    }

    /// Replaces the extensions.
    #[must_use]
    pub fn extensions(mut self, lines: &str) -> Self {
        self.extensions = lines.to_owned();
        self
    }

    /// Makes it valid in the past only.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.end = "20240102000000Z";
        self
    }

    /// Makes it valid in the future only.
    #[must_use]
    pub fn not_yet_valid(mut self) -> Self {
        self.start = "20980101000000Z";
        self
    }

    /// Replaces the kind of key, in options of `openssl genpkey`.
    #[must_use]
    pub fn key(mut self, options: &'static [&'static str]) -> Self {
        self.key = options;
        self
    }

    /// Has it signed by RSASSA-PSS with this hash function, which takes an authority with an RSA key.
    #[must_use]
    pub fn signed_with_pss(mut self, hash: &'static str) -> Self {
        let padding = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
        self.signature = [&["-md", hash][..], &padding].concat();
        self
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Panics
    /// There is no `openssl` program.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&Wanted::authority())
    }

    /// Makes an authority whose own certificate is as `wanted`.
    #[must_use]
    pub fn with(wanted: &Wanted) -> Self {
        let authority = Self { dir: TempDir::new() };
        for (name, text) in [("ca.cnf", CONFIGURATION), ("index.txt", ""), ("serial", "01\n"), ("crlnumber", "01\n")] {
            authority.write(name, text);
        }
        authority.sign("authority", wanted, &["-selfsign", "-keyfile", "authority.key"]);
        authority
    }

    /// Issues a certificate. `name` is that of the files.
    #[must_use]
    pub fn issue(&self, name: &str, wanted: &Wanted) -> Issued {
        self.sign(name, wanted, &["-cert", "authority.crt", "-keyfile", "authority.key"])
    }

    /// Revokes a certificate.
    pub fn revoke(&self, issued: &Issued) {
        let certificate = issued.certificate.to_str().expect("our own path");
        self.openssl(&[
            "ca",
            "-config",
            "ca.cnf",
            "-cert",
            "authority.crt",
            "-keyfile",
            "authority.key",
            "-revoke",
            certificate,
        ]);
    }

    /// Writes the list of what is revoked, and returns its file.
    #[must_use]
    pub fn revocation_list(&self) -> PathBuf {
        let list = ["-gencrl", "-out", "authority.crl"];
        self.openssl(
            &[&["ca", "-config", "ca.cnf", "-cert", "authority.crt", "-keyfile", "authority.key"], &list[..]].concat(),
        );
        self.path("authority.crl")
    }

    /// Returns the authority's own certificate, by which others are verified.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path("authority.crt")
    }

    /// Returns the authority's own certificate with its key, as if it were a server's.
    #[must_use]
    pub fn as_issued(&self) -> Issued {
        Issued { certificate: self.path("authority.crt"), key: self.path("authority.key") }
    }

    /// Makes a key, a request, and a certificate of it.
    fn sign(&self, name: &str, wanted: &Wanted, signer: &[&str]) -> Issued {
        let file = |extension: &str| format!("{name}.{extension}");
        let (key, request, certificate, extensions) = (file("key"), file("csr"), file("crt"), file("ext"));
        self.openssl(&[&["genpkey", "-out", &key], wanted.key].concat());
        std::fs::set_permissions(self.path(&key), Permissions::from_mode(0o600))
            .expect("the owner can change the mode");
        let subject = format!("/CN={}", wanted.common_name);
        self.openssl(&["req", "-new", "-config", "ca.cnf", "-key", &key, "-subj", &subject, "-out", &request]);
        self.write(&extensions, &wanted.extensions);
        let sign = ["ca", "-batch", "-notext", "-config", "ca.cnf", "-in", &request, "-out", &certificate];
        let dates = ["-startdate", wanted.start, "-enddate", wanted.end, "-extfile", &extensions];
        self.openssl(&[&sign[..], &dates, &wanted.signature, signer].concat());
        Issued { certificate: self.path(&certificate), key: self.path(&key) }
    }

    fn openssl(&self, arguments: &[&str]) {
        Command::new("openssl").current_dir(self.dir.path()).args(arguments).succeed();
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("our own directory can be written to");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Issued {
    /// Copies certificate and key into a data directory, as `server.crt` and `server.key`.
    pub(crate) fn install(&self, data: &Path) {
        for (from, name) in [(&self.certificate, "server.crt"), (&self.key, "server.key")] {
            std::fs::copy(from, data.join(name)).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        OsUser::of_servers().own_tree(data);
    }
}
