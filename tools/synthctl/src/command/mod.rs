//! What each command does and prints. The commands that need more room than a few lines have files of their own.

mod daemon;
mod disasm;
mod explain;
mod run;
mod show;

pub use daemon::daemon;
pub use disasm::{disasm, kind, listing};
pub use explain::explain;
pub use run::run;

use crate::cli::Target;
use crate::doctor::{self, Verdict};
use crate::error::Error;
use crate::machine::Machine;
use crate::module::{Change, Module};
use crate::paint::{BAD, GOOD, NOTE, STRONG};
use crate::status::Status;
use crate::target;
use crate::text::wrap;

/// Exit code of `doctor` if there is a problem.
const PROBLEM: u8 = 1;

/// Prints what was looked at. Returns the exit code.
pub fn doctor(machine: &Machine) -> u8 {
    let checks = doctor::look(machine);
    for check in &checks {
        let (style, word) = match check.verdict {
            Verdict::Good => (GOOD, "ok     "),
            Verdict::Note => (NOTE, "note   "),
            Verdict::Problem => (BAD, "PROBLEM"),
        };
        const BEGIN: usize = 20;
        anstream::println!(
            "{style}{word}{style:#} {:11} {}",
            check.about,
            wrap(&check.finding, BEGIN)
        );
        if !check.cure.is_empty() {
            anstream::println!(
                "{:BEGIN$}{STRONG}cure:{STRONG:#} {}",
                "",
                wrap(&check.cure, BEGIN + 6)
            );
        }
    }
    let problems = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Problem)
        .count();
    match problems {
        0 => anstream::println!("no problem found"),
        1 => anstream::println!("1 problem found"),
        n => anstream::println!("{n} problems found"),
    }
    if problems == 0 {
        0
    } else {
        PROBLEM
    }
}

/// Attaches all that are meant; goes on after a failure and returns the last.
pub fn attach(module: &Module<'_>, target: &Target) -> Result<u8, Error> {
    each(module, target, ["attached", "attached already"], |pid| {
        module.attach(pid)
    })
}

/// Detaches all that are meant; of a name or cgroup only those that are attached are.
pub fn detach(module: &Module<'_>, target: &Target) -> Result<u8, Error> {
    each(module, target, ["detached", "not attached"], |pid| {
        module.detach(pid)
    })
}

fn each(
    module: &Module<'_>,
    target: &Target,
    [done, already]: [&str; 2],
    change: impl Fn(i32) -> Result<Change, Error>,
) -> Result<u8, Error> {
    let mut failed = None;
    for pid in target::pids(module.machine, target)? {
        let name = crate::process::name(module.machine, pid).unwrap_or_default();
        match change(pid) {
            Ok(Change::Done) => anstream::println!("{pid} {name}: {done}"),
            Ok(Change::Already) => anstream::println!("{pid} {name}: {already}"),
            Err(error) => {
                // Each is told where it happens, but for the last, which the caller tells.
                if let Some(before) = failed.replace(error) {
                    crate::paint::error(&before);
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(0),
    }
}

/// Prints the picture of this moment.
pub fn status(module: &Module<'_>, json: bool) -> Result<u8, Error> {
    let status = Status::read(module);
    if json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Error::new(crate::error::Kind::Other, error.to_string(), ""))?;
        anstream::println!("{text}");
    } else {
        show::status(&status);
    }
    Ok(0)
}

/// Switches everything on or off.
pub fn switch(module: &Module<'_>, on: bool) -> Result<u8, Error> {
    module.set("enabled", if on { "1" } else { "0" })?;
    let attached = module.attached().len();
    match on {
        true => anstream::println!("on: {attached} attached processes get their paths as they run"),
        false => {
            anstream::println!("off: everything is on the stock path; {attached} processes stay attached (synthctl on)");
        }
    }
    Ok(0)
}
