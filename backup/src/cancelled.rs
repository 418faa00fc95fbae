//! Waiting for a request to stop.

use std::time::Duration;

use barman_storage::Cancel;

/// How often a request to stop is looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// Returns once the work was asked to stop.
pub(crate) async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(INTERVAL).await;
    }
}
