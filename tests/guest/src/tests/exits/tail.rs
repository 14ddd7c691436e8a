//! A tail leaves by SYSRET as its path does, so it must look at all flags that the path's guard looks at: for what was set
//! meanwhile it asks for an interrupt, whose exit does the work. A module for tests (`tests/kmod/synthjit_tail`) sets them.

use crate::sys;
use crate::sysfs;
use crate::tests::support::kallsyms::addresses;
use crate::tests::support::lab::{Lab, Res, Stop};
use crate::{area, ensure, same};

area!("tail": looks_at_what_the_guard_looks_at = 60);

const TEST_MODULE: &str = "synthjit_tail";
/// Calls until the count is believed: others ask for such interrupts too.
const ROUNDS: usize = 20;

fn parameter(name: &str) -> String {
    format!("/sys/module/{TEST_MODULE}/parameters/{name}")
}

/// Interrupts that were asked for by `irq_work_queue()`, on all CPUs.
fn irq_works() -> Res<u64> {
    let text = sys::read_text("/proc/interrupts")?;
    let row = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("IWI:"));
    let row = row.ok_or_else(|| Stop::Fail("/proc/interrupts has no row IWI".into()))?;
    let numbers = row
        .split_whitespace()
        .map_while(|word| word.parse::<u64>().ok());
    Ok(numbers.sum())
}

/// Whether a tail that finds this flag set asks for one interrupt; -1: no flag.
fn asks(flag: i32) -> Res<bool> {
    let mut seen = Vec::new();
    for _ in 0..ROUNDS {
        let before = irq_works()?;
        sys::write_text(&parameter("flag"), &flag.to_string())?;
        match irq_works()?.wrapping_sub(before) {
            0 => return Ok(false),
            // One that somebody else asked for looks the same.
            1 if seen.len() >= 3 => return Ok(true),
            count => seen.push(count),
        }
    }
    Err(Stop::Fail(format!("flag {flag}: interrupts {seen:?}")))
}

fn looks_at_what_the_guard_looks_at(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let values = sysfs::listed("values", sys::getpid(), rig.p.w, sysfs::Call::Write)
        .map_err(|e| Stop::Fail(format!("the listing values: {e}")))?;
    let mask = values
        .iter()
        .find_map(|line| line.strip_prefix("exit_work_mask 0x"))
        .and_then(|number| u64::from_str_radix(number, 16).ok())
        .ok_or_else(|| Stop::Fail(format!("no mask in {values:?}")))?;
    let [tail] = addresses(["synthjit_tail"])?;
    ensure!(tail != 0, "/proc/kallsyms lacks the tail");
    sys::insmod(&format!("/modules/{TEST_MODULE}.ko"), "")?;
    sys::write_text(&parameter("tail"), &tail.to_string())?;
    same!(asks(-1)?, false, "no flag");
    for flag in (0..31).filter(|flag| mask >> flag & 1 != 0) {
        same!(asks(flag)?, true, "flag {flag} of {mask:#x}");
    }
    same!(sys::rmmod(TEST_MODULE), Ok(0), "rmmod");
    lab.fast_again(&rig.p)
}
