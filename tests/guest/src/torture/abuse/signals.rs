//! A flood of signals on those who stream; some are stopped and continued.

use super::super::counts::Count;
use super::{nothing, Abuser, Ground};

pub const ABUSER: Abuser = Abuser {
    name: "signals",
    run,
    missing: nothing,
    module: false,
};

fn run(g: &mut Ground) {
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
            send(g, pid, libc::SIGSTOP, Count::Stops);
            g.nap(6);
            send(g, pid, libc::SIGCONT, Count::Signals);
        } else {
            for _ in 0..1 + g.rng.below(40) {
                if let Some(signal) = g.rng.pick(&kinds) {
                    send(g, pid, signal, Count::Signals);
                }
            }
        }
        g.nap(12);
    }
}

fn send(g: &Ground, pid: i32, signal: i32, what: Count) {
    // SAFETY: takes numbers only. A process that streams takes all of these; a number is not used again for long.
    if unsafe { libc::kill(pid, signal) } == 0 {
        g.did(what);
    }
}
