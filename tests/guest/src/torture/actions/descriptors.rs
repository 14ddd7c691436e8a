//! A pipe's descriptors get other numbers, so paths lose their objects and others are made.

use super::super::counts::Count;
use super::super::worker::Worker;
use crate::sys;

/// Numbers for moved descriptors begin above those that everybody has.
const ABOVE: usize = 60;

pub fn dup(w: &mut Worker) {
    let lowest = ABOVE + w.random().below(40);
    let state = w.state();
    for (now, home) in [
        (&mut state.from, state.from_home),
        (&mut state.to, state.to_home),
    ] {
        if home < 0 {
            continue;
        }
        let Ok(fd) = sys::fcntl(home, libc::F_DUPFD, lowest) else {
            continue;
        };
        if *now != home {
            let _ = sys::close(*now);
        }
        *now = fd as i32;
        w.board.did(Count::Dups);
    }
    if w.random().chance(1, 2) {
        home(w);
    }
}

/// Back to the numbers that everybody knows.
pub fn home(w: &mut Worker) {
    let state = w.state();
    for (now, home) in [
        (&mut state.from, state.from_home),
        (&mut state.to, state.to_home),
    ] {
        if *now != home {
            let _ = sys::close(*now);
            *now = home;
        }
    }
}
