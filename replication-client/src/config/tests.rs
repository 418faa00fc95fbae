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
    assert_eq!(config.host(), None);
    assert_eq!(config.port(), 5432);
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
    assert_eq!(config("host=db1").host(), Some("db1"));
    assert_eq!(config("host=db1").port(), 1);
    assert_eq!(config("port=2").host(), Some("from-environment"));
}

#[test]
fn an_option_set_to_nothing_has_its_default_and_not_the_environments_value() {
    let environment = environment().with_variable("PGHOST", "db1").with_variable("PGPORT", "5433");
    let config = Config::from_conninfo("host='' port=''", &environment).unwrap();
    assert_eq!((config.host(), config.port()), (None, 5432));
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
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let config = Config::from_conninfo("", &environment).unwrap();
    assert_eq!((config.host(), config.port()), (Some("db1"), 5433));
    assert_eq!(config.hostaddr(), Some(IpAddr::from([10, 0, 0, 5])));
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
        "host=db1,db2passwd=geheim",
        "requirepeer=postgrespassword=geheim",
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
}

#[test]
fn without_a_user_anywhere_there_is_no_config() {
    assert_eq!(Config::from_conninfo("", &Environment::default()).unwrap_err(), ConninfoError::NoUser);
}

#[test]
fn what_is_not_built_is_named() {
    for (conninfo, expected) in [
        ("sslmode=require", "sslmode=require is not supported"),
        ("sslmode=verify-full", "sslmode=verify-full is not supported"),
        ("requiressl=1", "sslmode=require is not supported"),
        ("sslrootcert=system", "sslrootcert=system is not supported"),
        ("sslnegotiation=direct", "sslnegotiation=direct is not supported"),
        ("channel_binding=require", "channel_binding=require is not supported"),
        ("require_auth=scram-sha-256", "require_auth=scram-sha-256 is not supported"),
        ("gssencmode=require", "gssencmode=require is not supported"),
        ("service=main", "service=main is not supported"),
        ("host=db1,db2", "host=db1,db2 is not supported"),
        ("port=5432,5433", "port=5432,5433 is not supported"),
        ("hostaddr=10.0.0.1,10.0.0.2", "hostaddr=10.0.0.1,10.0.0.2 is not supported"),
        ("target_session_attrs=primary", "target_session_attrs=primary is not supported"),
        ("scram_client_key=c2VjcmV0", "scram_client_key=*** is not supported"),
        ("min_protocol_version=3.2", "min_protocol_version=3.2 is not supported"),
    ] {
        let config = config(conninfo);
        let named: Vec<String> = config.unsupported().iter().map(ToString::to_string).collect();
        assert_eq!(named, [expected], "{conninfo}");
    }
}

#[test]
fn the_environment_can_ask_for_what_is_not_built_too() {
    let environment = environment().with_variable("PGREQUIRESSL", "1");
    let named = |conninfo| Config::from_conninfo(conninfo, &environment).unwrap().unsupported().len();
    assert_eq!(named(""), 1);
    assert_eq!(named("sslmode=prefer"), 0);
}

#[test]
fn what_makes_no_difference_in_clear_text_is_accepted() {
    let conninfo = "sslmode=prefer sslcert=/a sslkey=/b sslrootcert=/c sslpassword=x krbsrvname=postgres \
                    channel_binding=prefer gssencmode=prefer target_session_attrs=any client_encoding=LATIN1";
    assert!(config(conninfo).unsupported().is_empty());
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
