//! Switches the tracing of all system calls on and off.

use super::super::counts::{Count, Missing};
use super::{Abuser, Ground};
use crate::sys;

const SWITCH: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/enable";

pub const ABUSER: Abuser = Abuser {
    name: "trace",
    run,
    missing,
    module: false,
};

fn missing() -> Missing {
    match std::path::Path::new(SWITCH).exists() {
        true => Vec::new(),
        false => vec![(Count::Traces, "no system call tracepoints".into())],
    }
}

fn run(g: &mut Ground) {
    while g.on() {
        for value in ["1", "0"] {
            if sys::write_text(SWITCH, value).is_ok() {
                g.did(Count::Traces);
            }
            g.nap(15);
        }
        for _ in 0..20 {
            if g.on() {
                g.nap(40);
            }
        }
    }
    let _ = sys::write_text(SWITCH, "0");
}
