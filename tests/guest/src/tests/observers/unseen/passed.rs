//! Which functions the stock kernel passes in a call that a path would serve: the function tracer says. Each is watched, or a path
//! executes it too. Functions that cannot be traced are named in the specs by reading; this cannot find them.

use super::watched;
use crate::proc::{await_sleep, Kid};
use crate::sys::{self, Pipe};
use crate::tests::support::lab::{expect, needs_module, Lab, Res};
use crate::tests::support::tracefs::{self, put, Clean};
use crate::{area, ensure, same, skip};
use std::collections::{BTreeMap, BTreeSet};

area!("unseen": every_passed_function_is_watched = 300);

/// Rounds of each kind of call. What more than half of its calls pass is the call's own, the rest came by an interrupt.
const ROUNDS: usize = 12;

/// What stock calls pass that a path neither executes nor watches, and why that is right.
const EXCUSED: &[(&str, &str)] = &[];

/// The functions of each call of this process that reached a pipe, in the order of the trace.
fn calls(text: &str) -> Vec<(&'static str, BTreeSet<String>)> {
    let mut calls: Vec<(&'static str, BTreeSet<String>)> = Vec::new();
    // Behind __wake_up_common comes what the tail of a path executes as well, for those who wait.
    let mut woken = false;
    for line in text.lines() {
        let Some((function, caller)) = line
            .split_once(": ")
            .and_then(|(_, event)| event.trim().split_once(" <-"))
        else {
            continue;
        };
        if function.starts_with("__x64_sys_") {
            woken = false;
            calls.push(("", BTreeSet::new()));
        }
        if caller == "__wake_up_sync_key" {
            woken = false;
        }
        let Some((kind, functions)) = calls.last_mut() else {
            continue;
        };
        match function {
            "anon_pipe_write" => *kind = "write",
            "anon_pipe_read" => *kind = "read",
            _ => {}
        }
        if !woken {
            functions.insert(function.to_owned());
        }
        woken |= function == "__wake_up_common";
    }
    calls.retain(|(kind, _)| !kind.is_empty());
    calls
}

/// What each kind of call of `work` passes in more than half of the calls. The tracer is on already.
fn passed(mut work: impl FnMut() -> Res) -> Res<BTreeMap<&'static str, BTreeSet<String>>> {
    let switch = sys::open("/sys/kernel/tracing/tracing_on", libc::O_WRONLY, 0)?;
    tracefs::clear()?;
    sys::write(switch, b"1")?;
    let done = (0..ROUNDS).try_for_each(|_| work());
    sys::write(switch, b"0")?;
    sys::close(switch)?;
    done?;
    let text = sys::read_text("/sys/kernel/tracing/trace")?;
    let calls = calls(&text);
    let mut counts: BTreeMap<&'static str, (usize, BTreeMap<&String, usize>)> = BTreeMap::new();
    for (kind, functions) in &calls {
        let (all, each) = counts.entry(kind).or_default();
        *all += 1;
        for function in functions {
            *each.entry(function).or_default() += 1;
        }
    }
    let mut often = BTreeMap::new();
    for (kind, (all, each)) in counts {
        ensure!(
            all >= ROUNDS,
            "{all} traced calls of {kind} in {ROUNDS} rounds"
        );
        let names = each.into_iter().filter(|(_, n)| 2 * n > all);
        often.insert(kind, names.map(|(name, _)| name.clone()).collect());
    }
    Ok(often)
}

/// One after the other, so that each kind of write and of read is traced with its own kind only.
fn every_passed_function_is_watched(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    let tracers = sys::read_text("/sys/kernel/tracing/available_tracers")?;
    if !tracers.split_whitespace().any(|name| name == "function") {
        skip!("this kernel has no function tracer");
    }
    super::needs_one_cpu()?;
    let watched: BTreeSet<String> = watched()?.into_iter().collect();
    let _clean = Clean;
    put("tracing_on", "0")?;
    put("set_ftrace_filter", "\n")?;
    put("set_ftrace_pid", &sys::getpid().to_string())?;
    // Once for all kinds: the kernel patches each of its functions for this.
    put("current_tracer", "function")?;
    let p = Pipe::new(0)?;
    let (page, one) = ([7u8; 4096], [7u8; 1]);
    let send = |data: &[u8]| -> Res {
        same!(sys::write(p.w, data), Ok(data.len()), "write");
        Ok(())
    };
    // The pipe has cached pages from here on.
    send(&page)?;
    expect(p.r, &page)?;

    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |what: &str, passed: BTreeMap<&'static str, BTreeSet<String>>| {
        for (kind, functions) in passed {
            all.entry(format!("{kind} {what}"))
                .or_default()
                .extend(functions);
        }
    };
    add(
        "of the only byte",
        passed(|| {
            send(&one)?;
            expect(p.r, &one)
        })?,
    );
    add(
        "of a page",
        passed(|| {
            send(&page)?;
            expect(p.r, &page)
        })?,
    );
    send(&page[1..])?;
    expect(p.r, &page[2..])?;
    add(
        "behind other data",
        passed(|| {
            // From one byte to one byte again: the buffer is neither new nor emptied, until its page ends.
            send(&one)?;
            expect(p.r, &one)
        })?,
    );
    expect(p.r, &one)?;
    let (back, r) = (Pipe::new(0)?, p.r);
    let mut reader = Kid::spawn(|| {
        for _ in 0..ROUNDS {
            if expect(r, &one).is_err() || sys::write(back.w, b"k") != Ok(1) {
                return 1;
            }
        }
        0
    })?;
    let pid = reader.pid;
    add(
        "with a waiter",
        passed(|| {
            ensure!(await_sleep(pid), "the reader does not sleep");
            send(&one)?;
            expect(back.r, b"k")
        })?,
    );
    same!(
        reader.wait(std::time::Duration::from_secs(10)),
        Some(crate::proc::Ended::Exit(0)),
        "the reader"
    );

    let mut missing = Vec::new();
    for (call, functions) in &all {
        ensure!(functions.len() > 10, "{call} passes {functions:?} only");
        for function in functions {
            let excused = EXCUSED.iter().any(|(name, _)| name == function);
            if !watched.contains(function) && !excused {
                missing.push(format!("{call}: {function}"));
            }
        }
    }
    ensure!(missing.is_empty(), "passed and not watched: {missing:#?}");
    Ok(())
}
