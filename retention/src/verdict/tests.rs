//! One table per rule, both sides of each edge, and what must hold for every policy.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::policy::{Unit, Window};

const NOW_DAY: i64 = 100;

/// The moment `minutes` after the beginning of a day.
fn day(day: i64, minutes: i64) -> Timestamp {
    Timestamp::from_pg_micros((day * 24 * 60 + minutes) * 60_000_000)
}

/// A complete backup called after the day on which it ended.
fn done(id: i64) -> Candidate<i64> {
    Candidate { id, state: State::Done { end_time: day(id, 0) }, keep: None, root: None }
}

fn kept(id: i64, keep: Keep) -> Candidate<i64> {
    Candidate { keep: Some(keep), ..done(id) }
}

fn unfinished(id: i64) -> Candidate<i64> {
    Candidate { state: State::Other, ..done(id) }
}

fn incremental(id: i64, root: i64) -> Candidate<i64> {
    Candidate { root: Some(root), ..done(id) }
}

/// `id:status` of every backup, newest first.
#[track_caller]
fn check(policy: &str, minimum_redundancy: u32, candidates: &[Candidate<i64>], expected: &str) {
    let verdicts = verdicts(&policy.parse().unwrap(), candidates, minimum_redundancy, day(NOW_DAY, 0));
    let shown: Vec<_> = verdicts.iter().map(|verdict| format!("{}:{}", verdict.id, verdict.status)).collect();
    assert_eq!(shown.join(" "), expected);
}

#[test]
fn redundancy_keeps_the_newest() {
    let backups = [done(1), done(2), done(3)];
    check("REDUNDANCY 4", 0, &backups, "3:VALID 2:VALID 1:VALID");
    check("REDUNDANCY 3", 0, &backups, "3:VALID 2:VALID 1:VALID");
    check("REDUNDANCY 2", 0, &backups, "3:VALID 2:VALID 1:OBSOLETE");
    check("REDUNDANCY 1", 0, &backups, "3:VALID 2:OBSOLETE 1:OBSOLETE");
    check("REDUNDANCY 0", 0, &backups, "3:OBSOLETE 2:OBSOLETE 1:OBSOLETE");
}

#[test]
fn minimum_redundancy_raises_redundancy() {
    let backups = [done(1), done(2), done(3)];
    check("REDUNDANCY 1", 1, &backups, "3:VALID 2:OBSOLETE 1:OBSOLETE");
    check("REDUNDANCY 1", 2, &backups, "3:VALID 2:VALID 1:OBSOLETE");
    check("REDUNDANCY 0", 1, &backups, "3:VALID 2:OBSOLETE 1:OBSOLETE");
}

#[test]
fn only_complete_backups_count() {
    check("REDUNDANCY 1", 0, &[done(1), done(2), unfinished(3)], "3:- 2:VALID 1:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 0, &[done(1), done(2), unfinished(3)], "3:- 2:VALID 1:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 2, &[done(1), unfinished(2), done(3)], "3:VALID 2:- 1:OBSOLETE*");
}

#[test]
fn kept_backups_take_a_place() {
    let backups = [done(1), kept(2, Keep::FULL), kept(3, Keep::STANDALONE)];
    check("REDUNDANCY 2", 0, &backups, "3:KEEP:STANDALONE 2:KEEP:FULL 1:OBSOLETE");
    check("REDUNDANCY 3", 0, &backups, "3:KEEP:STANDALONE 2:KEEP:FULL 1:VALID");
    check("REDUNDANCY 0", 0, &backups, "3:KEEP:STANDALONE 2:KEEP:FULL 1:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 3, &backups, "3:KEEP:STANDALONE 2:KEEP:FULL 1:OBSOLETE*");
    check("RECOVERY WINDOW OF 1 DAYS", 2, &backups, "3:KEEP:STANDALONE 2:KEEP:FULL 1:OBSOLETE");
}

#[test]
fn a_window_keeps_one_backup_that_ended_before_it() {
    let backups = [done(80), done(89), done(91), done(99)];
    check("RECOVERY WINDOW OF 10 DAYS", 0, &backups, "99:VALID 91:VALID 89:VALID 80:OBSOLETE");
    check("RECOVERY WINDOW OF 12 DAYS", 0, &backups, "99:VALID 91:VALID 89:VALID 80:VALID");
    check("RECOVERY WINDOW OF 0 DAYS", 0, &backups, "99:VALID 91:OBSOLETE 89:OBSOLETE 80:OBSOLETE");
}

#[test]
fn a_backup_that_ends_as_the_window_begins_does_not_reach_it() {
    let ending = |minutes: i64| Candidate { state: State::Done { end_time: day(90, minutes) }, ..done(90) };
    check("RECOVERY WINDOW OF 10 DAYS", 0, &[done(80), ending(1)], "90:VALID 80:VALID");
    check("RECOVERY WINDOW OF 10 DAYS", 0, &[done(80), ending(0)], "90:VALID 80:VALID");
    check("RECOVERY WINDOW OF 10 DAYS", 0, &[done(80), ending(-1)], "90:VALID 80:OBSOLETE");
}

#[test]
fn backups_are_walked_by_id_even_if_a_later_one_ended_earlier() {
    let late = Candidate { state: State::Done { end_time: day(99, 0) }, ..done(80) };
    let early = Candidate { state: State::Done { end_time: day(50, 0) }, ..done(95) };
    check("RECOVERY WINDOW OF 10 DAYS", 0, &[late, early], "95:VALID 80:OBSOLETE");
}

#[test]
fn minimum_redundancy_holds_back_what_the_window_does_not_need() {
    let backups = [done(10), done(20), done(30), done(40)];
    check("RECOVERY WINDOW OF 1 DAYS", 1, &backups, "40:VALID 30:OBSOLETE 20:OBSOLETE 10:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 2, &backups, "40:VALID 30:OBSOLETE* 20:OBSOLETE 10:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 3, &backups, "40:VALID 30:OBSOLETE* 20:OBSOLETE* 10:OBSOLETE");
}

#[test]
fn incremental_backups_follow_their_root() {
    let chains = [done(10), incremental(11, 10), done(20), incremental(21, 20), incremental(22, 20)];
    check("REDUNDANCY 1", 0, &chains, "22:VALID 21:VALID 20:VALID 11:OBSOLETE 10:OBSOLETE");
    check("RECOVERY WINDOW OF 1 DAYS", 2, &chains, "22:VALID 21:VALID 20:VALID 11:OBSOLETE* 10:OBSOLETE*");
    check("REDUNDANCY 1", 0, &[unfinished(10), incremental(11, 10)], "11:- 10:-");
}

#[test]
fn incremental_backups_do_not_count() {
    check("REDUNDANCY 2", 0, &[done(10), done(20), incremental(30, 20)], "30:VALID 20:VALID 10:VALID");
    check("RECOVERY WINDOW OF 1 DAYS", 2, &[done(10), done(20), incremental(30, 20)], "30:VALID 20:VALID 10:OBSOLETE*");
}

#[test]
fn incremental_backups_of_a_kept_root_are_not_kept_with_it_for_ever() {
    let full = [kept(10, Keep::FULL), incremental(11, 10), done(20)];
    check("REDUNDANCY 1", 0, &full, "20:VALID 11:VALID 10:KEEP:FULL");
    let standalone = [kept(10, Keep::STANDALONE), incremental(11, 10), done(20)];
    check("REDUNDANCY 2", 0, &standalone, "20:VALID 11:VALID 10:KEEP:STANDALONE");
    check("REDUNDANCY 1", 0, &standalone, "20:VALID 11:OBSOLETE 10:KEEP:STANDALONE");
    // Day 18 is reached from the full backup of day 10 alone, day 21 from a newer one.
    check("RECOVERY WINDOW OF 82 DAYS", 0, &standalone, "20:VALID 11:VALID 10:KEEP:STANDALONE");
    check("RECOVERY WINDOW OF 79 DAYS", 0, &standalone, "20:VALID 11:OBSOLETE 10:KEEP:STANDALONE");
    check("RECOVERY WINDOW OF 90 DAYS", 0, &standalone, "20:VALID 11:VALID 10:KEEP:STANDALONE");
}

#[test]
fn an_incremental_backup_without_its_root_is_left_alone() {
    check("REDUNDANCY 0", 0, &[incremental(11, 10)], "11:-");
}

#[test]
fn every_verdict_names_its_rule() {
    let reasons = |policy: &str, minimum: u32, candidates: &[Candidate<i64>]| -> Vec<_> {
        let verdicts = verdicts(&policy.parse().unwrap(), candidates, minimum, day(NOW_DAY, 0));
        verdicts.into_iter().map(|verdict| verdict.reason).collect()
    };
    let redundancy = 2;
    assert_eq!(
        reasons("REDUNDANCY 1", 2, &[done(1), kept(2, Keep::FULL), done(3), unfinished(4)]),
        [
            Reason::NotDone,
            Reason::AmongNewest { position: 1, redundancy },
            Reason::Kept(Keep::FULL),
            Reason::BeyondRedundancy { position: 3, redundancy },
        ]
    );
    let window_start = day(90, 0);
    let backups = [done(1), done(2), incremental(3, 2), done(89), done(95), incremental(96, 94)];
    assert_eq!(
        reasons("RECOVERY WINDOW OF 10 DAYS", 3, &backups),
        [
            Reason::Orphan { root: 94 },
            Reason::InsideWindow { window_start },
            Reason::ReachesWindow { window_start },
            Reason::FollowsRoot { root: 2, status: Status::PotentiallyObsolete },
            Reason::HeldByMinimumRedundancy { position: 3, minimum_redundancy: 3 },
            Reason::BeforeWindow { window_start },
        ]
    );
}

/// Backups with ids from 0, each incremental one on top of an earlier full one.
fn any_candidates() -> impl Strategy<Value = Vec<Candidate<i64>>> {
    let keep = prop_oneof![3 => Just(None), 1 => Just(Some(Keep::FULL)), 1 => Just(Some(Keep::STANDALONE))];
    let candidate = (proptest::option::weighted(0.8, 0..NOW_DAY), keep, proptest::option::weighted(0.3, 0..12i64));
    vec(candidate, 0..12).prop_map(|drawn| {
        let full = |root: &i64| drawn.get(usize::try_from(*root).unwrap()).is_some_and(|(_, _, root)| root.is_none());
        let candidates = (0..).zip(&drawn).map(|(id, (end, keep, root))| Candidate {
            id,
            state: end.map_or(State::Other, |end| State::Done { end_time: day(end, 0) }),
            keep: *keep,
            root: root.filter(|root| *root < id && full(root)),
        });
        candidates.collect()
    })
}

/// A policy, and one that asks for at least as much.
fn growing_policies() -> impl Strategy<Value = (Policy, Policy)> {
    let window = |count| Policy::RecoveryWindow(Window { count, unit: Unit::Day });
    prop_oneof![
        (0..6u32, 0..4u32).prop_map(|(n, more)| (Policy::Redundancy(n), Policy::Redundancy(n + more))),
        (0..90u32, 0..30u32).prop_map(move |(n, more)| (window(n), window(n + more))),
    ]
}

fn judged(policy: &Policy, minimum: u32, candidates: &[Candidate<i64>]) -> Vec<Verdict<i64>> {
    verdicts(policy, candidates, minimum, day(NOW_DAY, 0))
}

proptest! {
    #[test]
    fn asking_for_more_never_keeps_less(
        (less, more) in growing_policies(),
        minimum in 0..5u32,
        raise in 0..3u32,
        candidates in any_candidates(),
    ) {
        let before = judged(&less, minimum, &candidates);
        let after = judged(&more, minimum + raise, &candidates);
        for (before, after) in before.iter().zip(&after) {
            prop_assert!(
                before.status == Status::Obsolete || after.status != Status::Obsolete,
                "{before:?} became {after:?}"
            );
        }
    }

    #[test]
    fn the_order_of_the_candidates_does_not_matter(
        (policy, _) in growing_policies(),
        minimum in 0..5u32,
        (candidates, shuffled) in any_candidates().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle())),
    ) {
        prop_assert_eq!(judged(&policy, minimum, &candidates), judged(&policy, minimum, &shuffled));
    }

    #[test]
    fn minimum_redundancy_full_backups_survive(
        (policy, _) in growing_policies(),
        minimum in 0..5u32,
        candidates in any_candidates(),
    ) {
        let verdicts = judged(&policy, minimum, &candidates);
        let roots = candidates.iter().filter(|c| c.root.is_none() && c.state != State::Other);
        let total = roots.clone().count();
        let survive = roots.filter(|c| verdicts.iter().any(|v| v.id == c.id && v.status != Status::Obsolete)).count();
        prop_assert!(survive >= total.min(usize::try_from(minimum).unwrap()), "{survive} of {total}");
    }

    #[test]
    fn a_window_is_always_reached_from_a_kept_backup_if_it_can_be(days in 0..90u32, candidates in any_candidates()) {
        let policy = Policy::RecoveryWindow(Window { count: days, unit: Unit::Day });
        let start = day(NOW_DAY - i64::from(days), 0);
        let reaches = |c: &&Candidate<i64>| c.root.is_none() && matches!(c.state, State::Done { end_time } if end_time < start);
        let newest = candidates.iter().filter(reaches).map(|c| c.id).max();
        if let Some(newest) = newest {
            let verdict = judged(&policy, 0, &candidates).into_iter().find(|v| v.id == newest).unwrap();
            prop_assert_ne!(verdict.status, Status::Obsolete);
        }
    }
}
