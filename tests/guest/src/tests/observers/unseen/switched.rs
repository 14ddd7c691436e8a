//! Switches of the kernel that change text for a while, or change it and change it back at once.

use super::fast_again;
use crate::proc::nap;
use crate::sys;
use crate::tests::support::lab::{needs_module, Lab, Res};
use crate::{area, ensure};

area!("unseen": paths_come_back_after_switches = 120);

/// A file, what is written to it for a while, and what it is afterwards; where there is no such file, it is left out.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("/sys/kernel/debug/sched/preempt", "full", "lazy"),
    ("/sys/kernel/debug/rseq/debug", "1", "0"),
    ("/proc/sys/kernel/sched_schedstats", "1", "0"),
    ("/proc/sys/kernel/task_delayacct", "1", "0"),
    ("/proc/sys/kernel/bpf_stats_enabled", "1", "0"),
];

fn paths_come_back_after_switches(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let mut switched = 0;
    for (file, on, off) in SWITCHES {
        for round in 0..6 {
            if sys::write_text(file, on).is_err() {
                break;
            }
            switched += 1;
            // What comes between two changes is a look, the beginning of one, or nothing.
            nap(2 * round);
            sys::write_text(file, off)?;
            fast_again(lab, &rig.p)?;
        }
    }
    ensure!(switched > 0, "this kernel has none of the switches");
    Ok(())
}
