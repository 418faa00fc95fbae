//! Python's `configparser`, which Barman uses, as the judge of the text format and of interpolation.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::sections::Sections;

/// `[name, [[option, value], ...]]` of every section; `None` where the text is refused.
type Reading = Option<Vec<(String, Vec<(String, String)>)>>;

/// Texts that each stand for one rule of the format.
const CORPUS: &[&str] = &[
    "",
    "# nothing\n; at all\n",
    "[s]\na = 1\nb: 2\nc=3=4\nd : = 5\ne\t=\t6\n",
    "[s]\nOption Name = 1\nÄ = 2\nI\u{307} = 3\n",
    "[s]\na = 1 ; kept\nb = 2 # kept\n",
    "[s]\na = 1\n  2\n\n  3\n# comment\n  4\n\n\nb = 5\n",
    "[s]\na = 1\n  [t]\n  b = 2\n",
    "[s]\n   a = 1\n   b = 2\n  c = 3\n     d\n",
    "[s]\na =\n  1\n  2\n",
    "[s]\na = 1\n    # comment\n\t2\n",
    "[s]\na = 1\n[t]\nb = 2\n[s]\na = 3\nc = 4\n",
    "[s]\na = 1\n 2\na = 3\n",
    "[DEFAULT]\na = 1\nb = %(c)s\n[s]\nc = 2\n[t]\na = 3\nc = 4\n",
    "[s]\na = %(b)s\n[DEFAULT]\nb = 1\n",
    "[default]\na = 1\n[s]\n",
    "[ s ]\na=1\n[s] junk\nb=2\n[[x]]\nc=3\n[]]\nd=4\n",
    "[s]\r\na = 1\r\n  2\r\n\r\nb = 3\rc = 4\n\r",
    "\u{feff}[s]\na=1\n",
    "\n\n  # x\n[s]\u{a0}\n\u{a0}a\u{2003}=\u{3000}1\u{1f}\n",
    "[s]\na\u{85} = 1\u{b}2\u{c}3\u{1c}4\u{2028}5\n",
    "a = 1\n",
    "[s]\nnothing\n",
    "[s]\n[]\n",
    "[s\na=1\n",
    "[s]\n= 1\n",
    "[s]\na = 1\nnothing\n b = 2\n",
    "[s]\na = %%%%d %(b)s\nb = <%(C)s>\nc = 1\n",
    "[s]\na = %%(b)s\nb = 1\n",
    "[s]\na = %%%%(b)s\nb = 1\n",
    "[s]\na = %d\n",
    "[s]\na = %%d\n",
    "[s]\na = 100%\n",
    "[s]\na = %(x)s\n",
    "[s]\na = %(a)s\n",
    "[s]\na = %(b)s\nb = %(a)s\n",
    "[s]\na = %(b\nb = 1\n",
    "[s]\na = %()s\n",
    "[s]\na = %(b)d\nb = 1\n",
    "[s]\na = %(b)s\nb = x\n  y\n",
];

#[test]
fn the_corpus_reads_as_in_python() {
    compare(CORPUS.iter().map(ToString::to_string).collect());
}

#[test]
fn random_texts_read_as_in_python() {
    let line = prop_oneof![
        4 => "( {0,3}|\t)[ab] ?[=:] ?[ab1%]{0,3}",
        2 => "[ab] = (%%%%|%\\([abc]\\)s|%%\\([abc]\\)s|x){1,3}",
        2 => " {0,4}[a1=\\[\\]]{1,3}",
        2 => "\\[(s|t| s |DEFAULT)\\]",
        1 => " {0,3}[#;] ?[a=]{0,2}",
        2 => "[ \t]{0,2}",
    ];
    let ending = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")];
    let lines = proptest::collection::vec((line, ending), 0..9);
    let text = lines.prop_map(|lines| lines.iter().map(|(line, ending)| format!("{line}{ending}")).collect::<String>());
    let text = prop_oneof![text.clone(), text.prop_map(|text| format!("[s]\n{text}"))];
    let mut runner = TestRunner::deterministic();
    let accepted = compare((0..4000).map(|_| text.new_tree(&mut runner).unwrap().current()).collect());
    assert!((500..3500).contains(&accepted), "{accepted} of 4000 texts are accepted: the rest says too little");
}

/// Returns how many of the texts are accepted, by both readers alike.
#[track_caller]
fn compare(texts: Vec<String>) -> usize {
    let pythons = python(&texts);
    assert_eq!(pythons.len(), texts.len());
    for (text, python) in texts.iter().zip(&pythons) {
        assert_eq!(ours(text), *python, "{text:?}");
    }
    pythons.iter().flatten().count()
}

fn ours(text: &str) -> Reading {
    let mut sections = Sections::default();
    sections.add(Path::new("text"), text).ok()?;
    let resolved = sections.resolve().ok()?;
    let options = |section: &crate::sections::Merged| {
        section.options.iter().map(|setting| (setting.option.clone(), setting.text.clone())).collect()
    };
    Some(resolved.iter().map(|section| (section.name.clone(), options(section))).collect())
}

fn python(texts: &[String]) -> Vec<Reading> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/read_ini.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need python3");
    let mut input = child.stdin.take().unwrap();
    input.write_all(&serde_json::to_vec(texts).unwrap()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
