//! What KVM does to `MSR_LSTAR` on Intel's processors, acted by `tests/kmod/synthjit_lstar/guest.c`, beside attached processes.

use super::beside::{self, Guest, Run};
use super::load_anew;
use super::lstar::{run_acted_guest, Lstar};
use super::traffic::{pin, Traffic, SOON};
use crate::proc::{Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::tests::support::lab::{Lab, Res};
use crate::torture::stressors::hotplug::others;
use crate::{area, ensure, same, skip};
use std::time::Duration;

area!("user_return":
    beside_attached_processes = 600, inside_of_long_calls = 400, cpus_come_and_go = 600, suspended_by_an_attached_process = 400,
    loaded_while_a_guest_has_the_cpu = 400,
);

/// What guests of the test module have in `MSR_LSTAR`.
const GUEST: u64 = 0xffff_ffff_8012_3450;
/// Slices of a guest at a time.
const SLICES: u64 = 20;

/// A guest of the test module, which counts its slices and what it finds wrong by itself.
struct Acted {
    slices: u64,
}

impl Run for Acted {
    fn run(&mut self) -> Result<(u64, u64), String> {
        if !run_acted_guest(GUEST, SLICES) {
            return Err("the guest does not run".into());
        }
        self.slices += SLICES;
        Ok((self.slices, 0))
    }
}

fn guest(cpu: Option<usize>) -> Res<Guest> {
    Guest::start(cpu, || Ok(Acted { slices: 0 }))
}

/// The guest sleeps often and short, so its value is in the CPU at most of the moments at which another process gets it.
fn beside_attached_processes(lab: &Lab) -> Res {
    let lstar = Lstar::load_with_guests()?;
    beside::are_served(lab, guest, 1000)?;
    lstar.has_seen(&[("looks_foreign", 100), ("looks_guest", 20)])?;
    lstar.is_right(1000)
}

/// An attached process is woken and sleeps again inside of one call, without returning to user mode: what the guest left in the CPU is
/// there still when the guest goes on.
fn inside_of_long_calls(lab: &Lab) -> Res {
    const BYTES: usize = 4 << 20;
    let lstar = Lstar::load_with_guests()?;
    let p = Pipe::new(0)?;
    let (r, w) = (p.r, p.w);
    let stop = Board::new()?;
    let mut writer = Kid::spawn(|| {
        let (Ok(()), Ok(_me)) = (pin(0, 0), lab.attach()) else {
            return 1;
        };
        let data = vec![7u8; BYTES];
        while stop.flag(0) == 0 {
            if !matches!(sys::write(w, &data), Ok(n) if n > 0) {
                return 2;
            }
        }
        0
    })?;
    let reader = Kid::spawn(|| {
        if pin(0, 0).is_err() {
            return 1;
        }
        let mut data = vec![0u8; 65536];
        while matches!(sys::read(r, &mut data), Ok(n) if n > 0 && data.iter().take(n).all(|b| *b == 7))
        {
            stop.add(0, 1);
        }
        2
    })?;
    let mut guest = guest(Some(0))?;
    guest.goes_on(2000)?;
    guest.stop()?;
    stop.raise(0, 1);
    same!(writer.wait(SOON), Some(Ended::Exit(0)), "the writer");
    drop(reader);
    ensure!(stop.word(0) > 100, "{} reads", stop.word(0));
    // The guest's value stayed in the CPU so often that it was not written again.
    lstar.has_seen(&[("skips", 20)])?;
    lstar.is_right(100)
}

/// A CPU that comes is looked at by the module as by KVM.
fn cpus_come_and_go(lab: &Lab) -> Res {
    let lstar = Lstar::load_with_guests()?;
    beside::cpus_come_and_go(lab, guest, 40)?;
    // Once for each when the module was loaded, and six times for those that went.
    let others = others().len() as u64;
    same!(
        lstar.counts()?.get("captures"),
        1 + others + 6 * others,
        "CPUs that came"
    );
    lstar.is_right(1000)
}

/// Who suspends the machine is attached. KVM looks at the CPU in its context when the machine resumes. Here it only goes as far as
/// turning all devices off, and comes back by itself (Documentation/power/basic-pm-debugging.rst).
fn suspended_by_an_attached_process(lab: &Lab) -> Res {
    if !sys::read_text("/sys/power/state")?.contains("mem") {
        skip!("this machine cannot be suspended");
    }
    let lstar = Lstar::load_with_guests()?;
    sys::write_text("/sys/module/suspend/parameters/pm_test_delay", "1")?;
    sys::write_text("/sys/power/pm_test", "core")?;
    let rig = lab.rig()?;
    let before = lstar.counts()?.get("captures");
    for _ in 0..3 {
        let done = sys::write_text("/sys/power/state", "mem");
        ensure!(done.is_ok(), "suspending: {done:?}");
        lab.fast_again(&rig.p)?;
    }
    sys::write_text("/sys/power/pm_test", "none")?;
    ensure!(
        lstar.counts()?.get("captures") - before >= 3,
        "the machine did not resume: {}",
        lstar.counts()?.show()
    );
    lstar.is_right(100)
}

/// A guest's value in a CPU does not look like somebody else's entry.
fn loaded_while_a_guest_has_the_cpu(lab: &Lab) -> Res {
    let lstar = Lstar::load_with_guests()?;
    let mut guest = guest(None)?;
    for _ in 0..20 {
        guest.goes_on(20)?;
        load_anew()?;
    }
    let traffic = Traffic::start(lab, None)?;
    std::thread::sleep(Duration::from_millis(100));
    traffic.stop()?;
    guest.stop()?;
    lstar.is_right(100)
}
