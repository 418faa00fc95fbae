//! A bar on a terminal for work that takes its time: bytes, rate, time left. Where output is piped there is none.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar, or nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Starts a bar for `total` bytes that stands behind the name of the work.
    pub(crate) fn start(output: &Output, name: &'static str, total: u64) -> Self {
        const TEMPLATE: &str =
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
        /// Often enough to look alive, seldom enough not to cost anything.
        const REDRAWS_PER_SECOND: u8 = 10;
        let target = if output.draws_progress() {
            ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_message(name);
        // The template is a constant that indicatif accepts; with a wrong one the plain bar would do.
        Self(bar.with_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// Shows how far the work has come. An estimate that proves too low moves with it.
    pub(crate) fn set(&self, done: u64) {
        if self.0.length().is_some_and(|total| done > total) {
            self.0.set_length(done);
        }
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    /// Leaves a clean line behind, also when the work failed.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
