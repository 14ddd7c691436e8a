//! The list of boots, `qemu/boots.toml`: data, so that a test that needs another machine is one more entry.

use std::path::Path;

use anyhow::{bail, Context, Result};
use serde::Deserialize;

/// One boot of the guest: a machine, a kernel command line, a program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// Names the log `build/log/NAME.log`.
    pub name: String,
    /// Program and arguments that PID 1 runs.
    pub run: Vec<String>,
    /// Number of CPUs.
    #[serde(default = "one")]
    pub smp: u32,
    /// Threads of a core, of which each counts as a CPU.
    #[serde(default = "one")]
    pub threads: u32,
    /// QEMU's CPU model with its switches, such as `max,-smap`.
    #[serde(default = "max")]
    pub cpu: String,
    /// The clock counts executed instructions and KASLR is off, so that figures repeat. One CPU only.
    #[serde(default)]
    pub icount: bool,
    /// More for the kernel's command line.
    #[serde(default)]
    pub append: String,
    /// Which kernel: its role in `qemu/kernels`, or `debug` for that of `qemu/debug-kernel`.
    #[serde(default = "stock")]
    pub kernel: String,
    /// Which build of synthjit.ko to load: what is appended to the release in `build/kmod`. Nothing: the real one.
    #[serde(default)]
    pub variant: String,
    /// Kernel modules to put into /modules of the guest, by name; the program loads them.
    #[serde(default)]
    pub modules: Vec<String>,
    /// More of this workspace's programs, to be put at `/NAME`.
    #[serde(default)]
    pub programs: Vec<String>,
    /// The file system that programs run on.
    #[serde(default)]
    pub root: Root,
    /// QEMU counts the instructions between marks of the guest (`tools/count-plugin`) into `build/log/NAME.counts`.
    #[serde(default)]
    pub count: bool,
    /// Texts that the kernel's log must contain.
    #[serde(default)]
    pub expect: Vec<String>,
    /// The oopses in generated code that must come, in order: what the kernel calls each.
    #[serde(default)]
    pub oopses: Vec<String>,
    /// The last of them makes the kernel panic with this reason, which ends the boot.
    #[serde(default)]
    pub panics: Option<String>,
    /// A text that the kernel's first complaint must contain, in a boot that provokes it: to see that it would be seen.
    #[serde(default)]
    pub complaint: Option<String>,
    /// The program loads a live patch, which taints the kernel.
    #[serde(default)]
    pub live_patch: bool,
    /// Seconds that are enough on an idle host; some times that, and QEMU is killed and the run has failed.
    #[serde(default = "minutes")]
    pub time_limit: u64,
    /// The program reports in KTAP. If not, the boot counts as one test.
    #[serde(default = "yes")]
    pub ktap: bool,
}

/// What a guest finds at `/`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// The memory disk: our programs and busybox.
    #[default]
    Memory,
    /// Debian with tools, on a disk that forgets what was written: `qemu/guest-root` makes it.
    Debian,
    /// Debian with systemd and what the packages depend on, on a disk that forgets too: `qemu/deb-root` makes it. systemd is
    /// PID 1; the packages lie in `/packages`.
    Packages,
}

fn one() -> u32 {
    1
}

fn stock() -> String {
    "run".to_owned()
}

fn max() -> String {
    "max".to_owned()
}

fn minutes() -> u64 {
    300
}

fn yes() -> bool {
    true
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boots {
    /// The boot of `make demo`; in `qemu/boots.toml` only.
    pub demo: Option<Boot>,
    /// Those of `make test`, or of the target that the file is for, in order.
    pub test: Vec<Boot>,
    /// Those of `make torture`, in order; they share its time equally. Their programs are told how long that is.
    #[serde(default)]
    pub torture: Vec<Boot>,
    /// Those that run only when they are named.
    #[serde(default)]
    pub named: Vec<Boot>,
}

impl Boots {
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    /// What the file's text says.
    ///
    /// # Errors
    ///
    /// What is not as described here, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self> {
        let boots: Self = toml::from_str(text)?;
        let all: Vec<&Boot> = boots.by_name().chain(&boots.torture).collect();
        for (n, boot) in all.iter().enumerate() {
            boot.check()?;
            if boots
                .demo
                .as_ref()
                .is_some_and(|demo| demo.name == boot.name)
                || all[..n].iter().any(|other| other.name == boot.name)
            {
                bail!(
                    "two boots are called {:?}, and their logs would be one file",
                    boot.name
                );
            }
        }
        boots.demo.iter().try_for_each(Boot::check)?;
        Ok(boots)
    }
}

impl Boots {
    /// Those that `make test-guest BOOT=NAME` can choose.
    pub fn by_name(&self) -> impl Iterator<Item = &Boot> {
        self.test.iter().chain(&self.named)
    }
}

impl Boot {
    /// A boot with the defaults of the file.
    pub fn new(name: &str, run: Vec<String>) -> Self {
        Boot {
            name: name.to_owned(),
            run,
            smp: one(),
            threads: one(),
            cpu: max(),
            icount: false,
            append: String::new(),
            kernel: stock(),
            variant: String::new(),
            modules: Vec::new(),
            programs: Vec::new(),
            root: Root::Memory,
            count: false,
            expect: Vec::new(),
            oopses: Vec::new(),
            panics: None,
            complaint: None,
            live_patch: false,
            time_limit: minutes(),
            ktap: true,
        }
    }

    pub fn check(&self) -> Result<()> {
        if self.icount && self.smp != 1 {
            bail!(
                "boot {:?}: icount needs smp = 1, because QEMU counts the instructions of one CPU",
                self.name
            );
        }
        if self.run.is_empty() {
            bail!("boot {:?}: run is empty", self.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = "[demo]\nname = \"demo\"\nrun = [\"/guest\"]\nicount = true\n";

    #[test]
    fn defaults() {
        let boots = Boots::parse(&format!(
            "{DEMO}[[test]]\nname = \"a\"\nrun = [\"/guest\", \"test\"]\n"
        ))
        .unwrap();
        assert_eq!(
            (
                boots.test[0].smp,
                boots.test[0].cpu.as_str(),
                boots.test[0].ktap
            ),
            (1, "max", true)
        );
    }

    #[test]
    fn the_root_is_chosen_by_name() {
        let text = format!("{DEMO}[[test]]\nname = \"a\"\nrun = [\"x\"]\nroot = \"debian\"\n");
        let boots = Boots::parse(&text).unwrap();
        assert_eq!(
            (boots.demo.unwrap().root, boots.test[0].root),
            (Root::Memory, Root::Debian)
        );
    }

    #[test]
    fn mistakes_are_told() {
        let wrong = [
            ("[[test]]\nname = \"a\"\nrun = []\n", "run is empty"),
            (
                "[[test]]\nname = \"a\"\nrun = [\"x\"]\nsmp = 2\nicount = true\n",
                "icount needs smp = 1",
            ),
            ("[[test]]\nname = \"demo\"\nrun = [\"x\"]\n", "two boots"),
            (
                "[[test]]\nname = \"a\"\nrun = [\"x\"]\n[[named]]\nname = \"a\"\nrun = [\"x\"]\n",
                "two boots",
            ),
            (
                "[[test]]\nname = \"a\"\nrun = [\"x\"]\nroot = \"nfs\"\n",
                "unknown variant",
            ),
            (
                "[[test]]\nname = \"a\"\nrun = [\"x\"]\ncpus = 2\n",
                "unknown field",
            ),
        ];
        for (text, reason) in wrong {
            let error = Boots::parse(&format!("{DEMO}{text}")).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }

    #[test]
    fn the_projects_lists_are_right() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu");
        let boots = Boots::load(&folder.join("boots.toml")).unwrap();
        assert!(boots.demo.is_some());
        let boots = Boots::load(&folder.join("boots-report.toml")).unwrap();
        assert!(boots.test.iter().all(|boot| boot.icount && !boot.ktap));
        let boots = Boots::load(&folder.join("boots-debug.toml")).unwrap();
        assert!(boots.test.iter().all(|boot| boot.kernel == "debug"));
    }
}
