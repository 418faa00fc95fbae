//! A limit for how many bytes pass per second.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{Cancel, Cancelled};

/// After a pause, at most what passes in this time goes at once.
const LONGEST_BURST: Duration = Duration::from_millis(250);

/// Lets so many bytes pass per second, whoever they belong to: threads share it.
///
/// It is a token bucket, kept as the moment at which it will be full again, less what a burst may take.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: NonZeroU64,
    /// When the bytes that have passed so far are paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// A limit of so many bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid: Mutex::new(None) }
    }

    /// Waits until these bytes may pass.
    ///
    /// # Errors
    /// The caller asked to stop.
    pub fn pass(&self, bytes: u64, cancel: &Cancel) -> Result<(), Cancelled> {
        let now = Instant::now();
        cancel.sleep(self.reserve(now, bytes).saturating_duration_since(now))
    }

    /// Books these bytes, and returns when they may pass.
    fn reserve(&self, now: Instant, bytes: u64) -> Instant {
        let price = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        // Only a panic while holding it could poison it, and there is nothing in here that panics.
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(LONGEST_BURST).unwrap_or(now);
        let due = paid.map_or(earliest, |paid| paid.max(earliest)).checked_add(price).unwrap_or(now);
        *paid = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_pass_at_the_rate_after_a_short_burst() {
        let throttle = Throttle::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        assert!(throttle.reserve(start, 250) <= start, "a burst");
        assert_eq!(throttle.reserve(start, 1000), after(1000));
        assert_eq!(throttle.reserve(after(500), 500), after(1500), "whoever asks waits for what was booked before");
        assert_eq!(throttle.reserve(after(9000), 250), after(9000), "a pause saves up no more than a burst");
        assert_eq!(throttle.reserve(after(9000), 100), after(9100));
    }

    #[test]
    fn threads_share_the_limit() {
        let throttle = Throttle::new(NonZeroU64::new(1_000_000).unwrap());
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| throttle.pass(20_000, &Cancel::new()).unwrap()));
            }
        });
        // 800,000 bytes less a burst of 250,000. No upper bound: the machine may be busy.
        assert!(start.elapsed() >= Duration::from_millis(540), "{:?}", start.elapsed());
    }

    #[test]
    fn a_long_wait_can_be_stopped() {
        let throttle = Throttle::new(NonZeroU64::MIN);
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| throttle.pass(1_000_000, &cancel));
            cancel.cancel();
            assert!(waiting.join().unwrap().is_err());
        });
    }
}
