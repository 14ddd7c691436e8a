//! Where things lie: the project's folders, seen from here and from inside the build root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// Where `qemu/in-root` shows the project inside the build root.
pub const INSIDE: &str = "/srv/synthjit";

/// Role and folder of the kernel that `qemu/debug-kernel` builds.
const DEBUG: &str = "debug";

/// The project's top folder.
pub struct Project {
    pub top: PathBuf,
}

/// A kernel that the steps of `qemu/` have made ready: the beginning of a line of `build/kernels` or `build/kernels.debug`.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `run`, `other` or `debug`.
    pub role: String,
    /// As `uname -r` says it.
    pub release: String,
    /// The first two numbers of the release.
    pub series: String,
}

impl Project {
    /// Finds the project from the place of this program's source, or from the folder it runs in.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir()?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for folder in here.ancestors().chain([built.as_path()]) {
            if folder.join("qemu/kernels").is_file() {
                return Ok(Project {
                    top: folder.canonicalize()?,
                });
            }
        }
        bail!("run this inside the project's folder")
    }

    pub fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        self.top.join(inner)
    }

    /// Bytes of a file of the project that a step makes; `cure` says which.
    pub fn read(&self, inner: &str, cure: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(inner)).with_context(|| format!("cannot read {inner}: {cure}"))
    }

    /// The distribution's kernels that are ready.
    pub fn kernels(&self) -> Result<Vec<Kernel>> {
        self.kernels_in("build/kernels", "run make first")
    }

    fn kernels_in(&self, list: &str, cure: &str) -> Result<Vec<Kernel>> {
        let text = self.read(list, cure)?;
        let text = String::from_utf8(text)?;
        let kernel = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let (Some(role), Some(release), Some(series)) =
                (words.next(), words.next(), words.next())
            else {
                bail!("{list} has a line that is not understood: {line:?}; remove build/kernels* and run make");
            };
            Ok(Kernel {
                role,
                release,
                series,
            })
        };
        text.lines().map(kernel).collect()
    }

    /// The kernel of the demo and of most boots.
    pub fn boot_kernel(&self) -> Result<Kernel> {
        self.kernel("run")
    }

    /// The kernel of a role.
    pub fn kernel(&self, role: &str) -> Result<Kernel> {
        let kernels = match role {
            DEBUG => self.kernels_in("build/kernels.debug", "run make test-debug")?,
            _ => self.kernels()?,
        };
        kernels
            .into_iter()
            .find(|kernel| kernel.role == role)
            .with_context(|| format!("qemu/kernels names no kernel for {role:?}"))
    }

    /// Folder of what is booted: the unpacked image packages.
    pub fn image(&self, kernel: &Kernel) -> PathBuf {
        let folder = match kernel.role.as_str() {
            DEBUG => DEBUG,
            _ => &kernel.series,
        };
        self.path(format!("build/root/srv/k/{folder}/image"))
    }

    /// Folder of the prepared source of one of the distribution's kernels.
    pub fn source(&self, kernel: &Kernel) -> PathBuf {
        self.path(format!(
            "build/root/srv/k/{0}/linux-source-{0}",
            kernel.series
        ))
    }

    /// Path inside the build root of something below `build/root`, or of something of the project.
    pub fn inside(&self, path: &Path) -> Result<String> {
        let inside = match path.strip_prefix(self.path("build/root")) {
            Ok(inner) => Path::new("/").join(inner),
            Err(_) => Path::new(INSIDE).join(path.strip_prefix(&self.top)?),
        };
        Ok(inside.to_str().context("paths are UTF-8")?.to_owned())
    }

    /// A command that runs inside the build root. The child becomes that command, so its pid can be killed; should this
    /// program be killed first, the kernel kills the child.
    pub fn in_root(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(self.path("qemu/in-root"));
        command
    }
}

/// The first file below `folder` for which `wanted` holds, in an order that does not change from run to run.
pub fn find_file(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        match path.is_dir() && !path.is_symlink() {
            true => find_file(path, wanted),
            false => wanted(name).then(|| path.clone()),
        }
    })
}
