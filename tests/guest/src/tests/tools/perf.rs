//! perf: counts calls, records them, and traces them as strace does.

use super::events::{between, hide_addresses};
use super::raw;
use super::stream::CALLS;
use super::tool::{forget, named_pipe, run, text, wait_for, Tool};
use super::{attach_files, compare_runs, WARM};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

area!("perf": counts = 120, records = 120, traces = 120);

const RAW: &str = "raw_syscalls:sys_enter,raw_syscalls:sys_exit";
const OF_CALLS: &str = "syscalls:sys_enter_write,syscalls:sys_exit_write,syscalls:sys_enter_read,syscalls:sys_exit_read";

/// Writes and reads that the program `guest workload` does besides its rounds: those of the mixture, the write behind it, the
/// write of what it says, and the read of its map by the C library.
const OTHER_WRITES: u64 = 4 * 9 + 1 + 1;
const OTHER_READS: u64 = 4 * 7 + 1;

/// Counts the calls of a program, which attaches itself.
fn counts(lab: &Lab) -> Res {
    let events = format!("{RAW},{OF_CALLS}");
    let look = |attach: &str| -> Res<Vec<(String, u64)>> {
        let said = run(
            "perf",
            &["stat", "-x,", "-e", &events, "/guest", "workload", attach],
        )?;
        let count = |line: &str| {
            let words: Vec<&str> = line.split(',').collect();
            let event = words.get(2)?;
            Some(((*event).to_owned(), words.first()?.parse().ok()?))
        };
        Ok(said.lines().filter_map(count).collect())
    };
    let [stock, attached] = attach_files(lab);
    let (stock, attached) = (look(stock)?, look(attached)?);
    same!(attached, stock, "counts");
    let of_calls: Vec<u64> = stock.iter().skip(2).map(|(_, count)| *count).collect();
    let (writes, reads) = (WARM + OTHER_WRITES, WARM + OTHER_READS);
    same!(
        of_calls,
        vec![writes, writes, reads, reads],
        "counts of calls"
    );
    Ok(())
}

/// The two named pipes by which perf is told to begin and to stop, and says that it has.
struct Control {
    orders: File,
    answers: File,
}

const ORDERS: &str = "/tmp/perf.orders";
const ANSWERS: &str = "/tmp/perf.answers";

impl Control {
    fn new() -> Res<Control> {
        let open = |path: &str| -> Res<File> {
            named_pipe(path)?;
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK);
            Ok(options.open(path)?)
        };
        Ok(Control {
            orders: open(ORDERS)?,
            answers: open(ANSWERS)?,
        })
    }

    /// Gives an order and waits until it is carried out.
    fn order(&mut self, word: &str) -> Res {
        writeln!(self.orders, "{word}")?;
        let mut answer = [0u8; 16];
        let came = wait_for(|| self.answers.read(&mut answer).ok());
        ensure!(
            came.is_some() && answer.starts_with(b"ack"),
            "perf does not answer {word:?}"
        );
        Ok(())
    }
}

/// Records the tracepoints of a process in mid-stream.
fn records(lab: &Lab) -> Res {
    const DATA: &str = "/tmp/perf.data";
    let control = format!("--control=fifo:{ORDERS},{ANSWERS}");
    compare_runs(lab, raw::EVENTS, |stream| {
        forget(DATA);
        let mut perf = Control::new()?;
        let pid = stream.pid().to_string();
        let arguments = [
            "record", "-B", "-q", "-D", "-1", &control, "-m", "1M", "-e", RAW, "-o", DATA, "-p",
            &pid,
        ];
        let tool = Tool::start("perf", &arguments)?;
        perf.order("enable")?;
        let (results, first, last) = stream.slow(lab, || {
            let (results, first, _) = raw::under_way(stream)?;
            // So that the mixture lies between the two rounds.
            stream.rounds(2)?;
            Ok((results, first, stream.serial() - 1))
        })?;
        perf.order("disable")?;
        tool.interrupt()?;
        let text = run(
            "perf",
            &["script", "-i", DATA, "-F", "tid,time,event,trace"],
        )?;
        let events = raw::within(&raw::events(&text, |_| true), first, last);
        raw::complete(&events, first, last)?;
        Ok((raw::mixture(&events)?, results))
    })
}

/// Traces a process from mid-stream on.
fn traces(lab: &Lab) -> Res {
    const TRACE: &str = "/tmp/perf.trace";
    const MARK: &str = "close(fd: -1000)";
    compare_runs(lab, CALLS + 3, |stream| {
        forget(TRACE);
        let pid = stream.pid().to_string();
        let tool = Tool::start("perf", &["trace", "-o", TRACE, "-p", &pid])?;
        // It does not say when it is on; what it has seen shows it.
        let on = wait_for(|| text(TRACE).contains("write(").then_some(()));
        ensure!(on.is_some(), "perf trace sees nothing: {}", tool.output());
        let results = stream.slow(lab, || stream.mixture())?;
        // What it has not yet read when it is interrupted it forgets.
        let all = wait_for(|| (text(TRACE).matches(MARK).count() == 2).then_some(()));
        tool.interrupt()?;
        let text = text(TRACE);
        ensure!(all.is_some() && !text.contains("LOST"), "events were lost");
        let calls: Vec<String> = text.lines().filter_map(call).collect();
        let calls = between(&calls, |line| line.starts_with(MARK))?;
        Ok((calls, results))
    })
}

/// The call of a line of perf trace, without times, spaces that align, and what differs from process to process.
fn call(line: &str) -> Option<String> {
    let (_, call) = line.split_once("): ")?;
    let words: Vec<&str> = call.split_whitespace().collect();
    let mut line = words.join(" ");
    while let Some((before, behind)) = line.split_once("<pipe:[") {
        line = match behind.split_once("]>") {
            Some((_, behind)) => format!("{before}<pipe>{behind}"),
            None => break,
        };
    }
    Some(hide_addresses(&line))
}

#[cfg(test)]
mod tests {
    use super::call;

    #[test]
    fn times_and_places_are_left_out() {
        let line = "    65.434 ( 0.006 ms): write(fd: 5<pipe:[1234]>, buf: 0x7ffdb0a08b70, count: 9)      = 9";
        assert_eq!(
            call(line).as_deref(),
            Some("write(fd: 5<pipe>, buf: *, count: 9) = 9")
        );
        assert_eq!(call("LOST 3 events!"), None);
    }
}
