//! Describing the server that a test wants.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::{Authority, Issued};
use crate::data_directory::{Initdb, make_private_directory};
use crate::pam_service::PamService;
use crate::run::CommandExt;
use crate::{OsUser, Postgres, TempDir, pg_tool};

/// One role for each way to give a password, and what lets them in over TCP; see [`PostgresBuilder::password_roles`].
const PASSWORD_HBA: [&str; 3] = [
    "host all,replication scram 127.0.0.1/32 scram-sha-256",
    "host all,replication md5u  127.0.0.1/32 md5",
    "host all,replication clear 127.0.0.1/32 password",
];
const PASSWORD_ROLES: &str = "set password_encryption = 'scram-sha-256';
    create role scram login replication password 'pw';
    create role clear login replication password 'pw';
    set password_encryption = 'md5';
    create role md5u login replication password 'pw';";

/// What server to start. Made by [`Postgres::builder`].
#[derive(Debug, Clone)]
pub struct PostgresBuilder {
    initdb: Initdb,
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    setup: String,
    certificate: Option<Issued>,
    pam_service: Option<PamService>,
    own_system_identifier: bool,
    durable: bool,
}

impl PostgresBuilder {
    pub(crate) fn new() -> Self {
        let initdb = Initdb { major: 15, options: Vec::new() };
        let (settings, hba, setup, certificate, pam_service) = Default::default();
        Self { initdb, settings, hba, setup, certificate, pam_service, own_system_identifier: false, durable: false }
    }

    /// Uses this major version instead of 15.
    #[must_use]
    pub fn major(mut self, major: u32) -> Self {
        self.initdb.major = major;
        self
    }

    /// Adds an option of initdb, such as `--wal-segsize=1` for fast tests of WAL archiving.
    #[must_use]
    pub fn initdb_option(mut self, option: &str) -> Self {
        self.initdb.options.push(option.to_owned());
        self
    }

    /// Adds a line to `postgresql.conf`; for [`start_existing`](Self::start_existing), an option of the command line.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a line to `pg_hba.conf`, before those that trust everybody.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Adds the roles `scram`, `md5u` and `clear`, which may replicate and must give the password `pw` over TCP, by
    /// SCRAM-SHA-256, MD5 and in clear text.
    #[must_use]
    pub fn password_roles(mut self) -> Self {
        self.hba.extend(PASSWORD_HBA.map(str::to_owned));
        self.setup.push_str(PASSWORD_ROLES);
        self
    }

    /// Has the server speak TLS with `certificate`, and know clients by certificates of `authority`.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, certificate: &Issued) -> Self {
        self.certificate = Some(certificate.clone());
        let authority = authority.certificate();
        self.setting("ssl", "on").setting("ssl_ca_file", authority.to_str().expect("our own path"))
    }

    /// Has the server find this service of PAM, of the lines that its file in `/etc/pam.d` would have, and no other one.
    #[must_use]
    pub fn pam_service(mut self, name: &str, lines: &str) -> Self {
        self.pam_service = Some(PamService { name: name.to_owned(), lines: lines.to_owned() });
        self
    }

    /// Gives the cluster a system identifier of its own. Otherwise clusters are copies of one template, because initdb
    /// takes a second, and have the same identifier.
    #[must_use]
    pub fn own_system_identifier(mut self) -> Self {
        self.own_system_identifier = true;
        self
    }

    /// Lets the server sync its files, for a test of durability. Otherwise `fsync` is off.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Starts a new cluster and waits until it accepts connections.
    #[must_use]
    pub fn start(self) -> Postgres {
        let dir = TempDir::new();
        let data = dir.path().join("data");
        if self.own_system_identifier {
            self.initdb.create(&data);
        } else {
            self.initdb.copy_template(&data);
        }
        self.configure(&data);
        if let Some(certificate) = &self.certificate {
            certificate.install(&data);
        }
        let server = self.start_in(dir, data, Vec::new());
        if !self.setup.is_empty() {
            server.psql(&self.setup);
        }
        server
    }

    /// Starts a server on a data directory that is already there, such as a restored one, and waits until it accepts
    /// connections (read-only ones while it recovers).
    ///
    /// The directory is given to the servers' user and stays when the server is dropped. Only the command line says
    /// where the server listens, so that its configuration files remain as they are. Options of initdb and lines of
    /// `pg_hba.conf` have no effect.
    #[must_use]
    pub fn start_existing(self, data: &Path) -> Postgres {
        let mut server = self.launch_existing(data);
        server.wait_until_accepting();
        server
    }

    /// Like [`start_existing`](Self::start_existing), for a server that is not expected to accept connections: does not
    /// wait. See [`Postgres::wait_exit`].
    #[must_use]
    pub fn launch_existing(self, data: &Path) -> Postgres {
        assert!(data.join("PG_VERSION").is_file(), "{} is not a data directory", data.display());
        OsUser::of_servers().own_tree(data);
        let options = self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.launch_in(TempDir::new(), data.to_owned(), options)
    }

    /// Starts a streaming standby of `primary`, copied with pg_basebackup, and waits until it accepts connections.
    #[must_use]
    pub fn start_standby_of(mut self, primary: &Postgres) -> Postgres {
        self.initdb.major = primary.major();
        let dir = TempDir::new();
        let data = dir.path().join("data");
        let user = OsUser::of_servers();
        make_private_directory(&data, &user);
        let mut copy = Command::new(pg_tool(primary.major(), "pg_basebackup"));
        user.run(&mut copy);
        copy.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", &primary.conninfo(), "-D"]).arg(&data);
        copy.succeed();
        self.configure(&data);
        self.start_in(dir, data, Vec::new())
    }

    fn start_in(&self, dir: TempDir, data: PathBuf, options: Vec<String>) -> Postgres {
        let mut server = self.launch_in(dir, data, options);
        server.wait_until_accepting();
        server
    }

    fn launch_in(&self, dir: TempDir, data: PathBuf, mut options: Vec<String>) -> Postgres {
        if !self.durable {
            options.push("fsync=off".to_owned());
        }
        let pam_services = self.pam_service.as_ref().map(|service| service.install(dir.path()));
        Postgres::launch(self.initdb.major, dir, data, options, pam_services)
    }

    fn configure(&self, data: &Path) {
        let quote = |value: &str| value.replace('\'', "''");
        let settings: String =
            self.settings.iter().map(|(name, value)| format!("{name} = '{}'\n", quote(value))).collect();
        append(&data.join("postgresql.conf"), &settings);
        let hba = data.join("pg_hba.conf");
        let trusting = std::fs::read_to_string(&hba).expect("initdb made it");
        let lines = self.hba.iter().map(|line| format!("{line}\n")).collect::<String>();
        // The first line that fits a connection decides.
        std::fs::write(&hba, lines + &trusting).expect("pg_hba.conf can be written");
    }
}

fn append(path: &Path, text: &str) {
    let opened = OpenOptions::new().append(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
