//! Small work on very many things, on all cores.

use std::panic::resume_unwind;
use std::thread;

use crate::Error;

/// Does `work` on each of `items`; returns the results in their order, or the first error of any part.
pub(crate) fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    /// From so many on it is worth a thread more.
    const EACH: usize = 500;
    // How many cores there are is to be read from several files.
    if items.len() < 2 * EACH {
        return items.iter().map(work).collect();
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len() / EACH);
    let work_on = |part: &[T]| part.iter().map(&work).collect();
    let parts: Result<Vec<Vec<R>>, Error> = thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| work_on(part))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    Ok(parts?.into_iter().flatten().collect())
}
