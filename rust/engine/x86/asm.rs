// SPDX-License-Identifier: GPL-2.0

//! One method per instruction form. The only file that knows how instructions are encoded.
//!
//! Displacements take the short form when they fit. Bytes are spelled out for what `dynasm!` has no name for (`endbr64`,
//! the 64-bit `sysret`, `mov rax, [64-bit address]`) and where its form is longer than need be (`push`, `pop`,
//! `mov r32, imm32` with a register chosen at run time; `cmp` with a short immediate).

use dynasm::dynasm;

use super::buf::{Buf, Label, Target};
use super::regs::Reg;

/// Memory at a register plus an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// Holds the address that the offset is added to.
    pub base: Reg,
    /// Bytes from there.
    pub offset: i32,
}

/// Conditions of jumps, named after what was compared (unsigned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// equal, or zero
    Equal,
    /// not equal, or not zero
    NotEqual,
    /// below
    Below,
    /// above or equal
    AboveEqual,
    /// above
    Above,
}

/// Instructions into a buffer.
pub struct Asm<'a> {
    /// Where the bytes go.
    pub buf: Buf<'a>,
}

/// Instructions with a register and memory.
macro_rules! reg_mem {
    ($($(#[$doc:meta])* $name:ident: $op:tt $size:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, reg: Reg, mem: Mem) {
            let base = mem.base;
            match i8::try_from(mem.offset) {
                Ok(offset) => dynasm!(self.buf ; .arch x64 ; $op $size(reg), [BYTE Rq(base) + offset]),
                Err(_) => dynasm!(self.buf ; .arch x64 ; $op $size(reg), [DWORD Rq(base) + mem.offset]),
            }
        }
    )*};
}

/// Instructions with memory and a register.
macro_rules! mem_reg {
    ($($(#[$doc:meta])* $name:ident: $prefix:tt $op:tt $size:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem, reg: Reg) {
            let base = mem.base;
            match i8::try_from(mem.offset) {
                Ok(offset) => mem_reg!(@ self $prefix $op [BYTE Rq(base) + offset], $size(reg)),
                Err(_) => mem_reg!(@ self $prefix $op [DWORD Rq(base) + mem.offset], $size(reg)),
            }
        }
    )*};
    (@ $self:ident plain $($op:tt)*) => { dynasm!($self.buf ; .arch x64 ; $($op)*) };
    (@ $self:ident lock $($op:tt)*) => { dynasm!($self.buf ; .arch x64 ; lock $($op)*) };
}

/// Instructions with memory alone.
macro_rules! mem {
    ($($(#[$doc:meta])* $name:ident: $op:tt $size:tt;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem) {
            let base = mem.base;
            match i8::try_from(mem.offset) {
                Ok(offset) => dynasm!(self.buf ; .arch x64 ; $op $size [BYTE Rq(base) + offset]),
                Err(_) => dynasm!(self.buf ; .arch x64 ; $op $size [DWORD Rq(base) + mem.offset]),
            }
        }
    )*};
}

/// Instructions with memory and a 32-bit immediate.
macro_rules! mem_imm {
    ($($(#[$doc:meta])* $name:ident: $op:tt $size:tt;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem, imm: i32) {
            let base = mem.base;
            match i8::try_from(mem.offset) {
                Ok(offset) => dynasm!(self.buf ; .arch x64 ; $op $size [BYTE Rq(base) + offset], DWORD imm),
                Err(_) => dynasm!(self.buf ; .arch x64 ; $op $size [DWORD Rq(base) + mem.offset], DWORD imm),
            }
        }
    )*};
}

/// Instructions with two registers.
macro_rules! reg_reg {
    ($($(#[$doc:meta])* $name:ident: $op:tt $size:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, to: Reg, from: Reg) {
            dynasm!(self.buf ; .arch x64 ; $op $size(to), $size(from))
        }
    )*};
}

/// Instructions with a register and memory at a target.
macro_rules! reg_target {
    ($($(#[$doc:meta])* $name:ident: $op:tt;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, reg: Reg, target: Target) {
            dynasm!(self.buf ; .arch x64 ; $op Rq(reg), [=>target])
        }
    )*};
}

/// Instructions without operands.
macro_rules! bare {
    ($($(#[$doc:meta])* $name:ident: { $($op:tt)+ };)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self) {
            dynasm!(self.buf ; .arch x64 ; $($op)+)
        }
    )*};
}

impl<'a> Asm<'a> {
    /// Instructions into `buf`.
    pub fn new(buf: Buf<'a>) -> Self {
        Self { buf }
    }

    reg_mem! {
        /// `mov r64, [m]`
        load64: mov Rq;
        /// `mov r32, [m]`
        load32: mov Rd;
        /// `lea r64, [m]`
        lea: lea Rq;
        /// `add r64, [m]`
        add64_mem: add Rq;
        /// `add r32, [m]`
        add32_mem: add Rd;
        /// `sub r32, [m]`
        sub32_mem: sub Rd;
        /// `and r32, [m]`
        and32_mem: and Rd;
        /// `or r64, [m]`
        or64_mem: or Rq;
        /// `or r16, [m]`
        or16_mem: or Rw;
        /// `xor r64, [m]`
        xor64_mem: xor Rq;
        /// `cmp r64, [m]`
        cmp64_mem: cmp Rq;
        /// `cmp r32, [m]`
        cmp32_mem: cmp Rd;
    }

    mem_reg! {
        /// `mov [m], r64`
        store64: plain mov Rq;
        /// `mov [m], r32`
        store32: plain mov Rd;
        /// `add [m], r64`
        add64_to: plain add Rq;
        /// `add [m], r32`
        add32_to: plain add Rd;
        /// `sub [m], r32`
        sub32_from: plain sub Rd;
        /// `lock cmpxchg [m], r64`
        lock_cmpxchg64: lock cmpxchg Rq;
    }

    mem! {
        /// `inc qword [m]`
        inc64: inc QWORD;
        /// `inc dword [m]`
        inc32: inc DWORD;
        /// `dec dword [m]`
        dec32: dec DWORD;
    }

    mem_imm! {
        /// `mov qword [m], imm`, the immediate sign-extended
        store64_imm: mov QWORD;
        /// `mov dword [m], imm`
        store32_imm: mov DWORD;
        /// `cmp qword [m], imm`, the immediate sign-extended and 32 bits long
        cmp64_imm32: cmp QWORD;
        /// `cmp dword [m], imm`, the immediate 32 bits long
        cmp32_imm32: cmp DWORD;
        /// `test dword [m], imm`
        test32_imm: test DWORD;
    }

    reg_reg! {
        /// `mov r64, r64`
        move64: mov Rq;
        /// `mov r32, r32`
        move32: mov Rd;
        /// `add r64, r64`
        add64: add Rq;
        /// `sub r64, r64`
        sub64: sub Rq;
        /// `and r32, r32`
        and32: and Rd;
        /// `xor r32, r32`
        xor32: xor Rd;
        /// `test r64, r64`
        test64: test Rq;
        /// `test r32, r32`
        test32: test Rd;
        /// `cmp r64, r64`
        cmp64: cmp Rq;
        /// `bt r64, r64`: the carry flag is bit `from % 64` of `to`
        bit_test64: bt Rq;
    }

    reg_target! {
        /// `cmp r64, [rip + target]`
        cmp64_at: cmp;
        /// `cmova r64, [rip + target]`
        cmova64_at: cmova;
        /// `add r64, [rip + target]`
        add64_at: add;
        /// `sub r64, [rip + target]`
        sub64_at: sub;
    }

    bare! {
        /// `rep movsb`
        rep_movsb: { rep movsb };
        /// `swapgs`
        swapgs: { swapgs };
        /// `stac`
        stac: { stac };
        /// `clac`
        clac: { clac };
        /// `int3`
        int3: { int3 };
        /// `nop`
        nop: { nop };
        /// `endbr64`
        endbr64: { .bytes &[0xf3u8, 0x0f, 0x1e, 0xfa] };
        /// `sysretq`: to 64-bit user code
        sysretq: { .bytes &[0x48u8, 0x0f, 0x07] };
    }

    /// `mov r64, [m + 8 * index]`
    pub fn load64_element(&mut self, reg: Reg, mem: Mem, index: Reg) {
        let base = mem.base;
        match i8::try_from(mem.offset) {
            Ok(offset) => {
                dynasm!(self.buf ; .arch x64 ; mov Rq(reg), [BYTE Rq(base) + 8 * Rq(index) + offset])
            }
            Err(_) => {
                dynasm!(self.buf ; .arch x64 ; mov Rq(reg), [DWORD Rq(base) + 8 * Rq(index) + mem.offset])
            }
        }
    }

    /// `mov [m + 8 * index], r64`
    pub fn store64_element(&mut self, mem: Mem, index: Reg, reg: Reg) {
        let base = mem.base;
        match i8::try_from(mem.offset) {
            Ok(offset) => {
                dynasm!(self.buf ; .arch x64 ; mov [BYTE Rq(base) + 8 * Rq(index) + offset], Rq(reg))
            }
            Err(_) => {
                dynasm!(self.buf ; .arch x64 ; mov [DWORD Rq(base) + 8 * Rq(index) + mem.offset], Rq(reg))
            }
        }
    }

    /// `mov r64, imm64`
    pub fn set64(&mut self, reg: Reg, value: u64) {
        dynasm!(self.buf ; .arch x64 ; mov Rq(reg), QWORD value as i64)
    }

    /// `mov r32, imm32`, which clears the upper half
    pub fn set32(&mut self, reg: Reg, value: u32) {
        self.buf.push(0xb8 | u8::from(reg));
        self.buf.push_i32(value as i32);
    }

    /// `cmp r64, imm`, the immediate sign-extended
    pub fn cmp64_reg_imm(&mut self, reg: Reg, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.buf.extend(&[0x48, 0x83, 0xf8 | u8::from(reg)]);
                self.buf.push_i8(imm);
            }
            Err(_) => dynasm!(self.buf ; .arch x64 ; cmp Rq(reg), DWORD imm),
        }
    }

    /// `cmp dword [m], imm`
    pub fn cmp32_imm(&mut self, mem: Mem, imm: i32) {
        match Self::short(mem, imm) {
            Some([code, mem, offset, imm]) => self.buf.extend(&[code, mem, offset, imm]),
            None => self.cmp32_imm32(mem, imm),
        }
    }

    /// `cmp qword [m], imm`, the immediate sign-extended
    pub fn cmp64_imm(&mut self, mem: Mem, imm: i32) {
        match Self::short(mem, imm) {
            Some([code, mem, offset, imm]) => self.buf.extend(&[0x48, code, mem, offset, imm]),
            None => self.cmp64_imm32(mem, imm),
        }
    }

    /// `cmp [m], imm` where offset and immediate are short.
    fn short(mem: Mem, imm: i32) -> Option<[u8; 4]> {
        let (offset, imm) = (i8::try_from(mem.offset).ok()?, i8::try_from(imm).ok()?);
        Some([0x83, 0x78 | u8::from(mem.base), offset as u8, imm as u8])
    }

    /// `mov rsp, imm64`
    pub fn set_rsp(&mut self, value: u64) {
        dynasm!(self.buf ; .arch x64 ; mov rsp, QWORD value as i64)
    }

    /// `mov rax, [address]`, the only register that a whole address can be given to
    pub fn load_rax_absolute(&mut self, address: u64) {
        dynasm!(self.buf ; .arch x64 ; .bytes &[0x48u8, 0xa1]);
        self.buf.push_i64(address as i64);
    }

    /// `mov eax, [address]`, likewise; it clears the upper half
    pub fn load_eax_absolute(&mut self, address: u64) {
        self.buf.push(0xa1);
        self.buf.push_i64(address as i64);
    }

    /// `mov gs:[offset], rsp`
    pub fn save_rsp_gs(&mut self, offset: i32) {
        dynasm!(self.buf ; .arch x64 ; gs mov [DWORD offset], rsp)
    }

    /// `mov rsp, gs:[offset]`
    pub fn restore_rsp_gs(&mut self, offset: i32) {
        dynasm!(self.buf ; .arch x64 ; gs mov rsp, [DWORD offset])
    }

    /// `mov [offset], rsp`, for code that runs without per-CPU memory
    pub fn save_rsp(&mut self, offset: i32) {
        dynasm!(self.buf ; .arch x64 ; mov [DWORD offset], rsp)
    }

    /// `mov rsp, [offset]`
    pub fn restore_rsp(&mut self, offset: i32) {
        dynasm!(self.buf ; .arch x64 ; mov rsp, [DWORD offset])
    }

    /// `push r64`
    pub fn push(&mut self, reg: Reg) {
        self.buf.push(0x50 | u8::from(reg));
    }

    /// `pop r64`
    pub fn pop(&mut self, reg: Reg) {
        self.buf.push(0x58 | u8::from(reg));
    }

    /// `dec r32`
    pub fn dec32_reg(&mut self, reg: Reg) {
        dynasm!(self.buf ; .arch x64 ; dec Rd(reg))
    }

    /// `shl r64, bits`
    pub fn shl64(&mut self, reg: Reg, bits: u8) {
        dynasm!(self.buf ; .arch x64 ; shl Rq(reg), BYTE bits as i8)
    }

    /// `imul r64, r64, factor`
    pub fn imul64(&mut self, to: Reg, from: Reg, factor: i8) {
        dynasm!(self.buf ; .arch x64 ; imul Rq(to), Rq(from), BYTE factor)
    }

    /// `test r11d, imm`: the user's flags
    pub fn test_r11(&mut self, imm: u32) {
        dynasm!(self.buf ; .arch x64 ; test r11d, DWORD imm as i32)
    }

    /// `inc qword [rip + target]`
    pub fn inc64_at(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; inc QWORD [=>target])
    }

    /// `cmp dword [rip + target], 0`
    pub fn cmp32_at_zero(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; cmp DWORD [=>target], DWORD 0)
    }

    /// `dec dword [rip + target]`
    pub fn dec32_at(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; dec DWORD [=>target])
    }

    /// `lock inc qword [rip + target]`
    pub fn lock_inc64_at(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; lock inc QWORD [=>target])
    }

    /// `verw [rip + target]`
    pub fn verw_at(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; verw [=>target])
    }

    /// `jmp target`
    pub fn jmp(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; jmp =>target)
    }

    /// `jmp target`, at most 127 bytes away
    pub fn jmp_near(&mut self, label: Label) {
        let target = Target::Label(label);
        dynasm!(self.buf ; .arch x64 ; jmp BYTE =>target)
    }

    /// `jne target`, at most 127 bytes away
    pub fn jne_near(&mut self, label: Label) {
        let target = Target::Label(label);
        dynasm!(self.buf ; .arch x64 ; jne BYTE =>target)
    }

    /// `call target`
    pub fn call(&mut self, target: Target) {
        dynasm!(self.buf ; .arch x64 ; call =>target)
    }

    /// `jcc target`
    pub fn jcc(&mut self, cond: Cond, target: Target) {
        match cond {
            Cond::Equal => dynasm!(self.buf ; .arch x64 ; je =>target),
            Cond::NotEqual => dynasm!(self.buf ; .arch x64 ; jne =>target),
            Cond::Below => dynasm!(self.buf ; .arch x64 ; jb =>target),
            Cond::AboveEqual => dynasm!(self.buf ; .arch x64 ; jae =>target),
            Cond::Above => dynasm!(self.buf ; .arch x64 ; ja =>target),
        }
    }

    /// Eight bytes of data.
    pub fn data64(&mut self, value: u64) {
        self.buf.push_i64(value as i64);
    }

    /// Places `label` here.
    pub fn place(&mut self, label: Label) {
        self.buf.place(label);
    }
}
