//! Memory shared by the tester, one executor and the executor's partner.

use super::op::{Op, Outcome, MAX_OPS};
use crate::sys::{self, Sys};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// What the partner is doing.
pub const PARTNER_IDLE: u32 = 0;
pub const PARTNER_ASKED: u32 = 1;
/// Right before, in, or right after its call.
pub const PARTNER_IN_CALL: u32 = 2;
pub const PARTNER_DONE: u32 = 3;

/// One executor's channel. Sequences and outcomes are only touched by the side whose turn it is: the tester until `command` is
/// raised, the executor until `answer` is.
#[repr(C)]
pub struct Channel {
    pub command: AtomicU32,
    pub answer: AtomicU32,
    /// Not zero: the executor reports wrong results on purpose, to show that the tester notices.
    pub planted: AtomicU32,
    pub length: AtomicU32,
    /// Process numbers: of the executor and of its partner; minus an errno if it could not be set up.
    pub ready: AtomicI32,
    pub partner_pid: AtomicI32,
    /// Goes up when the executor begins a call of the sequence and when it has returned from it: odd while it is in one.
    pub call: AtomicU32,
    /// The task that makes it.
    pub caller: AtomicI32,
    /// The helper's task, what it is asked, how often it was, how often it was done, and what came out.
    pub helper_task: AtomicI32,
    pub helper_what: AtomicU32,
    pub helper_asked: AtomicU32,
    pub helper_done: AtomicU32,
    pub helper_about: AtomicI32,
    pub helper_ret: AtomicI64,
    pub helper_memory: AtomicU64,
    pub helper_signals: [AtomicU32; 2],
    /// Phase of the partner and what it is to do.
    pub phase: AtomicU32,
    pub asked: AtomicU32,
    pub writes: AtomicU32,
    pub fd: AtomicI32,
    pub count: AtomicU32,
    pub ret: AtomicI64,
    pub data: AtomicU64,
    ops: UnsafeCell<[Op; MAX_OPS]>,
    outcomes: UnsafeCell<[Outcome; MAX_OPS + 1]>,
}

// SAFETY: the cells change hands by `command` and `answer`, as said above; all else is atomic.
unsafe impl Sync for Channel {}

impl Channel {
    /// A new channel; lives as long as the process.
    pub fn new() -> Sys<&'static Channel> {
        let at = sys::map(
            std::mem::size_of::<Channel>().next_multiple_of(4096),
            3,
            libc::MAP_SHARED,
        )?;
        // SAFETY: fresh zeroed shared pages, large and aligned enough. Zero is `Op::Pipe { flags: 0 }`, the first variant.
        Ok(unsafe { &*(at as *const Channel) })
    }

    /// Tester: hands a sequence over.
    pub fn put(&self, ops: &[Op]) {
        let n = ops.len().min(MAX_OPS);
        // SAFETY: it is the tester's turn.
        unsafe { std::ptr::copy_nonoverlapping(ops.as_ptr(), self.ops.get().cast(), n) };
        self.length.store(n as u32, Ordering::SeqCst);
    }

    /// Executor and its helper: the sequence.
    pub fn sequence(&self) -> Vec<Op> {
        let n = (self.length.load(Ordering::SeqCst) as usize).min(MAX_OPS);
        // SAFETY: it is the executor's turn; `n` ops were written.
        unsafe { std::slice::from_raw_parts(self.ops.get().cast::<Op>(), n).to_vec() }
    }

    /// Executor: one outcome.
    pub fn report(&self, i: usize, outcome: Outcome) {
        if i <= MAX_OPS {
            // SAFETY: it is the executor's turn; the index is inside.
            unsafe { self.outcomes.get().cast::<Outcome>().add(i).write(outcome) };
        }
    }

    /// Tester: what came out, with one more for the end of the sequence.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let n = (self.length.load(Ordering::SeqCst) as usize).min(MAX_OPS) + 1;
        // SAFETY: it is the tester's turn; the executor wrote that many.
        unsafe { std::slice::from_raw_parts(self.outcomes.get().cast::<Outcome>(), n).to_vec() }
    }
}
