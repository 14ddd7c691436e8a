//! Memory gets scarce: those who stream are in a control group whose limits go down (Documentation/admin-guide/cgroup-v2.rst
//! in the kernel source).

use super::super::counts::{Count, Missing};
use super::{swap, Context, Stressor};
use crate::proc::{nap, Ended, Kid};
use crate::sys;
use std::time::Duration;

const TOP: &str = "/sys/fs/cgroup";
const GROUP: &str = "/sys/fs/cgroup/torture";
/// How much more than it has the group may take when its memory runs out.
const ROOM: usize = 1 << 20;

pub const STRESSOR: Stressor = Stressor {
    name: "memory",
    run,
    missing,
    module: false,
    goals: &[
        Count::Reclaims,
        Count::Reclaimed,
        Count::Squeezes,
        Count::Ooms,
    ],
};

fn missing() -> Missing {
    if prepare() {
        // Nothing that the group has could be read from a file again.
        let why = swap::on().err();
        return why.into_iter().map(|why| (Count::Reclaimed, why)).collect();
    }
    STRESSOR
        .goals
        .iter()
        .map(|c| (*c, "no memory control group".to_string()))
        .collect()
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

/// A number of the group's files that have a name and a number in each line.
fn number(name: &str, key: &str) -> u64 {
    let text = sys::read_text(&file(name)).unwrap_or_default();
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

fn run(g: &mut Context) {
    // The list of all processes in the kernel's log takes longer than the rest.
    let _ = sys::write_text("/proc/sys/vm/oom_dump_tasks", "0");
    while g.on() {
        match g.round(6) {
            0 => squeeze(g),
            1 => exhaust(g),
            _ => {
                let bytes = (1 + g.rng.below(8)) << 16;
                let before = number("memory.stat", "pgsteal");
                // EAGAIN: less could be reclaimed, but some was tried.
                let done = sys::write_text(&file("memory.reclaim"), &bytes.to_string());
                if matches!(done, Ok(_) | Err(nix::errno::Errno::EAGAIN)) {
                    g.did(Count::Reclaims);
                }
                let taken = number("memory.stat", "pgsteal").saturating_sub(before);
                g.board.did_many(Count::Reclaimed, taken);
            }
        }
        g.rest(150);
    }
    for name in ["memory.high", "memory.max", "memory.swap.max"] {
        let _ = sys::write_text(&file(name), "max");
    }
}

/// Use is above what is allowed for a moment: whoever allocates has to give back, and is slowed down.
fn squeeze(g: &mut Context) {
    let before = number("memory.events", "high");
    let high = current() / 8 * 7;
    let _ = sys::write_text(&file("memory.high"), &high.to_string());
    g.nap(40);
    let _ = sys::write_text(&file("memory.high"), "max");
    let slowed = number("memory.events", "high").saturating_sub(before);
    g.board.did_many(Count::Squeezes, slowed);
}

/// A process takes all memory that the group may have, and more, until the kernel ends it. Nothing goes to swap meanwhile, which
/// would only take time.
fn exhaust(g: &mut Context) {
    let most = current() + ROOM;
    if sys::write_text(&file("memory.max"), &most.to_string()).is_err() {
        return;
    }
    // No such file without swap.
    let _ = sys::write_text(&file("memory.swap.max"), "0");
    let hog = Kid::spawn(|| {
        let me = sys::getpid();
        let _ = sys::write_text(&file("cgroup.procs"), &me.to_string());
        let _ = sys::write_text("/proc/self/oom_score_adj", "1000");
        // What the others give back is taken as well.
        let len = 32 * ROOM;
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
        let end = (0..100).find_map(|_| {
            g.on();
            hog.wait(Duration::from_millis(100))
        });
        if end == Some(Ended::Signal(libc::SIGKILL)) {
            g.did(Count::Ooms);
        }
    }
    for name in ["memory.max", "memory.swap.max"] {
        let _ = sys::write_text(&file(name), "max");
    }
}
