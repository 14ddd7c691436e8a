//! Children of a streaming process: many that end at once, and one that goes on with the stream.

use super::super::counts::Count;
use super::super::worker::{Stop, Worker, WRONG};
use super::buffers::wait;
use crate::sysfs;
use crate::{sys, sys::Sys};

/// Forks a child that exits with what `f` returns. It dies with its parent.
pub fn fork(f: impl FnOnce() -> i32) -> Sys<i32> {
    // SAFETY: whoever calls is the only thread of its process here.
    match unsafe { libc::fork() } {
        -1 => Err(nix::errno::Errno::last()),
        0 => {
            // SAFETY: plain prctl; `_exit` runs no handlers of the parent's copy.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::_exit(f())
            }
        }
        pid => Ok(pid),
    }
}

/// Many children at a time.
pub fn storm(w: &mut Worker) {
    let kids: Vec<i32> = (0..2 + w.random().below(8))
        .filter_map(|i| {
            fork(|| {
                // Some touch memory that is shared until then, some only end.
                let mut page = [0u8; 4096];
                page[i % 4096] = 1;
                std::hint::black_box(&page);
                0
            })
            .ok()
        })
        .collect();
    w.board.did_many(Count::Forks, kids.len() as u64);
    let _ = w.steps(4);
    kids.into_iter().for_each(wait);
}

/// A child goes on with the stream, attached or not, and comes to an end.
pub fn carry(w: &mut Worker) {
    let attached = w.random().chance(2, 3);
    carry_as(w, |child| {
        if attached && !child.board.stock() && sysfs::attach(sys::getpid()).is_ok() {
            child.board.did(Count::Attaches);
        }
        true
    });
}

/// A child goes on with the stream if `ready` says so. This process sleeps meanwhile.
pub fn carry_as(w: &mut Worker, ready: impl FnOnce(&mut Worker) -> bool) {
    let kid = fork(|| {
        let mut child = w.other();
        if !ready(&mut child) {
            return 0;
        }
        child.take_over();
        child.board.did(Count::ForkCarries);
        match child.steps(200) {
            Ok(()) | Err(Stop::Done) => 0,
            Err(Stop::Abort) => WRONG,
        }
    });
    if let Ok(kid) = kid {
        w.board.did(Count::Forks);
        wait(kid);
        w.take_over();
    }
}
