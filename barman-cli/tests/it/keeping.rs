//! `keep`: Barman and we say the same, write the same annotations, and heed each other's; and our `--until`.

use crate::made_home::{CHAIN, ONE, THREE, THREE_BACKUPS, TWO, check_same, files, home, nothing, segment, write};
use crate::scene::ours;
use test_support::{Barman, BarmanHome};

fn annotation(home: &BarmanHome, id: &str) -> Option<String> {
    std::fs::read_to_string(home.path().join(format!("main/meta/{id}-keep"))).ok()
}

fn keep(text: &'static str) -> impl Fn(&BarmanHome) {
    move |home| write(&home.path().join(format!("main/meta/{ONE}-keep")), text)
}

/// Where Barman wrote it before 3.13.3.
fn old_keep(home: &BarmanHome) {
    write(&home.path().join(format!("main/base/{ONE}/annotations/keep")), "standalone");
}

#[test]
fn every_form_of_keep_does_what_barman_does() {
    for prepare in [&nothing as &dyn Fn(&BarmanHome), &keep("full"), &keep("standalone")] {
        for action in [
            &["--target", "full"][..],
            &["--target", "standalone"],
            &["--target=full"],
            &["--status"],
            &["-s"],
            &["--release"],
            &["-s", "-r", "--target", "full"],
            &["-r", "--target", "full"],
        ] {
            check_same_annotations(prepare, &[&["keep", "main", "oldest"][..], action].concat());
        }
        check_same_annotations(prepare, &["-f", "json", "keep", "--status", "main", "oldest"]);
    }
}

#[test]
fn an_annotation_in_its_old_place_is_read_and_released_as_by_barman() {
    check_same_annotations(&old_keep, &["keep", "-s", "main", "oldest"]);
    check_same_annotations(&old_keep, &["keep", "-r", "main", "oldest"]);
}

/// In Barman the old annotation comes back over the new one.
#[test]
fn a_new_annotation_replaces_one_in_the_old_place() {
    let home = home(&[], &THREE_BACKUPS);
    old_keep(&home);
    ours().succeed(&home, &["keep", "--target", "full", "main", ONE]);
    for barman in [ours(), Barman::reference()] {
        assert_eq!(barman.succeed(&home, &["keep", "-s", "main", ONE]), "Server main:\n\tKeep: full\n");
    }
}

#[track_caller]
fn check_same_annotations(prepare: &dyn Fn(&BarmanHome), command: &[&str]) {
    let [theirs, ours_home] = [home(&[], &THREE_BACKUPS), home(&[], &THREE_BACKUPS)];
    prepare(&theirs);
    prepare(&ours_home);
    let expected = Barman::reference().run(&theirs, command);
    let found = ours().run(&ours_home, command);
    assert_eq!(
        (found.code, &found.stdout, &found.stderr),
        (expected.code, &expected.stdout, &expected.stderr),
        "{command:?}"
    );
    // Barman moves an old annotation when it reads it; we leave it where it is.
    Barman::reference().succeed(&ours_home, &["keep", "-s", "main", ONE]);
    assert_eq!(annotation(&ours_home, ONE), annotation(&theirs, ONE), "{command:?}");
    assert_eq!(files(&ours_home), files(&theirs), "{command:?}");
}

#[test]
fn what_cannot_be_kept_is_refused_in_barmans_words() {
    let failed = [(ONE, 2, &[("status", "FAILED")][..]), (TWO, 4, &[("status", "WAITING_FOR_WALS")])];
    for id in [ONE, TWO] {
        check_same(&[], &failed, nothing, &["keep", "--target", "full", "main", id]);
        check_same(&[], &failed, nothing, &["keep", "--status", "main", id]);
        check_same(&[], &failed, nothing, &["keep", "--release", "main", id]);
    }
    check_same(&[], &THREE_BACKUPS, nothing, &["keep", "main", "oldest"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["keep", "-s", "main", "nosuch"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["keep", "-s", "all", "oldest"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["keep", "-s", "other", "oldest"]);
    for command in [&["keep", "main"][..], &["keep", "--target", "all", "main", ONE]] {
        let home = home(&[], &THREE_BACKUPS);
        assert_eq!(ours().run(&home, command).code, Barman::reference().run(&home, command).code, "{command:?}");
    }
}

#[test]
fn an_incremental_backup_is_kept_with_its_root_only() {
    check_same(&[], &CHAIN, nothing, &["keep", "--target", "full", "main", TWO]);
    check_same(&[], &CHAIN, nothing, &["keep", "--target", "full", "main", ONE]);
    let policy = [("retention_policy", "REDUNDANCY 1")];
    check_same(&policy, &CHAIN, keep("full"), &["cron"]);
    check_same(&policy, &CHAIN, keep("full"), &["list-backups", "main"]);
}

#[test]
fn each_heeds_what_the_other_keeps() {
    let policy = [("retention_policy", "REDUNDANCY 1")];
    for (keeper, deleter) in [(Barman::reference(), ours()), (ours(), Barman::reference())] {
        let home = home(&policy, &THREE_BACKUPS);
        keeper.succeed(&home, &["keep", "--target", "standalone", "main", ONE]);
        assert!(deleter.run(&home, &["delete", "main", ONE]).stderr.contains("current keep request"));
        deleter.succeed(&home, &["cron"]);
        let left = files(&home);
        assert!(left.contains(&format!("main/meta/{ONE}-backup.info")), "{left:?}");
        assert!(!left.contains(&format!("main/meta/{TWO}-backup.info")), "{left:?}");
        assert!(left.contains(&format!("main/wals/0000000100000000/{}", segment(3))), "{left:?}");
        assert!(!left.contains(&format!("main/wals/0000000100000000/{}", segment(4))), "{left:?}");
        deleter.succeed(&home, &["keep", "--release", "main", ONE]);
        keeper.succeed(&home, &["cron"]);
        assert!(!files(&home).contains(&format!("main/meta/{ONE}-backup.info")));
    }
}

#[test]
fn a_keep_with_an_end_is_for_barman_one_without() {
    let home = home(&[("retention_policy", "REDUNDANCY 1")], &THREE_BACKUPS);
    let said = ours().succeed(&home, &["keep", "main", ONE, "--until", "2999-12-31 12:00:00+00:00"]);
    assert_eq!(said, format!("Backup {ONE} of server main is kept: full until 2999-12-31 12:00:00+00:00\n"));
    assert_eq!(annotation(&home, ONE).as_deref(), Some("full until 2999-12-31 12:00:00+00:00"));
    for command in [&["keep", "-s", "main", ONE][..], &["list-backups", "main"], &["show-backup", "main", ONE]] {
        assert_eq!(ours().succeed(&home, command), Barman::reference().succeed(&home, command), "{command:?}");
    }
    let standalone = ["keep", "main", ONE, "--target", "standalone", "--until", "2999-12-31"];
    ours().succeed(&home, &standalone);
    let barman = Barman::reference();
    assert!(barman.run(&home, &["delete", "main", ONE]).stderr.contains("current keep request"));
    barman.succeed(&home, &["cron"]);
    assert!(files(&home).contains(&format!("main/meta/{ONE}-backup.info")));
    // What is not `standalone` to the letter is kept in full.
    assert!(files(&home).contains(&format!("main/wals/0000000100000000/{}", segment(4))));
    barman.succeed(&home, &["keep", "--target", "full", "main", ONE]);
    assert_eq!(annotation(&home, ONE).as_deref(), Some("full"), "nothing of ours is left");
}

#[test]
fn from_its_day_on_the_policy_decides_again() {
    let home = home(&[("retention_policy", "REDUNDANCY 1")], &THREE_BACKUPS);
    ours().succeed(&home, &["keep", "main", ONE, "--until", "2999-12-31 12:00:00+00:00"]);
    let plan = |at: &str| ours().succeed(&home, &["retention", "main", "--at", at]);
    let before = plan("2999-12-31 11:59:59+00:00");
    let kept = format!("{ONE} KEEP:FULL       kept by a user with all later WAL until Tue Dec 31 12:00:00 2999");
    assert!(before.contains(&kept), "{before}");
    assert!(plan("2999-12-31 12:00:00+00:00").contains(&format!("{ONE} OBSOLETE ")));
    let json = ours().succeed(&home, &["-f", "json", "retention", "main"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let reason = serde_json::json!({ "rule": "kept", "target": "full", "until": "2999-12-31 12:00:00+00:00" });
    assert_eq!(json["main"]["backups"][2]["reason"], reason);

    let refused = ours().run(&home, &["delete", "--dry-run", "main", ONE]);
    assert!(refused.code == Some(1) && refused.stderr.contains("current keep request"), "{refused:?}");
    ours().succeed(&home, &["cron"]);
    assert!(files(&home).contains(&format!("main/meta/{ONE}-backup.info")));
    keep("full until 2026-02-01 00:00:00+00:00")(&home);
    assert!(ours().succeed(&home, &["delete", "--dry-run", "main", ONE]).contains("Would delete backup"));
    ours().succeed(&home, &["cron"]);
    let left = files(&home);
    assert!(!left.iter().any(|file| file.contains(ONE) && !file.ends_with("-keep")), "{left:?}");
    assert!(left.contains(&format!("main/meta/{THREE}-backup.info")), "{left:?}");
}

#[test]
fn a_keep_that_would_be_over_or_cannot_be_understood_is_refused() {
    let home = home(&[], &THREE_BACKUPS);
    for (until, expected) in [
        ("2026-01-01", "cannot be kept until a moment that has passed"),
        ("next year", "expected a time such as"),
        ("", "expected a time such as"),
    ] {
        let refused = ours().run(&home, &["keep", "main", ONE, "--until", until]);
        assert!(refused.code == Some(1) && refused.stderr.contains(expected), "{refused:?}");
    }
    assert_eq!(annotation(&home, ONE), None);
}

#[test]
fn a_backup_that_is_being_deleted_cannot_be_kept() {
    let home = home(&[], &THREE_BACKUPS);
    let lock = std::fs::File::create(home.path().join(format!(".main-{ONE}.lock"))).expect("the home is ours");
    lock.lock().expect("nobody else uses the home");
    let refused = ours().run(&home, &["keep", "--target", "full", "main", ONE]);
    assert!(refused.code == Some(1) && refused.stderr.contains("in use by another process"), "{refused:?}");
    assert_eq!(annotation(&home, ONE), None);
}
