// SPDX-License-Identifier: GPL-2.0

//! The registers that generated code uses and the role that each plays.
//!
//! | register | role in a path | given back to user space by |
//! |---|---|---|
//! | rax | scratch; expected owner of the mutex; during a copy the ring's buffer, or the page of a new one | result, or the call's number |
//! | rcx | the task; zero or the rest of the count after a copy | `pop`: user rip |
//! | rdx | the count as the user gave it | never written |
//! | rbx | the pipe | `pop` |
//! | rsi | the user's buffer; source of the copy | arithmetic (write), `pop` (read) |
//! | rdi | scratch; destination of the copy | immediate: the descriptor |
//! | rsp | the task's kernel stack | per-CPU scratch word |
//! | r11 | user flags | never written |
//!
//! All others keep the user's values: a path never names them.

/// A general register. Only those that need no extension bit are used, which keeps instructions short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// rax
    Rax = 0,
    /// rcx
    Rcx = 1,
    /// rdx
    Rdx = 2,
    /// rbx
    Rbx = 3,
    /// rsi
    Rsi = 6,
    /// rdi
    Rdi = 7,
}

impl From<Reg> for u8 {
    fn from(reg: Reg) -> Self {
        reg as u8
    }
}

/// User rip on entry; the task before the copy; what is left of the count after it.
pub const TASK: Reg = Reg::Rcx;
/// The task again once the copy is done: where `cmpxchg` expects the owner.
pub const OWNER: Reg = Reg::Rax;
/// Value that `cmpxchg` stores to unlock: what a complete copy leaves of the count, zero.
pub const ZERO: Reg = Reg::Rcx;
/// What a copy counts down.
pub const LEFT: Reg = Reg::Rcx;
/// The pipe.
pub const PIPE: Reg = Reg::Rbx;
/// The count as the user gave it.
pub const COUNT: Reg = Reg::Rdx;
/// Where a copy reads.
pub const SOURCE: Reg = Reg::Rsi;
/// Where a copy writes.
pub const DEST: Reg = Reg::Rdi;
/// The user's buffer on entry.
pub const USER: Reg = Reg::Rsi;
/// The file, while it is checked.
pub const FILE: Reg = Reg::Rdi;
/// The count less one, while it is checked.
pub const LESS_ONE: Reg = Reg::Rdi;
/// The buffer in the pipe's ring.
pub const RING: Reg = Reg::Rax;
/// The `struct page` of a new buffer.
pub const PAGE: Reg = Reg::Rax;
/// The number of the system call on entry, its result on exit.
pub const RESULT: Reg = Reg::Rax;
/// The descriptor.
pub const FD: Reg = Reg::Rdi;
/// The number of an exit, in the exit routine.
pub const EXIT: Reg = Reg::Rax;
/// The path's data, likewise.
pub const DATA: Reg = Reg::Rdi;
