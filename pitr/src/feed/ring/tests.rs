use std::time::Duration;

use barman_catalog::Partial;

use super::*;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

fn segment(timeline: u32, number: u64) -> SegmentName {
    SegmentNumber::new(number).name(TimelineId::new(timeline).unwrap(), SIZE)
}

fn question(timeline: u32, number: u64) -> Question {
    Question { name: WalFileName::Segment(segment(timeline, number)), partial: Partial::Include }
}

fn ahead(timeline: u32, number: u64) -> Job {
    Job::Ahead(SegmentNumber::new(number), vec![segment(timeline, number)])
}

fn ring() -> Ring<&'static str> {
    let mut ring = Ring::new(SIZE);
    ring.set_room(4 * SIZE.bytes());
    ring
}

/// A ring of which the server has asked for segment 7 of timeline 1, and that has segment 8 fetched now.
fn ring_at_7() -> Ring<&'static str> {
    let mut ring = ring();
    ring.ask(question(1, 7));
    assert_eq!(ring.next_job(), Some(Job::Asked(question(1, 7))));
    ring.answer(Had::File("asked for"));
    assert_eq!(ring.next_job(), Some(ahead(1, 8)));
    assert_eq!(ring.take_answer(), Some(Had::File("asked for")));
    ring
}

/// Does what there is to do; everything that is asked for is there under the last of its names.
fn fetch_all(ring: &mut Ring<&'static str>) -> Vec<Job> {
    let mut done = Vec::new();
    while let Some(job) = ring.next_job() {
        match &job {
            Job::Asked(_) => ring.answer(Had::File("asked for")),
            Job::Ahead(number, names) => ring.hold(*number, Some((*names.last().unwrap(), "ahead"))),
        }
        done.push(job);
    }
    done
}

#[test]
fn what_is_asked_for_comes_first_and_then_what_follows() {
    let mut ring = ring();
    assert_eq!(ring.next_job(), None);
    ring.ask(question(1, 7));
    assert_eq!(fetch_all(&mut ring), [Job::Asked(question(1, 7)), ahead(1, 8), ahead(1, 9)]);
    assert_eq!(ring.take_answer(), Some(Had::File("asked for")));
    ring.ask(question(1, 8));
    assert_eq!(ring.take_answer(), Some(Had::File("ahead")));
    assert_eq!(fetch_all(&mut ring), [ahead(1, 10)]);
}

#[test]
fn what_is_being_fetched_is_waited_for() {
    let mut ring = ring_at_7();
    ring.ask(question(1, 8));
    assert_eq!(ring.take_answer(), None);
    ring.hold(SegmentNumber::new(8), Some((segment(1, 8), "ahead")));
    assert_eq!(ring.take_answer(), Some(Had::File("ahead")));
}

#[test]
fn what_could_not_be_had_ahead_is_asked_for_again() {
    let mut ring = ring_at_7();
    ring.ask(question(1, 8));
    ring.hold(SegmentNumber::new(8), None);
    // The question is answered by the archive as it is now, not as it was; and nothing is tried ahead meanwhile.
    assert_eq!(ring.next_job(), Some(Job::Asked(question(1, 8))));
    assert_eq!(ring.next_job(), None);
    ring.answer(Had::Missing);
    assert_eq!(ring.take_answer(), Some(Had::Missing));
    assert_eq!(ring.next_job(), None);
    ring.ask(question(1, 8));
    assert_eq!(ring.next_job(), Some(Job::Asked(question(1, 8))));
    assert_eq!(ring.next_job(), Some(ahead(1, 9)));
}

#[test]
fn a_segment_is_never_handed_over_under_another_name() {
    let mut ring = ring();
    ring.ask(question(1, 7));
    fetch_all(&mut ring);
    ring.take_answer();
    // The server turns to timeline 2 in segment 8, of which it had not asked for the history.
    ring.ask(question(2, 8));
    assert_eq!(ring.take_answer(), None);
    assert_eq!(ring.next_job(), Some(Job::Asked(question(2, 8))));
    ring.answer(Had::File("on timeline 2"));
    assert_eq!(ring.take_answer(), Some(Had::File("on timeline 2")));
    // What was held of timeline 1 is gone.
    assert_eq!(fetch_all(&mut ring), [ahead(2, 9), ahead(2, 10)]);
}

#[test]
fn around_a_switchpoint_the_newer_timeline_is_looked_for_first_and_the_older_one_is_fetched_anew() {
    let mut ring = ring();
    ring.learn(TimelineHistory::parse(TimelineId::new(2).unwrap(), b"1\t0/8500000\tx\n").unwrap());
    ring.ask(question(1, 7));
    assert_eq!(ring.next_job(), Some(Job::Asked(question(1, 7))));
    ring.answer(Had::File("asked for"));
    ring.take_answer();
    let both = Job::Ahead(SegmentNumber::new(8), vec![segment(2, 8), segment(1, 8)]);
    assert_eq!(ring.next_job(), Some(both));
    ring.hold(SegmentNumber::new(8), Some((segment(1, 8), "ahead")));
    ring.ask(question(2, 8));
    assert_eq!(ring.next_job(), Some(Job::Asked(question(2, 8))));
    ring.answer(Had::Missing);
    assert_eq!(ring.take_answer(), Some(Had::Missing));
    ring.ask(question(1, 8));
    // What was held for timeline 1 was let go when the server seemed to have turned to timeline 2.
    assert_eq!(ring.take_answer(), None);
}

#[test]
fn going_back_keeps_what_will_be_asked_for_and_lets_the_rest_go() {
    let mut ring = ring();
    ring.ask(question(1, 20));
    fetch_all(&mut ring);
    ring.take_answer();
    // From the checkpoint's segment back to the one where redo begins.
    ring.ask(question(1, 19));
    assert_eq!(fetch_all(&mut ring), [Job::Asked(question(1, 19)), ahead(1, 20)]);
    ring.take_answer();
    ring.ask(question(1, 5));
    assert_eq!(fetch_all(&mut ring), [Job::Asked(question(1, 5)), ahead(1, 6), ahead(1, 7)]);
}

#[test]
fn the_room_bounds_what_is_held_and_slow_fetching_widens_it() {
    let mut ring = ring();
    ring.pace.used(Duration::from_millis(1));
    ring.pace.fetched(Duration::from_secs(1));
    ring.ask(question(1, 7));
    assert_eq!(fetch_all(&mut ring).len(), 1 + 4);
    let mut narrow = Ring::<&str>::new(SIZE);
    narrow.set_room(0);
    narrow.ask(question(1, 7));
    assert_eq!(fetch_all(&mut narrow).len(), 1 + 2);
}
