//! Threads of a streaming process: beside it, and in its place.

use super::super::counts::Count;
use super::super::worker::Worker;
use crate::proc::nap;

const STACK: usize = 128 * 1024;

/// One or more threads live while the process streams.
pub fn beside(w: &mut Worker) {
    let threads: Vec<_> = (0..1 + w.random().below(3) as u64)
        .filter_map(|ms| {
            std::thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || nap(ms * 2))
                .ok()
        })
        .collect();
    w.board.did_many(Count::Threads, threads.len() as u64);
    let _ = w.steps(20);
    for thread in threads {
        let _ = thread.join();
    }
    let _ = w.steps(20);
}

/// A thread goes on with the stream while the process waits.
pub fn carry(w: &mut Worker) {
    let mut other = w.other();
    let thread = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            other.board.did(Count::ThreadCarries);
            // An end of the stream or a fault is seen by the next step as well.
            let _ = other.steps(40);
        });
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}
