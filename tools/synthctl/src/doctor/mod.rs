//! What of a machine matters to synthjit, looked at from user space. Each problem comes with its cure.

mod build;
mod platform;
pub mod security;

use crate::machine::Machine;
use crate::module::ROOT;
use crate::process;

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing, in nobody's way.
    Note,
    /// Something will not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub struct Check {
    /// One word.
    pub about: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What a person can do; empty unless something is to be done.
    pub cure: String,
}

impl Check {
    fn good(about: &'static str, finding: impl Into<String>) -> Self {
        Self::note(about, finding, "").of(Verdict::Good)
    }

    fn note(about: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            about,
            verdict: Verdict::Note,
            finding: finding.into(),
            cure: cure.into(),
        }
    }

    fn problem(about: &'static str, finding: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::note(about, finding, cure).of(Verdict::Problem)
    }

    fn of(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }
}

/// Looks at everything.
pub fn look(machine: &Machine) -> Vec<Check> {
    let loaded = machine.has(ROOT);
    let mut checks = vec![rights(machine)];
    checks.extend(build::look(machine, loaded));
    checks.push(module(machine, loaded));
    checks.extend(platform::look(machine, loaded));
    checks.extend(security::look(machine, loaded));
    checks
}

fn rights(machine: &Machine) -> Check {
    const ABOUT: &str = "rights";
    if process::may_administer(machine) {
        Check::good(ABOUT, "root: may attach processes")
    } else {
        Check::problem(
            ABOUT,
            "not root: may look, but not attach, detach or switch off",
            "run it as root: sudo synthctl ...",
        )
    }
}

fn module(machine: &Machine, loaded: bool) -> Check {
    const ABOUT: &str = "module";
    if loaded {
        return Check::good(ABOUT, "loaded");
    }
    if machine.has("/sys/module/synthjit") {
        return Check::problem(
            ABOUT,
            "it is being loaded or unloaded, or it hangs there",
            "look again; dmesg | grep synthjit",
        );
    }
    Check::problem(
        ABOUT,
        "not loaded",
        "insmod synthjit.ko, which `make` builds, or modprobe synthjit if its package is installed",
    )
}
