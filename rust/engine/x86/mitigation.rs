// SPDX-License-Identifier: GPL-2.0

//! Everything that generated code does for the sake of a CPU's weaknesses or defences; each decision lives here once.
//!
//! A path has no `ret` and no indirect branch, so it needs neither thunks nor cleared branch history. What remains:
//! a landing mark where the CPU arrives, an address that stays in bounds under speculation, user memory opened only around
//! the copy, buffers cleared before user space, and a trap behind the way back.

use super::buf::Dest;
use super::masm::{Masm, Profile};
use super::regs::Reg;

impl Masm<'_> {
    /// Marks a place that the CPU may reach by an indirect branch.
    pub(super) fn landing(&mut self) {
        self.op("landing");
        if self.target().ibt {
            self.asm.endbr64();
        }
    }

    /// A `pointer` above the value at `max` becomes that value. A guard before says that it is not above; this holds when the
    /// guard's branch is mispredicted, so that nothing above is touched even under speculation.
    pub fn clamp_user_pointer(&mut self, pointer: Reg, max: Dest) {
        self.op("clamp_user_pointer");
        self.asm.cmp64_at(pointer, max);
        self.asm.cmova64_at(pointer, max);
    }

    /// Allows access to user memory, if the CPU otherwise forbids it.
    pub fn open_user_memory(&mut self) {
        self.op("open_user_memory");
        if self.target().smap {
            match self.profile() {
                Profile::Kernel => self.asm.stac(),
                Profile::Host { .. } => self.asm.nop(),
            }
        }
    }

    /// Ends what [`Masm::open_user_memory`] began.
    pub fn close_user_memory(&mut self) {
        self.op("close_user_memory");
        if self.target().smap {
            match self.profile() {
                Profile::Kernel => self.asm.clac(),
                Profile::Host { .. } => self.asm.nop(),
            }
        }
    }

    /// Clears the CPU's buffers before user space, where the kernel does.
    pub(super) fn clear_cpu_buffers(&mut self) {
        let target = *self.target();
        if target.verw {
            self.asm.verw_at(Dest::External(target.verw_sel));
        }
    }

    /// Stops what a CPU runs ahead of itself behind an instruction that leaves.
    pub(super) fn stop_speculation(&mut self) {
        self.asm.int3();
    }
}
