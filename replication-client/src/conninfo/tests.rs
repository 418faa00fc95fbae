use proptest::prelude::*;

use super::*;

fn pairs(text: &str) -> Vec<(&'static str, String)> {
    parse(text).unwrap().iter().map(|(keyword, value)| (keyword, value.to_owned())).collect()
}

/// Checks what a string means; the expected pairs are in alphabetical order of their keywords.
fn check(text: &str, expected: &[(&'static str, &str)]) {
    let expected: Vec<_> = expected.iter().map(|&(keyword, value)| (keyword, value.to_owned())).collect();
    assert_eq!(pairs(text), expected, "{text}");
}

fn check_error(text: &str, problem: ConninfoProblem, position: usize) {
    assert_eq!(parse(text), Err(ConninfoError::Syntax { problem, position }), "{text}");
}

#[test]
fn assignments_are_separated_by_blanks() {
    check("", &[]);
    check("  ", &[]);
    check("host=db1", &[("host", "db1")]);
    check(" host=db1\tport=5433\nuser=barman\r\n", &[("host", "db1"), ("port", "5433"), ("user", "barman")]);
    check("host = db1  port =5433", &[("host", "db1"), ("port", "5433")]);
}

#[test]
fn quotes_and_backslashes_keep_blanks_and_quotes() {
    check("password='two words'", &[("password", "two words")]);
    check(r"password='it\'s \\ done'", &[("password", r"it's \ done")]);
    check(r"password=two\ words", &[("password", "two words")]);
    check(r"password=\a\'", &[("password", "a'")]);
    check("password=it's", &[("password", "it's")]);
    check("password=''", &[("password", "")]);
    check("application_name='Bär'", &[("application_name", "Bär")]);
}

#[test]
fn oddities_of_libpq_are_kept() {
    // No blank is needed after a closing quote.
    check("host='db1'port=5433", &[("host", "db1"), ("port", "5433")]);
    // Blanks after the equals sign are skipped even where nothing was meant to stand there.
    check("host= port=5433", &[("host", "port=5433")]);
    check("host=", &[("host", "")]);
    // A backslash at the very end stands for nothing.
    check("host=db1\\", &[("host", "db1")]);
    check("host=a host=b", &[("host", "b")]);
    check("requiressl=1", &[("sslmode", "require")]);
    check("requiressl=0", &[("sslmode", "prefer")]);
}

#[test]
fn errors_of_pairs_have_positions() {
    check_error("host", ConninfoProblem::MissingEquals, 4);
    check_error("host=db1 port", ConninfoProblem::MissingEquals, 13);
    check_error("host db1", ConninfoProblem::MissingEquals, 5);
    check_error("host=db1 password='abc", ConninfoProblem::UnterminatedQuote, 18);
    check_error(r"password='abc\'", ConninfoProblem::UnterminatedQuote, 9);
    let unknown = |name: &str, position| Err(ConninfoError::UnknownOption { name: name.into(), position });
    assert_eq!(parse("host=db1 hots=db2"), unknown("hots", 9));
    assert_eq!(parse("=db1"), unknown("", 0));
    assert_eq!(parse("HOST=db1"), unknown("HOST", 0));
    assert_eq!(parse("host=a\0b"), Err(ConninfoError::Nul { position: 6 }));
}

#[test]
fn errors_quote_no_value() {
    // The second half of a password whose quotes were forgotten must not reach a log.
    for text in [
        "password=my geheim",
        "password=my geheim=x",
        "sslpassword='a'b geheim=x",
        "postgresql://h?password=my&geheim=x",
        "postgresql://u:p/w?geheim=x@h",
    ] {
        let error = parse(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{text}: {error}");
    }
}

#[test]
fn every_part_of_a_uri_is_found() {
    check("postgresql://", &[]);
    check("postgres://db1", &[("host", "db1")]);
    check("postgresql://db1:5433/app", &[("dbname", "app"), ("host", "db1"), ("port", "5433")]);
    check("postgresql://barman@db1", &[("host", "db1"), ("user", "barman")]);
    check("postgresql://barman:pw@", &[("password", "pw"), ("user", "barman")]);
    check("postgresql:///app", &[("dbname", "app")]);
    check("postgresql:///", &[]);
    check("postgresql://:5433", &[("port", "5433")]);
    check("postgresql://[::1]:5433/", &[("host", "::1"), ("port", "5433")]);
    check("postgresql://[::1]?user=a", &[("host", "::1"), ("user", "a")]);
    check("postgresql://a:1,b,[c]:3/d", &[("dbname", "d"), ("host", "a,b,c"), ("port", "1,,3")]);
    check("postgresql://?host=/tmp&port=5433", &[("host", "/tmp"), ("port", "5433")]);
    check("postgresql://a?host=b", &[("host", "b")]);
    check("postgresql://a?ssl=true", &[("host", "a"), ("sslmode", "require")]);
    check("postgresql://a?application_name=", &[("application_name", ""), ("host", "a")]);
    check("postgresql://:pw@a", &[("host", "a"), ("password", "pw")]);
}

#[test]
fn percent_encoding_is_undone() {
    check("postgresql://%2Ftmp%2fsocket/a%20b", &[("dbname", "a b"), ("host", "/tmp/socket")]);
    check("postgresql://u%40x:p%3Aw%25@h", &[("host", "h"), ("password", "p:w%"), ("user", "u@x")]);
    check("postgresql://?application_name=B%C3%A4r+x", &[("application_name", "Bär+x")]);
}

#[test]
fn errors_of_uris_have_positions() {
    check_error("postgresql://[::1", ConninfoProblem::UnterminatedAddress, 13);
    check_error("postgresql://[]", ConninfoProblem::EmptyAddress, 13);
    check_error("postgresql://[::1]x", ConninfoProblem::AfterAddress, 18);
    check_error("postgresql://h?user", ConninfoProblem::ParameterWithoutValue, 15);
    check_error("postgresql://h?user=a&", ConninfoProblem::ParameterWithoutValue, 22);
    check_error("postgresql://h?user=a=b", ConninfoProblem::ParameterWithTwoValues, 22);
    check_error("postgresql://h/%zz", ConninfoProblem::PercentEncoding, 16);
    check_error("postgresql://h/a%2", ConninfoProblem::PercentEncoding, 17);
    check_error("postgresql://h/%+1", ConninfoProblem::PercentEncoding, 16);
    check_error("postgresql://h/%00", ConninfoProblem::PercentNul, 16);
    check_error("postgresql://h/%ff", ConninfoProblem::PercentNotUtf8, 15);
    let unknown = ConninfoError::UnknownOption { name: "hots".into(), position: 15 };
    assert_eq!(parse("postgresql://h?hots=a"), Err(unknown));
}

/// Undoes the escapes of `testdata/libpq-conninfo.txt`.
fn unescaped(field: &str) -> String {
    let undo = |part: &str| part.replace("\\t", "\t").replace("\\n", "\n");
    field.split("\\\\").map(undo).collect::<Vec<_>>().join("\\")
}

#[test]
fn libpq_understands_the_same() {
    for line in include_str!("../../testdata/libpq-conninfo.txt").lines() {
        let mut fields = line.split('\t').map(unescaped);
        let text = fields.next().unwrap();
        let expected: Vec<String> = fields.collect();
        let found = match parse(&text) {
            Ok(settings) => settings.iter().map(|(keyword, value)| format!("{keyword}={value}")).collect(),
            Err(_) => vec!["invalid".to_owned()],
        };
        assert_eq!(found, expected, "{text:?}");
    }
}

proptest! {
    #[test]
    fn quoting_any_value_and_parsing_gives_it_back(value in "[^\0]*", other in "[^\0]*") {
        let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let text = format!("password='{}' user = '{}'", quote(&value), quote(&other));
        prop_assert_eq!(pairs(&text), [("password", value), ("user", other)]);
    }

    #[test]
    fn encoding_any_value_in_a_uri_and_parsing_gives_it_back(value in "[^\0]+", other in "[^\0]+") {
        let encode = |value: &str| value.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let text = format!("postgres://{}@h?options={}", encode(&value), encode(&other));
        prop_assert_eq!(pairs(&text), [("host", "h".to_owned()), ("options", other), ("user", value)]);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(postgres(ql)?://)?[\\PC\\\\'=%@:/?&\\[\\], ]*") {
        let _ = parse(&text);
    }
}
