//! Allocations of this process fail at random for a while: of its calls, and of what the module does for it.

use super::super::counts::Count;
use super::super::starvation::Starvation;
use super::super::worker::{Expect, Worker};
use crate::sys;
use crate::sysfs;

pub fn starve(w: &mut Worker) {
    let me = sys::getpid();
    let Ok(starvation) = Starvation::open() else {
        return;
    };
    // So that code must be made while allocations fail.
    if !w.board.stock() && sysfs::detach(me).is_ok() {
        w.board.did(Count::Detaches);
    }
    if !w.board.stock() && sysfs::attach(me).is_ok() {
        w.board.did(Count::Attaches);
    }
    w.board.did(Count::Starved);
    // A buffer whose page tables cannot be had is not there.
    w.expect = Expect { fault: true };
    // An end of the stream or a fault is seen by the next step as well.
    let _ = starvation.during(|| w.steps(40));
    w.expect = Expect::default();
    if lacks_code(me) {
        w.board.did(Count::StarvedCode);
    }
}

/// Whether a process as a whole, or a descriptor of it, has no code for want of memory.
fn lacks_code(pid: i32) -> bool {
    const WHY: &str = "no memory";
    let about = format!("{pid} ");
    let descriptors = sysfs::listing("without").unwrap_or_default();
    let mut descriptors = descriptors.lines().filter(|line| line.starts_with(&about));
    descriptors.any(|line| line.contains(WHY))
        || sysfs::state(pid).is_ok_and(|state| state.contains(WHY))
}
