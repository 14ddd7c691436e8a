// SPDX-License-Identifier: GPL-2.0

//! Whether a process or a descriptor may be specialized now, and as what.
//!
//! Pure decisions over what the host saw. A refusal is never an error of the process:
//! its calls go on through the stock entry.

use super::specs::{Facts, Reason};
use super::syscall::Call;
use super::template::PathKind;

/// What the host saw of the process that runs.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Why no vector may be used on this machine, or `None`.
    pub platform: Reason,
    /// Users of its descriptor table (`files_struct.count`).
    pub files_count: u32,
    /// Live tasks of its thread group.
    pub threads: u32,
    /// Its image is not 64-bit, so `SYSCALL` does not enter through the vector.
    pub compat: bool,
    /// Specialization is on for all processes.
    pub enabled: bool,
    /// Specialization is on for this process.
    pub process_enabled: bool,
}

/// What the host saw on a descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// `file.f_op`; 0 when the descriptor is not open.
    pub f_op: u64,
    /// `file.f_mode`.
    pub f_mode: u32,
}

/// May the process have a vector?
pub fn process(p: &Process) -> Result<(), Reason> {
    if p.platform != Reason::None {
        Err(p.platform)
    } else if !p.enabled {
        Err(Reason::Disabled)
    } else if !p.process_enabled {
        Err(Reason::ProcessDisabled)
    } else if p.compat {
        Err(Reason::NotNative)
    } else if p.threads != 1 {
        Err(Reason::Threads)
    } else if p.files_count != 1 {
        Err(Reason::SharedFiles)
    } else {
        Ok(())
    }
}

/// The path for `call` on this descriptor.
///
/// # Errors
///
/// `NotOpen` is worth another look at the next call; any other reason holds for the object.
pub fn descriptor(d: &Descriptor, call: Call, facts: &Facts) -> Result<PathKind, Reason> {
    if d.f_op == 0 {
        return Err(Reason::NotOpen);
    }
    if d.f_op != facts.pipeanon_fops {
        return Err(Reason::UnknownObject);
    }
    let (kind, needed) = match call {
        Call::Write => (PathKind::PipeWrite, facts.write_mode),
        Call::Read => (PathKind::PipeRead, facts.read_mode),
    };
    // The path compares the mode with what it is now, so it must be right now.
    let mode = u64::from(d.f_mode);
    if mode & needed != needed || mode & facts.mode_refused != 0 {
        return Err(Reason::WrongMode);
    }
    if kind.spec().available {
        Ok(kind)
    } else {
        Err(Reason::SpecUnavailable)
    }
}
