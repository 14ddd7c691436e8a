//! What went wrong in a spec: always the file, the key, the reason and the cure.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file with the fault, relative to the specs folder where it lies in it.
    pub file: PathBuf,
    /// The key in dotted form (`value.task.class`), empty when the whole file is meant.
    pub key: String,
    /// What is wrong, as a clause without a full stop.
    pub reason: String,
    /// What the author has to do about it.
    pub cure: String,
}

impl Fault {
    pub fn new(
        file: impl AsRef<Path>,
        key: impl Into<String>,
        reason: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            file: file.as_ref().to_path_buf(),
            key: key.into(),
            reason: reason.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n  cure: {}", self.reason, self.cure)
    }
}

/// All faults found in one run, in a stable order. Never empty.
#[derive(Debug)]
pub struct Error {
    pub faults: Vec<Fault>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self {
            faults: vec![fault],
        }
    }
}

/// Turns an I/O error into a fault that names the file it was about.
pub(crate) fn io_fault(file: &Path, what: &str, error: &std::io::Error) -> Fault {
    Fault::new(
        file,
        "",
        format!("cannot {what}: {error}"),
        "make the file or folder accessible, or name another one",
    )
}
