//! Tracing of the kernel switched on in the middle of a stream: syscall tracepoints, a kprobe, the function tracer.

use crate::proc::nap;
use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, Lab, Res, Stop};
use crate::tests::support::looper::Looper;
use crate::tests::support::tracefs::{clear, exists, mounted, put, Clean, ROOT};
use crate::{area, ensure, skip};

area!("tracefs":
    raw_syscall_tracepoint = 120, write_tracepoint = 120, exit_tracepoint = 120, kprobe_on_pipe_write = 120, kprobe_on_vfs_write = 120,
    kprobe_while_others_run = 120, function_tracer = 120, function_tracer_on_read = 120,
);

/// Lines of the trace of this process that contain a text. The reading itself is not traced: it would never come to an end.
fn lines(pid: i32, what: &str) -> Res<usize> {
    put("tracing_on", "0")?;
    let text = sys::read_text(&format!("{ROOT}/trace"))?;
    put("tracing_on", "1")?;
    let me = format!("-{pid} ");
    Ok(text
        .lines()
        .filter(|l| !l.starts_with('#') && l.contains(&me) && l.contains(what))
        .count())
}

/// Calls that are made while a tracer counts.
const CALLS: usize = 100;

/// Switches something on, makes calls, counts what it saw, switches it off, three times; specialized before and after.
fn counted(
    lab: &Lab,
    at_once: bool,
    call: &str,
    on: impl Fn() -> Res,
    off: impl Fn() -> Res,
) -> Res {
    let rig = lab.rig()?;
    let me = sys::getpid();
    for _ in 0..3 {
        lab.fast_again(&rig.p)?;
        clear()?;
        on()?;
        if !at_once {
            // In force from the next time this process is scheduled in.
            nap(5);
        }
        clear()?;
        let (fd, which) = if call.contains("read") {
            (rig.p.r, Read)
        } else {
            (rig.p.w, Write)
        };
        let done = lab.slow(fd, which, 0, || {
            for i in 0..CALLS {
                echo(rig.p.r, rig.p.w, &[i as u8])?;
            }
            Ok(())
        });
        let seen = lines(me, call)?;
        off()?;
        done?;
        // What this test itself reads in sysfs meanwhile is seen by the tracer of vfs_read as well.
        let own = if call == "vfs_read" && !lab.stock {
            16
        } else {
            0
        };
        ensure!(
            (CALLS..=CALLS + own).contains(&seen),
            "{call}: {seen} seen of {CALLS} calls"
        );
        nap(5);
    }
    lab.fast_again(&rig.p)
}

fn event(lab: &Lab, dir: &str, filter: &str, what: &str) -> Res {
    mounted()?;
    if !exists(dir) {
        skip!("this kernel has no {dir}");
    }
    let _clean = Clean;
    put("current_tracer", "nop")?;
    put(&format!("{dir}/filter"), filter)?;
    counted(
        lab,
        true,
        what,
        || put(&format!("{dir}/enable"), "1"),
        || put(&format!("{dir}/enable"), "0"),
    )
}

fn raw_syscall_tracepoint(lab: &Lab) -> Res {
    event(
        lab,
        "events/raw_syscalls/sys_enter",
        &format!("common_pid == {} && id == 1", sys::getpid()),
        "NR 1 ",
    )
}

fn write_tracepoint(lab: &Lab) -> Res {
    event(
        lab,
        "events/syscalls/sys_enter_write",
        &format!("common_pid == {}", sys::getpid()),
        "sys_write(",
    )
}

fn exit_tracepoint(lab: &Lab) -> Res {
    event(
        lab,
        "events/syscalls/sys_exit_write",
        &format!("common_pid == {}", sys::getpid()),
        "sys_write -> 0x1",
    )
}

fn kprobe(lab: &Lab, function: &str) -> Res {
    mounted()?;
    if !exists("kprobe_events") {
        skip!("this kernel has no kprobe events");
    }
    let _clean = Clean;
    let probe = format!("p:synthjit_test/seen_write {function}");
    let on = || -> Res {
        sys::append_text(&format!("{ROOT}/kprobe_events"), &probe)
            .map_err(|e| Stop::Fail(format!("kprobe on {function}: {e}")))?;
        put("events/synthjit_test/seen_write/enable", "1")
    };
    let off = || -> Res {
        put("events/synthjit_test/seen_write/enable", "0")?;
        sys::append_text(
            &format!("{ROOT}/kprobe_events"),
            "-:synthjit_test/seen_write",
        )?;
        Ok(())
    };
    counted(lab, false, "seen_write", on, off)
}

fn kprobe_on_pipe_write(lab: &Lab) -> Res {
    // Named so since pipes and FIFOs have write functions of their own.
    let symbols =
        String::from_utf8_lossy(&sys::read_file("/proc/kallsyms").unwrap_or_default()).into_owned();
    let name = if symbols.lines().any(|l| l.ends_with(" anon_pipe_write")) {
        "anon_pipe_write"
    } else {
        "pipe_write"
    };
    kprobe(lab, name)
}

fn kprobe_on_vfs_write(lab: &Lab) -> Res {
    kprobe(lab, "vfs_write")
}

/// The probe comes and goes while another attached process streams without ever sleeping by itself.
fn kprobe_while_others_run(lab: &Lab) -> Res {
    mounted()?;
    if !exists("kprobe_events") {
        skip!("this kernel has no kprobe events");
    }
    let looper = Looper::start(lab)?;
    let _clean = Clean;
    for _ in 0..4 {
        sys::append_text(
            &format!("{ROOT}/kprobe_events"),
            "p:synthjit_test/seen_write vfs_write",
        )?;
        put("events/synthjit_test/seen_write/enable", "1")?;
        // It is preempted by this process at the latest when this one has slept.
        nap(30);
        let hits = || -> Res<u64> {
            let text = sys::read_text(&format!("{ROOT}/kprobe_profile"))?;
            let line = text
                .lines()
                .find(|l| l.contains("seen_write"))
                .unwrap_or_default();
            Ok(line
                .split_whitespace()
                .nth(1)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0))
        };
        let before = hits()?;
        let rounds = looper.board.word(0);
        looper.slow_now(lab)?;
        let rounds = looper.board.word(0) - rounds;
        let seen = hits()? - before;
        // Every round writes once; the write of the first may have come before the counting.
        ensure!(
            seen >= 200 && seen + 1 >= rounds,
            "the probe saw {seen} writes in {rounds} rounds"
        );
        put("events/synthjit_test/seen_write/enable", "0")?;
        sys::append_text(
            &format!("{ROOT}/kprobe_events"),
            "-:synthjit_test/seen_write",
        )?;
        looper.fast_again(lab)?;
    }
    looper.finish()
}

fn traced_function(lab: &Lab, function: &str) -> Res {
    mounted()?;
    if !sys::read_text(&format!("{ROOT}/available_tracers"))
        .is_ok_and(|t| t.split(' ').any(|n| n == "function"))
    {
        skip!("this kernel has no function tracer");
    }
    let _clean = Clean;
    match sys::write_text(
        &format!("{ROOT}/set_ftrace_pid"),
        &sys::getpid().to_string(),
    ) {
        Err(nix::errno::Errno::EPERM) => skip!("set_ftrace_pid is locked here"),
        done => done?,
    };
    let on = || {
        put("set_ftrace_filter", function)?;
        put("current_tracer", "function")
    };
    counted(lab, false, function, on, || put("current_tracer", "nop"))
}

fn function_tracer(lab: &Lab) -> Res {
    traced_function(lab, "vfs_write")
}

fn function_tracer_on_read(lab: &Lab) -> Res {
    traced_function(lab, "vfs_read")
}
