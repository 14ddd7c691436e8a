// SPDX-License-Identifier: GPL-2.0

//! OpLog that may go elsewhere: guards, branches, the mutex and the copy.
//!
//! A guard is a load and a comparison with an exit. It has no side effect but on its scratch register.

use super::super::specs::Reason;
use super::asm::{Cond, Mem};
use super::buf::{Dest, Label};
use super::masm::{Field, Masm};
use super::regs::{Reg, COUNT, LEFT, OWNER, ZERO};

impl Masm<'_> {
    /// To `target`.
    pub fn go(&mut self, target: impl Into<Dest>) {
        self.op("go");
        self.asm.jmp(target.into());
    }

    /// To an address elsewhere.
    pub fn go_external(&mut self, address: u64) {
        self.op("go_external");
        self.asm.jmp(Dest::External(address));
    }

    /// To `label`, which is at most 127 bytes away: shorter.
    pub fn go_near(&mut self, label: Label) {
        self.op("go_near");
        self.asm.jmp_near(label);
    }

    /// To `target` if the last comparison said equal, or the last result was zero.
    pub fn equal(&mut self, target: impl Into<Dest>) {
        self.op("equal");
        self.asm.jcc(Cond::Equal, target.into());
    }

    /// To `target` if the last comparison said different, or the last result was not zero.
    pub fn different(&mut self, target: impl Into<Dest>) {
        self.op("different");
        self.asm.jcc(Cond::NotEqual, target.into());
    }

    /// The same to `label`, which is at most 127 bytes away: shorter.
    pub fn different_near(&mut self, label: Label) {
        self.op("different_near");
        self.asm.jne_near(label);
    }

    /// To `target` if the last comparison said below or equal.
    pub fn below_or_equal(&mut self, target: impl Into<Dest>) {
        self.op("below_or_equal");
        self.asm.jcc(Cond::BelowEqual, target.into());
    }

    /// To `target` if the last result was not negative.
    pub fn not_negative(&mut self, target: impl Into<Dest>) {
        self.op("not_negative");
        self.asm.jcc(Cond::NotNegative, target.into());
    }

    /// To `target` if the last comparison said above.
    pub fn above(&mut self, target: impl Into<Dest>) {
        self.op("above");
        self.asm.jcc(Cond::Above, target.into());
    }

    /// To `target` if the last comparison said below.
    pub fn below(&mut self, target: impl Into<Dest>) {
        self.op("below");
        self.asm.jcc(Cond::Below, target.into());
    }

    /// To `target` if the last comparison said above or equal.
    pub fn above_or_equal(&mut self, target: impl Into<Dest>) {
        self.op("above_or_equal");
        self.asm.jcc(Cond::AboveEqual, target.into());
    }

    /// To `target` if `map` has the bit that `index`, below 64, is the number of. `scratch` is made `after` again.
    pub fn in_map(&mut self, map: u64, index: Reg, scratch: Reg, after: u64, target: Dest) {
        self.op("in_map");
        self.set(scratch, map);
        self.asm.bit_test64(scratch, index);
        // A move leaves the flags as they are.
        self.set(scratch, after);
        self.asm.jcc(Cond::Below, target);
    }

    /// Compares all 64 bits of `reg` with a sign-extended constant.
    pub fn compare_constant(&mut self, reg: Reg, value: u64) {
        self.op("compare_constant");
        let imm = self.fits(value);
        self.asm.cmp64_reg_imm(reg, imm);
    }

    /// Compares 64 bits of two registers.
    pub fn compare(&mut self, reg: Reg, with: Reg) {
        self.op("compare");
        self.asm.cmp64(reg, with);
    }

    /// Compares 64 bits of `reg` with what is at a fixed address.
    pub fn compare_at(&mut self, reg: Reg, address: u64) {
        self.op("compare_at");
        self.asm.cmp64_at(reg, Dest::External(address));
    }

    /// Compares 32 bits of `reg` with a field.
    pub fn compare32(&mut self, reg: Reg, with: Field) {
        self.op("compare32");
        let mem = self.mem(with);
        self.asm.cmp32_mem(reg, mem);
    }

    /// Compares 32 bits at a fixed address with zero.
    pub fn compare_zero32_at(&mut self, address: u64) {
        self.op("compare_zero32_at");
        self.asm.cmp32_at_zero(Dest::External(address));
    }

    /// Compares a 64-bit field with zero.
    pub fn compare_zero64(&mut self, field: Field) {
        self.op("compare_zero64");
        let mem = self.mem(field);
        self.asm.cmp64_imm(mem, 0);
    }

    /// To `exit` if the 32-bit field has a bit of `mask`.
    pub fn guard_clear(&mut self, field: Field, mask: u64, exit: Dest) {
        self.op("guard_clear");
        let (mem, mask) = (self.mem(field), self.imm32(mask));
        self.asm.test32_imm(mem, mask);
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// To `exit` if the 32-bit field has no bit of `mask`.
    pub fn guard_set(&mut self, field: Field, mask: u64, exit: Dest) {
        self.op("guard_set");
        let (mem, mask) = (self.mem(field), self.imm32(mask));
        self.asm.test32_imm(mem, mask);
        self.asm.jcc(Cond::Equal, exit);
    }

    /// To `exit` if the 64-bit field is not `value`, which sign-extends from 32 bits.
    pub fn guard_eq(&mut self, field: Field, value: u64, exit: Dest) {
        self.op("guard_eq");
        let (mem, imm) = (self.mem(field), self.fits(value));
        self.asm.cmp64_imm(mem, imm);
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// To `exit` if the 32-bit field is not `value`.
    pub fn guard_eq32(&mut self, field: Field, value: u64, exit: Dest) {
        self.op("guard_eq32");
        let (mem, imm) = (self.mem(field), self.imm32(value));
        self.asm.cmp32_imm(mem, imm);
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// To `exit` if the 32-bit field is zero.
    pub fn guard_not_zero32(&mut self, field: Field, exit: Dest) {
        self.op("guard_not_zero32");
        let mem = self.mem(field);
        self.asm.cmp32_imm(mem, 0);
        self.asm.jcc(Cond::Equal, exit);
    }

    /// To `exit` if the 32-bit field is above `most`.
    pub fn guard_at_most32(&mut self, field: Field, most: u64, exit: Dest) {
        self.op("guard_at_most32");
        let (mem, imm) = (self.mem(field), self.imm32(most));
        self.asm.cmp32_imm(mem, imm);
        self.asm.jcc(Cond::Above, exit);
    }

    /// To `exit` if `reg` is zero.
    pub fn guard_not_null(&mut self, reg: Reg, exit: Dest) {
        self.op("guard_not_null");
        self.asm.test64(reg, reg);
        self.asm.jcc(Cond::Equal, exit);
    }

    /// To `exit` unless 1 <= `count` <= `max`; `scratch` becomes `count` - 1.
    pub fn guard_count(&mut self, count: Reg, scratch: Reg, max: u64, exit: Dest) {
        self.op("guard_count");
        self.asm.lea(
            scratch,
            Mem {
                base: count,
                offset: -1,
            },
        );
        self.guard_less_one(scratch, max, exit);
    }

    /// To `exit` if the count, of which `less_one` holds one less, is above `max`.
    pub fn guard_less_one(&mut self, less_one: Reg, max: u64, exit: Dest) {
        self.op("guard_less_one");
        let most = self.fits(max.wrapping_sub(1));
        self.asm.cmp64_reg_imm(less_one, most);
        self.asm.jcc(Cond::Above, exit);
    }

    /// To `exit` unless `pointer` plus the count is at most the value at `max`, without overflow: `__access_ok` of
    /// `arch/x86/include/asm/uaccess_64.h`. `scratch` holds the count less one, as [`Masm::guard_count`] leaves it, and is lost.
    ///
    /// The value at `max` is above the largest count. So count - 1 - max is below zero, and adding the pointer carries if and only
    /// if pointer + count > max.
    pub fn guard_user_buffer(&mut self, pointer: Reg, scratch: Reg, max: Dest, exit: Dest) {
        self.op("guard_user_buffer");
        self.asm.sub64_at(scratch, max);
        self.asm.add64(scratch, pointer);
        self.asm.jcc(Cond::Below, exit);
    }

    /// To `exit` if the list whose head is `list` has members; `scratch` is lost.
    pub fn guard_list_empty(&mut self, list: Field, scratch: Reg, exit: Dest) {
        self.op("guard_list_empty");
        let mem = self.mem(list);
        self.asm.lea(scratch, mem);
        self.asm.cmp64_mem(
            scratch,
            Mem {
                base: scratch,
                offset: 0,
            },
        );
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// Takes a free mutex for `task`, or goes to `exit`. rax is lost. Acquires, being a locked instruction.
    pub fn try_lock(&mut self, owner: Field, task: Reg, exit: Dest) {
        self.op("try_lock");
        let mem = self.mem(owner);
        self.asm.xor32(OWNER, OWNER);
        self.asm.lock_cmpxchg64(mem, task);
        self.asm.jcc(Cond::NotEqual, exit);
    }

    /// Gives a mutex back. The last comparison says different if somebody waits for it: then it is still held. [`OWNER`] must
    /// hold the task and [`ZERO`] zero. Releases, and orders what follows after all stores before: a full barrier.
    pub fn unlock(&mut self, owner: Field) {
        self.op("unlock");
        let mem = self.mem(owner);
        self.asm.lock_cmpxchg64(mem, ZERO);
    }

    /// Sets [`ZERO`].
    pub fn zero(&mut self) {
        self.op("zero");
        self.asm.xor32(ZERO, ZERO);
    }

    /// Begins a copy whose length is in rdx.
    pub fn copy_count(&mut self) {
        self.op("copy_count");
        self.asm.move32(LEFT, COUNT);
    }

    /// Copies [`LEFT`] bytes between user memory and a page. This must be the offset `site`: a fault continues at the
    /// instruction behind it, with what is left in [`LEFT`]. Goes to `exit` if anything is left.
    pub fn copy(&mut self, site: usize, exit: Dest) {
        self.op("copy");
        if self.offset() != site {
            self.asm.buf.fail(Reason::Layout);
        }
        self.asm.rep_movsb();
        self.close_user_memory();
        self.op("copy");
        self.asm.test32(LEFT, LEFT);
        self.asm.jcc(Cond::NotEqual, exit);
    }
}
