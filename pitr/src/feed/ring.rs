//! What is held for the server, what it waits for, and what to fetch next. It holds files of any kind and does nothing.

use std::collections::BTreeMap;

use wal_format::{SegmentName, SegmentNumber, SegmentSize, TimelineHistory, TimelineId, WalFileName};

use super::pace::Pace;
use super::question::Question;
use super::route::Route;

/// Segments ahead of a server in recovery, and the one question that it may have asked.
#[derive(Debug)]
pub(super) struct Ring<F> {
    size: SegmentSize,
    /// How many segments there is room for.
    room: usize,
    route: Route,
    pub(super) pace: Pace,
    /// The segment asked for last.
    position: Option<(TimelineId, SegmentNumber)>,
    held: BTreeMap<SegmentNumber, Held<F>>,
    asked: Option<Asked<F>>,
    /// Whether the last segment that was to be fetched ahead could not be had. The next question may change that.
    resting: bool,
}

#[derive(Debug)]
enum Held<F> {
    Fetching,
    Ready(SegmentName, F),
}

#[derive(Debug)]
enum Asked<F> {
    /// Nobody fetches it yet.
    Waiting(Question),
    /// It may be the one that is being fetched ahead.
    Coming(Question, SegmentNumber),
    Fetching,
    Answered(Had<F>),
}

/// What came of fetching.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Had<F> {
    File(F),
    Missing,
    Failed(String),
}

/// Something to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// What the server waits for.
    Asked(Question),
    /// What it will ask for: the first of these names that exists.
    Ahead(SegmentNumber, Vec<SegmentName>),
}

impl<F> Ring<F> {
    pub(super) fn new(size: SegmentSize) -> Self {
        Self {
            size,
            room: 0,
            route: Route::default(),
            pace: Pace::default(),
            position: None,
            held: BTreeMap::new(),
            asked: None,
            resting: false,
        }
    }

    /// Sets how many bytes of segments may be held.
    pub(super) fn set_room(&mut self, bytes: u64) {
        self.room = usize::try_from(bytes / self.size.bytes()).unwrap_or(usize::MAX);
    }

    /// Takes note of a history file that the server is given.
    pub(super) fn learn(&mut self, history: TimelineHistory) {
        self.route.learn(history);
    }

    /// The server asks. What it will not ask for any more is let go.
    pub(super) fn ask(&mut self, question: Question) {
        self.resting = false;
        self.asked = Some(Asked::Waiting(question));
        let WalFileName::Segment(name) = question.name else { return };
        let Ok(number) = name.number(self.size) else { return };
        self.position = Some((name.timeline, number));
        self.asked = Some(match self.held.remove(&number) {
            Some(Held::Ready(held, file)) if held == name => Asked::Answered(Had::File(file)),
            Some(held) => {
                let is_coming = matches!(held, Held::Fetching);
                self.held.insert(number, held);
                if is_coming { Asked::Coming(question, number) } else { Asked::Waiting(question) }
            }
            None => Asked::Waiting(question),
        });
        self.let_go(name.timeline, number);
    }

    /// Lets go of what lies behind the server, too far ahead of it, or on a timeline that it will not read.
    fn let_go(&mut self, current: TimelineId, number: SegmentNumber) {
        let last = number.get().saturating_add(self.pace.depth(self.room) as u64);
        let (route, size) = (&self.route, self.size);
        self.held.retain(|&held, what| match what {
            Held::Fetching => true,
            Held::Ready(name, _) => {
                held >= number && held.get() <= last && route.names(current, held, size).contains(name)
            }
        });
    }

    /// Takes the answer to the question, once there is one.
    pub(super) fn take_answer(&mut self) -> Option<Had<F>> {
        match self.asked.take() {
            Some(Asked::Answered(had)) => Some(had),
            pending => {
                self.asked = pending;
                None
            }
        }
    }

    /// Returns what to fetch next, and counts it as being fetched.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if let Some(Asked::Waiting(question)) = self.asked {
            self.asked = Some(Asked::Fetching);
            return Some(Job::Asked(question));
        }
        let (current, number) = self.position.filter(|_| !self.resting)?;
        let fetching = self.held.values().filter(|held| matches!(held, Held::Fetching)).count();
        if fetching >= self.pace.lanes() {
            return None;
        }
        let ahead = std::iter::successors(Some(number.next()), |number| Some(number.next()));
        let next = ahead.take(self.pace.depth(self.room)).find(|number| !self.held.contains_key(number))?;
        self.held.insert(next, Held::Fetching);
        Some(Job::Ahead(next, self.route.names(current, next, self.size)))
    }

    /// What the server waits for has been fetched, or not.
    pub(super) fn answer(&mut self, had: Had<F>) {
        if matches!(self.asked, Some(Asked::Fetching)) {
            self.asked = Some(Asked::Answered(had));
        }
    }

    /// A segment ahead has been fetched, or not.
    pub(super) fn hold(&mut self, number: SegmentNumber, had: Option<(SegmentName, F)>) {
        self.held.remove(&number);
        self.resting |= had.is_none();
        let awaited = match self.asked {
            Some(Asked::Coming(question, coming)) if coming == number => Some(question),
            _ => None,
        };
        match (awaited, had) {
            (Some(question), Some((name, file))) if question.name == WalFileName::Segment(name) => {
                self.asked = Some(Asked::Answered(Had::File(file)));
            }
            (awaited, had) => {
                self.held.extend(had.map(|(name, file)| (number, Held::Ready(name, file))));
                // It may have arrived since, or do although it is unfinished.
                if let Some(question) = awaited {
                    self.asked = Some(Asked::Waiting(question));
                }
            }
        }
        if let Some((current, number)) = self.position {
            self.let_go(current, number);
        }
    }
}

#[cfg(test)]
mod tests;
