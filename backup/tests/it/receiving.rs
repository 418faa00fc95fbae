//! A receiver that runs while the test goes on.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use barman_backup::{ReceiveError, Received, ReceiverEvent, ReceiverOptions, receive};
use barman_storage::{Cancel, Dir};
use replication_client::Config;
use test_support::Postgres;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Receiving {
    cancel: Cancel,
    events: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<Result<Received, ReceiveError>>>,
}

impl Receiving {
    /// Starts to receive in the background.
    pub(crate) fn start(server: &Postgres, streaming: &Path, options: ReceiverOptions) -> Self {
        Self::with(crate::config(&server.conninfo()), streaming, options)
    }

    /// Does the same from wherever `conninfo` leads to.
    pub(crate) fn from(conninfo: &str, streaming: &Path, options: ReceiverOptions) -> Self {
        Self::with(crate::config(conninfo), streaming, options)
    }

    /// Starts to receive with a disk on which finishing the first segment takes this long: what is told of it is told by
    /// the thread that receives.
    pub(crate) fn held_up(conninfo: &str, streaming: &Path, options: ReceiverOptions, pause: Duration) -> Self {
        let first = std::sync::Once::new();
        Self::told(crate::config(conninfo), streaming, options, move |event| {
            if matches!(event, ReceiverEvent::SegmentFinished { .. }) {
                first.call_once(|| std::thread::sleep(pause));
            }
        })
    }

    fn with(config: Config, streaming: &Path, options: ReceiverOptions) -> Self {
        Self::told(config, streaming, options, |_| {})
    }

    fn told(
        config: Config,
        streaming: &Path,
        options: ReceiverOptions,
        tell: impl Fn(&ReceiverEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        let dir = Dir::create(streaming, 0o755).unwrap();
        let cancel = Cancel::new();
        let events = Arc::new(Mutex::new(Vec::new()));
        let (stop, log) = (cancel.clone(), Arc::clone(&events));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let note = move |event: &ReceiverEvent<'_>| {
                log.lock().unwrap().push(format!("{event:?}"));
                tell(event);
            };
            runtime.block_on(receive(&config, &dir, &options, &stop, &note))
        });
        Self { cancel, events, thread: Some(thread) }
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// Returns whether it has ended, in whatever way.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until an event was told whose text contains `text`, and returns it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.events().into_iter().find(|event| event.contains(text)) {
                return event;
            }
            assert!(!self.has_ended(), "it ended: {:?}", self.events());
            assert!(Instant::now() < deadline, "no {text} in {:?}", self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> Received {
        self.cancel.cancel();
        self.ended().unwrap()
    }

    /// Waits until something has come to pass, then asks it to stop, and waits until it has.
    pub(crate) fn stop_when(self, condition: impl Fn() -> bool) -> Received {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.stop()
    }

    /// Waits until it ends by itself.
    pub(crate) fn failed(mut self) -> ReceiveError {
        self.ended().unwrap_err()
    }

    fn ended(&mut self) -> Result<Received, ReceiveError> {
        let deadline = Instant::now() + PATIENCE;
        let thread = self.thread.take().unwrap();
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.events());
            std::thread::sleep(Duration::from_millis(20));
        }
        thread.join().unwrap()
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // A test that failed must not leave it connected.
        self.cancel.cancel();
    }
}
