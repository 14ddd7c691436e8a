//! Lockdown, Secure Boot, signatures of modules, and who may see kernel addresses.

use super::Check;
use crate::machine::Machine;

/// The variable that tells whether the firmware checks what it boots; four bytes of attributes come first.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Cure for whatever wants a signature.
const SIGN: &str = "sign synthjit.ko with a key that the kernel trusts (scripts/sign-file of the kernel's headers; \
                    mokutil --import enrols a key of your own)";

/// Why only signed modules can be loaded, and what can be done, if that is so.
pub fn keeps_modules_out(machine: &Machine) -> Option<(String, String)> {
    if let Some(level) = lockdown(machine).filter(|level| level != "none") {
        return Some((
            format!("lockdown ({level}) lets only signed modules in"),
            format!("{SIGN}; or boot without lockdown, which Secure Boot switches on"),
        ));
    }
    signatures_enforced(machine).then(|| {
        (
            "the kernel takes only signed modules (module.sig_enforce)".to_owned(),
            format!("{SIGN}; or boot without module.sig_enforce"),
        )
    })
}

/// One check for each subject.
pub fn look(machine: &Machine, loaded: bool) -> Vec<Check> {
    vec![
        lockdown_check(machine),
        secure_boot(machine),
        signing(machine, loaded),
        addresses(machine),
    ]
}

/// The level in brackets: `none`, `integrity` or `confidentiality`; `None` if the kernel has no lockdown.
fn lockdown(machine: &Machine) -> Option<String> {
    let text = machine.text("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    let (level, _) = rest.split_once(']')?;
    Some(level.to_owned())
}

fn signatures_enforced(machine: &Machine) -> bool {
    machine
        .text("/sys/module/module/parameters/sig_enforce")
        .is_ok_and(|text| text == "Y")
}

fn lockdown_check(machine: &Machine) -> Check {
    const ABOUT: &str = "lockdown";
    match lockdown(machine).as_deref() {
        None => Check::note(
            ABOUT,
            "not known: the kernel has none, or securityfs is not mounted",
            "",
        ),
        Some("none") => Check::good(ABOUT, "off"),
        Some("confidentiality") => Check::note(
            ABOUT,
            "confidentiality: only signed modules, and nobody sees generated code",
            "boot with lockdown=integrity or without, if explain and disasm are wanted",
        ),
        Some(level) => Check::note(ABOUT, format!("{level}: only signed modules"), ""),
    }
}

fn secure_boot(machine: &Machine) -> Check {
    const ABOUT: &str = "secure boot";
    if !machine.has("/sys/firmware/efi") {
        return Check::good(ABOUT, "not there: the machine was not booted by UEFI");
    }
    match machine.bytes(SECURE_BOOT).as_deref() {
        Ok([_, _, _, _, 1, ..]) => Check::note(
            ABOUT,
            "on; most distributions lock the kernel down then",
            "",
        ),
        Ok(_) => Check::good(ABOUT, "off"),
        Err(_) => Check::note(
            ABOUT,
            "not known: efivarfs is not mounted, or has no such variable",
            "",
        ),
    }
}

fn signing(machine: &Machine, loaded: bool) -> Check {
    const ABOUT: &str = "signing";
    // Letters of a module's taint (kernel/module/main.c, module_flags_taint): E is an unsigned one.
    let taint = machine.text("/sys/module/synthjit/taint");
    match (loaded, keeps_modules_out(machine)) {
        (false, Some((why, cure))) => Check::problem(ABOUT, why, cure),
        (false, None) => Check::good(ABOUT, "not asked for: unsigned modules can be loaded"),
        (true, _) if taint.is_ok_and(|text| text.contains('E')) => Check::note(
            ABOUT,
            "the module is not signed, which taints the kernel (E)",
            "",
        ),
        (true, _) => Check::good(ABOUT, "the module is signed, or nobody asks for it"),
    }
}

/// `explain` and `disasm` show addresses of the kernel.
fn addresses(machine: &Machine) -> Check {
    const ABOUT: &str = "addresses";
    match machine.text("/proc/sys/kernel/kptr_restrict").as_deref() {
        Ok("2") => Check::note(
            ABOUT,
            "hidden from root too (kernel.kptr_restrict=2), generated code with them",
            "sysctl kernel.kptr_restrict=1, if disasm is wanted",
        ),
        _ => Check::good(ABOUT, "root may see them, and generated code"),
    }
}
