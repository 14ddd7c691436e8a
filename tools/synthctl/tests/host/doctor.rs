//! What doctor finds on machines that differ from a good one in one thing.

use crate::recorded::{attached, Recorded};
use synthctl::doctor::{self, Verdict};

const RELEASE: &str = "7.2.12+deb13-amd64";

/// A machine on which the module could be built: configuration, compiler, headers and source are there.
fn buildable() -> Recorded {
    let machine = attached();
    machine.remove("/sys/kernel/synthjit");
    machine.remove("/sys/module/synthjit");
    machine.put(
        &format!("/boot/config-{RELEASE}"),
        "CONFIG_X86_64=y\nCONFIG_MODULES=y\nCONFIG_RUST=y\nCONFIG_KPROBES=y\nCONFIG_PREEMPT_NOTIFIERS=y\n\
         CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.0 (4d91de4e4 2025-02-17) (built from a source tarball)\"\n",
    );
    machine.put(
        "/commands/rustc --version",
        "rustc 1.85.0 (4d91de4e4 2025-02-17)\n",
    );
    machine.put(&format!("/lib/modules/{RELEASE}/build/Module.symvers"), "");
    machine.put("/usr/src/linux-source-7.2.tar.xz", "");
    machine
}

/// Findings and cures of the problems about `about`.
fn problems(machine: &Recorded, about: &str) -> Vec<(String, String)> {
    doctor::look(&machine.machine)
        .into_iter()
        .filter(|check| check.about == about && check.verdict == Verdict::Problem)
        .map(|check| (check.finding, check.cure))
        .collect()
}

/// The one problem about `about` contains both texts.
#[track_caller]
fn expect(machine: &Recorded, about: &str, finding: &str, cure: &str) {
    let found = problems(machine, about);
    assert!(
        matches!(&found[..], [(f, c)] if f.contains(finding) && c.contains(cure)),
        "{about}: {found:?}"
    );
}

#[test]
fn a_good_machine_lacks_the_module_only() {
    let wrong: Vec<_> = doctor::look(&buildable().machine)
        .into_iter()
        .filter(|check| check.verdict == Verdict::Problem)
        .map(|check| check.about)
        .collect();
    assert_eq!(wrong, ["module"]);
}

#[test]
fn every_problem_has_a_cure() {
    let machine = buildable();
    for file in [
        "/usr/src/linux-source-7.2.tar.xz",
        "/commands/rustc --version",
    ] {
        machine.remove(file);
    }
    machine.put("/proc/self/status", "CapEff:\t0\n");
    machine.put("/proc/cpuinfo", "flags : pti fred\n");
    machine.put(
        "/sys/kernel/security/lockdown",
        "none integrity [confidentiality]\n",
    );
    let checks = doctor::look(&machine.machine);
    let problems: Vec<_> = checks
        .iter()
        .filter(|c| c.verdict == Verdict::Problem)
        .collect();
    assert_eq!(problems.len(), 7, "{problems:#?}");
    assert!(
        problems.iter().all(|check| !check.cure.is_empty()),
        "{problems:#?}"
    );
}

#[test]
fn compiler_and_kernel_must_agree() {
    let machine = buildable();
    machine.put(
        "/commands/rustc --version",
        "rustc 1.95.0 (59807616e 2026-04-14)\n",
    );
    expect(
        &machine,
        "rustc",
        "1.95.0, but the kernel was built by 1.85.0",
        "apt install rustc rust-src",
    );
    machine.remove("/commands/rustc --version");
    expect(&machine, "rustc", "none in PATH", "apt install");
}

#[test]
fn the_kernel_must_have_its_options() {
    let machine = buildable();
    machine.put(
        &format!("/boot/config-{RELEASE}"),
        "CONFIG_X86_64=y\nCONFIG_MODULES=y\n# CONFIG_RUST is not set\nCONFIG_RUST_IS_AVAILABLE=y\n",
    );
    expect(
        &machine,
        "kernel",
        "without RUST, KPROBES, PREEMPT_NOTIFIERS",
        "backports",
    );
}

#[test]
fn missing_packages_are_named() {
    let machine = buildable();
    machine.remove(&format!("/lib/modules/{RELEASE}/build"));
    expect(
        &machine,
        "metadata",
        "a package is missing",
        &format!("apt install linux-headers-{RELEASE};"),
    );
    machine.remove("/usr/src/linux-source-7.2.tar.xz");
    expect(
        &machine,
        "metadata",
        "packages are missing",
        "linux-source-7.2",
    );
    machine.put(
        &format!("/lib/modules/{RELEASE}/build/rust/libkernel.rmeta"),
        "",
    );
    assert_eq!(problems(&machine, "metadata"), []);
}

#[test]
fn refusals_are_foreseen() {
    for (file, text, finding) in [
        ("/proc/cpuinfo", "flags : fpu pti\n", "(KPTI)"),
        ("/proc/cpuinfo", "flags : fred\n", "FRED"),
        (
            "/sys/devices/system/cpu/vulnerabilities/spectre_v2",
            "Mitigation: IBRS; IBPB: conditional\n",
            "IBRS",
        ),
        ("/sys/kernel/security/lsm", "capability,selinux", "SELinux"),
        ("/sys/kernel/security/lsm", "smack,capability", "Smack"),
    ] {
        let machine = buildable();
        assert_eq!(problems(&machine, "platform"), []);
        machine.put(file, text);
        expect(&machine, "platform", finding, "");
    }
}

#[test]
fn kvm_is_foreseen_where_it_cannot_be_traced() {
    let machine = buildable();
    machine.put("/sys/module/kvm/refcnt", "1\n");
    machine.put("/proc/sys/kernel/ftrace_enabled", "1\n");
    assert_eq!(problems(&machine, "platform"), []);
    machine.put("/proc/sys/kernel/ftrace_enabled", "0\n");
    expect(&machine, "platform", "KVM", "ftrace_enabled");
}

#[test]
fn cpus_without_a_tick_are_noted() {
    for machine in [buildable(), attached()] {
        let notes = |machine: &Recorded| {
            doctor::look(&machine.machine)
                .into_iter()
                .filter(|check| {
                    check.verdict == Verdict::Note && check.finding.contains("nohz_full")
                })
                .count()
        };
        assert_eq!(notes(&machine), 0);
        machine.put("/sys/devices/system/cpu/nohz_full", "1-3\n");
        assert_eq!(notes(&machine), 1);
        assert_eq!(problems(&machine, "platform"), []);
    }
}

#[test]
fn the_loaded_module_has_the_last_word() {
    let machine = attached();
    // What is loaded need not be built any more.
    machine.put("/commands/rustc --version", "rustc 1.0.0 (x)\n");
    machine.put("/proc/cpuinfo", "flags : pti\n");
    assert_eq!(problems(&machine, "platform"), []);
    assert_eq!(problems(&machine, "rustc"), []);
    machine.put("/sys/kernel/synthjit/platform/trap_vector", "refused: KVM is loaded and cannot be traced, so nobody tells when a process begins to host a guest\n");
    expect(
        &machine,
        "platform",
        "refused: KVM is loaded",
        "load synthjit again",
    );
    machine.put(
        "/sys/kernel/synthjit/platform/paths/pipe_write",
        "left out: anon_pipe_write in fs/pipe.c has changed; and 3 more\n",
    );
    expect(
        &machine,
        "paths",
        "pipe_write: left out: anon_pipe_write",
        "review it",
    );
}

#[test]
fn signatures_and_secure_boot() {
    let machine = buildable();
    let about = |about: &str| {
        let checks = doctor::look(&machine.machine);
        checks
            .into_iter()
            .find(|check| check.about == about)
            .expect("a check")
            .finding
    };
    assert!(about("secure boot").contains("not booted by UEFI"));
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    machine.put_bytes(variable, &[6, 0, 0, 0, 1]);
    assert!(about("secure boot").starts_with("on"));
    machine.put_bytes(variable, &[6, 0, 0, 0, 0]);
    assert_eq!(about("secure boot"), "off");
    machine.put("/sys/module/module/parameters/sig_enforce", "Y\n");
    expect(
        &machine,
        "signing",
        "only signed modules",
        "sign synthjit.ko",
    );
    machine.put("/proc/sys/kernel/kptr_restrict", "2\n");
    assert!(about("addresses").starts_with("hidden from root too"));
}
