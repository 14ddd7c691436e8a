// SPDX-License-Identifier: GPL-2.0

//! OpLog: what paths and vectors say. Here are those that move and count; those that enter and leave the kernel are in
//! [`super::door`], guards, branches, locks and copies in [`super::guard`], what is owed to the CPU's weaknesses in
//! [`super::mitigation`].
//!
//! Offsets and immediates arrive as the 64-bit numbers that specs yield. One that the instruction cannot hold marks the
//! code as failed, it is never cut off.

use super::super::exit::Exit;
use super::super::specs::Reason;
use super::super::target::Target;
use super::asm::{Asm, Mem};
use super::buf::{Buf, Dest, Label};
#[cfg(synthjit_ops)]
use super::ops::OpLog;
use super::regs::Reg;

/// Where code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// In the kernel.
    Kernel,
    /// In a test process: instructions that only a kernel may execute become ones of the same number that do nothing,
    /// the per-CPU scratch word becomes a word at the same address, and `sysret` becomes a jump to `leave`.
    Host {
        /// Stands for user space.
        leave: u64,
    },
}

/// A field of an object whose address is in a register.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    base: Reg,
    offset: u64,
}

/// The field at `offset` of the object that `base` points at.
pub const fn field(base: Reg, offset: u64) -> Field {
    Field { base, offset }
}

/// What data in the code is noted as.
pub const CONSTANT: &str = "constant";

/// OpLog into a buffer.
pub struct Masm<'a> {
    pub(super) asm: Asm<'a>,
    target: &'a Target,
    profile: Profile,
    #[cfg(synthjit_ops)]
    ops: OpLog,
}

impl<'a> Masm<'a> {
    /// Code that will run at `base`, into `out`.
    pub fn new(target: &'a Target, profile: Profile, out: &'a mut [u8], base: u64) -> Self {
        Self {
            asm: Asm::new(Buf::new(out, base)),
            target,
            profile,
            #[cfg(synthjit_ops)]
            ops: OpLog::new(),
        }
    }

    /// The machine that the code is for.
    pub fn target(&self) -> &'a Target {
        self.target
    }

    /// Where the code will run.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Offset of the next instruction.
    pub fn offset(&self) -> usize {
        self.asm.buf.at()
    }

    /// Address of the next instruction.
    pub fn address(&self) -> u64 {
        self.asm.buf.address()
    }

    /// Moves what was emitted since offset `start` so that it ends at offset `end`. Returns its address.
    pub fn slide(&mut self, start: usize, end: usize) -> u64 {
        let now = self.asm.buf.slide(start, end);
        #[cfg(synthjit_ops)]
        self.ops.slide(start, now.wrapping_sub(start));
        self.address().wrapping_sub(end.wrapping_sub(now) as u64)
    }

    /// Notes that what comes next is the work of `op`.
    #[cfg(synthjit_ops)]
    pub(super) fn op(&mut self, op: &'static str) {
        let at = self.offset();
        self.ops.note(at, op);
    }

    /// The kernel has no use for it.
    #[cfg(not(synthjit_ops))]
    #[inline(always)]
    pub(super) fn op(&mut self, _: &'static str) {}

    /// Which op wrote what.
    #[cfg(synthjit_ops)]
    pub fn ops(&self) -> &OpLog {
        &self.ops
    }

    /// Ends the code. Returns its length, or why there is none.
    #[inline(always)]
    pub fn finish(self) -> Result<usize, Reason> {
        self.asm.buf.finish()
    }

    /// A label to be placed later.
    pub fn label(&mut self) -> Label {
        self.asm.buf.label()
    }

    /// The address of a label that is bound.
    pub fn address_of(&self, label: Label) -> u64 {
        self.asm.buf.address_of(label)
    }

    /// Binds `label` to this place.
    pub fn bind(&mut self, label: Label) {
        self.asm.bind(label);
    }

    /// Binds `label` to this place, and tells people what the place is called.
    pub fn bind_as(&mut self, label: Label, name: &'static str) {
        self.bind(label);
        self.name(name);
    }

    #[cfg(synthjit_ops)]
    fn name(&mut self, name: &'static str) {
        let at = self.offset();
        self.ops.name(at, name);
    }

    #[cfg(not(synthjit_ops))]
    #[inline(always)]
    fn name(&mut self, _: &'static str) {}

    /// A 64-bit constant that code refers to.
    pub fn constant(&mut self, value: u64) -> Dest {
        self.op(CONSTANT);
        let label = self.label();
        self.bind(label);
        self.asm.data64(value);
        label.into()
    }

    pub(super) fn fits<T: TryFrom<i64> + Default>(&mut self, value: u64) -> T {
        T::try_from(value as i64).unwrap_or_else(|_| {
            self.asm.buf.fail(Reason::Layout);
            T::default()
        })
    }

    pub(super) fn mem(&mut self, field: Field) -> Mem {
        Mem {
            base: field.base,
            offset: self.fits(field.offset),
        }
    }

    /// A 32-bit immediate that is compared or masked as 32 bits.
    pub(super) fn imm32(&mut self, value: u64) -> i32 {
        u32::try_from(value).map_or_else(
            |_| {
                self.asm.buf.fail(Reason::Layout);
                0
            },
            |value| value as i32,
        )
    }

    // Moving values.

    /// Loads 64 bits.
    pub fn load64(&mut self, reg: Reg, from: Field) {
        self.op("load64");
        let mem = self.mem(from);
        self.asm.load64(reg, mem);
    }

    /// Loads 32 bits, zero-extended.
    pub fn load32(&mut self, reg: Reg, from: Field) {
        self.op("load32");
        let mem = self.mem(from);
        self.asm.load32(reg, mem);
    }

    /// Loads element `index` of an array of 64-bit values that begins at `array`.
    pub fn load64_element(&mut self, reg: Reg, array: Field, index: Reg) {
        self.op("load64_element");
        let mem = self.mem(array);
        self.asm.load64_element(reg, mem, index);
    }

    /// Loads 64 bits from a fixed address into rax.
    pub fn load_rax(&mut self, address: u64) {
        self.op("load_rax");
        self.asm.load_rax_absolute(address);
    }

    /// Loads 32 bits from a fixed address into rax, zero-extended.
    pub fn load_eax(&mut self, address: u64) {
        self.op("load_eax");
        self.asm.load_eax_absolute(address);
    }

    /// Stores 64 bits.
    pub fn store64(&mut self, to: Field, reg: Reg) {
        self.op("store64");
        let mem = self.mem(to);
        self.asm.store64(mem, reg);
    }

    /// Stores element `index` of an array of 64-bit values that begins at `array`.
    pub fn store64_element(&mut self, array: Field, index: Reg, reg: Reg) {
        self.op("store64_element");
        let mem = self.mem(array);
        self.asm.store64_element(mem, index, reg);
    }

    /// Stores 32 bits.
    pub fn store32(&mut self, to: Field, reg: Reg) {
        self.op("store32");
        let mem = self.mem(to);
        self.asm.store32(mem, reg);
    }

    /// Stores an address of kernel text or data, which sign-extends from 32 bits.
    pub fn store_address(&mut self, to: Field, address: u64) {
        self.op("store_address");
        let (mem, imm) = (self.mem(to), self.fits(address));
        self.asm.store64_imm(mem, imm);
    }

    /// Stores a 32-bit constant.
    pub fn store_constant32(&mut self, to: Field, value: u64) {
        self.op("store_constant32");
        let (mem, imm) = (self.mem(to), self.imm32(value));
        self.asm.store32_imm(mem, imm);
    }

    /// `to = from`, 64 bits.
    pub fn copy_reg(&mut self, to: Reg, from: Reg) {
        self.op("copy_reg");
        self.asm.move64(to, from);
    }

    /// `reg = value`, in the shortest form that holds it.
    pub fn set(&mut self, reg: Reg, value: u64) {
        self.op("set");
        match u32::try_from(value) {
            Ok(value) => self.asm.set32(reg, value),
            Err(_) => self.asm.set64(reg, value),
        }
    }

    /// Keeps `reg` on the kernel stack.
    pub fn save(&mut self, reg: Reg) {
        self.op("save");
        self.asm.push(reg);
    }

    /// Undoes the last [`Masm::save`].
    pub fn restore(&mut self, reg: Reg) {
        self.op("restore");
        self.asm.pop(reg);
    }

    // Arithmetic on kernel fields.

    /// `field += reg`, 64 bits.
    pub fn add64_to(&mut self, to: Field, reg: Reg) {
        self.op("add64_to");
        let mem = self.mem(to);
        self.asm.add64_to(mem, reg);
    }

    /// `field += reg`, 32 bits.
    pub fn add32_to(&mut self, to: Field, reg: Reg) {
        self.op("add32_to");
        let mem = self.mem(to);
        self.asm.add32_to(mem, reg);
    }

    /// `field -= reg`, 32 bits.
    pub fn sub32_from(&mut self, from: Field, reg: Reg) {
        self.op("sub32_from");
        let mem = self.mem(from);
        self.asm.sub32_from(mem, reg);
    }

    /// `field += 1`, 64 bits.
    pub fn inc64(&mut self, field: Field) {
        self.op("inc64");
        let mem = self.mem(field);
        self.asm.inc64(mem);
    }

    /// `field += 1`, 32 bits.
    pub fn inc32(&mut self, field: Field) {
        self.op("inc32");
        let mem = self.mem(field);
        self.asm.inc32(mem);
    }

    /// `field -= 1`, 32 bits.
    pub fn dec32(&mut self, field: Field) {
        self.op("dec32");
        let mem = self.mem(field);
        self.asm.dec32(mem);
    }

    /// `reg += field`, 32 bits, the upper half cleared.
    pub fn add32(&mut self, reg: Reg, field: Field) {
        self.op("add32");
        let mem = self.mem(field);
        self.asm.add32_mem(reg, mem);
    }

    /// `reg -= field`, 32 bits, the upper half cleared.
    pub fn sub32(&mut self, reg: Reg, field: Field) {
        self.op("sub32");
        let mem = self.mem(field);
        self.asm.sub32_mem(reg, mem);
    }

    /// `reg += other`, 64 bits.
    pub fn add_reg(&mut self, reg: Reg, other: Reg) {
        self.op("add_reg");
        self.asm.add64(reg, other);
    }

    /// `reg -= other`, 64 bits.
    pub fn sub_reg(&mut self, reg: Reg, other: Reg) {
        self.op("sub_reg");
        self.asm.sub64(reg, other);
    }

    /// `page |= field`: the low 12 bits of a page's address are free for an offset below 4096.
    pub fn add_offset_in_page(&mut self, page: Reg, offset: Field) {
        self.op("add_offset_in_page");
        let mem = self.mem(offset);
        self.asm.or16_mem(page, mem);
    }

    /// `reg |= field`, 64 bits.
    pub fn or64(&mut self, reg: Reg, field: Field) {
        self.op("or64");
        let mem = self.mem(field);
        self.asm.or64_mem(reg, mem);
    }

    /// `reg |= field ^ address of field`: stays zero if a list head points at itself.
    pub fn list_difference(&mut self, reg: Reg, list: Field) {
        self.op("list_difference");
        let mem = self.mem(list);
        self.asm.lea(reg, mem);
        self.asm.xor64_mem(
            reg,
            Mem {
                base: reg,
                offset: 0,
            },
        );
    }

    /// `reg` becomes the address of element `reg & (size - 1)` in an array of elements of `element` bytes.
    /// `reg` is the index reduced by nothing but this mask; `size` is a power of two.
    pub fn ring_element(
        &mut self,
        reg: Reg,
        index: Field,
        size: Field,
        element: u64,
        array: Field,
    ) {
        self.op("ring_element");
        let (index, size) = (self.mem(index), self.mem(size));
        self.asm.load32(reg, size);
        self.asm.dec32_reg(reg);
        self.asm.and32_mem(reg, index);
        self.element(reg, element, array);
    }

    /// Like [`Masm::ring_element`] for the element before the index in `reg`; `scratch` is lost.
    pub fn ring_element_before(
        &mut self,
        reg: Reg,
        scratch: Reg,
        size: Field,
        element: u64,
        array: Field,
    ) {
        self.op("ring_element_before");
        let size = self.mem(size);
        self.asm.load32(scratch, size);
        self.asm.dec32_reg(scratch);
        self.asm.dec32_reg(reg);
        self.asm.and32(reg, scratch);
        self.element(reg, element, array);
    }

    fn element(&mut self, reg: Reg, element: u64, array: Field) {
        let (factor, array) = (self.fits(element), self.mem(array));
        self.asm.imul64(reg, reg, factor);
        self.asm.add64_mem(reg, array);
    }

    /// `page` turns from the address of a `struct page` into that of the page: shifted, plus the value at `bias`.
    pub fn page_address(&mut self, page: Reg, shift: u64, bias: Dest) {
        self.op("page_address");
        let bits = self.fits(shift);
        self.asm.shl64(page, bits);
        self.asm.add64_at(page, bias);
    }

    /// `reg` becomes the address of the page whose `struct page` is at the address in `page`: shifted, plus the value at
    /// `bias`. A shift of more than 6 bits does not fit the instruction.
    pub fn address_of_page(&mut self, reg: Reg, page: Reg, shift: u64, bias: Dest) {
        self.op("address_of_page");
        let bits: u8 = self.fits(shift);
        let factor = self.fits(1u64.checked_shl(bits.into()).unwrap_or(u64::MAX >> 1));
        self.asm.imul64(reg, page, factor);
        self.asm.add64_at(reg, bias);
    }

    // Calling and counting.

    /// Calls a static routine of the module.
    pub fn call(&mut self, address: u64) {
        self.op("call");
        self.asm.call(Dest::External(address));
    }

    /// Takes one from a 32-bit budget of this code alone.
    pub fn spend(&mut self, budget: u64) {
        self.op("spend");
        self.asm.dec32_at(Dest::External(budget));
    }

    /// Makes a 32-bit budget negative, and changes no lower bit.
    pub fn mark_spent(&mut self, budget: Field) {
        self.op("mark_spent");
        let mem = self.mem(field(budget.base, budget.offset.wrapping_add(3)));
        self.asm.or8(mem, i8::MIN);
    }

    /// Adds one to a counter of this path alone.
    pub fn count_own(&mut self, counter: u64) {
        self.op("count_own");
        self.asm.inc64_at(Dest::External(counter));
    }

    /// `array[index] += 1`, 64 bits each.
    pub fn inc64_element(&mut self, array: Field, index: Reg) {
        self.op("inc64_element");
        let mem = self.mem(array);
        self.asm.inc64_element(mem, index);
    }

    /// The pads of these exits, which are numbered from `first` on: each pushes its number and goes to what follows.
    pub fn exit_pads(&mut self, first: u8, exits: &[Exit]) {
        // CAST: a path has few exits.
        let count = exits.len() as u8;
        self.asm.buf.bind_pads(count);
        for (exit, at) in exits.iter().zip(0u8..) {
            self.name(exit.reason.name());
            self.op("exit_pad");
            let behind = count.wrapping_sub(at).wrapping_sub(1);
            self.asm.pad(first.wrapping_add(at), behind);
        }
    }

    /// `reg` becomes the address of data of this path alone.
    pub fn address_of_data(&mut self, reg: Reg, data: u64) {
        self.op("address_of_data");
        self.asm.lea_at(reg, Dest::External(data));
    }
}
