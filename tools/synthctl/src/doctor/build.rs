//! The kernel, and whether the module can be built for it: compiler, headers, metadata of the kernel's Rust crates.

use super::Check;
use crate::machine::Machine;

/// Options without which the module cannot be built or loaded.
const OPTIONS: &[&str] = &["X86_64", "MODULES", "RUST", "KPROBES", "PREEMPT_NOTIFIERS"];

/// What is missing for a build is a problem as long as the module is not loaded.
pub fn look(machine: &Machine, loaded: bool) -> Vec<Check> {
    let release = machine
        .text("/proc/sys/kernel/osrelease")
        .unwrap_or_default();
    let config = config(machine, &release);
    let mut checks = vec![kernel(&release, config.as_deref())];
    checks.push(rustc(machine, config.as_deref()));
    checks.push(metadata(machine, &release));
    if loaded {
        checks.retain(|check| check.verdict != super::Verdict::Problem || check.about == "kernel");
    }
    checks
}

/// Text of the kernel's configuration, from where distributions put it.
fn config(machine: &Machine, release: &str) -> Option<String> {
    [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
    ]
    .iter()
    .find_map(|path| machine.text(path).ok())
}

/// The value of an option without its quotes.
fn option<'c>(config: &'c str, name: &str) -> Option<&'c str> {
    config.lines().find_map(|line| {
        let value = line.strip_prefix("CONFIG_")?.strip_prefix(name)?;
        Some(value.strip_prefix('=')?.trim_matches('"'))
    })
}

fn kernel(release: &str, config: Option<&str>) -> Check {
    const ABOUT: &str = "kernel";
    let Some(config) = config else {
        return Check::note(
            ABOUT,
            format!("{release}; its configuration is not on this machine"),
            "install the package of this kernel's headers to know more",
        );
    };
    let missing: Vec<&str> = OPTIONS
        .iter()
        .copied()
        .filter(|name| option(config, name) != Some("y"))
        .collect();
    if missing.is_empty() {
        return Check::good(
            ABOUT,
            format!("{release}, with all options that the module needs"),
        );
    }
    Check::problem(
        ABOUT,
        format!("{release} was built without {}", missing.join(", ")),
        "run a kernel that has them: Debian's 7.2 or newer, from trixie-backports",
    )
}

fn rustc(machine: &Machine, config: Option<&str>) -> Check {
    const ABOUT: &str = "rustc";
    let version = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    let have = machine
        .answer("rustc", &["--version"])
        .and_then(|text| version(&text));
    let want = config
        .and_then(|config| option(config, "RUSTC_VERSION_TEXT"))
        .and_then(version);
    const CURE: &str =
        "apt install rustc rust-src, and put /usr/bin before rustup's folder in PATH";
    match (want, have) {
        (Some(want), Some(have)) if want == have => {
            Check::good(ABOUT, format!("{have}, which built the kernel"))
        }
        (Some(want), Some(have)) => Check::problem(
            ABOUT,
            format!("{have}, but the kernel was built by {want}, and modules must be too"),
            CURE,
        ),
        (_, None) => Check::problem(ABOUT, "none in PATH", CURE),
        (None, Some(have)) => Check::note(
            ABOUT,
            format!("{have}; which one built the kernel is not known"),
            "",
        ),
    }
}

fn metadata(machine: &Machine, release: &str) -> Check {
    const ABOUT: &str = "metadata";
    let build = format!("/lib/modules/{release}/build");
    let series: Vec<&str> = release.splitn(3, '.').take(2).collect();
    let source = format!("/usr/src/linux-source-{}.tar.xz", series.join("."));
    if machine.has(format!("{build}/rust/libkernel.rmeta")) {
        return Check::good(ABOUT, "the headers have that of the kernel's Rust crates");
    }
    let mut missing = Vec::new();
    if !machine.has(format!("{build}/Module.symvers")) {
        missing.push(format!("linux-headers-{release}"));
    }
    if !machine.has(&source) {
        missing.push(format!("linux-source-{}", series.join(".")));
    }
    if missing.is_empty() {
        return Check::good(
            ABOUT,
            "is made from the kernel's source package when the module is built",
        );
    }
    Check::problem(
        ABOUT,
        format!(
            "of the kernel's Rust crates cannot be made: {} missing",
            if missing.len() == 1 {
                "a package is"
            } else {
                "packages are"
            }
        ),
        format!(
            "apt install {}; or run make without KDIR, which brings its own",
            missing.join(" ")
        ),
    )
}
