//! `delete`, `retention`, and what `cron` deletes: on two equal homes Barman and we say the same and leave the same.

use crate::made_home::{
    CHAIN, ONE, THREE, THREE_BACKUPS, TWO, check_same, files, home, nothing, segment, with_rules, write,
};
use crate::scene::ours;
use test_support::{Barman, BarmanHome};

#[test]
fn every_way_to_name_a_backup_deletes_what_barman_deletes() {
    for word in ["oldest", "first", "latest", "last", "latest-full", TWO] {
        check_same(&[], &THREE_BACKUPS, nothing, &["delete", "main", word]);
    }
    let failed = [(ONE, 2, &[("status", "FAILED")][..]), (TWO, 4, &[]), (THREE, 6, &[("status", "FAILED")])];
    check_same(&[], &failed, nothing, &["delete", "main", "last-failed"]);
    let named = [(ONE, 2, &[("backup_name", "weekly")][..]), (TWO, 4, &[])];
    check_same(&[], &named, nothing, &["delete", "main", "weekly"]);
    check_same(&[], &THREE_BACKUPS[..1], nothing, &["delete", "main", "latest"]);
}

#[test]
fn what_cannot_be_deleted_is_refused_in_barmans_words() {
    let keep = |target: &'static str| {
        move |home: &BarmanHome| write(&home.path().join(format!("main/meta/{ONE}-keep")), target)
    };
    check_same(&[], &THREE_BACKUPS, keep("full"), &["delete", "main", "oldest"]);
    check_same(&[], &THREE_BACKUPS, keep("standalone"), &["delete", "main", "oldest"]);
    check_same(&[], &THREE_BACKUPS, keep("standalone"), &["delete", "main", TWO]);
    check_same(&[("minimum_redundancy", "3")], &THREE_BACKUPS, nothing, &["delete", "main", "oldest"]);
    check_same(&[("minimum_redundancy", "2")], &THREE_BACKUPS, nothing, &["delete", "main", "oldest"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["delete", "main", "20250101T000000"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["delete", "all", "oldest"]);
    check_same(&[], &THREE_BACKUPS, nothing, &["delete", "other", "oldest"]);
}

#[test]
fn incremental_backups_go_with_their_root() {
    check_same(&[], &CHAIN, nothing, &["delete", "main", ONE]);
    check_same(&[], &CHAIN, nothing, &["delete", "main", TWO]);
    check_same(&[("minimum_redundancy", "2")], &CHAIN, nothing, &["delete", "main", TWO]);
    check_same(&[("minimum_redundancy", "2")], &CHAIN, nothing, &["delete", "main", ONE]);
}

#[test]
fn json_is_barmans() {
    let [theirs, ours_home] = [home(&[], &THREE_BACKUPS), home(&[], &THREE_BACKUPS)];
    let command = ["-f", "json", "delete", "main", "oldest"];
    let messages = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let messages = value["_INFO"].as_array().expect("messages").clone();
        let text = |message: &serde_json::Value| message.as_str().expect("text").to_owned();
        messages
            .iter()
            .map(|message| text(message).split(" (start").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let expected = messages(&Barman::reference().succeed(&theirs, &command));
    assert_eq!(messages(&ours().succeed(&ours_home, &command)), expected);
}

#[test]
fn cron_enforces_the_policy_as_barman_does() {
    for (policy, minimum, backups) in [
        ("REDUNDANCY 1", "0", &THREE_BACKUPS[..]),
        ("REDUNDANCY 1", "2", &THREE_BACKUPS),
        ("REDUNDANCY 1", "0", &CHAIN),
        ("REDUNDANCY 2", "0", &CHAIN),
    ] {
        check_same(&[("retention_policy", policy), ("minimum_redundancy", minimum)], backups, nothing, &["cron"]);
    }
}

/// A lease of ours is respected by Barman, whichever way it deletes; when its holder is gone, so is the lease.
#[test]
fn a_backup_in_use_is_not_deleted_by_us_and_not_by_barman() {
    for barman in [Barman::reference(), ours()] {
        let home = home(&[("retention_policy", "REDUNDANCY 1")], &THREE_BACKUPS);
        let lock = home.path().join(format!(".main-{ONE}.lock"));
        // As a restore of ours holds it; killed with all its children when dropped.
        let mut holder = std::process::Command::new("flock");
        let mut holder =
            holder.args(["--shared", "--no-fork"]).arg(&lock).args(["sleep", "600"]).spawn().expect("flock");
        while std::process::Command::new("flock")
            .args(["--nonblock"])
            .arg(&lock)
            .arg("true")
            .status()
            .expect("flock")
            .success()
        {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let deleted = barman.run(&home, &["delete", "main", ONE]);
        assert_eq!(deleted.code, Some(1), "{deleted:?}");
        assert!(
            deleted.stderr.contains(&format!("Another process is holding the lock for backup {ONE}")),
            "{deleted:?}"
        );
        let cron = barman.run(&home, &["cron"]);
        assert!(cron.stderr.contains(&format!("Another action is in progress for the backup {ONE}")), "{cron:?}");
        let left = files(&home);
        assert!(left.contains(&format!("main/meta/{ONE}-backup.info")), "{left:?}");
        assert!(!left.contains(&format!("main/meta/{TWO}-backup.info")), "{left:?}");
        assert!(left.contains(&format!("main/wals/0000000100000000/{}", segment(2))), "its WAL too: {left:?}");
        holder.kill().expect("kill");
        holder.wait().expect("wait");
        barman.run(&home, &["cron"]);
        assert!(!files(&home).contains(&format!("main/meta/{ONE}-backup.info")));
    }
}

#[test]
fn a_dry_run_says_what_would_go_and_removes_nothing() {
    let home = home(&[], &THREE_BACKUPS);
    let before = files(&home);
    let said = ours().succeed(&home, &["delete", "--dry-run", "main", "oldest"]);
    assert_eq!(
        said,
        format!(
            "Would delete backup {ONE} for server main (3 B)\nWould delete associated WAL segments (9 B):\n\t{}\n\t{}\n\t{}\n",
            segment(1),
            segment(2),
            segment(3)
        )
    );
    assert_eq!(files(&home), before);
    let json = ours().succeed(&home, &["-f", "json", "delete", "main", "oldest", "--dry-run"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["main"]["would_delete"][0]["wal"], serde_json::json!([segment(1), segment(2), segment(3)]));
    assert_eq!(files(&home), before);
}

#[test]
fn a_policy_can_be_tried_before_it_is_configured() {
    let home = home(&[], &THREE_BACKUPS);
    let before = files(&home);
    let said =
        ours().succeed(&home, &["retention", "main", "--policy", "redundancy 2", "--at", "2026-01-04 12:00:00+00:00"]);
    for part in [
        "Server main: REDUNDANCY 2 (at ",
        &format!("  {ONE} OBSOLETE        2 newer backups are kept\n"),
        &format!("  {THREE} VALID           number 1 of the newest 2\n"),
        &format!("  {} .. {} (3 files, 9 B) goes with backup {ONE}\n", segment(1), segment(3)),
        &format!(
            "  {} .. {} (2 files, 6 B) stays: backup {TWO} cannot be restored without it\n",
            segment(4),
            segment(5)
        ),
        "Frees 12 B, keeps 24 B\n",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    assert_eq!(files(&home), before);
    let json = ours().succeed(&home, &["-f", "json", "retention", "main", "--policy", "REDUNDANCY 2"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let main = &json["main"];
    assert_eq!(
        main["backups"][2]["reason"],
        serde_json::json!({ "rule": "beyond_redundancy", "position": 3, "redundancy": 2 })
    );
    assert_eq!((&main["wal"][0]["deleted"], &main["freed_bytes"]), (&true.into(), &12.into()));
    let none = ours().run(&home, &["retention", "main"]);
    assert!(none.code == Some(1) && none.stderr.contains("no valid retention policy"), "{none:?}");
    let wrong = ours().run(&home, &["retention", "main", "--policy", "KEEP 7 HOURLY IN UTC"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("wrong from character 8"), "{wrong:?}");
}

#[test]
fn rules_of_the_option_file_go_before_the_configured_policy() {
    let home = home(&[("retention_policy", "REDUNDANCY 1")], &THREE_BACKUPS);
    let file = home.config_file().with_extension("retention");
    write(&file, "[main]\nretention = KEEP 7 DAILY IN Europe/Rome WAL FOR 1 DAYS\n");
    let list = ours().succeed(&home, &["list-backups", "main"]);
    assert!(!list.contains("OBSOLETE"), "{list}");
    let said = ours().succeed(&home, &["retention", "main"]);
    assert!(said.contains("KEEP 7 DAILY IN Europe/Rome WAL FOR 1 DAYS"), "{said}");
    assert!(said.contains("without the WAL behind it"), "{said}");
    // Barman does not look at the file.
    assert!(Barman::reference().succeed(&home, &["list-backups", "main"]).contains("OBSOLETE"));
}

#[test]
fn a_redundancy_of_0_is_refused() {
    let home = home(&[("retention_policy", "REDUNDANCY 0")], &THREE_BACKUPS);
    let cron = ours().run(&home, &["cron"]);
    assert!(cron.code == Some(1) && cron.stderr.contains("a redundancy of 0 keeps no backup at all"), "{cron:?}");
    assert!(files(&home).contains(&format!("main/meta/{ONE}-backup.info")));
}

/// barman#712: a server that only receives WAL fills the disk, since no backup takes any with it.
#[test]
fn a_server_without_backups_keeps_the_wal_of_its_window() {
    let home = with_rules("REDUNDANCY 1 WAL FOR 3 DAYS", &[]);
    let said = ours().succeed(&home, &["retention", "main"]);
    let goes = format!("  {} .. {} (6 files, 24 B) goes: older than", segment(1), segment(6));
    assert!(said.contains(&goes), "{said}");
    let before = files(&home);
    assert!(before.contains(&format!("main/wals/0000000100000000/{}", segment(1))), "a plan removes nothing");
    let said = ours().succeed(&home, &["cron"]);
    assert!(said.contains("delete WAL segments that are too old:\n\t") && said.contains(&segment(6)), "{said}");
    let left: Vec<_> = files(&home).into_iter().filter(|file| file.contains("/wals/0")).collect();
    let expected: Vec<_> = (7..=9).map(|number| format!("main/wals/0000000100000000/{}", segment(number))).collect();
    assert_eq!(left, expected);
    // Barman reads the index that is left, and keeps it.
    let barman = Barman::reference();
    barman.succeed(&home, &["cron"]);
    let index = std::fs::read_to_string(home.path().join("main/wals/main-xlog.db")).expect("the index");
    assert_eq!(index.lines().count(), 3);
    assert_eq!(ours().succeed(&home, &["retention", "main"]).matches("goes").count(), 0);
}

#[test]
fn a_forecast_says_what_a_policy_holds_and_when_the_disk_is_full() {
    let home = with_rules("REDUNDANCY 3", &THREE_BACKUPS);
    let forecast = |policy: &str| {
        let at = ["--at", "2026-01-03 12:00:00+00:00"];
        let command = [&["-f", "json", "retention", "main", "--forecast", "--policy", policy], &at[..]].concat();
        let json: serde_json::Value = serde_json::from_str(&ours().succeed(&home, &command)).expect("JSON");
        json["main"]["forecast"].clone()
    };
    let steady = |policy: &str| forecast(policy)["steady_bytes"].as_u64();
    let (two, three) = (steady("REDUNDANCY 2"), steady("REDUNDANCY 3"));
    assert!(two.is_some() && two < three, "{two:?} {three:?}: {}", forecast("REDUNDANCY 2"));
    assert_eq!(steady("KEEP 10000 DAILY IN UTC"), None, "it grows beyond what is looked at");
    assert_eq!(forecast("REDUNDANCY 2")["full_at"], serde_json::Value::Null);
    let text = ours().succeed(&home, &["retention", "main", "--forecast"]);
    assert!(text.to_lowercase().contains("forecast"), "{text}");
}
