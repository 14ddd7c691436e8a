//! Moves those who stream from CPU to CPU.

use super::super::counts::{Count, Missing};
use super::hotplug::others;
use super::{Context, Stressor};
use crate::sys;

pub const STRESSOR: Stressor = Stressor {
    name: "moves",
    run,
    missing,
    module: false,
    goals: &[Count::Moves],
};

fn missing() -> Missing {
    match others().is_empty() {
        false => Vec::new(),
        true => vec![(Count::Moves, "one CPU".into())],
    }
}

fn run(g: &mut Context) {
    let cpus = others().len() + 1;
    while g.on() {
        if let Some(pid) = g.carrier().filter(|_| cpus > 1) {
            let (cpu, before) = (g.rng.below(cpus), cpu_of(pid));
            let pinned = pin(pid, &[cpu]);
            g.nap(4);
            if pinned && before != Some(cpu) && cpu_of(pid) == Some(cpu) {
                g.did(Count::Moves);
            }
            pin(pid, &(0..cpus).collect::<Vec<_>>());
        }
        g.nap(12);
    }
}

fn pin(pid: i32, cpus: &[usize]) -> bool {
    // SAFETY: the set is ours; zeroes are the empty set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|c| libc::CPU_SET(*c, &mut set));
        libc::sched_setaffinity(pid, std::mem::size_of_val(&set), &set) == 0
    }
}

/// The CPU that a process ran on last: field 39 of its `stat` (Documentation/filesystems/proc.rst in the kernel source).
fn cpu_of(pid: i32) -> Option<usize> {
    let text = sys::read_text(&format!("/proc/{pid}/stat")).ok()?;
    let behind_name = text.rsplit(')').next()?;
    behind_name.split_whitespace().nth(36)?.parse().ok()
}
