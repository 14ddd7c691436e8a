// SPDX-License-Identifier: GPL-2.0

//! Specialized paths: for one descriptor of one process, one system call, complete from SYSCALL to SYSRET.
//!
//! A path either does all that the stock call would have done, or bails out with every register and every
//! kernel object as it was. Between the two lies the commit point: all guards are before it, nothing after it can fail.
//!
//! ```text
//!  slot  0        constants (user_ptr_max, page_bias)
//!        ...      int3
//!        entry    guards of the first case, right-aligned so that no jump is needed before ...
//!        SITE_A   ... its copy; commit; the common end
//!        ...      int3
//!                 guards of the second case, right-aligned before ...
//!        SITE_B   ... its copy; commit; jump to the common end
//!                 cold code: pads of the exits, tails
//!        ...      int3
//! ```
//!
//! The two copies are the only instructions that may fault. Their offsets are the same in all slots, because the module
//! declares exception entries for them when it is built.

mod data;
pub mod exits;
pub mod memory;
mod pipe;
mod pipe_read;
mod pipe_write;
mod spare;

pub use self::data::PathData;
use self::exits::Entries;
use super::specs::{self, layout, Reason};
use super::target::Target;
use super::x86::masm::{Masm, Profile};

/// A system call on a kind of object for which there is a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// `write` to an anonymous pipe.
    PipeWrite,
    /// `read` from an anonymous pipe.
    PipeRead,
}

impl PathKind {
    /// All kinds.
    pub const ALL: [Self; 2] = [Self::PipeWrite, Self::PipeRead];

    /// What is known and promised about the path.
    pub const fn spec(self) -> &'static specs::SpecInfo {
        match self {
            Self::PipeWrite => &specs::pipe_write::SPEC,
            Self::PipeRead => &specs::pipe_read::SPEC,
        }
    }

    /// Number of the system call.
    pub const fn syscall(self) -> u32 {
        self.spec().syscall
    }
}

/// What is found out about one descriptor of one process when a path is made for it.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    /// The descriptor.
    pub fd: u32,
    /// Address of the `task_struct`.
    pub task: u64,
    /// Address of the task's `pt_regs`; the path's stack lies below.
    pub kernel_stack: u64,
    /// Address of the task's `files_struct`, which no other task shares.
    pub files: u64,
    /// The file's `f_mode`; must allow the call.
    pub file_mode: u32,
    /// Its data.
    pub data: PathData,
    /// Address of the number of changes of the process's address space, 32 bits.
    pub memory_changes: u64,
    /// The exit routine of its kind ([`exits::emit_routine`]).
    pub exit: Entries,
}

/// A path that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathCode {
    /// Address that the vector jumps to.
    pub entry: u64,
    /// Bytes of the slot up to the end of the last instruction.
    pub len: usize,
}

/// The bits that a tail gets in esi.
pub mod tail {
    /// The mutex is still held and has waiters: `mutex_unlock` it.
    pub const UNLOCK: u32 = 1;
    /// The call was a write: wake readers and those who want SIGIO for data. Otherwise it was a read: those for room.
    pub const WRITER: u32 = 2;
    /// Nothing but the unlock: the call did not happen.
    pub const NOTHING_ELSE: u32 = 4;
}

/// Makes the path of `kind` for `instance` into `out`, a slot that will be at address `base`. Unused bytes become `int3`.
///
/// # Errors
///
/// `DescriptorNumber` if the descriptor does not fit an immediate, `SlotFull` if the code does not fit the slot, `Layout`
/// if a fact does not fit the instruction that needs it or an address is out of reach of the slot.
pub fn emit(
    kind: PathKind,
    facts: &specs::Facts,
    instance: &Instance,
    target: &Target,
    base: u64,
    out: &mut [u8; layout::PATH_SLOT],
) -> Result<PathCode, Reason> {
    emit_for(Profile::Kernel, kind, facts, instance, target, base, out)
}

/// [`emit`] for a chosen profile.
pub fn emit_for(
    profile: Profile,
    kind: PathKind,
    facts: &specs::Facts,
    instance: &Instance,
    target: &Target,
    base: u64,
    out: &mut [u8; layout::PATH_SLOT],
) -> Result<PathCode, Reason> {
    let mut masm = Masm::new(target, profile, out, base);
    let entry = emit_into(&mut masm, kind, facts, instance)?;
    Ok(PathCode {
        entry,
        len: masm.finish()?,
    })
}

fn emit_into(
    m: &mut Masm<'_>,
    kind: PathKind,
    facts: &specs::Facts,
    instance: &Instance,
) -> Result<u64, Reason> {
    if i32::try_from(instance.fd).is_err() {
        return Err(Reason::DescriptorNumber);
    }
    Ok(match kind {
        PathKind::PipeWrite => pipe_write::emit(m, facts, instance),
        PathKind::PipeRead => pipe_read::emit(m, facts, instance),
    })
}

/// [`emit`], and which op wrote what, for people who read it.
#[cfg(synthjit_ops)]
pub fn emit_told(
    kind: PathKind,
    facts: &specs::Facts,
    instance: &Instance,
    target: &Target,
    base: u64,
    out: &mut [u8; layout::PATH_SLOT],
) -> Result<(PathCode, super::x86::ops::OpLog), Reason> {
    let mut masm = Masm::new(target, Profile::Kernel, out, base);
    let entry = emit_into(&mut masm, kind, facts, instance)?;
    let ops = masm.ops().clone();
    let len = masm.finish()?;
    Ok((PathCode { entry, len }, ops))
}
