//! auditd with a rule for calls: what it writes into its log of a process.
//!
//! The kernel decides at a process's birth whether it can ever be audited: if auditing was on by then (`audit_alloc` in
//! `kernel/auditsc.c`), it has work at each call for life, with rules or without. A process that is older has none, whatever
//! rules come.

use super::events::{between, equal, hide_addresses, whole};
use super::raw::under_way;
use super::stream::{Stream, CALLS};
use super::tool::{run, text, wait_for, Tool};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same};

area!("auditd":
    older_than_auditing = 120, begun_under_a_task_rule = 120, rule_in_mid_stream = 120,
);

const LOG: &str = "/var/log/audit/audit.log";
/// The calls of mixture and stream, without the stream's pauses.
const WATCHED: &str = "read,write,close,openat,lseek,dup,getuid";
/// Records of the mixture: two for each call, the write behind it and the marks; two more, for names, at each `openat`.
const RECORDS: usize = 2 * (CALLS + 3) + 2 * 4;

/// The record of a removed rule of ours.
const REMOVAL: &str = "op=remove_rule key=\"synthjit\"";

/// The daemon, which has the kernel audit. With it the rules end.
struct Auditd {
    tool: Option<Tool>,
}

impl Auditd {
    /// Starts it and waits until the kernel sends it records.
    fn start() -> Res<Auditd> {
        let tool = Tool::start("auditd", &["-n"])?;
        let mine = format!("pid {}", tool.pid());
        let auditd = Auditd { tool: Some(tool) };
        let is_it = || run("auditctl", &["-s"]).is_ok_and(|said| said.lines().any(|l| l == mine));
        ensure!(
            wait_for(|| is_it().then_some(())).is_some(),
            "the kernel does not know the daemon"
        );
        // As in Debian's rules.
        run("auditctl", &["-b", "8192"])?;
        Ok(auditd)
    }

    /// Has calls recorded.
    fn record(&self, whose: &str) -> Res {
        let rule = [
            "-a",
            "always,exit",
            "-F",
            "arch=b64",
            "-S",
            WATCHED,
            "-F",
            whose,
            "-k",
            "synthjit",
        ];
        run("auditctl", &rule)?;
        Ok(())
    }

    /// Removes the rule; the log, when it has all that was seen under it.
    fn log(&self) -> Res<String> {
        let removals = || text(LOG).matches(REMOVAL).count();
        let before = removals();
        run("auditctl", &["-D"])?;
        ensure!(
            wait_for(|| (removals() > before).then_some(())).is_some(),
            "the daemon does not write"
        );
        let state = run("auditctl", &["-s"])?;
        ensure!(state.contains("\nlost 0\n"), "records were lost: {state}");
        Ok(text(LOG))
    }
}

impl Drop for Auditd {
    fn drop(&mut self) {
        // Nobody is left to tell if these fail.
        let _ = run("auditctl", &["-D"]);
        let _ = run("auditctl", &["-e", "0"]);
        let _ = self.tool.take().map(|tool| tool.signal(libc::SIGTERM));
    }
}

/// What the log says of one process: its records in their order, without the times and the numbers of events and processes.
fn records(log: &str, pid: i32) -> Vec<String> {
    let its = format!(" pid={pid} ");
    let mut event = "";
    let mut lines = Vec::new();
    for line in log.lines() {
        let Some((kind, rest)) = line.split_once(" msg=") else {
            continue;
        };
        let Some((stamp, fields)) = rest.split_once(": ") else {
            continue;
        };
        // The first record of an event names the process.
        if kind == "type=SYSCALL" {
            event = if fields.contains(&its) { stamp } else { "" };
        }
        if stamp == event {
            lines.push(format!("{kind} {}", fields.replace(&its, " ")));
        }
    }
    lines
}

/// A field of a record.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let mut words = record.split_whitespace();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Numbers of the rounds whose call `nr` was recorded.
fn rounds(records: &[String], nr: &str) -> Vec<u64> {
    let serial = |record: &String| {
        let is = |name, value| field(record, name) == Some(value);
        let n = u64::from_str_radix(field(record, "a3")?, 16).ok()?;
        (is("syscall", nr) && is("a2", "8") && is("exit", "8") && n > 0).then_some(n)
    };
    records.iter().filter_map(serial).collect()
}

/// A rule comes when both processes have long run, one of them on specialized paths, and the kernel leaves both alone. A third
/// one, begun meanwhile, is recorded by the same rule at the same time.
fn left_alone(lab: &Lab, auditd: &Auditd, stock: Stream, attached: Stream) -> Res {
    let young = Stream::beside()?;
    auditd.record("exe=/guest")?;
    let mut results = Vec::new();
    for stream in [&stock, &attached, &young] {
        results.push(stream.mixture()?);
    }
    attached.fast_again(lab)?;
    let log = auditd.log()?;
    same!(results[1], results[0], "results");
    let count = |stream: &Stream| records(&log, stream.pid()).len();
    same!((count(&stock), count(&attached)), (0, 0), "records");
    ensure!(count(&young) >= RECORDS, "{} records", count(&young));
    for stream in [stock, attached, young] {
        stream.finish()?;
    }
    Ok(())
}

/// Both processes are older than auditing. Nothing may have switched auditing on since the machine was started.
fn older_than_auditing(lab: &Lab) -> Res {
    let (stock, attached) = (Stream::beside()?, Stream::attached(lab)?);
    left_alone(lab, &Auditd::start()?, stock, attached)
}

/// Both processes begin while a rule says that new ones are not audited.
fn begun_under_a_task_rule(lab: &Lab) -> Res {
    let auditd = Auditd::start()?;
    run("auditctl", &["-a", "never,task"])?;
    let (stock, attached) = (Stream::beside()?, Stream::attached(lab)?);
    run("auditctl", &["-d", "never,task"])?;
    left_alone(lab, &auditd, stock, attached)
}

/// The rule comes in mid-stream, to a process that can be audited and was attached before.
fn rule_in_mid_stream(lab: &Lab) -> Res {
    let auditd = Auditd::start()?;
    let look = |attach: bool| -> Res<(Vec<String>, Vec<i64>)> {
        let mut stream = Stream::beside()?;
        if attach {
            stream.attach(lab)?;
        }
        stream.rounds(20)?;
        let state = lab.state_of(stream.pid());
        let known = lab.stock || !attach || state.contains("audit");
        ensure!(known, "state {state:?}");
        auditd.record(&format!("pid={}", stream.pid()))?;
        let (results, first, last) = stream.slow(lab, || under_way(&stream))?;
        let records = records(&auditd.log()?, stream.pid());
        whole(&rounds(&records, "1"), first, last)?;
        whole(&rounds(&records, "0"), first, last)?;
        stream.finish()?;
        // The mark closes descriptor -1000. A record of a call is followed by one of the program's name.
        let is_mark = |record: &str| field(record, "a0") == Some("fffffffffffffc18");
        let mut mixture = between(&records, is_mark)?;
        mixture.push(records.last().cloned().unwrap_or_default());
        let hidden = mixture.iter().map(|record| hide_addresses(record));
        Ok((hidden.collect(), results))
    };
    let (stock, attached) = (look(false)?, look(true)?);
    same!(attached.1, stock.1, "results");
    equal(&stock.0, &attached.0, RECORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
type=SYSCALL msg=audit(1.2:3): arch=c000003e syscall=1 success=yes exit=8 a0=4 a1=7f a2=8 a3=1f items=0 ppid=1 pid=12 tty=(none)
type=PROCTITLE msg=audit(1.2:3): proctitle=2F
type=SYSCALL msg=audit(1.2:4): arch=c000003e syscall=1 success=yes exit=8 a0=4 a1=7f a2=8 a3=20 items=0 ppid=12 pid=1 tty=(none)
type=PROCTITLE msg=audit(1.2:4): proctitle=2F";

    #[test]
    fn one_process_is_picked() {
        let its = records(TEXT, 12);
        assert_eq!(its.len(), 2);
        assert!(its[0].starts_with("type=SYSCALL arch=c000003e syscall=1 "));
        assert!(its[0].ends_with("ppid=1 tty=(none)"));
        assert_eq!(its[1], "type=PROCTITLE proctitle=2F");
        assert_eq!((rounds(&its, "1"), rounds(&its, "0")), (vec![31], vec![]));
    }
}
