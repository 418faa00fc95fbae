//! Barman's work over TLS, and what it says where there is none.

use crate::scene::Scene;
use test_support::{Authority, CommandExt, Postgres, Wanted};

/// A server that lets the role `barman` in over TLS alone, with a password.
struct Secured {
    scene: Scene,
    authority: Authority,
    password_file: std::path::PathBuf,
}

impl Secured {
    fn start() -> Self {
        let authority = Authority::new();
        let builder = Postgres::builder()
            .initdb_option("--wal-segsize=1")
            .hba("hostssl all,replication barman 127.0.0.1/32 scram-sha-256")
            .hba("host all,replication barman 127.0.0.1/32 reject")
            .tls(&authority, &authority.issue("server", &Wanted::server()));
        let scene = Scene::of(builder);
        scene
            .server
            .psql("set password_encryption = 'scram-sha-256'; create role barman superuser login password 'geheim'");
        let password_file = scene.home.path().with_file_name("passwords");
        std::fs::write(&password_file, "127.0.0.1:*:*:barman:geheim\n").expect("the directory is ours");
        let secured = Self { scene, authority, password_file };
        secured.set_mode(0o600);
        secured.connect_with(&secured.roots());
        secured
    }

    fn roots(&self) -> String {
        format!("sslrootcert={}", self.authority.certificate().display())
    }

    fn set_mode(&self, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&self.password_file, permissions).expect("the file is ours");
    }

    fn connect_with(&self, options: &str) {
        let server = self.scene.server.conninfo_as("barman");
        let passfile = self.password_file.display();
        let conninfo = format!("{server} passfile={passfile} sslmode=verify-full channel_binding=require {options}");
        self.scene.configure(&self.scene.server, &[("conninfo", &conninfo), ("streaming_conninfo", &conninfo)]);
    }

    /// Asserts what is said, and the hint.
    #[track_caller]
    fn assert_said(&self, reason: &str, hint: &str) {
        let finished = self.scene.run(&["switch-wal", "main"]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(reason), "no '{reason}' in {finished:?}");
        assert!(finished.stderr.contains(&format!("HINT: {hint}")), "no '{hint}' in {finished:?}");
        assert!(!finished.stderr.contains("geheim"), "{finished:?}");
    }
}

#[test]
fn everything_works_over_tls() {
    let secured = Secured::start();
    let scene = &secured.scene;
    scene.start_streaming();
    scene.succeed(&["backup", "--wait", "main"]);
    scene.archive_everything();
    scene.succeed(&["check", "main"]);
    let encrypted = "select count(*) from pg_stat_ssl join pg_stat_replication using (pid) where ssl";
    assert_eq!(scene.server.psql(encrypted), "1");
}

#[test]
fn the_authorities_of_the_operating_system_are_trusted_where_they_are_asked_for() {
    let secured = Secured::start();
    secured.connect_with("sslrootcert=system");
    secured.assert_said("it is not signed by a trusted authority", "put the certificate of the authority");
    // Where OpenSSL, and what reads its places, is told to look for them.
    let trusting = secured.authority.certificate();
    let finished = secured.scene.command().env("SSL_CERT_FILE", trusting).args(["switch-wal", "main"]).finish();
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[test]
fn what_is_wrong_with_tls_is_said_with_what_to_do() {
    let mut secured = Secured::start();
    secured.connect_with(&format!("sslrootcert={}", Authority::new().certificate().display()));
    secured.assert_said("the root certificate file", "name the file in sslrootcert");
    let stranger = Authority::new();
    secured.connect_with(&format!("sslrootcert={}", stranger.certificate().display()));
    secured.assert_said("it is not signed by a trusted authority", "put the certificate of the authority");
    secured.connect_with(&format!("{} host=db1 hostaddr=127.0.0.1", secured.roots()));
    secured.assert_said("it is not for host \"db1\": its names are localhost, 127.0.0.1", "use one of these names");
    secured.connect_with(&secured.roots());
    secured.set_mode(0o644);
    secured.assert_said("has group or world access (mode 0644)", "chmod 0600 ");
    secured.set_mode(0o600);
    let expired = secured.authority.issue("expired", &Wanted::server().expired());
    secured.scene.server.use_certificate(&expired);
    secured.assert_said("it has expired", "renew the server's certificate");
}
