//! Memory gets scarce: those who stream are in a control group whose limits go down (Documentation/admin-guide/cgroup-v2.rst
//! in the kernel source).

use super::super::counts::{Count, Missing};
use super::{Abuser, Ground};
use crate::proc::{nap, Ended, Kid};
use crate::sys;
use std::time::Duration;

const TOP: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/torture";

pub const ABUSER: Abuser = Abuser {
    name: "memory",
    run,
    missing,
    module: false,
};

fn missing() -> Missing {
    if prepare() {
        return Vec::new();
    }
    [Count::Reclaims, Count::Squeezes, Count::Ooms]
        .map(|c| (c, "no memory control group".to_string()))
        .to_vec()
}

/// Makes the group. Whether memory can be limited in it.
fn prepare() -> bool {
    let _ = sys::write_text(&format!("{TOP}/cgroup.subtree_control"), "+memory");
    let _ = std::fs::create_dir(GROUP);
    std::path::Path::new(&file("memory.max")).exists()
}

fn file(name: &str) -> String {
    format!("{GROUP}/{name}")
}

/// Puts a process into the group, spared when memory runs out there. No error where there is no group.
pub fn confine(pid: i32) {
    let _ = sys::write_text(&file("cgroup.procs"), &pid.to_string());
    let _ = sys::write_text(&format!("/proc/{pid}/oom_score_adj"), "-1000");
}

fn current() -> usize {
    sys::read_text(&file("memory.current"))
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(0)
}

fn run(g: &mut Ground) {
    while g.on() {
        match g.round(6) {
            0 => squeeze(g),
            1 => exhaust(g),
            _ => {
                let bytes = (1 + g.rng.below(8)) << 18;
                // EAGAIN: less could be reclaimed, but some was tried.
                let done = sys::write_text(&file("memory.reclaim"), &bytes.to_string());
                if matches!(done, Ok(_) | Err(nix::errno::Errno::EAGAIN)) {
                    g.did(Count::Reclaims);
                }
            }
        }
        for _ in 0..5 {
            if g.on() {
                g.nap(100);
            }
        }
    }
    for name in ["memory.high", "memory.max"] {
        let _ = sys::write_text(&file(name), "max");
    }
}

/// Use is above what is allowed for a moment: whoever allocates has to give back, and is slowed down.
fn squeeze(g: &mut Ground) {
    let high = current() / 8 * 7;
    if sys::write_text(&file("memory.high"), &high.to_string()).is_ok() {
        g.did(Count::Squeezes);
    }
    g.nap(40);
    let _ = sys::write_text(&file("memory.high"), "max");
}

/// A process takes all memory that the group may have, and more, until the kernel ends it.
fn exhaust(g: &mut Ground) {
    let most = current() + (3 << 20);
    if sys::write_text(&file("memory.max"), &most.to_string()).is_err() {
        return;
    }
    let hog = Kid::spawn(|| {
        let me = sys::getpid();
        let _ = sys::write_text(&file("cgroup.procs"), &me.to_string());
        let _ = sys::write_text("/proc/self/oom_score_adj", "1000");
        // Enough for the room that is left and for what is sent to swap meanwhile.
        let len = 192 << 20;
        if let Ok(at) = sys::map(len, 3, libc::MAP_PRIVATE) {
            for page in (at..at + len).step_by(4096) {
                // SAFETY: inside of the mapping.
                unsafe { (page as *mut u64).write_volatile(page as u64) };
            }
        }
        nap(100);
        0
    });
    if let Ok(mut hog) = hog {
        for _ in 0..40 {
            g.on();
            if hog.wait(Duration::from_millis(100)).is_some() {
                break;
            }
        }
        if hog.ended() == Some(Ended::Signal(libc::SIGKILL)) {
            g.did(Count::Ooms);
        }
    }
    let _ = sys::write_text(&file("memory.max"), "max");
}
