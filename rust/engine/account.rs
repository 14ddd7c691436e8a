// SPDX-License-Identifier: GPL-2.0

//! What being attached may cost a process: a small share of the time that it runs, and a burst.
//!
//! Whatever the module does for a process is charged here, in nanoseconds: works as long as they took, calls that paths gave
//! back and vectors missed at the price of [`super::worth`]. The account fills while the process runs, not while it sleeps, so
//! it is the process's own calls that are kept from becoming dearer. Overdrawn, the process is left to the stock entry until
//! [`RESUME_NS`] are there again.

use super::tunables::WITH_WORKER;
pub use super::tunables::{BURST_NS, RESUME_NS, SHARE, WORK_MOST_NS};

/// Of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Negative: overdrawn.
    balance_ns: i64,
    /// How long the process had run when it was filled last.
    filled_ns: u64,
    overdrawn: bool,
}

impl Account {
    /// A full one.
    pub const fn new() -> Self {
        Self {
            balance_ns: BURST_NS as i64,
            filled_ns: 0,
            overdrawn: false,
        }
    }

    /// Makes it full.
    pub fn refill(&mut self) {
        self.balance_ns = BURST_NS as i64;
    }

    /// The process has run for `ran_ns` in all.
    pub fn fill(&mut self, ran_ns: u64) {
        let more = ran_ns.saturating_sub(self.filled_ns) / SHARE;
        self.filled_ns = ran_ns;
        let most = BURST_NS as i64;
        let more = i64::try_from(more).unwrap_or(most);
        self.balance_ns = self.balance_ns.saturating_add(more).min(most);
    }

    /// Something has cost the process `ns`.
    pub fn charge(&mut self, ns: u64) {
        let ns = i64::try_from(ns).unwrap_or(i64::MAX);
        self.balance_ns = self.balance_ns.saturating_sub(ns);
    }

    /// A work has taken `ns`.
    pub fn charge_work(&mut self, ns: u64) {
        self.charge(ns.saturating_mul(WITH_WORKER).min(WORK_MOST_NS));
    }

    /// Whether anything may be done for the process now.
    pub fn allows(&mut self) -> bool {
        let needed = if self.overdrawn { RESUME_NS as i64 } else { 0 };
        self.overdrawn = self.balance_ns < needed;
        !self.overdrawn
    }

    /// Milliseconds until that may change, if the process runs all the time.
    pub fn wait_ms(&self) -> u32 {
        let missing = (RESUME_NS as i64).saturating_sub(self.balance_ns);
        let ns = u64::try_from(missing).unwrap_or(0).saturating_mul(SHARE);
        u32::try_from(ns / 1_000_000).unwrap_or(u32::MAX).max(1)
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}
