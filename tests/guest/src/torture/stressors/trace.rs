//! Switches the tracing of all system calls on and off.

use super::super::counts::{Count, Missing};
use super::{Context, Stressor};
use crate::sys;

const SWITCH: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/enable";

pub const STRESSOR: Stressor = Stressor {
    name: "trace",
    run,
    missing,
    module: false,
    goals: &[Count::Traces, Count::Traced],
};

fn missing() -> Missing {
    match std::path::Path::new(SWITCH).exists() {
        true => Vec::new(),
        false => vec![(Count::Traces, "no system call tracepoints".into())],
    }
}

fn run(g: &mut Context) {
    while g.on() {
        let before = entries();
        for value in ["1", "0"] {
            if sys::write_text(SWITCH, value).is_ok() {
                g.did(Count::Traces);
            }
            g.nap(15);
        }
        g.board
            .did_many(Count::Traced, entries().saturating_sub(before));
        g.rest(200);
    }
    let _ = sys::write_text(SWITCH, "0");
}

/// What the buffers of all CPUs have ever taken in (Documentation/trace/ftrace.rst in the kernel source, per_cpu/cpu0/stats).
fn entries() -> u64 {
    let cpus = (0..64).map(|n| format!("/sys/kernel/tracing/per_cpu/cpu{n}/stats"));
    cpus.map_while(|file| sys::read_text(&file).ok())
        .map(|text| {
            let lines = text.lines().filter_map(|line| line.split_once(": "));
            lines
                .filter(|(name, _)| ["entries", "overrun"].contains(name))
                .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum()
}
