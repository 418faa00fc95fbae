//! Asking running work to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A request to stop that long work looks at once per buffer. Clones share the request; it cannot be taken back.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Returns a request that nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work that holds a clone of this to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the work was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns an error once the work was asked to stop, to be passed on with `?`.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Waits so long.
    ///
    /// # Errors
    /// [`Cancelled`], soon after that was asked for.
    pub fn sleep(&self, time: Duration) -> Result<(), Cancelled> {
        /// How soon a request is heard.
        const LONGEST_NAP: Duration = Duration::from_millis(100);
        let start = Instant::now();
        loop {
            self.check()?;
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LONGEST_NAP));
        }
    }
}

/// The work stopped because it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clone_sees_the_request() {
        let cancel = Cancel::new();
        let seen_by_work = cancel.clone();
        assert_eq!(seen_by_work.check(), Ok(()));
        cancel.cancel();
        assert_eq!(seen_by_work.check(), Err(Cancelled));
    }
}
