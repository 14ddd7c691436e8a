// SPDX-License-Identifier: GPL-2.0

//! The numbers that may be tuned: what being attached may cost, and when something is tried again. What lies where in code memory is
//! `specs/arena.toml`; what belongs to a kernel or a machine are facts of the specs.
//!
//! | for | read by |
//! |---|---|
//! | the account of a process | [`super::account`] |
//! | prices and budgets of code | [`super::worth`] |
//! | the negative cache | [`super::negative`] |
//! | assumptions that break | [`super::backoff`] |
//! | looks at memory | [`super::template::memory`] |

// The account of a process.

/// What a new account holds, and the most that any does.
pub const BURST_NS: u64 = 20_000_000;
/// One nanosecond for each so many that the process runs.
pub const SHARE: u64 = 128;
/// What an overdrawn account must hold before it is used again.
pub const RESUME_NS: u64 = 1_000_000;
/// The most that one work is charged. What takes longer was preempted, or waited for somebody.
pub const WORK_MOST_NS: u64 = 120_000;
/// How much more than its time a work is charged: directories, names and poison follow by a worker, which costs up to thrice as much again.
pub const WITH_WORKER: u64 = 4;

// Prices and budgets of code. Prices are in nanoseconds, at one instruction each.

/// What a served call saves at least.
pub const SERVED: u64 = 600;
/// What a call costs at most that bails out before a copy.
pub const BAILED: u64 = 90;
/// What it costs more if the copy faulted: up to a page was copied in vain, and an exception taken.
pub const FAULTED: u64 = 5_500;
/// What a read or write costs that the vector does not lead to a path.
pub const MISSED: u64 = 16;

/// Exits of a path before it is judged.
pub const BAILS: i32 = 512;
/// Those after a copy that faulted.
pub const FAULTS: i32 = 16;
/// Reads and writes that a vector may miss before it is judged.
pub const MISSES: i32 = 8192;

// The negative cache.

/// Most entries of the cache of a process.
pub const CAPACITY: usize = 32;

// Assumptions that break.

/// Shortest wait, before its random part, in milliseconds.
pub const FIRST_MS: u32 = 16;
/// Number of waits of rising length.
pub const TRIES: u32 = 10;
/// Wait once the tries are used up, in milliseconds: ten minutes.
pub const GIVE_UP_MS: u32 = 600_000;
/// Once an assumption has held this long, in milliseconds, earlier breaks are forgiven.
pub const FORGIVE_MS: u64 = 60_000;

// Looks at memory.

/// Looks that come further apart than this, in milliseconds, are not counted.
pub const SPACED_MS: u64 = 10;
/// How far looks that come closer may get ahead of that, in milliseconds; after that the next waits for [`SKIPPED`] calls.
pub const AHEAD_MS: u64 = 320;
/// Long calls that bail out before memory is looked at again which was looked at too often, or was found to be unsuited: so
/// many that a look at the most mappings costs them little.
pub const SKIPPED: u32 = 2048;
/// Most mappings that are looked at; a process with more copies short counts only.
pub const MOST_MAPPINGS: u32 = 512;
