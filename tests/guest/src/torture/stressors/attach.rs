//! Attaches and detaches whoever streams.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::sysfs;

pub const STRESSOR: Stressor = Stressor {
    name: "attach",
    run,
    missing: nothing,
    module: true,
    goals: &[Count::Attaches, Count::Detaches],
};

fn run(g: &mut Context) {
    while g.on() {
        // Twice as many attaches as detaches are tried, so most are attached at any time.
        everybody(g);
        if g.round(3) == 2 {
            for _ in 0..1 + g.rng.below(4) {
                if g.carrier().is_some_and(|p| sysfs::detach(p).is_ok()) {
                    g.did(Count::Detaches);
                }
                g.nap(2);
            }
        }
        g.nap(60);
    }
    everybody(g);
}

/// Attaches whoever streams and is not attached.
pub fn everybody(g: &Context) {
    for pid in g.board.carriers() {
        if sysfs::attach(pid).is_ok() {
            g.did(Count::Attaches);
        }
    }
}
