// SPDX-License-Identifier: GPL-2.0

//! Whether code is worth what it costs: calls that a path served against those that bailed out, and against those that
//! the vector met in vain.
//!
//! Generated code counts down a budget for what is in vain and reports when it is used up. Then it is judged. What has not
//! earned twice its cost goes: the same served calls speak for a path and for the vector. Prices are in nanoseconds at one
//! instruction each, which is too dear for any real processor; they only matter in relation to each other and to the
//! account ([`super::account`]).

pub use super::tunables::{BAILED, BAILS, FAULTED, FAULTS, MISSED, MISSES, SERVED};

/// Whether code has reported itself. CAST: the same bits.
pub fn reported(counter: u32) -> bool {
    (counter as i32) < 0
}

/// What a counter has left that began at a budget; negative: it is used up. The highest bit is not part of the number: a path
/// that finds another object on its descriptor, or has no faults left, sets it, which reports the path at once. CAST: the same bits.
pub fn left(counter: u32) -> i32 {
    (counter.wrapping_shl(1) as i32) >> 1
}

/// How much of `budget` is used up.
pub fn used(budget: i32, counter: u32) -> u64 {
    u64::try_from(budget.saturating_sub(left(counter))).unwrap_or(0)
}

/// What was lost, in nanoseconds, if calls in vain have cost `ns` and `served` calls have saved something, of which half counts. 0:
/// it was worth it.
pub fn loss(served: u64, ns: u64) -> u64 {
    ns.saturating_sub(served.saturating_mul(SERVED) / 2)
}

/// What a path has cost of which `bails` exits were taken, `faults` of them after a copy that faulted.
pub fn of_path(bails: u64, faults: u64) -> u64 {
    let copies = faults.saturating_mul(FAULTED);
    bails.saturating_mul(BAILED).saturating_add(copies)
}

/// What a vector has cost that met `misses` calls in vain.
pub fn of_vector(misses: u64) -> u64 {
    misses.saturating_mul(MISSED)
}
