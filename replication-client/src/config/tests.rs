#![allow(clippy::disallowed_methods, reason = "tests write files of their own")]

use proptest::prelude::*;

use super::*;

fn environment() -> Environment {
    Environment::default().with_user("osuser").with_home("/home/osuser")
}

fn config(conninfo: &str) -> Config {
    Config::from_conninfo(conninfo, &environment()).unwrap()
}

#[test]
fn without_anything_the_defaults_of_libpq_count() {
    let config = config("");
    assert_eq!(config.hosts()[0].name(), None);
    assert_eq!(config.hosts()[0].port(), 5432);
    assert_eq!((config.user(), config.database()), ("osuser", "osuser"));
    assert_eq!(config.application_name(), None);
    assert_eq!(config.connect_timeout(), None);
    assert_eq!(config.passfile(), Some(&PathBuf::from("/home/osuser/.pgpass")));
    assert!(config.keepalives().enabled);
    assert!(config.unsupported().is_empty());
}

#[test]
fn the_database_defaults_to_the_user() {
    assert_eq!(config("user=barman").database(), "barman");
    assert_eq!(config("user=barman dbname=postgres").database(), "postgres");
}

#[test]
fn the_connection_string_counts_before_the_environment() {
    let environment = environment().with_variable("PGHOST", "from-environment").with_variable("PGPORT", "1");
    let config = |conninfo| Config::from_conninfo(conninfo, &environment).unwrap();
    assert_eq!(config("host=db1").hosts()[0].name(), Some("db1"));
    assert_eq!(config("host=db1").hosts()[0].port(), 1);
    assert_eq!(config("port=2").hosts()[0].name(), Some("from-environment"));
}

#[test]
fn an_option_set_to_nothing_has_its_default_and_not_the_environments_value() {
    let environment = environment().with_variable("PGHOST", "db1").with_variable("PGPORT", "5433");
    let config = Config::from_conninfo("host='' port=''", &environment).unwrap();
    assert_eq!((config.hosts()[0].name(), config.hosts()[0].port()), (None, 5432));
}

#[test]
fn every_variable_fills_its_option() {
    let environment = Environment::from_variables(
        [
            ("PGHOST", "db1"),
            ("PGHOSTADDR", "10.0.0.5"),
            ("PGPORT", "5433"),
            ("PGUSER", "barman"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "app"),
            ("PGPASSFILE", "/etc/pgpass"),
            ("PGCONNECT_TIMEOUT", "7"),
            ("PGAPPNAME", "name"),
            ("PGOPTIONS", "-c geqo=off"),
            ("PGTZ", "UTC"),
            ("PGDATESTYLE", "default"),
            ("HOME", "/ignored"),
        ]
        .map(|(name, value)| (name.into(), value.into())),
    );
    let config = Config::from_conninfo("", &environment).unwrap();
    assert_eq!((config.hosts()[0].name(), config.hosts()[0].port()), (Some("db1"), 5433));
    assert_eq!(config.hosts()[0].address(), Some([10, 0, 0, 5].into()));
    assert_eq!((config.user(), config.database()), ("barman", "app"));
    assert_eq!(config.password().map(Password::reveal), Some("secret"));
    assert_eq!(config.passfile(), Some(&PathBuf::from("/etc/pgpass")));
    assert_eq!(config.connect_timeout(), Some(Duration::from_secs(7)));
    assert_eq!(config.application_name(), Some("name"));
    assert_eq!(config.session(), [("options", "-c geqo=off".to_owned()), ("timezone", "UTC".to_owned())]);
}

#[test]
fn the_fallback_name_counts_only_where_there_is_no_other() {
    assert_eq!(config("fallback_application_name=psql").application_name(), Some("psql"));
    assert_eq!(config("fallback_application_name=psql application_name=x").application_name(), Some("x"));
}

#[test]
fn a_timeout_of_zero_or_less_waits_without_limit() {
    for (value, expected) in [("0", None), ("-1", None), ("1", Some(1)), (" 30 ", Some(30))] {
        let config = config(&format!("connect_timeout='{value}'"));
        assert_eq!(config.connect_timeout(), expected.map(Duration::from_secs), "{value:?}");
    }
}

#[test]
fn keepalives_have_their_units() {
    let keepalives =
        config("keepalives=0 keepalives_idle=5 keepalives_interval=0 keepalives_count=3 tcp_user_timeout=1500");
    let expected = Keepalives {
        enabled: false,
        idle: Some(Duration::from_secs(5)),
        interval: None,
        count: Some(3),
        user_timeout: Some(Duration::from_millis(1500)),
    };
    assert_eq!(keepalives.keepalives(), expected);
}

#[test]
fn values_that_an_option_cannot_have_are_errors() {
    for (conninfo, wrong) in [
        ("port=0", "port"),
        ("port=65536", "port"),
        ("port=ssh", "port"),
        ("hostaddr=db1", "hostaddr"),
        ("connect_timeout=soon", "connect_timeout"),
        ("keepalives=yes", "keepalives"),
        ("sslmode=always", "sslmode"),
        ("target_session_attrs=master", "target_session_attrs"),
        ("gssencmode=maybe", "gssencmode"),
    ] {
        let error = Config::from_conninfo(conninfo, &environment()).unwrap_err();
        assert!(
            matches!(&error, ConninfoError::InvalidValue { option, .. } if *option == wrong),
            "{conninfo}: {error}"
        );
    }
}

#[test]
fn what_is_refused_shows_no_piece_of_a_password() {
    for conninfo in [
        "port=5432password=geheim",
        "port='5432 password=geheim'",
        "port=5432,password=geheim",
        "hostaddr=10.0.0.1password=geheim",
        "connect_timeout=10password=geheim",
        "sslmode=preferpassword=geheim",
        "service=mainpassword=geheim",
        "require_auth=md5password=geheim",
        "sslkeylogfile=/tmp/xpassword=geheim",
        "target_session_attrs=anypassword=geheim",
        // A slash that should have been encoded ends the password early and makes a port of it.
        "postgresql://barman:geheim/x@db1",
        "postgresql://barman:geheim,1/x@db1",
    ] {
        let shown = match Config::from_conninfo(conninfo, &environment()) {
            Ok(config) => config.unsupported().iter().map(ToString::to_string).collect::<String>(),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.is_empty() && !shown.contains("geheim"), "{conninfo}: {shown}");
    }
    let host = config("host=db1,db2passwd=geheim").hosts()[1].to_string();
    assert_eq!(host, "host \"***\", port 5432");
}

#[test]
fn a_service_counts_before_the_environment_and_after_the_string() {
    let dir = test_support::TempDir::new();
    let file = dir.path().join("services");
    std::fs::write(&file, "[main]\nhost=from-service\nport=1\nuser=service\n").unwrap();
    let environment = environment()
        .with_variable("PGSERVICEFILE", file.to_str().unwrap())
        .with_variable("PGPORT", "2")
        .with_variable("PGDATABASE", "from-environment");
    let config = Config::from_conninfo("service=main user=string", &environment).unwrap();
    assert_eq!(config.hosts()[0].to_string(), "host \"from-service\", port 1");
    assert_eq!((config.user(), config.database()), ("string", "from-environment"));

    let by_variable = Config::from_conninfo("", &environment.with_variable("PGSERVICE", "main")).unwrap();
    assert_eq!(by_variable.user(), "service");
}

#[test]
fn a_service_is_looked_for_in_the_home_directory_and_then_in_the_systems() {
    let dir = test_support::TempDir::new();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path(".pg_service.conf"), "[mine]\nhost=home\n").unwrap();
    std::fs::write(path("pg_service.conf"), "[mine]\nhost=system\n[all]\nhost=system\n[bad]\nhots=x\n").unwrap();
    let environment = environment().with_home(dir.path()).with_variable("PGSYSCONFDIR", dir.path().to_str().unwrap());
    let host = |service: &str| {
        let config = Config::from_conninfo(&format!("service={service}"), &environment)?;
        Ok::<_, ConninfoError>(config.hosts()[0].name().map(str::to_owned))
    };
    assert_eq!(host("mine").unwrap().as_deref(), Some("home"));
    assert_eq!(host("all").unwrap().as_deref(), Some("system"));
    assert_eq!(host("none").unwrap_err().to_string(), "no service file defines service \"none\"");
    let syntax = host("bad").unwrap_err().to_string();
    assert!(syntax.contains("pg_service.conf, line 6: expected an option"), "{syntax}");
}

#[test]
fn without_a_user_anywhere_there_is_no_config() {
    assert_eq!(Config::from_conninfo("", &Environment::default()).unwrap_err(), ConninfoError::NoUser);
}

#[test]
fn what_is_not_built_is_named() {
    for (conninfo, expected) in [
        ("gssencmode=require", "gssencmode=require is not supported"),
        ("sslkeylogfile=/tmp/keys", "sslkeylogfile=/tmp/keys is not supported"),
        ("ssl_max_protocol_version=TLSv1.1", "ssl_max_protocol_version=TLSv1.1 is not supported"),
        ("scram_client_key=c2VjcmV0", "scram_client_key=*** is not supported"),
        ("min_protocol_version=3.2", "min_protocol_version=3.2 is not supported"),
    ] {
        let config = config(conninfo);
        let named: Vec<String> = config.unsupported().iter().map(ToString::to_string).collect();
        assert_eq!(named, [expected], "{conninfo}");
    }
}

#[test]
fn what_makes_no_difference_is_accepted() {
    let conninfo = "sslpassword=x krbsrvname=postgres gssencmode=prefer client_encoding=LATIN1 sslcompression=1 \
                    oauth_issuer=https://example.com max_protocol_version=latest";
    assert!(config(conninfo).unsupported().is_empty());
}

#[test]
fn sslmode_is_prefer_unless_somebody_says_otherwise() {
    let mode = |conninfo: &str, environment: &Environment| {
        Config::from_conninfo(conninfo, environment).unwrap().tls().mode.name()
    };
    assert_eq!(mode("", &environment()), "prefer");
    assert_eq!(mode("requiressl=1", &environment()), "require");
    assert_eq!(mode("sslrootcert=system", &environment()), "verify-full");
    let old = environment().with_variable("PGREQUIRESSL", "1");
    assert_eq!(mode("", &old), "require");
    assert_eq!(mode("sslmode=disable", &old), "disable");
}

#[test]
fn files_for_tls_are_looked_for_in_the_home_directory() {
    let options = config("").tls().clone();
    let in_home = |name: &str| Some(PathBuf::from("/home/osuser/.postgresql").join(name));
    assert_eq!(options.roots, Roots::File(in_home("root.crt")));
    assert_eq!((options.certificate, options.key), (in_home("postgresql.crt"), in_home("postgresql.key")));
    assert_eq!((options.revoked.file, options.revoked.is_explicit), (in_home("root.crl"), false));

    let options = config("sslrootcert=/r sslcert=/c sslkey=/k sslcrldir=/d").tls().clone();
    assert_eq!(options.roots, Roots::File(Some("/r".into())));
    assert_eq!((options.certificate, options.key), (Some("/c".into()), Some("/k".into())));
    // One of the two that is named replaces the list of the home directory.
    assert_eq!((options.revoked.file, options.revoked.is_explicit), (None, true));
    assert_eq!(config("sslcertmode=disable sslcert=/c").tls().certificate, None);
}

#[test]
fn what_would_only_look_safe_is_refused() {
    for (conninfo, expected) in [
        ("sslrootcert=system sslmode=verify-ca", "sslmode is too weak for sslrootcert=system: expected verify-full"),
        (
            "sslnegotiation=direct sslmode=prefer",
            "sslmode is too weak for sslnegotiation=direct: expected require, verify-ca or verify-full",
        ),
        (
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=tlsv1.2",
            "ssl_min_protocol_version is above ssl_max_protocol_version",
        ),
    ] {
        let error = Config::from_conninfo(conninfo, &environment()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{conninfo}");
    }
}

#[test]
fn a_replication_option_is_recognised_by_its_meaning() {
    for (value, expected) in [("true", true), ("database", true), ("1", true), ("off", false), ("0", false)] {
        assert_eq!(config(&format!("replication={value}")).replication_requested().is_some(), expected, "{value}");
    }
}

#[test]
fn debug_shows_no_password() {
    let environment = environment().with_variable("PGPASSWORD", "geheim");
    let mut config = Config::from_conninfo("password=geheim sslpassword=geheim", &environment).unwrap();
    config.set_password("geheim");
    assert!(!format!("{config:?}{environment:?}").contains("geheim"));
}

/// What nobody may see: neither of a configuration nor of an error.
fn shown(conninfo: &str) -> String {
    match Config::from_conninfo(conninfo, &environment()) {
        Ok(config) => {
            let hosts: String = config.hosts().iter().map(ToString::to_string).collect();
            format!("{config:?} {hosts} {:?}", config.unsupported())
        }
        Err(error) => format!("{error} {error:?}"),
    }
}

#[test]
fn pieces_of_a_password_that_was_not_quoted_or_encoded_are_not_shown() {
    for conninfo in [
        "postgresql://u:p@geheim@db1",
        "postgresql://u:p@geheim@db1:5433/app",
        "postgresql://u:p@@geheim@db1",
        "postgresql://u:p@x/geheim@db1/app",
        "postgresql://u:p@geheim/x@db1/app",
        "postgresql://u:p@geheim,x@db1/app",
        "postgresql://u:p@x,geheim:1,y/z@db1/app",
        "postgresql://geheim:5432/x@db1/app",
        "host= password=geheim",
        "dbname= password=geheim",
        "user= password=geheim",
        "service= password=geheim",
        "service=main servicefile= password=geheim",
        "sslrootcert= password=geheim",
        "gssencmode= password=geheim",
    ] {
        let shown = shown(conninfo);
        assert!(!shown.contains("geheim"), "{conninfo}: {shown}");
    }
    assert!(shown("host=db1 user=barman").contains("db1"));
    assert!(shown("postgresql://u:p%40x@db1/app?application_name=a@b").contains("db1"));
    let port = shown("postgresql://u:p@x:12345/y@db1/app");
    assert!(!port.contains("12345") && port.contains("%40"), "{port}");
}

proptest! {
    #[test]
    fn no_text_behind_a_password_has_it_shown(rest in "[ -~]*") {
        const PASSWORD: &str = "geheim-und-lang";
        for conninfo in [
            format!("password={PASSWORD} {rest}"),
            format!("password=half {PASSWORD}{rest}"),
            format!("postgresql://u:{PASSWORD}@{rest}"),
            format!("postgresql://u:half@{PASSWORD}@{rest}"),
        ] {
            let shown = shown(&conninfo);
            prop_assert!(!shown.contains(PASSWORD), "{}: {}", conninfo, shown);
        }
    }
}
