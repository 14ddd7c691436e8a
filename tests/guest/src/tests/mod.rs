//! KTAP tests. Each runs in a process of its own with a time limit; what it leaves behind is cleaned up before the next.
//!
//! A room holds the tests of one contract: [`paths`] what a served call does, [`exits`] bail-outs and faulting buffers, [`lifecycle`]
//! what comes, changes and goes, [`observers`] who looks on, [`abi`] what the module shows, [`faults`] faults in generated code. [`hosts`]
//! and [`tools`] need machines of their own; [`testers`] are tests of the testers. [`support`] is for all of them.

pub mod abi;
mod exits;
mod faults;
mod hosts;
mod lifecycle;
mod observers;
mod paths;
pub mod support;
mod testers;
pub mod tools;

use crate::ktap::{Outcome, Report};
use crate::proc::{self, Ended, Kid, Notes};
use crate::{sys, sysfs};
use std::time::{Duration, Instant};
use support::lab::{Lab, Res, Stop};

/// One test.
pub struct Test {
    pub name: &'static str,
    pub run: fn(&Lab) -> Res,
    /// Seconds after which it counts as hanging.
    pub limit: u64,
}

/// Lists tests of an area under their functions' names.
#[macro_export]
macro_rules! area {
    ($area:literal: $($name:ident $(= $limit:literal)?),+ $(,)?) => {
        pub const TESTS: &[$crate::tests::Test] = &[$($crate::tests::Test {
            name: concat!($area, ".", stringify!($name)),
            run: $name,
            limit: $crate::area!(@limit $($limit)?),
        }),+];
    };
    (@limit) => { 60 };
    (@limit $limit:literal) => { $limit };
}

/// All areas. `watch` comes last: an inotify mark on a pipe leaves the pipe file system marked until reboot, and every pipe of the
/// machine stays on the stock path from then on, rightly.
const AREAS: &[&[Test]] = &[
    paths::fast::TESTS,
    exits::bail::TESTS,
    exits::ends::TESTS,
    exits::buffers::TESTS,
    exits::why::TESTS,
    paths::memory::TESTS,
    lifecycle::bounds::TESTS,
    exits::fault::TESTS,
    paths::calls::TESTS,
    paths::regs::TESTS,
    paths::account::TESTS,
    lifecycle::switch::TESTS,
    paths::signals::TESTS,
    lifecycle::task::TESTS,
    lifecycle::task_life::TESTS,
    paths::share::TESTS,
    observers::step::TESTS,
    observers::ptrace::TESTS,
    observers::seccomp::TESTS,
    observers::tracefs::TESTS,
    observers::tracepoints::TESTS,
    observers::told::TESTS,
    observers::names::TESTS,
    abi::files::TESTS,
    abi::effect::TESTS,
    abi::lengths::TESTS,
    abi::rights::TESTS,
    lifecycle::unstopped::TESTS,
    lifecycle::module::TESTS,
    testers::diff::TESTS,
    testers::torture::TESTS,
    lifecycle::starved::TESTS,
    observers::unseen::PASSED,
    observers::unseen::TRACED,
    observers::unseen::EARLY,
    observers::unseen::RESTARTABLE,
    observers::unseen::DENIED,
    observers::unseen::SWITCHED,
    observers::watch::TESTS,
];

/// Tests that expect calls to run specialized which copy, or ask for, more than a path does on a CPU without fast string copies.
const LONG_COPIES: &[&str] = &[
    "fast.read_asking_for_more",
    "fast.every_size",
    "fast.merge_to_the_page_end",
    "fast.one_more_than_the_page_end",
    "fast.two_buffers_first_is_read",
    "fast.second_spare_page",
    "fast.third_page_is_freed",
    "fast.buffer_across_pages",
    "fast.long_stream",
    "bail.each_counts_once",
    "fault.huge_page_buffer",
    "fault.nothing_faults_on_demand",
];

#[derive(clap::Args)]
pub struct Args {
    /// Print the names only
    #[arg(long)]
    list: bool,
    /// Only tests whose name contains this (may be given more than once)
    #[arg(long)]
    filter: Vec<String>,
    /// Not tests whose name contains this
    #[arg(long)]
    skip: Vec<String>,
    /// Expect the same semantics of the stock kernel, without the module
    #[arg(long)]
    stock: bool,
    /// The platform must refuse, and its reason must contain this
    #[arg(long, value_name = "REASON")]
    refused: Option<String>,
    /// The module's paths fault when they are told to
    #[arg(long)]
    faults: bool,
    /// Look through the kernel's page tables, with the module of tests/kmod
    #[arg(long)]
    page_tables: bool,
    /// Try to put kprobes and breakpoints into generated code, and look at its tails, with modules of tests/kmod
    #[arg(long)]
    probes: bool,
    /// Patch kernel text beside a spinning process, with the modules of tests/kmod
    #[arg(long)]
    patches: bool,
    /// Look at MSR_LSTAR, with the module of tests/kmod, beside guests of KVM and such as are acted
    #[arg(long)]
    hosts: bool,
    /// The module must have been built without this path (pipe_write or pipe_read)
    #[arg(long, value_name = "PATH")]
    left_out: Option<String>,
    /// Multiplies every time limit, for a kernel that is slow
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    patience: u32,
    /// Look at processes with the tools of the Debian root
    #[arg(long)]
    tools: bool,
    /// Run synthctl; together with --refused on a machine that is refused
    #[arg(long)]
    synthctl: bool,
    /// Module file
    #[arg(long, default_value = MODULE_FILE)]
    module: String,
}

impl Args {
    /// The tests whose names contain one of these parts, every time limit multiplied by `patience`.
    pub fn subset(parts: &[&str], patience: u32) -> Args {
        Args {
            list: false,
            filter: parts.iter().map(|part| (*part).to_owned()).collect(),
            skip: Vec::new(),
            stock: false,
            refused: None,
            faults: false,
            patience,
            page_tables: false,
            probes: false,
            hosts: false,
            patches: false,
            left_out: None,
            tools: false,
            synthctl: false,
            module: MODULE_FILE.to_owned(),
        }
    }

    /// Those of a platform that must refuse with this reason.
    pub fn refusing(reason: &str, patience: u32) -> Args {
        Args {
            refused: Some(reason.to_owned()),
            ..Args::subset(&[], patience)
        }
    }
}

pub const MODULE_FILE: &str = "/lib/synthjit.ko";

/// Name of the variable that tells a test where the module file is.
pub const MODULE_VAR: &str = "SYNTHJIT_KO";
/// Name of the variable that tells the tests of the group `refused` what the reason must contain.
pub const REASON_VAR: &str = "SYNTHJIT_REASON";
/// Name of the variable that tells the tests of the group `left_out` which path the module was built without.
pub const LEFT_OUT_VAR: &str = "SYNTHJIT_LEFT_OUT";

/// Runs the chosen tests; the exit code of the program.
pub fn main(args: &Args) -> i32 {
    let areas: &[&[Test]] = match (&args.refused, &args.left_out) {
        _ if args.faults => &[faults::recover::TESTS],
        _ if args.page_tables => &[faults::wx::TESTS],
        _ if args.probes => &[observers::probes::TESTS, exits::tail::TESTS],
        _ if args.patches => &[observers::unseen::TOGGLED],
        _ if args.hosts => hosts::AREAS,
        (Some(_), _) if args.synthctl => &[abi::synthctl::refused::TESTS],
        _ if args.synthctl => &[abi::synthctl::TESTS],
        (Some(_), _) => &[lifecycle::refused::TESTS],
        (_, Some(_)) => &[lifecycle::left_out::TESTS],
        _ if args.tools => tools::AREAS,
        _ => AREAS,
    };
    let chosen: Vec<&Test> = areas
        .iter()
        .flat_map(|a| a.iter())
        .filter(|t| {
            args.filter.is_empty() || args.filter.iter().any(|f| t.name.contains(f.as_str()))
        })
        .filter(|t| !args.skip.iter().any(|f| t.name.contains(f.as_str())))
        .collect();
    if args.list {
        chosen.iter().for_each(|t| println!("{}", t.name));
        return 0;
    }
    if chosen.is_empty() {
        println!("# no test has that name");
        return 1;
    }
    proc::set_patience(args.patience);
    std::env::set_var(MODULE_VAR, &args.module);
    std::env::set_var(REASON_VAR, args.refused.as_deref().unwrap_or(""));
    std::env::set_var(LEFT_OUT_VAR, args.left_out.as_deref().unwrap_or(""));
    // SAFETY: orphans of a test become our children, so that they can be found and ended.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let lab = Lab {
        stock: args.stock,
        uncounted: false,
    };
    let short_only = !support::lab::string_copies();
    let mut report = Report::begin(std::io::stdout(), chosen.len());
    for t in chosen {
        let start = Instant::now();
        let outcome = match prepare(&lab) {
            Ok(()) => {
                let uncounted = short_only && LONG_COPIES.contains(&t.name);
                run_one(t, &Lab { uncounted, ..lab })
            }
            Err(why) => Outcome::Fail(why),
        };
        report.test(
            t.name,
            &outcome,
            &format!("{} ms", start.elapsed().as_millis()),
        );
    }
    if !lab.stock {
        let _ = sys::rmmod(sysfs::MODULE);
    }
    i32::from(!report.end())
}

/// Module loaded, switched on, nobody attached.
fn prepare(lab: &Lab) -> Result<(), String> {
    if lab.stock {
        return Ok(());
    }
    load_if_missing()?;
    if sysfs::get("enabled").as_deref() != Ok("1") {
        sysfs::set("enabled", "1").map_err(|e| format!("enabled: {e}"))?;
    }
    for tgid in sysfs::list("processes") {
        let _ = sysfs::set("detach", &tgid);
    }
    Ok(())
}

/// Loads the module unless it is there.
pub fn load_if_missing() -> Result<(), String> {
    if sysfs::present() {
        return Ok(());
    }
    let file = std::env::var(MODULE_VAR).unwrap_or_else(|_| MODULE_FILE.into());
    sys::insmod(&file, "").map_err(|e| format!("insmod {file}: {e}; the kernel log says why"))?;
    Ok(())
}

/// What a test exits with that was skipped.
const SKIPPED: i32 = 4;

/// Runs a test in a child in its own process group and judges how it ended.
fn run_one(t: &Test, lab: &Lab) -> Outcome {
    let (Ok(said), Ok(notes)) = (Notes::new(), Notes::new()) else {
        return Outcome::Fail("no shared memory for the result".into());
    };
    notes.collect();
    let kid = Kid::fork(|| {
        // SAFETY: no pointer; the group is what the runner ends a hanging test by.
        unsafe { libc::setpgid(0, 0) };
        let (code, text) = match (t.run)(lab) {
            Ok(()) => return 0,
            Err(Stop::Fail(text)) => (1, text),
            Err(Stop::Skip(text)) => (SKIPPED, text),
        };
        said.add(&text);
        code
    });
    let outcome = match kid {
        Ok(mut kid) => judge(&mut kid, t, said, notes),
        Err(e) => Outcome::Fail(format!("fork: {e}")),
    };
    said.close();
    notes.close();
    outcome
}

/// `said` is by the test itself, `notes` are by what it forked.
fn judge(kid: &mut Kid, t: &Test, said: &Notes, notes: &Notes) -> Outcome {
    let fail = |why: String| Outcome::Fail(format!("{}\n{}", why.trim_end(), notes.text()));
    let ended = kid.wait(Duration::from_secs(t.limit));
    let outcome = match ended {
        Some(Ended::Exit(0)) => Outcome::Pass,
        Some(Ended::Exit(SKIPPED)) => Outcome::Skip(said.text().trim_end().to_owned()),
        Some(Ended::Exit(code)) if said.text().is_empty() => fail(format!("exits with {code}")),
        Some(Ended::Exit(_)) => fail(said.text()),
        Some(Ended::Signal(n)) => fail(format!("ended by signal {n}")),
        None => fail(format!(
            "no end after {} s\n{}",
            proc::patient(Duration::from_secs(t.limit)).as_secs(),
            where_they_hang(kid.pid)
        )),
    };
    end_group(kid);
    if !matches!(outcome, Outcome::Pass | Outcome::Skip(_)) {
        support::tracefs::clean_up();
    }
    outcome
}

/// Ends everything the test has left running and reaps it.
fn end_group(kid: &mut Kid) {
    // SAFETY: the group is the test's own; gone already is fine.
    unsafe { libc::kill(-kid.pid, libc::SIGKILL) };
    let group = kid.pid;
    let _ = kid.wait(Duration::from_secs(5));
    proc::poll_until(Duration::from_secs(5), || {
        let mut status = 0;
        // SAFETY: `status` is ours; only the test's group is waited for.
        let got = unsafe { libc::waitpid(-group, &mut status, libc::WNOHANG) };
        (got < 0).then_some(())
    });
}

/// Where the processes of a hanging test are, for the report.
fn where_they_hang(group: i32) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<i32>() else {
            continue;
        };
        // SAFETY: takes a number only.
        if unsafe { libc::getpgid(pid) } != group {
            continue;
        }
        for file in ["stat", "wchan", "syscall", "stack"] {
            let path = format!("/proc/{pid}/{file}");
            text += &format!("{path}: {}\n", sys::read_text(&path).unwrap_or_default());
        }
    }
    text
}
