//! The platform's verdict: the module's own if it is loaded, and what can be foreseen if not.

use synthjit_engine::specs::Reason;

use super::Check;
use crate::machine::Machine;
use crate::module::Module;
use crate::reason;
use crate::status::Kind;

const ABOUT: &str = "platform";

/// One check for the platform and one for each path that is left out.
pub fn look(machine: &Machine, loaded: bool) -> Vec<Check> {
    if !loaded {
        let mut checks = foreseen(machine);
        checks.extend(here_and_there(machine));
        return checks;
    }
    let module = Module { machine };
    let mut checks = vec![match module.refusal() {
        Some(text) => Check::problem(ABOUT, format!("refused: {text}"), reason::cure(&text)),
        None => Check::good(ABOUT, "available"),
    }];
    for Kind { name, left_out, .. } in Kind::all(&module) {
        if let Some(why) = left_out {
            checks.push(Check::problem(
                "paths",
                format!("{name}: left out: {why}"),
                Reason::SpecUnavailable.cure(),
            ));
        }
    }
    if module.text("enabled").is_ok_and(|text| text == "0") {
        checks.push(Check::note(
            "switch",
            Reason::Disabled.text(),
            "synthctl on",
        ));
    }
    checks.extend(here_and_there(machine));
    checks
}

/// Reasons that show from outside. The module knows more when it is loaded (`rust/glue/platform.c`).
fn foreseen(machine: &Machine) -> Vec<Check> {
    let reasons = [
        (has_flag(machine, "pti"), Reason::Kpti),
        (has_flag(machine, "fred"), Reason::Fred),
        (has_flag(machine, "tdx_guest"), Reason::MemoryEncryption),
        (kvm_untraced(machine), Reason::KvmHost),
        (ibrs(machine), Reason::EntryIbrs),
        (has_lsm(machine, "selinux"), Reason::LsmSelinux),
        (has_lsm(machine, "smack"), Reason::LsmSmack),
    ];
    let mut checks: Vec<Check> = reasons
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, reason)| {
            let finding = format!("will be refused: {}", reason.text());
            Check::problem(ABOUT, finding, reason.cure())
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::good(
            ABOUT,
            "nothing speaks against it from outside; loading decides",
        ));
    }
    checks
}

/// What speaks against some CPUs only.
fn here_and_there(machine: &Machine) -> Option<Check> {
    nohz_full(machine).then(|| {
        let finding = format!("not on each CPU: {}", Reason::NohzFull.text());
        Check::note(ABOUT, finding, Reason::NohzFull.cure())
    })
}

fn has_flag(machine: &Machine, flag: &str) -> bool {
    let info = machine.text("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|word| word == flag))
}

/// The file says `(null)` on kernels that could but do not (drivers/base/cpu.c).
fn nohz_full(machine: &Machine) -> bool {
    machine
        .text("/sys/devices/system/cpu/nohz_full")
        .is_ok_and(|text| text.starts_with(|c: char| c.is_ascii_digit()))
}

fn kvm_untraced(machine: &Machine) -> bool {
    machine.has("/sys/module/kvm")
        && machine
            .text("/proc/sys/kernel/ftrace_enabled")
            .is_ok_and(|text| text == "0")
}

/// IBRS that is switched at each entry, as opposed to the enhanced kind (arch/x86/kernel/cpu/bugs.c).
fn ibrs(machine: &Machine) -> bool {
    machine
        .text("/sys/devices/system/cpu/vulnerabilities/spectre_v2")
        .is_ok_and(|text| text.starts_with("Mitigation: IBRS"))
}

fn has_lsm(machine: &Machine, name: &str) -> bool {
    machine
        .text("/sys/kernel/security/lsm")
        .is_ok_and(|text| text.split(',').any(|lsm| lsm == name))
}
