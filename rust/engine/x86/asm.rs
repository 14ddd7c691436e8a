// SPDX-License-Identifier: GPL-2.0

//! One method per instruction form. The only file that knows how instructions are encoded.
//!
//! Displacements and immediates take the short form when they fit. Registers are chosen at run time, for which `dynasm!` takes
//! the longest encoding of an operand, with REX and SIB bytes: so instructions with memory at a register, or with registers, are
//! spelled out, as is what `dynasm!` has no name for (`endbr64`, the 64-bit `sysret`, `mov rax, [64-bit address]`).

use dynasm::dynasm;

use super::buf::{Buf, Dest, Label};
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
    /// below or equal
    BelowEqual,
    /// the last result was not negative
    NotNegative,
}

/// The prefix of instructions on 64 bits.
const REX_W: u8 = 0x48;

/// Instructions into a buffer.
pub struct Asm<'a> {
    /// Where the bytes go.
    pub buf: Buf<'a>,
}

/// Instructions with a register and memory, by the bytes before the operands.
macro_rules! reg_mem {
    ($($(#[$doc:meta])* $name:ident: $code:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, reg: Reg, mem: Mem) {
            self.memory($code, reg.into(), mem);
        }
    )*};
}

/// Instructions with memory and a register, by the bytes before the operands.
macro_rules! mem_reg {
    ($($(#[$doc:meta])* $name:ident: $code:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem, reg: Reg) {
            self.memory($code, reg.into(), mem);
        }
    )*};
}

/// Instructions with memory alone, by the bytes before it and the opcode's extension.
macro_rules! mem {
    ($($(#[$doc:meta])* $name:ident: $code:expr, $extension:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem) {
            self.memory($code, $extension, mem);
        }
    )*};
}

/// Instructions with memory and a 32-bit immediate, by the bytes before them and the opcode's extension.
macro_rules! mem_imm {
    ($($(#[$doc:meta])* $name:ident: $code:expr, $extension:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, mem: Mem, imm: i32) {
            self.memory($code, $extension, mem);
            self.buf.push_i32(imm);
        }
    )*};
}

/// Instructions with two registers, by the bytes before them.
macro_rules! reg_reg {
    ($($(#[$doc:meta])* $name:ident: $code:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, to: Reg, from: Reg) {
            self.registers($code, from.into(), to);
        }
    )*};
}

/// Instructions with a register and memory at a target.
macro_rules! reg_target {
    ($($(#[$doc:meta])* $name:ident: $op:tt;)*) => {$(
        $(#[$doc])*
        pub fn $name(&mut self, reg: Reg, target: Dest) {
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

    /// `code` and its operands: memory, and a register or the opcode's extension as `field`. No base needs a SIB byte, no
    /// register a bit of REX. A displacement of zero is there too: listings name it.
    #[inline(always)]
    fn memory<const N: usize>(&mut self, code: [u8; N], field: u8, mem: Mem) {
        let operands = field.wrapping_shl(3) | u8::from(mem.base);
        self.buf.extend(&code);
        match i8::try_from(mem.offset) {
            Ok(offset) => self.buf.extend(&[0x40 | operands, offset as u8]),
            Err(_) => {
                self.buf.push(0x80 | operands);
                self.buf.push_i32(mem.offset);
            }
        }
    }

    /// `code` and its operands: two registers, or one and the opcode's extension as `field`.
    #[inline(always)]
    fn registers<const N: usize>(&mut self, code: [u8; N], field: u8, reg: Reg) {
        self.buf.extend(&code);
        self.buf.push(0xc0 | field.wrapping_shl(3) | u8::from(reg));
    }

    reg_mem! {
        /// `mov r64, [m]`
        load64: [REX_W, 0x8b];
        /// `mov r32, [m]`
        load32: [0x8b];
        /// `lea r64, [m]`
        lea: [REX_W, 0x8d];
        /// `add r64, [m]`
        add64_mem: [REX_W, 0x03];
        /// `add r32, [m]`
        add32_mem: [0x03];
        /// `sub r32, [m]`
        sub32_mem: [0x2b];
        /// `and r32, [m]`
        and32_mem: [0x23];
        /// `or r64, [m]`
        or64_mem: [REX_W, 0x0b];
        /// `or r16, [m]`
        or16_mem: [0x66, 0x0b];
        /// `xor r64, [m]`
        xor64_mem: [REX_W, 0x33];
        /// `cmp r64, [m]`
        cmp64_mem: [REX_W, 0x3b];
        /// `cmp r32, [m]`
        cmp32_mem: [0x3b];
    }

    mem_reg! {
        /// `mov [m], r64`
        store64: [REX_W, 0x89];
        /// `mov [m], r32`
        store32: [0x89];
        /// `add [m], r64`
        add64_to: [REX_W, 0x01];
        /// `add [m], r32`
        add32_to: [0x01];
        /// `sub [m], r32`
        sub32_from: [0x29];
        /// `lock cmpxchg [m], r64`
        lock_cmpxchg64: [0xf0, REX_W, 0x0f, 0xb1];
    }

    mem! {
        /// `inc qword [m]`
        inc64: [REX_W, 0xff], 0;
        /// `inc dword [m]`
        inc32: [0xff], 0;
        /// `dec dword [m]`
        dec32: [0xff], 1;
    }

    mem_imm! {
        /// `mov qword [m], imm`, the immediate sign-extended
        store64_imm: [REX_W, 0xc7], 0;
        /// `mov dword [m], imm`
        store32_imm: [0xc7], 0;
        /// `cmp qword [m], imm`, the immediate sign-extended and 32 bits long
        cmp64_imm32: [REX_W, 0x81], 7;
        /// `cmp dword [m], imm`, the immediate 32 bits long
        cmp32_imm32: [0x81], 7;
        /// `test dword [m], imm`
        test32_imm: [0xf7], 0;
    }

    reg_reg! {
        /// `mov r64, r64`
        move64: [REX_W, 0x89];
        /// `mov r32, r32`
        move32: [0x89];
        /// `add r64, r64`
        add64: [REX_W, 0x01];
        /// `sub r64, r64`
        sub64: [REX_W, 0x29];
        /// `and r32, r32`
        and32: [0x21];
        /// `xor r32, r32`
        xor32: [0x31];
        /// `test r64, r64`
        test64: [REX_W, 0x85];
        /// `test r32, r32`
        test32: [0x85];
        /// `cmp r64, r64`
        cmp64: [REX_W, 0x39];
        /// `bt r64, r64`: the carry flag is bit `from % 64` of `to`
        bit_test64: [REX_W, 0x0f, 0xa3];
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
        /// `lea r64, [rip + target]`
        lea_at: lea;
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

    /// `inc qword [m + 8 * index]`
    pub fn inc64_element(&mut self, mem: Mem, index: Reg) {
        let base = mem.base;
        match i8::try_from(mem.offset) {
            Ok(offset) => {
                dynasm!(self.buf ; .arch x64 ; inc QWORD [BYTE Rq(base) + 8 * Rq(index) + offset])
            }
            Err(_) => {
                dynasm!(self.buf ; .arch x64 ; inc QWORD [DWORD Rq(base) + 8 * Rq(index) + mem.offset])
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
                self.registers([REX_W, 0x83], 7, reg);
                self.buf.push_i8(imm);
            }
            Err(_) => {
                self.registers([REX_W, 0x81], 7, reg);
                self.buf.push_i32(imm);
            }
        }
    }

    /// `cmp dword [m], imm`
    pub fn cmp32_imm(&mut self, mem: Mem, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.memory([0x83], 7, mem);
                self.buf.push_i8(imm);
            }
            Err(_) => self.cmp32_imm32(mem, imm),
        }
    }

    /// `cmp qword [m], imm`, the immediate sign-extended
    pub fn cmp64_imm(&mut self, mem: Mem, imm: i32) {
        match i8::try_from(imm) {
            Ok(imm) => {
                self.memory([REX_W, 0x83], 7, mem);
                self.buf.push_i8(imm);
            }
            Err(_) => self.cmp64_imm32(mem, imm),
        }
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
        self.registers([0xff], 1, reg);
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
    pub fn inc64_at(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; inc QWORD [=>target])
    }

    /// `cmp dword [rip + target], 0`
    pub fn cmp32_at_zero(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; cmp DWORD [=>target], DWORD 0)
    }

    /// `dec dword [rip + target]`
    pub fn dec32_at(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; dec DWORD [=>target])
    }

    /// `or byte [m], imm`
    pub fn or8(&mut self, mem: Mem, imm: i8) {
        self.memory([0x80], 1, mem);
        self.buf.push_i8(imm);
    }

    /// A pad of an exit: `push imm8`, the exit's number, and `jmp` over as many pads as are `behind` it.
    pub fn pad(&mut self, number: u8, behind: u8) {
        self.buf
            .extend(&[0x6a, number, 0xeb, behind.wrapping_mul(4)]);
    }

    /// `verw [rip + target]`
    pub fn verw_at(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; verw [=>target])
    }

    /// `jmp target`
    pub fn jmp(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; jmp =>target)
    }

    /// `jmp target`, at most 127 bytes away
    pub fn jmp_near(&mut self, label: Label) {
        let target = Dest::Label(label);
        dynasm!(self.buf ; .arch x64 ; jmp BYTE =>target)
    }

    /// `jne target`, at most 127 bytes away
    pub fn jne_near(&mut self, label: Label) {
        let target = Dest::Label(label);
        dynasm!(self.buf ; .arch x64 ; jne BYTE =>target)
    }

    /// `call target`
    pub fn call(&mut self, target: Dest) {
        dynasm!(self.buf ; .arch x64 ; call =>target)
    }

    /// `jcc target`
    pub fn jcc(&mut self, cond: Cond, target: Dest) {
        match cond {
            Cond::Equal => dynasm!(self.buf ; .arch x64 ; je =>target),
            Cond::NotEqual => dynasm!(self.buf ; .arch x64 ; jne =>target),
            Cond::Below => dynasm!(self.buf ; .arch x64 ; jb =>target),
            Cond::AboveEqual => dynasm!(self.buf ; .arch x64 ; jae =>target),
            Cond::Above => dynasm!(self.buf ; .arch x64 ; ja =>target),
            Cond::BelowEqual => dynasm!(self.buf ; .arch x64 ; jbe =>target),
            Cond::NotNegative => dynasm!(self.buf ; .arch x64 ; jns =>target),
        }
    }

    /// Eight bytes of data.
    pub fn data64(&mut self, value: u64) {
        self.buf.push_i64(value as i64);
    }

    /// Places `label` here.
    pub fn bind(&mut self, label: Label) {
        self.buf.bind(label);
    }
}
