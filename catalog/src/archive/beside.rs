//! One thread fetches bytes while another one looks at them, in their order.

use std::mem;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

/// How many buffers wait to be looked at, at most.
const WAITING: usize = 4;

/// Runs `fetch`, and shows every buffer that it passes on to `look`, which runs on a thread of its own. What is passed on is
/// replaced by a buffer that was looked at, or an empty one. All have been looked at when this returns.
pub(crate) fn beside<T>(
    mut look: impl FnMut(&[u8]) + Send,
    fetch: impl FnOnce(&mut dyn FnMut(&mut Vec<u8>)) -> T,
) -> T {
    let (filled, waiting) = sync_channel::<Vec<u8>>(WAITING);
    let (used, free) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for buffer in waiting {
                look(&buffer);
                // Nobody takes it when all is fetched.
                let _ = used.send(buffer);
            }
        });
        // Ends with this closure, and with it the other thread.
        let filled = filled;
        fetch(&mut |buffer| {
            let next = free.try_recv().unwrap_or_default();
            // Only a panic of the other thread makes this fail, and the scope passes that on.
            let _ = filled.send(mem::replace(buffer, next));
        })
    })
}
