// SPDX-License-Identifier: GPL-2.0

//! What code has to know of the machine that it is for.

/// Facts about the machine that belong to no path. Addresses are of the running kernel.
#[derive(Clone, Copy, Debug)]
pub struct Target {
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
    /// Called when work is left after the commit point: rdi pipe, esi bits of [`super::template::tail`].
    /// It may change rax, rcx, rsi and rdi, nothing else, and must not rely on the stack's alignment.
    pub tail_thunk: u64,
    /// Called for a descriptor that is not in the vector; changes no register and must not rely on the stack's alignment.
    pub miss_thunk: u64,
    /// Called by a path that gives a call back, while somebody wants to hear of each; changes no
    /// register and must not rely on the stack's alignment.
    pub bail_thunk: u64,
    /// The operand of `verw`.
    pub verw_sel: u64,
}
