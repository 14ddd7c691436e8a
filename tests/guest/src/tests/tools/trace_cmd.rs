//! trace-cmd on raw_syscalls: switched on for the whole machine in mid-stream, and from the start.

use super::events::equal;
use super::raw;
use super::stream::{Pace, Stream};
use super::tool::{forget, run};
use super::{attach_files, compare_runs};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same, sys};

area!("trace_cmd": machine_wide = 120, from_the_start = 120, at_once = 120);

const DATA: &str = "/tmp/trace-cmd.dat";
/// Room for all events of a test, in KiB a CPU.
const ROOM: &str = "16384";

/// Switches tracing off however a test ends.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        let _ = run("trace-cmd", &["reset"]);
    }
}

fn machine_wide(lab: &Lab) -> Res {
    let _off = Off;
    compare_runs(lab, raw::EVENTS, |stream| {
        // The filter is looked at when a call is in the tracepoint already; each call of the machine goes there.
        let filter = format!("common_pid == {}", stream.pid());
        run(
            "trace-cmd",
            &["start", "-b", ROOM, "-e", "raw_syscalls", "-f", &filter],
        )?;
        let (results, first, last) = stream.slow(lab, || raw::under_way(stream))?;
        run("trace-cmd", &["stop"])?;
        let text = run("trace-cmd", &["show"])?;
        run("trace-cmd", &["reset"])?;
        ensure!(!text.contains("LOST"), "events were lost");
        let events = raw::events(&text, |_| true);
        raw::complete(&events, first, last)?;
        Ok((raw::mixture(&events)?, results))
    })
}

fn from_the_start(lab: &Lab) -> Res {
    let look = |attach: &str| -> Res<(Vec<String>, String)> {
        forget(DATA);
        let arguments = [
            "record",
            "-q",
            "-b",
            ROOM,
            "-e",
            "raw_syscalls",
            "-o",
            DATA,
            "-F",
            "/guest",
            "workload",
            attach,
        ];
        let said = run("trace-cmd", &arguments)?;
        let results = said.lines().find(|line| line.starts_with("results "));
        let text = run("trace-cmd", &["report", "-i", DATA])?;
        let events = raw::events(&text, |line| line.trim_start().starts_with("guest-"));
        raw::complete(&events, 1, super::WARM)?;
        Ok((raw::mixture(&events)?, results.unwrap_or_default().into()))
    };
    let _off = Off;
    let [stock, attached] = attach_files(lab);
    let (stock, attached) = (look(stock)?, look(attached)?);
    same!(attached.1, stock.1, "results");
    equal(&stock.0, &attached.0, raw::EVENTS)
}

/// The bound of docs/limits.md, while specialized calls run on another CPU: the one that is already running when the tracepoint
/// is switched on is not seen, every later one is.
fn at_once(lab: &Lab) -> Res {
    let put = |file: &str, text: &str| -> Res {
        sys::write_text(&format!("/sys/kernel/tracing/{file}"), text)?;
        Ok(())
    };
    let _off = Off;
    let mut stream = Stream::with_pace(Pace::Hurried)?;
    stream.attach(lab)?;
    run("trace-cmd", &["reset"])?;
    put("buffer_size_kb", ROOM)?;
    let filter = format!("common_pid == {}", stream.pid());
    put("events/raw_syscalls/filter", &filter)?;
    for _ in 0..20 {
        stream.fast_again(lab)?;
        put("tracing_on", "1")?;
        put("events/raw_syscalls/enable", "1")?;
        // What was begun before this moment may be over or not.
        let first = stream.serial() + 1;
        stream.rounds(20)?;
        let last = stream.serial() - 1;
        put("tracing_on", "0")?;
        put("events/raw_syscalls/enable", "0")?;
        let text = sys::read_text("/sys/kernel/tracing/trace")?;
        run("trace-cmd", &["clear"])?;
        ensure!(!text.contains("LOST"), "events were lost");
        raw::complete(&raw::events(&text, |_| true), first, last)?;
    }
    stream.fast_again(lab)?;
    stream.finish()
}
