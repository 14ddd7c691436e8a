//! The files of a machine, below a root folder.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the answers of programs lie in a recorded machine, in files that are called like the command lines.
const COMMANDS: &str = "/commands";

/// A machine: this one, or one whose files were recorded.
#[derive(Clone, Debug)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    /// The machine whose files lie below `root`.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// True if it is the one that this program runs on.
    pub fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a file lies, given its path on the machine.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether there is such a file or folder.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// A file's text without white space at its end; what is not UTF-8 is replaced.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let bytes = self.bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// A file's bytes.
    pub fn bytes(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        std::fs::read(self.path(path))
    }

    /// Writes a text to a file that is there, in one call.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.path(path))?;
        file.write_all(text.as_bytes())
    }

    /// Where a link leads, as the link says it.
    pub fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let to = std::fs::read_link(self.path(path)).ok()?;
        Some(to.to_string_lossy().into_owned())
    }

    /// Names in a folder, sorted; none if it is not there.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(path))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Names in a folder that are numbers, rising.
    pub fn numbers(&self, path: impl AsRef<Path>) -> Vec<i32> {
        let mut numbers: Vec<i32> = self
            .names(path)
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// First line that a program prints; `None` if it is not there or fails.
    pub fn answer(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let line = |text: &str| text.lines().next().map(str::to_owned);
        if !self.is_this() {
            let arguments = arguments.join(" ");
            return line(
                &self
                    .text(format!("{COMMANDS}/{program} {arguments}"))
                    .ok()?,
            );
        }
        let output = Command::new(OsStr::new(program))
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| line(&String::from_utf8_lossy(&output.stdout)))?
    }
}
