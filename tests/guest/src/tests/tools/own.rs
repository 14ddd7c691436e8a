//! perf, trace-cmd and bpftool look at the module itself: its tracepoints, its code by name, its types (docs/tracing.md).

use super::attach_files;
use super::tool::{forget, run, wait_for, Tool};
use crate::sys;
use crate::sysfs;
use crate::tests::support::lab::{Lab, Res, Stop};
use crate::tests::support::listener::Listener;
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("own":
    perf_hears_and_names = 200, perf_report_names = 200, perf_holds_the_module = 200, trace_cmd_hears = 200, bpftool_knows_types, docs_say = 200,
);

const DATA: &str = "/tmp/own.data";
/// Calls that bail out while a tool listens.
const BAILS: usize = 40;

/// Has perf record a program that attaches itself, makes its paths, has calls bail out, and ends. How many did.
fn recorded(lab: &Lab) -> Res<u64> {
    forget(DATA);
    let before = lab.stat("bailouts")?;
    let [_, attach] = attach_files(lab);
    let events = ["record", "-g", "-o", DATA, "-e", "synthjit:*"];
    let program = ["/guest", "workload", attach];
    run("perf", &[&events[..], &program].concat())?;
    Ok(lab.stat("bailouts")? - before)
}

/// The value of a field of an event as tools print it.
fn field<'t>(line: &'t str, name: &str) -> &'t str {
    let mut words = line.split_whitespace().filter_map(|w| w.split_once('='));
    words
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value)
}

/// Every bail-out is an event, called from the code of the path that it names.
fn perf_hears_and_names(lab: &Lab) -> Res {
    let bailed = recorded(lab)?;
    let arguments = ["script", "-i", DATA, "-F", "comm,tid,event,trace,ip,sym"];
    let text = run("perf", &arguments)?;
    // An event and its call chain are separated from the next by an empty line.
    let bailouts: Vec<&str> = text
        .split("\n\n")
        .filter(|event| event.contains("synthjit:bailout:"))
        .collect();
    same!(bailouts.len() as u64, bailed, "events of bail-outs");
    ensure!(bailouts.len() >= 4, "{} bail-outs", bailouts.len());
    for event in bailouts {
        let routine = format!("synthjit_exits_{}", field(event, "spec"));
        let mut frames = event
            .lines()
            .skip_while(|f| !f.ends_with("synthjit_bail_thunk"));
        frames.next();
        ensure!(
            frames.next().is_some_and(|frame| frame.ends_with(&routine)),
            "{routine} did not call the thunk:\n{event}"
        );
    }
    for event in ["synthjit:synthesize:", "synthjit:retire:"] {
        ensure!(text.contains(event), "no {event}");
    }
    Ok(())
}

/// The report, which is made when the process has ended, has the exit routine by name.
fn perf_report_names(lab: &Lab) -> Res {
    recorded(lab)?;
    let arguments = ["report", "-i", DATA, "--stdio", "--no-children", "-G"];
    let text = run("perf", &arguments)?;
    ensure!(
        text.contains("synthjit_exits_pipe_read"),
        "no exit routine is in the report:\n{text}"
    );
    Ok(())
}

/// While perf listens, the module stays; when it has gone, it goes.
fn perf_holds_the_module(_: &Lab) -> Res {
    let arguments = [
        "record",
        "-a",
        "-o",
        DATA,
        "-e",
        "synthjit:bailout",
        "sleep",
        "60",
    ];
    let tool = Tool::start("perf", &arguments)?;
    let held = wait_for(|| {
        let count = sys::read_text("/sys/module/synthjit/refcnt").ok()?;
        (count != "0").then(|| sys::rmmod(sysfs::MODULE))
    });
    ensure!(
        matches!(held, Some(Err(Errno::EAGAIN | Errno::EBUSY))),
        "rmmod under perf: {held:?}, {}",
        tool.output()
    );
    tool.interrupt()?;
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod afterwards");
    crate::tests::load_if_missing().map_err(Stop::Fail)
}

fn trace_cmd_hears(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let listener = Listener::to(&[])?;
    run("trace-cmd", &["start", "-e", "synthjit"])?;
    // On as before: the process recompiles.
    sysfs::set("enabled", "1")?;
    lab.fast_again(&rig.p)?;
    for _ in 0..BAILS {
        let mut b = [0; 8];
        same!(sys::read(rig.p.r, &mut b), Err(Errno::EAGAIN), "empty pipe");
    }
    run("trace-cmd", &["stop"])?;
    let text = run("trace-cmd", &["show"])?;
    run("trace-cmd", &["reset"])?;
    drop(listener);
    for (event, fields, least) in [
        ("bailout", "call=read", BAILS),
        ("synthesize", "spec=pipe_write", 1),
    ] {
        let lines = text
            .lines()
            .filter(|l| l.contains(&format!(": {event}: ")) && l.contains(fields));
        ensure!(lines.count() >= least, "no {event} with {fields}:\n{text}");
    }
    Ok(())
}

fn bpftool_knows_types(_: &Lab) -> Res {
    let arguments = [
        "btf",
        "dump",
        "file",
        "/sys/kernel/btf/synthjit",
        "format",
        "raw",
    ];
    let text = run("bpftool", &arguments)?;
    for what in ["STRUCT 'synthjit_task'", "FUNC 'synthjit_task_publish'"] {
        ensure!(text.contains(what), "no {what}");
    }
    Ok(())
}

/// What docs/tracing.md has people type.
fn docs_say(_: &Lab) -> Res {
    let text = include_str!("../../../../../docs/tracing.md");
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    crate::tutorial::run(text, "/tmp", path).map_err(Stop::Fail)?;
    Ok(())
}
