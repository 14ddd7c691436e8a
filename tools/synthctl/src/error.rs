//! What can stand in the way, each with an exit code and with what a person can do about it.

use std::fmt;

/// Kinds of failure; the number is the exit code, documented in docs/synthctl.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `/sys/kernel/synthjit` is not there.
    NotLoaded = 3,
    /// The kernel refuses this user.
    Rights = 4,
    /// The module refuses this machine.
    Refused = 5,
    /// No such process, or it is not attached, or it has no such path.
    NoProcess = 6,
    /// Lockdown refuses it to everybody, root included.
    Lockdown = 7,
    /// Anything else.
    Other = 8,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What it is.
    pub kind: Kind,
    /// What is wrong, without a full stop.
    pub what: String,
    /// What a person can do about it.
    pub cure: String,
}

impl Error {
    /// A failure.
    pub fn new(kind: Kind, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            cure: cure.into(),
        }
    }

    /// Exit code of the program.
    pub fn code(&self) -> u8 {
        self.kind as u8
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.cure)
    }
}

impl std::error::Error for Error {}
