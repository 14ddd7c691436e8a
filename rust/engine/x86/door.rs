// SPDX-License-Identifier: GPL-2.0

//! The door between user space and the kernel: SYSCALL comes in, SYSRET goes out.
//!
//! What holds for this door alone is said here and nowhere else: the CPU keeps the user's GS base and stack, which makes
//! `swapgs` and a per-CPU scratch word necessary, it destroys rcx and r11, and its way back takes some flags not. Paths and
//! vectors say when they arrive, enter, leave and return. Between entering and leaving they rely on this, whatever the door:
//! interrupts are off, the GS base is the kernel's, [`Masm::save`] has a stack to save on, and all registers are those
//! that the user had at the call. (rcx and r11 too: what SYSCALL put there is what must be there when the user goes on.)

use super::super::specs::{trap_vector, Facts};
use super::super::target::Target;
use super::asm::Cond;
use super::buf::Dest;
use super::masm::{Masm, Profile};

/// The door of one task.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Where the stock entry keeps the user's stack pointer too, relative to GS.
    scratch_word: u64,
    /// Top of the task's kernel stack.
    stack: u64,
    /// User flags that the way back would not restore.
    lost_flags: u64,
}

impl Door {
    /// Of the task whose `pt_regs` are at `kernel_stack`.
    pub fn new(facts: &Facts, kernel_stack: u64) -> Self {
        let known = trap_vector::Known::new(facts);
        Self {
            scratch_word: known.tss_sp2,
            stack: kernel_stack,
            lost_flags: known.sysret_flags_mask,
        }
    }

    /// How many instructions [`Masm::arrive`] takes.
    pub fn arrival(target: &Target) -> usize {
        usize::from(target.ibt)
    }
}

impl Masm<'_> {
    /// Where the CPU arrives, all registers as it left them.
    pub fn arrive(&mut self) {
        self.landing();
    }

    /// The kernel's own code for any call, for a jump before [`Masm::enter_kernel`].
    pub fn stock_entry(&self) -> Dest {
        Dest::External(self.target().stock_entry)
    }

    /// From user space's per-CPU base and stack to the kernel's.
    pub fn enter_kernel(&mut self, door: &Door) {
        self.op("enter_kernel");
        let offset = self.fits(door.scratch_word);
        match self.profile() {
            Profile::Kernel => {
                self.asm.swapgs();
                self.asm.save_rsp_gs(offset);
            }
            Profile::Host { .. } => {
                self.asm.nop();
                self.asm.save_rsp(offset);
            }
        }
        self.asm.set_rsp(door.stack);
    }

    /// To `exit` if the user's flags have one that [`Masm::return_to_user`] would not restore.
    pub fn guard_user_flags_clear(&mut self, door: &Door, exit: Dest) {
        self.op("guard_user_flags_clear");
        let mask = self.imm32(door.lost_flags);
        self.asm.test_r11(mask as u32);
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// Undoes [`Masm::enter_kernel`].
    pub fn leave_kernel(&mut self, door: &Door) {
        self.op("leave_kernel");
        let offset = self.fits(door.scratch_word);
        match self.profile() {
            Profile::Kernel => {
                self.asm.restore_rsp_gs(offset);
                self.asm.swapgs();
            }
            Profile::Host { .. } => {
                self.asm.restore_rsp(offset);
                self.asm.nop();
            }
        }
    }

    /// To the stock entry, all registers as at the arrival.
    pub fn exit_to_stock(&mut self) {
        self.op("exit_to_stock");
        self.asm.jmp(self.stock_entry());
    }

    /// The last instructions in the kernel.
    pub fn return_to_user(&mut self) {
        self.op("return_to_user");
        self.clear_cpu_buffers();
        match self.profile() {
            Profile::Kernel => self.asm.sysretq(),
            Profile::Host { leave } => self.asm.jmp(Dest::External(leave)),
        }
        self.stop_speculation();
    }
}
