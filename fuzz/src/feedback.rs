//! Tells the fuzzer which edges of generated code an input takes, so that it looks for others. The code is made while the
//! fuzzer runs, so it has no counters of its own.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::machine::{observe, slot_of, Slot};

const COUNTERS: usize = 1 << 13;

// SAFETY: libFuzzer takes the whole section for 8-bit counters, which these are (FuzzerExtraCounters.cpp).
#[unsafe(link_section = "__libfuzzer_extra_counters")]
#[used]
static TAKEN: [AtomicU8; COUNTERS] = [const { AtomicU8::new(0) }; COUNTERS];

/// From now on the runs of this thread are reported.
pub fn start() {
    observe(Some(report));
}

fn report(way: &[u64]) {
    for pair in way.windows(2) {
        let Some((slot, base)) = slot_of(pair[0]) else {
            continue;
        };
        let kind = match slot {
            Slot::Path(number) => number as u64,
            Slot::Vector(_) => 2,
            Slot::Exits(number) => 3 + number as u64,
        };
        let edge = (pair[0] - base)
            .wrapping_mul(31)
            .wrapping_add(pair[1].wrapping_sub(base))
            .wrapping_mul(5)
            .wrapping_add(kind);
        let counter = &TAKEN[edge as usize % COUNTERS];
        counter.store(counter.load(Relaxed).saturating_add(1), Relaxed);
    }
}
