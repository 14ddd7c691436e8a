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

/// One thing that a streaming process does to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
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

/// Actions that leave a process specialized.
pub const CALM: &[Action] = &[
    Action::Protect,
    Action::Unreadable,
    Action::Zap,
    Action::UserFault,
    Action::PageOut,
    Action::Dup,
    Action::Starve,
];

/// Actions of a process that has children.
pub const FORKING: &[Action] = &[
    Action::Storm,
    Action::Carry,
    Action::Seccomp,
    Action::Zap,
    Action::Dup,
    Action::Unreadable,
];

/// Everything.
pub const WILD: &[Action] = ALL;

pub const ALL: &[Action] = &[
    Action::Protect,
    Action::Unreadable,
    Action::Zap,
    Action::UserFault,
    Action::PageOut,
    Action::Dup,
    Action::Storm,
    Action::Carry,
    Action::Seccomp,
    Action::Starve,
    Action::Thread,
    Action::ThreadCarry,
    Action::Exec,
    Action::ThreadExec,
    Action::Uring,
];

/// The effects that actions must have had in a run.
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

/// Actions as a set of bits.
pub fn set(actions: &[Action]) -> u64 {
    actions.iter().fold(0, |all, d| all | 1 << *d as u32)
}

/// Does one of the actions that are allowed here.
pub fn one(w: &mut Worker) {
    let allowed = w.state().actions
        & !w.board
            .impossible
            .load(std::sync::atomic::Ordering::Relaxed);
    let begun = w.board.begun.load(Ordering::Relaxed);
    let new = allowed & !begun;
    let wanted = if new != 0 { new } else { allowed };
    let choice: Vec<Action> = ALL
        .iter()
        .copied()
        .filter(|d| wanted & 1 << *d as u32 != 0)
        .collect();
    let action = w.random().pick(&choice);
    w.board
        .begun
        .fetch_or(action.map_or(0, |d| set(&[d])), Ordering::Relaxed);
    match action {
        None => {}
        Some(Action::Protect) => buffers::protect(w),
        Some(Action::Unreadable) => buffers::unreadable(w),
        Some(Action::Zap) => buffers::zap(w),
        Some(Action::UserFault) => buffers::user_fault(w),
        Some(Action::PageOut) => buffers::page_out(w),
        Some(Action::Dup) => descriptors::dup(w),
        Some(Action::Storm) => forks::storm(w),
        Some(Action::Carry) => forks::carry(w),
        Some(Action::Seccomp) => seccomp::filtered(w),
        Some(Action::Starve) => starve::starve(w),
        Some(Action::Thread) => threads::beside(w),
        Some(Action::ThreadCarry) => threads::carry(w),
        Some(Action::Exec) => exec::exec(w),
        Some(Action::ThreadExec) => exec::exec_from_thread(w),
        Some(Action::Uring) => uring::uring(w),
    }
}
