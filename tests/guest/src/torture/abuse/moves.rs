//! Moves those who stream from CPU to CPU.

use super::super::counts::{Count, Missing};
use super::hotplug::others;
use super::{Abuser, Ground};

pub const ABUSER: Abuser = Abuser {
    name: "moves",
    run,
    missing,
    module: false,
};

fn missing() -> Missing {
    match others().is_empty() {
        false => Vec::new(),
        true => vec![(Count::Moves, "one CPU".into())],
    }
}

fn run(g: &mut Ground) {
    let cpus = others().len() + 1;
    while g.on() {
        if let Some(pid) = g.carrier().filter(|_| cpus > 1) {
            let cpu = g.rng.below(cpus);
            if pin(pid, &[cpu]) {
                g.did(Count::Moves);
            }
            g.nap(4);
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
