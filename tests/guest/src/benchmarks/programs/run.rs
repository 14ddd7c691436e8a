//! Runs a program and measures it.

use super::births::Births;
use super::list::Program;
use crate::proc::Io;
use crate::sys::{self, Sys};
use crate::sysfs;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Where programs run; in memory, as is all that they write.
const FOLDER: &str = "/tmp/programs";
const OUTPUT: &str = "/tmp/programs.output";
const ERRORS: &str = "/tmp/programs.errors";
/// Files of a `tar` archive and lines of the first of them.
const FILES: usize = 200;
const LINES: usize = 2000;
/// So often a program is measured; odd.
const RUNS: usize = 3;
/// Processes of which `exited` tells.
const REMEMBERED: usize = 32;

/// What came of a program.
pub struct Done {
    /// Executed instructions of programs and kernel.
    pub instructions: u64,
    /// What it wrote to its standard output.
    pub output: Vec<u8>,
    /// Bytes that its processes wrote, to whatever.
    pub written: u64,
}

/// What the module says of a program that was attached.
#[derive(Clone, Copy, Default)]
pub struct Served {
    /// Processes that were attached when they ended.
    pub processes: u64,
    /// Calls that paths did.
    pub hits: u64,
    /// Calls for which paths bailed out.
    pub bailouts: u64,
    /// Times that a process lost its paths because it got threads.
    pub dropped: u64,
}

/// Makes the folder and what the programs work on.
pub fn prepare() -> Result<(), String> {
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(format!("{FOLDER}/in"))?;
        for n in 0..FILES {
            let text: String = (n..LINES).map(|line| format!("{line}\n")).collect();
            fs::write(format!("{FOLDER}/in/{n}"), text)?;
        }
        fs::write(format!("{FOLDER}/workers.py"), include_str!("workers.py"))?;
        fs::write(format!("{FOLDER}/jobs.mk"), include_str!("jobs.mk"))
    };
    make().map_err(|e| format!("{FOLDER}: {e}"))
}

/// Instructions that have been executed on the only CPU since it started. On a clock that counts them they are the nanoseconds
/// in which anybody ran (`rq_cpu_time` in `show_schedstat()`, kernel/sched/stats.c): while nobody does, such a clock jumps.
fn executed() -> Result<u64, String> {
    let text = sys::read_text("/proc/schedstat").map_err(|e| format!("schedstat: {e}"))?;
    ran(&text).ok_or_else(|| "no CPU in schedstat".to_owned())
}

fn ran(schedstat: &str) -> Option<u64> {
    let cpu = schedstat.lines().find_map(|l| l.strip_prefix("cpu0 "))?;
    cpu.split(' ').nth(6)?.parse().ok()
}

/// Runs a program several times and keeps the run in the middle, by instructions.
pub fn middle<T>(
    mut run: impl FnMut() -> Result<T, String>,
    instructions: fn(&T) -> u64,
) -> Result<T, String> {
    let runs: Result<Vec<T>, String> = (0..RUNS).map(|_| run()).collect();
    let mut runs = runs?;
    runs.sort_by_key(instructions);
    Ok(runs.swap_remove(RUNS / 2))
}

/// Runs a program to its good end, each process of it attached or none.
pub fn run(program: &Program, attach: bool) -> Result<Done, String> {
    let failed = |what: &str, e: &dyn Display| format!("{what}: {e}");
    let births = Births::hear(attach).map_err(|e| failed("nobody tells of births", &e))?;
    let file = |name: &str| File::create(name).map_err(|e| failed(name, &e));
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", program.script])
        .current_dir(FOLDER)
        .stdin(Stdio::null())
        .stdout(file(OUTPUT)?)
        .stderr(file(ERRORS)?);
    // Those of children that have ended are in it.
    let io = || sys::read_text("/proc/self/io").map(|text| Io::parse(&text));
    let before = io().map_err(|e| failed("io", &e))?;
    // What this process has run since it last slept is not in the count yet.
    crate::proc::nap(1);
    let start = executed()?;
    let status = shell.status();
    let end = executed()?;
    let after = io().map_err(|e| failed("io", &e))?;
    drop(births);
    let status = status.map_err(|e| failed("no shell", &e))?;
    if !status.success() {
        let said = fs::read_to_string(ERRORS).unwrap_or_default();
        return Err(format!("{status}: {said}"));
    }
    Ok(Done {
        instructions: end - start,
        output: fs::read(OUTPUT).map_err(|e| failed(OUTPUT, &e))?,
        written: after.minus(before).wchar,
    })
}

/// Runs a program with each process of it attached: what came of it, and what the module says.
pub fn attached(program: &Program) -> Result<(Done, Served), String> {
    let counts = || -> Sys<_> {
        let [bailouts, dropped] = ["bailouts", "dropped"].map(sysfs::counter);
        Ok(([bailouts?, dropped?], exited()?))
    };
    let (before, others) = counts().map_err(|e| format!("counters: {e}"))?;
    let done = run(program, true)?;
    // The module takes a process that has ended off its lists a little later.
    let gone = || (sysfs::counter("attached") == Ok(0)).then_some(());
    if crate::proc::poll_until(std::time::Duration::from_secs(5), gone).is_none() {
        return Err("processes are attached still".to_owned());
    }
    let (after, ended) = counts().map_err(|e| format!("counters: {e}"))?;
    let mut served = Served {
        bailouts: after[0] - before[0],
        dropped: after[1] - before[1],
        ..Served::default()
    };
    for (tgid, hits) in ended {
        if !others.contains_key(&tgid) {
            served.processes += 1;
            served.hits += hits;
        }
    }
    if served.processes >= REMEMBERED as u64 {
        return Err("more processes ended than the module remembers".to_owned());
    }
    Ok((done, served))
}

/// Calls that paths did for each process that ended while it was attached, by its number.
fn exited() -> Sys<BTreeMap<String, u64>> {
    Ok(parse(&sysfs::listing("exited")?))
}

/// `TGID read N write N`
fn parse(exited: &str) -> BTreeMap<String, u64> {
    let lines = exited.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at)?.parse::<u64>().ok();
        Some(((*words.first()?).to_owned(), number(2)? + number(4)?))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_cpu_is_read() {
        let text = "version 17\ntimestamp 4\ncpu0 0 0 0 0 0 0 123 45 6\ndomain0 MC 1\n";
        assert_eq!(ran(text), Some(123));
        assert_eq!(ran("version 17\n"), None);
    }

    #[test]
    fn the_run_in_the_middle_is_kept() {
        let mut figures = [5, 3, 4].into_iter();
        let run = || figures.next().ok_or("too many runs".to_owned());
        assert_eq!(middle(run, |n| *n), Ok(4));
    }

    #[test]
    fn hits_of_reads_and_writes_are_added() {
        let all = parse("12 read 3 write 4\n9 read 0 write 1\n");
        assert_eq!((all["12"], all["9"], all.len()), (7, 1, 2));
    }
}
