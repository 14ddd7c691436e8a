//! Traces those who stream for a while: stops them, lets them run from call to call and step by step, lets them go.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::proc::poll_until;
use crate::sys;
use std::time::Duration;

pub const STRESSOR: Stressor = Stressor {
    name: "ptrace",
    run,
    missing: nothing,
    module: false,
    goals: &[Count::Ptraces, Count::TraceStops],
};

fn run(g: &mut Context) {
    while g.on() {
        if let Some(pid) = g.carrier() {
            trace(g, pid);
        }
        g.nap(50);
    }
}

fn request(what: u32, pid: i32, data: usize) -> bool {
    // SAFETY: none of the requests used here takes a pointer.
    unsafe { libc::ptrace(what, pid, 0usize, data) == 0 }
}

/// Waits for a stop: the signal to go on with. `None`: it ended, or does not stop for a while.
fn stopped(g: &Context, pid: i32, ended: &mut bool) -> Option<usize> {
    poll_until(Duration::from_millis(300), || {
        g.on();
        let mut status = 0;
        // SAFETY: `status` is ours.
        let got = unsafe { libc::waitpid(pid, &mut status, libc::__WALL | libc::WNOHANG) };
        if got < 0 || got == pid && !libc::WIFSTOPPED(status) {
            *ended = true;
            return Some(None);
        }
        if got != pid {
            return None;
        }
        g.did(Count::TraceStops);
        let signal = libc::WSTOPSIG(status);
        let of_tracer = status >> 16 != 0 || signal & 0x7f == libc::SIGTRAP;
        Some(Some(if of_tracer { 0 } else { signal as usize }))
    })
    .flatten()
}

fn trace(g: &mut Context, pid: i32) {
    if !request(
        libc::PTRACE_SEIZE,
        pid,
        libc::PTRACE_O_TRACESYSGOOD as usize,
    ) {
        return;
    }
    g.did(Count::Ptraces);
    let mut ended = false;
    let way = g.rng.pick(&[
        libc::PTRACE_SYSCALL,
        libc::PTRACE_SINGLESTEP,
        libc::PTRACE_CONT,
    ]);
    request(libc::PTRACE_INTERRUPT, pid, 0);
    let mut signal = stopped(g, pid, &mut ended);
    for _ in 0..g.rng.below(60) {
        let (Some(s), Some(way), false) = (signal, way, ended) else {
            break;
        };
        if !request(way, pid, s) {
            break;
        }
        if way == libc::PTRACE_CONT {
            g.nap(3);
            request(libc::PTRACE_INTERRUPT, pid, 0);
        }
        signal = stopped(g, pid, &mut ended);
    }
    // Only a process that stands still can be let go.
    while !ended {
        match signal {
            // A step that an interruption overtook: its SIGTRAP would end a process that nobody traces.
            Some(s) if trap_waits(pid) => {
                request(libc::PTRACE_CONT, pid, s);
            }
            Some(s) if request(libc::PTRACE_DETACH, pid, s) => return,
            _ => {
                request(libc::PTRACE_INTERRUPT, pid, 0);
            }
        }
        signal = stopped(g, pid, &mut ended);
    }
}

/// Whether a SIGTRAP waits to be delivered to a process that stands still.
fn trap_waits(pid: i32) -> bool {
    let status = sys::read_text(&format!("/proc/{pid}/status")).unwrap_or_default();
    let waiting = |line: &str| {
        let set = u64::from_str_radix(line.strip_prefix("SigPnd:")?.trim(), 16).ok()?;
        Some(set & 1 << (libc::SIGTRAP - 1) != 0)
    };
    status.lines().find_map(waiting).unwrap_or(false)
}
