//! The module's counters, added up over code that comes and goes and over loading it anew.

use super::board::Board;
use super::counts::Count;
use crate::diff::pool::Hits;
use crate::sysfs;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the module as they were seen last.
#[derive(Default)]
pub struct Seen {
    hits: Hits,
    stats: Hits,
    /// How often the module had been removed by then.
    removals: u64,
}

impl Seen {
    /// Adds to the board what came since the last look. Code that came and went between two looks is not seen, so the sums are
    /// the least that it can have been.
    pub fn look(&mut self, board: &Board) {
        // All begin again when the module is loaded anew. A removal is counted before the next loading.
        let removals = board.count(Count::Rmmods);
        if removals != self.removals {
            self.removals = removals;
            self.hits.forget();
            self.stats.forget();
        }
        for tgid in sysfs::list("processes") {
            for path in sysfs::list(&format!("processes/{tgid}/fds")) {
                let file = format!("processes/{tgid}/fds/{path}/hits");
                if let Ok(n) = sysfs::number(&file) {
                    self.hits.seen(&file, n);
                }
            }
        }
        board.hits.store(self.hits.total, Ordering::Relaxed);
        for (name, sum) in [
            ("bailouts", &board.bails),
            ("synthesized", &board.made),
            ("dropped", &board.dropped),
        ] {
            let before = self.stats.total;
            if let Ok(n) = sysfs::counter(name) {
                self.stats.seen(name, n);
            }
            sum.fetch_add(self.stats.total - before, Ordering::Relaxed);
        }
        most(&board.arena, "arena_bytes_used");
    }
}

fn most(sum: &AtomicU64, name: &str) {
    if let Ok(n) = sysfs::counter(name) {
        sum.fetch_max(n, Ordering::Relaxed);
    }
}
