//! A flood of signals on those who stream; some are stopped and continued.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::proc::{poll_until, state};
use std::time::Duration;

pub const STRESSOR: Stressor = Stressor {
    name: "signals",
    run,
    missing: nothing,
    module: false,
    goals: &[Count::Signals, Count::Interrupted, Count::Stops],
};

fn run(g: &mut Context) {
    let kinds = [
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGIO,
        libc::SIGCHLD,
        libc::SIGWINCH,
        libc::SIGRTMIN() + 1,
    ];
    while g.on() {
        let Some(pid) = g.carrier() else {
            g.nap(10);
            continue;
        };
        if g.round(12) == 3 {
            if kill(pid, libc::SIGSTOP) && stands_still(pid) {
                g.did(Count::Stops);
            }
            g.nap(6);
            kill(pid, libc::SIGCONT);
        } else {
            for _ in 0..1 + g.rng.below(40) {
                if g.rng.pick(&kinds).is_some_and(|signal| kill(pid, signal)) {
                    g.did(Count::Signals);
                }
            }
        }
        g.nap(12);
    }
}

fn kill(pid: i32, signal: i32) -> bool {
    // SAFETY: takes numbers only. A process that streams takes all of these; a number is not used again for long.
    unsafe { libc::kill(pid, signal) == 0 }
}

fn stands_still(pid: i32) -> bool {
    poll_until(Duration::from_millis(100), || {
        (state(pid) == Some('T')).then_some(())
    })
    .is_some()
}
