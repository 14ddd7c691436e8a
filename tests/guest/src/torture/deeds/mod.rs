//! What streaming processes do to themselves between two calls, and during calls to the memory that these use.

mod buffers;
mod descriptors;
mod exec;
mod forks;
mod seccomp;
mod starve;
mod threads;
mod uring;

use super::counts::Count;
use super::worker::Worker;
use std::sync::atomic::Ordering;

pub use buffers::userfaultfd;
pub use exec::resume;
pub use uring::probe as uring_probe;

/// One kind of deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Deed {
    /// `mprotect` toggled by a process that shares the memory, while calls use the buffer.
    Protect,
    /// Calls with a buffer that cannot be read or written at all.
    Unreadable,
    /// `madvise(DONTNEED)` before each call.
    Zap,
    /// The same, with faults served by userfaultfd.
    UserFault,
    /// The buffer goes to swap.
    PageOut,
    /// The pipe's descriptors get other numbers.
    Dup,
    /// Children that end at once.
    Storm,
    /// A child goes on with the stream.
    Carry,
    /// A child installs a seccomp filter and goes on with the stream.
    Seccomp,
    /// Allocations fail for a while.
    Starve,
    /// A thread lives beside the stream.
    Thread,
    /// A thread goes on with the stream.
    ThreadCarry,
    /// Another program goes on with the stream.
    Exec,
    /// The same, started by a thread that is not the leader.
    ThreadExec,
    /// io_uring, with a part of the stream through it.
    Uring,
}

/// Deeds that leave a process specialised.
pub const CALM: &[Deed] = &[
    Deed::Protect,
    Deed::Unreadable,
    Deed::Zap,
    Deed::UserFault,
    Deed::PageOut,
    Deed::Dup,
    Deed::Starve,
];

/// Deeds of a process that has children.
pub const FORKING: &[Deed] = &[
    Deed::Storm,
    Deed::Carry,
    Deed::Seccomp,
    Deed::Zap,
    Deed::Dup,
    Deed::Unreadable,
];

/// Everything.
pub const WILD: &[Deed] = ALL;

pub const ALL: &[Deed] = &[
    Deed::Protect,
    Deed::Unreadable,
    Deed::Zap,
    Deed::UserFault,
    Deed::PageOut,
    Deed::Dup,
    Deed::Storm,
    Deed::Carry,
    Deed::Seccomp,
    Deed::Starve,
    Deed::Thread,
    Deed::ThreadCarry,
    Deed::Exec,
    Deed::ThreadExec,
    Deed::Uring,
];

/// What deeds must have done in a run.
pub const GOALS: &[Count] = &[
    Count::Splices,
    Count::Tees,
    Count::Vmsplices,
    Count::Dups,
    Count::Threads,
    Count::ThreadCarries,
    Count::Forks,
    Count::ForkCarries,
    Count::Execs,
    Count::ThreadExecs,
    Count::Seccomps,
    Count::Filtered,
    Count::Urings,
    Count::UringWrites,
    Count::Protects,
    Count::Refused,
    Count::Zaps,
    Count::ZapFaults,
    Count::UserFaults,
    Count::Starved,
    Count::StarvedCode,
];

/// Deeds as a set of bits.
pub fn set(deeds: &[Deed]) -> u64 {
    deeds.iter().fold(0, |all, d| all | 1 << *d as u32)
}

/// Does one of the deeds that are allowed here.
pub fn one(w: &mut Worker) {
    let allowed = w.state().deeds
        & !w.board
            .impossible
            .load(std::sync::atomic::Ordering::Relaxed);
    let begun = w.board.begun.load(Ordering::Relaxed);
    let new = allowed & !begun;
    let wanted = if new != 0 { new } else { allowed };
    let choice: Vec<Deed> = ALL
        .iter()
        .copied()
        .filter(|d| wanted & 1 << *d as u32 != 0)
        .collect();
    let deed = w.random().pick(&choice);
    w.board
        .begun
        .fetch_or(deed.map_or(0, |d| set(&[d])), Ordering::Relaxed);
    match deed {
        None => {}
        Some(Deed::Protect) => buffers::protect(w),
        Some(Deed::Unreadable) => buffers::unreadable(w),
        Some(Deed::Zap) => buffers::zap(w),
        Some(Deed::UserFault) => buffers::user_fault(w),
        Some(Deed::PageOut) => buffers::page_out(w),
        Some(Deed::Dup) => descriptors::dup(w),
        Some(Deed::Storm) => forks::storm(w),
        Some(Deed::Carry) => forks::carry(w),
        Some(Deed::Seccomp) => seccomp::filtered(w),
        Some(Deed::Starve) => starve::starve(w),
        Some(Deed::Thread) => threads::beside(w),
        Some(Deed::ThreadCarry) => threads::carry(w),
        Some(Deed::Exec) => exec::exec(w),
        Some(Deed::ThreadExec) => exec::exec_from_thread(w),
        Some(Deed::Uring) => uring::uring(w),
    }
}
