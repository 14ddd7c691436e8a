// SPDX-License-Identifier: GPL-2.0

//! Whether the code of a process is worth what it costs, by what it has counted; and what that has cost the process's account.
//!
//! All of it by the process itself, while it runs none of its code. Prices: [`crate::engine::worth`].

use crate::engine::specs::Reason;
use crate::engine::syscall::Call;
use crate::engine::worth as price;
use crate::glue::{self, Counts, Task};
use crate::state::{Code, Path, Process};

/// A path in this slot begins to count.
pub(crate) fn begin_path(slot: usize) {
    glue::set_counts(slot, &full(0));
}

/// Counts of a path that has served `hits` calls, with full budgets. CAST: budgets are not negative.
fn full(hits: u64) -> Counts {
    Counts {
        hits,
        budget: price::BAILS as u32,
        faults: price::FAULTS as u32,
    }
}

/// A vector in this slot begins to count.
pub(crate) fn begin_vector(slot: usize) {
    glue::set_misses(slot, price::MISSES);
}

/// What a path has lost since its budget was filled, in nanoseconds, and how often it has bailed out.
fn loss_of_path(path: &Path, counts: &Counts) -> (u64, u64) {
    let served = counts.hits.wrapping_sub(path.judged_hits);
    let bails = price::used(price::BAILS, counts.budget);
    let faults = price::used(price::FAULTS, counts.faults);
    let cost = price::of_path(bails, faults);
    (price::loss(served, cost), bails)
}

/// Adds up the exits of `path`, which is about to go. Returns what it has lost.
pub(crate) fn settle_path(code: &mut Code, path: &Path, counts: &Counts) -> u64 {
    let (loss, bails) = loss_of_path(path, counts);
    let sum = &mut code.counters.bailouts;
    *sum = sum.wrapping_add(bails);
    loss
}

/// What the vector of `p` in this slot has lost since its budget was filled, in nanoseconds. It is judged hereby.
fn loss_of_vector(p: &mut Process, slot: usize) -> u64 {
    let hits = p.hits();
    let served = hits.wrapping_sub(p.judged_hits);
    p.judged_hits = hits;
    let misses = price::used(price::MISSES, glue::misses(slot));
    price::loss(served, price::of_vector(misses))
}

/// Charges what the vector of `p` in this slot has lost, which is about to go.
pub(crate) fn settle_vector(p: &mut Process, slot: usize) {
    let loss = loss_of_vector(p, slot);
    p.account.charge(loss);
}

/// Judges the vector of `p` if it has used up its budget, and fills it again.
///
/// # Errors
///
/// `CostsMore`: it is not worth it.
pub(crate) fn judge_vector(p: &mut Process) -> Result<(), Reason> {
    let Some(slot) = p.vector.as_ref().map(|vector| vector.slot.index()) else {
        return Ok(());
    };
    if price::left(glue::misses(slot)) >= 0 {
        return Ok(());
    }
    let loss = loss_of_vector(p, slot);
    begin_vector(slot);
    if loss == 0 || spared(&p.task) {
        return Ok(());
    }
    p.account.charge(loss);
    Err(Reason::CostsMore)
}

/// Judges the paths of `p` that have used up their budgets, and fills those again that are worth it. Returns one that is not, and that
/// is to be retired before the others are judged.
pub(crate) fn judge_paths(code: &mut Code, p: &mut Process) -> Option<(Call, u32)> {
    let task = &p.task;
    for path in &mut p.paths {
        let (slot, counts) = (path.code.slot.index(), path.counts());
        if !price::reported(counts.budget) {
            continue;
        }
        let left = price::left(counts.budget);
        if left >= 0 && price::left(counts.faults) >= 0 {
            // CAST: not negative. A mark that it was to be looked at is gone then.
            let budget = left as u32;
            glue::set_counts(slot, &Counts { budget, ..counts });
            continue;
        }
        let (loss, bails) = loss_of_path(path, &counts);
        if loss > 0 && !spared(task) {
            return Some((path.call, path.fd));
        }
        let sum = &mut code.counters.bailouts;
        *sum = sum.wrapping_add(bails);
        path.judged_hits = counts.hits;
        glue::set_counts(slot, &full(counts.hits));
        p.in_vain.forgive();
    }
    None
}

/// While the kernel has work at each call of the process, that costs far more than what is tried in vain, and it will end.
fn spared(task: &Task) -> bool {
    task.observed()
}
