//! Makes the pipes longer and shorter while they are used.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::sys;

pub const STRESSOR: Stressor = Stressor {
    name: "resize",
    run,
    missing: nothing,
    module: false,
    goals: &[Count::Resizes],
};

fn run(g: &mut Context) {
    while g.on() {
        if let Some((r, _)) = g.pipe() {
            let size = 4096usize << g.rng.below(7);
            if sys::fcntl(r, libc::F_SETPIPE_SZ, size).is_ok() {
                g.did(Count::Resizes);
            }
            let _ = sys::fionread(r);
        }
        g.nap(12);
    }
    // What is left in the pipes must have room to be read out quickly.
    for (r, _) in g.pipes.clone() {
        let _ = sys::fcntl(r, libc::F_SETPIPE_SZ, 65536);
    }
}
