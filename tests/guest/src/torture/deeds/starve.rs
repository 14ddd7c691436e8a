//! Allocations of this process fail at random for a while, on a kernel with fault injection
//! (Documentation/fault-injection in the kernel source): of its calls, and of what the module does for it.

use super::super::counts::Count;
use super::super::worker::Worker;
use crate::sys;
use crate::sysfs;

const SWITCH: &str = "/proc/thread-self/make-it-fail";

pub fn starve(w: &mut Worker) {
    let me = sys::getpid();
    if sys::write_text(SWITCH, "1").is_err() {
        return;
    }
    w.board.did(Count::Starved);
    // So that code must be made while allocations fail.
    if !w.board.stock() && sysfs::detach(me).is_ok() {
        w.board.did(Count::Detaches);
    }
    let _ = w.steps(8);
    if !w.board.stock() && sysfs::attach(me).is_ok() {
        w.board.did(Count::Attaches);
    }
    let _ = w.steps(40);
    // Opening the file may fail as well.
    while sys::write_text(SWITCH, "0").is_err() && !w.board.aborted() {}
}
