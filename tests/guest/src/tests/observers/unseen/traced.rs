//! The function tracer counts as many entries of an attached process as of another, for each function that is watched.

use super::{fast_again, watched};
use crate::sys::{self, Pipe};
use crate::tests::support::lab::{echo, needs_module, Lab, Res};
use crate::tests::support::tracefs::{self, put, Clean};
use crate::{area, ensure, skip};
use std::collections::BTreeSet;

area!("unseen": each_function_is_traced_as_stock = 300);

const CALLS: u8 = 10;

/// Entries of a function while this process writes and reads. Interrupts pass some functions too, so the least of a few counts.
fn entries(function: &str, p: &Pipe, times: usize) -> Res<usize> {
    let switch = sys::open("/sys/kernel/tracing/tracing_on", libc::O_WRONLY, 0)?;
    let mut least = usize::MAX;
    for _ in 0..times {
        sys::write(switch, b"0")?;
        tracefs::clear()?;
        sys::write(switch, b"1")?;
        let done = (0..CALLS).try_for_each(|i| echo(p.r, p.w, &[i]));
        sys::write(switch, b"0")?;
        done?;
        let text = sys::read_text("/sys/kernel/tracing/trace")?;
        let entry = format!(": {function} <-");
        least = least.min(text.lines().filter(|line| line.contains(&entry)).count());
    }
    sys::write(switch, b"1")?;
    sys::close(switch)?;
    Ok(least)
}

fn traced(function: &str, p: &Pipe, times: usize) -> Res<usize> {
    put("set_ftrace_filter", function)?;
    put("current_tracer", "function")?;
    let seen = entries(function, p, times);
    put("current_tracer", "nop")?;
    seen
}

fn each_function_is_traced_as_stock(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    super::needs_one_cpu()?;
    let file = "/sys/kernel/tracing/available_filter_functions";
    let Ok(traceable) = sys::read_text(file) else {
        skip!("this kernel has no function tracer");
    };
    let traceable: BTreeSet<&str> = traceable.lines().collect();
    let _clean = Clean;
    put("set_ftrace_pid", &sys::getpid().to_string())?;
    let p = Pipe::new(0)?;
    let functions = watched()?
        .into_iter()
        .filter(|name| traceable.contains(name.as_str()));
    let mut stock = Vec::new();
    for function in functions {
        let entries = traced(&function, &p, 3)?;
        // Each call passes a function equally often; what is more came by the switching of the tracer.
        stock.push((function, entries - entries % usize::from(CALLS)));
    }
    let passed = stock.iter().filter(|(_, entries)| *entries > 0).count();
    ensure!(passed > 15, "the stock calls pass {passed} functions only");

    let _me = lab.attach()?;
    let mut fewer = Vec::new();
    for (function, wanted) in &stock {
        fast_again(lab, &p)?;
        let seen = traced(function, &p, 1)?;
        if seen < *wanted {
            fewer.push(format!("{function}: {seen} instead of {wanted}"));
        }
    }
    ensure!(
        fewer.is_empty(),
        "entries of an attached process: {fewer:#?}"
    );
    fast_again(lab, &p)
}
