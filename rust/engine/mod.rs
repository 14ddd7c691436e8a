// SPDX-License-Identifier: GPL-2.0

//! What code to make: the trap vector of a process and the specialised paths of its descriptors.
//!
//! The engine turns facts about a running kernel into bytes. It knows no kernel API and touches no memory but the slices
//! it is given: addresses are plain numbers here. The kernel module and the host crate build these same files, so what the
//! tests run is what the kernel runs.
//!
//! Code that the kernel can reach never panics: a value that does not fit marks the emission as failed and the caller gets
//! a [`specs::Reason`] instead of code.
//!
//! The floors of emission, each calling only downwards: [`x86::buf`] (bytes), [`x86::asm`] (instructions), [`x86::masm`]
//! (verbs), [`paths`] and [`vector`].

#![forbid(unsafe_code)]

pub mod account;
pub mod admit;
pub mod arena;
pub mod backoff;
pub mod negative;
pub mod paths;
pub mod specs;
pub mod state;
pub mod text;
pub mod vector;
pub mod worth;
pub mod x86;

/// Facts about the machine that belong to no path. Addresses are of the running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// The CPU refuses kernel access to user memory unless told otherwise.
    pub smap: bool,
    /// Indirect branches must land on `endbr64`; LSTAR is such a branch.
    pub ibt: bool,
    /// CPU buffers are cleared on the way to user space.
    pub verw: bool,
    /// `rep movsb` is fast for any length; without it paths leave counts above `COPY_MAX_SLOW` to the stock kernel.
    pub erms: bool,
    /// What LSTAR held when the module was loaded.
    pub stock_entry: u64,
    /// Called when work is left after the commit point: rdi pipe, esi bits of [`paths::tail`].
    /// It may change rax, rcx, rsi and rdi, nothing else, and must not rely on the stack's alignment.
    pub tail_thunk: u64,
    /// Called for a descriptor that is not in the vector; changes no register and must not rely on the stack's alignment.
    pub learn_thunk: u64,
    /// Called by a path that gives a call back, while somebody wants to hear of each; changes no
    /// register and must not rely on the stack's alignment.
    pub bail_thunk: u64,
    /// The operand of `verw`.
    pub verw_sel: u64,
}
