//! What was put into kernel text before the module came.

use super::{changed, fast_again};
use crate::proc::{nap, poll_until};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::sysfs::Call::Write;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop};
use crate::tests::support::tracefs::{self, put, Clean};
use crate::{area, ensure, same, skip};
use std::time::Duration;

area!("unseen":
    probe_was_there_before_the_module = 120, probe_goes_as_the_module_comes = 120, tracer_was_there_before_the_module = 120,
);

const PROBE: &str = "kprobes/sj_early";

/// Defines and arms a kprobe inside of a function: behind its entry, at the first place where an instruction begins.
fn probe_inside(function: &str) -> Res {
    let armed = (12..80).any(|offset| {
        let probe = format!("p:sj_early {function}+{offset}");
        tracefs::put("kprobe_events", &probe).is_ok()
    });
    ensure!(armed, "no kprobe can be put into {function}");
    put(&format!("events/{PROBE}/enable"), "1")
}

fn take_probe_away() -> Res {
    put(&format!("events/{PROBE}/enable"), "0")?;
    put("kprobe_events", "-:sj_early")
}

fn hits() -> Res<u64> {
    let profile = sys::read_text("/sys/kernel/tracing/kprobe_profile")?;
    let line = profile.lines().find(|l| l.contains("sj_early"));
    let hits = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    hits.ok_or_else(|| Stop::Fail(format!("no count of the kprobe: {profile:?}")))
}

fn unload() -> Res {
    if sysfs::present() {
        same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    }
    Ok(())
}

fn load() -> Res {
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    Ok(())
}

fn needs_kprobes(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    if !std::path::Path::new("/sys/kernel/tracing/kprobe_events").exists() {
        skip!("this kernel has no kprobe events");
    }
    Ok(())
}

/// Calls of an attached process that a probe in `function` sees; none may be served by a path.
fn all_are_seen(lab: &Lab, p: &Pipe, function: &str) -> Res {
    const CALLS: u64 = 50;
    // Time enough to make paths.
    for i in 0..20 {
        echo(p.r, p.w, &[i])?;
        nap(2);
    }
    let before = (hits()?, lab.hits(p.w, Write));
    for i in 0..CALLS {
        echo(p.r, p.w, &[i as u8])?;
    }
    let seen = hits()? - before.0;
    ensure!(
        seen >= CALLS,
        "the kprobe in {function} saw {seen} of {CALLS} calls; changed: {:?}",
        changed()
    );
    same!(lab.hits(p.w, Write), before.1, "calls that a path served");
    Ok(())
}

fn probe_was_there_before_the_module(lab: &Lab) -> Res {
    needs_kprobes(lab)?;
    let _clean = Clean;
    for function in ["vfs_write", "__wake_up_sync_key", "anon_pipe_write"] {
        unload()?;
        probe_inside(function)?;
        load()?;
        let p = Pipe::new(0)?;
        let _me = lab.attach()?;
        all_are_seen(lab, &p, function)?;
        take_probe_away()?;
        fast_again(lab, &p)?;
    }
    Ok(())
}

/// The optimised form of a kprobe stays in the text for a while after the probe is gone (kernel/kprobes.c, OPTIMIZE_DELAY).
fn probe_goes_as_the_module_comes(lab: &Lab) -> Res {
    needs_kprobes(lab)?;
    let _clean = Clean;
    for round in 0..4 {
        unload()?;
        probe_inside("vfs_write")?;
        let optimised = || {
            let list = sys::read_text("/sys/kernel/debug/kprobes/list").unwrap_or_default();
            list.contains("[OPTIMIZED]").then_some(())
        };
        if poll_until(Duration::from_secs(5), optimised).is_none() {
            skip!("kprobes are not optimised here");
        }
        // Just before the module reads kernel text, or just after.
        if round % 2 == 0 {
            take_probe_away()?;
            load()?;
        } else {
            load()?;
            take_probe_away()?;
        }
        let p = Pipe::new(0)?;
        let _me = lab.attach()?;
        fast_again(lab, &p)?;
    }
    Ok(())
}

fn tracer_was_there_before_the_module(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    let _clean = Clean;
    unload()?;
    put("set_ftrace_filter", "__wake_up_sync_key")?;
    put("current_tracer", "function")?;
    load()?;
    let p = Pipe::new(0)?;
    let _me = lab.attach()?;
    for i in 0..20 {
        echo(p.r, p.w, &[i])?;
        nap(2);
    }
    same!(lab.hits(p.w, Write), 0, "calls that a path served");
    put("current_tracer", "nop")?;
    fast_again(lab, &p)
}
