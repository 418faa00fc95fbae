//! How long a restore will take, as far as earlier ones were measured.

use std::time::Duration;

use barman_catalog::{Catalog, Error, MeasuredRate};

use super::RestorePlan;

/// The time that a restore takes; without a measurement there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectedTime {
    /// For copying the base backup.
    pub data: Option<Duration>,
    /// For copying WAL.
    pub wal: Option<Duration>,
    /// For replaying it.
    pub replay: Option<Duration>,
    /// How many restores the least known of these comes from.
    pub restores: usize,
}

impl ExpectedTime {
    pub(super) fn of(catalog: &Catalog, plan: &RestorePlan) -> Result<Self, Error> {
        let rates = catalog.restore_rates()?;
        let works =
            [(rates.data, plan.data_bytes()), (rates.wal, plan.wal_bytes()), (rates.replay, plan.recovery.wal.bytes)];
        let [data, wal, replay] = works.map(|(rate, bytes)| time_of(rate, bytes));
        let measured = works.iter().filter(|(rate, bytes)| time_of(*rate, *bytes).is_some());
        Ok(Self { data, wal, replay, restores: measured.map(|(rate, _)| rate.restores).min().unwrap_or(0) })
    }

    /// Returns the sum of what is known; `None` if that is nothing.
    #[must_use]
    pub fn total(&self) -> Option<Duration> {
        let known = [self.data, self.wal, self.replay].into_iter().flatten();
        known.reduce(Duration::saturating_add)
    }
}

/// What takes no time is not spoken of.
fn time_of(rate: MeasuredRate, bytes: u64) -> Option<Duration> {
    rate.time_of(bytes).filter(|_| bytes > 0)
}
