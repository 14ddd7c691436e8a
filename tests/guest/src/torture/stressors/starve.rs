//! Attaches processes and resizes pipes while allocations fail.

use super::super::counts::{Count, Missing};
use super::super::starvation::{self, Starvation};
use super::{Context, Stressor};
use crate::sys::{self, Sys};
use crate::sysfs;
use nix::errno::Errno;

pub const STRESSOR: Stressor = Stressor {
    name: "starve",
    run,
    missing,
    module: true,
    goals: &[Count::StarvedAttaches, Count::StarvedResizes],
};

fn missing() -> Missing {
    let Err(why) = starvation::prepare() else {
        return Vec::new();
    };
    let all = [Count::Starved, Count::StarvedCode];
    let all = all.iter().chain(STRESSOR.goals);
    all.map(|c| (*c, why.clone())).collect()
}

fn run(g: &mut Context) {
    let Ok(starvation) = Starvation::open() else {
        return;
    };
    while g.on() {
        if let Some(pid) = g.carrier() {
            attach(g, &starvation, pid);
        }
        if let Some((r, _)) = g.pipe() {
            let size = 4096usize << g.rng.below(7);
            match starvation.during(|| sys::fcntl(r, libc::F_SETPIPE_SZ, size)) {
                Err(Errno::ENOMEM) => g.did(Count::StarvedResizes),
                Ok(_) => g.did(Count::Resizes),
                Err(_) => {}
            }
        }
        g.nap(20);
    }
    super::attach::everybody(g);
}

/// Detaches a process, and attaches it while allocations fail.
fn attach(g: &Context, starvation: &Starvation, pid: i32) {
    if sysfs::detach(pid).is_ok() {
        g.did(Count::Detaches);
    }
    // Opening the file is not what is to fail.
    let Ok(file) = sys::open(&sysfs::path("attach"), libc::O_WRONLY | libc::O_CLOEXEC, 0) else {
        return;
    };
    let text = pid.to_string();
    let done: Sys = starvation.during(|| sys::write(file, text.as_bytes()));
    match done {
        Ok(_) => g.did(Count::Attaches),
        Err(Errno::ENOMEM) => g.did(Count::StarvedAttaches),
        Err(_) => {}
    }
    let _ = sys::close(file);
}
