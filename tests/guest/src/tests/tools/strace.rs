//! strace: every call, its arguments and its result.

use super::events::{between, equal, hide_addresses, whole};
use super::stream::CALLS;
use super::tool::{forget, run, text, Tool};
use super::{attach_files, compare_runs};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, same};

area!("strace": attached_to = 120, from_the_start = 120);

const TRACE: &str = "/tmp/strace.trace";
/// The mixture, one more write, two marks.
const EVENTS: usize = CALLS + 3;

fn lines() -> Vec<String> {
    text(TRACE).lines().map(hide_addresses).collect()
}

fn mark(line: &str) -> bool {
    line.starts_with("close(-1000)")
}

/// Numbers of the rounds whose call `name` was seen.
fn rounds(lines: &[String], name: &str) -> Vec<u64> {
    let serial = |line: &String| {
        let data = line.strip_prefix(name)?.split('"').nth(1)?;
        (data.len() == 8).then(|| data.parse().ok())?
    };
    lines.iter().filter_map(serial).collect()
}

/// strace attaches in mid-stream and leaves again.
fn attached_to(lab: &Lab) -> Res {
    compare_runs(lab, EVENTS, |stream| {
        forget(TRACE);
        let pid = stream.pid().to_string();
        let mut strace = Tool::start("strace", &["-s", "16", "-o", TRACE, "-p", &pid])?;
        strace.says("attached")?;
        let (first, results) = (
            stream.serial() + 1,
            stream.slow(lab, || {
                stream.rounds(50)?;
                stream.mixture()
            })?,
        );
        let last = stream.serial() - 1;
        strace.interrupt()?;
        let lines = lines();
        whole(&rounds(&lines, "write("), first, last)?;
        whole(&rounds(&lines, "read("), first, last)?;
        Ok((between(&lines, mark)?, results))
    })
}

/// strace starts the program, which attaches itself while it is traced.
fn from_the_start(lab: &Lab) -> Res {
    let look = |attach: &str| -> Res<(Vec<String>, String)> {
        forget(TRACE);
        let arguments = ["-s", "16", "-o", TRACE, "/guest", "workload", attach];
        let said = run("strace", &arguments)?;
        let lines = lines();
        whole(&rounds(&lines, "write("), 1, super::WARM)?;
        Ok((between(&lines, mark)?, said))
    };
    let [stock, attached] = attach_files(lab);
    let (stock, attached) = (look(stock)?, look(attached)?);
    same!(attached.1, stock.1, "results");
    equal(&stock.0, &attached.0, EVENTS)
}
