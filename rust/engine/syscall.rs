// SPDX-License-Identifier: GPL-2.0

//! The system calls that code is generated for.

/// The system calls that can have paths, in the order of their numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// `read`, number 0.
    Read,
    /// `write`, number 1.
    Write,
}

impl Call {
    /// The call with this number, if it can have paths.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Read),
            1 => Some(Self::Write),
            _ => None,
        }
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::Read => 0,
            Self::Write => 1,
        }
    }

    /// Its name in sysfs and specs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}
