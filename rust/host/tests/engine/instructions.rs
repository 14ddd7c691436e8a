//! Every instruction of `x86/asm.rs` with random operands, read back as text by `iced-x86`; and the ops that choose
//! between forms.

use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, Mnemonic};
use proptest::prelude::*;
use proptest::sample::select;
use synthjit_engine::specs::Reason;
use synthjit_engine::x86::asm::{Asm, Cond, Mem};
use synthjit_engine::x86::buf::{Buf, Dest, Label, POISON};
use synthjit_engine::x86::masm::{field, Masm, Profile};
use synthjit_engine::x86::regs::Reg;

use crate::facts::target;

const BASE: u64 = 0xffff_ffff_c000_0000;

/// What an instruction takes.
#[derive(Clone, Copy, Debug)]
struct Operands {
    a: Reg,
    b: Reg,
    mem: Mem,
    imm: i32,
    wide: u64,
    small: u8,
    far: u64,
}

impl Operands {
    fn target(&self) -> Dest {
        Dest::External(self.far)
    }

    fn mem(&self) -> String {
        let base = name(self.mem.base, 64);
        match self.mem.offset {
            0 => format!("[{base}]"),
            offset if offset < 0 => format!("[{base}-{}]", hex(u64::from(offset.unsigned_abs()))),
            offset => format!("[{base}+{}]", hex(offset as u64)),
        }
    }

    /// Element `b` of an array of 64-bit values there.
    fn element(&self) -> String {
        let index = format!("+{}*8", name(self.b, 64));
        let at = name(self.mem.base, 64).len() + 1;
        let mut text = self.mem();
        text.insert_str(at, &index);
        text
    }

    /// A sign-extended 64-bit immediate.
    fn imm64(&self) -> String {
        hex(i64::from(self.imm) as u64)
    }

    fn imm32(&self) -> String {
        hex(u64::from(self.imm as u32))
    }
}

/// As the formatter writes numbers.
fn hex(value: u64) -> String {
    if value < 10 {
        value.to_string()
    } else {
        format!("0x{value:x}")
    }
}

fn name(reg: Reg, bits: u32) -> &'static str {
    let names = match reg {
        Reg::Rax => ["ax", "eax", "rax"],
        Reg::Rcx => ["cx", "ecx", "rcx"],
        Reg::Rdx => ["dx", "edx", "rdx"],
        Reg::Rbx => ["bx", "ebx", "rbx"],
        Reg::Rsi => ["si", "esi", "rsi"],
        Reg::Rdi => ["di", "edi", "rdi"],
    };
    match bits {
        16 => names[0],
        32 => names[1],
        _ => names[2],
    }
}

fn operands() -> impl Strategy<Value = Operands> {
    let reg = || {
        select(vec![
            Reg::Rax,
            Reg::Rcx,
            Reg::Rdx,
            Reg::Rbx,
            Reg::Rsi,
            Reg::Rdi,
        ])
    };
    let offset = prop_oneof![
        Just(0),
        -130..130i32,
        any::<i32>(),
        select(vec![127, 128, -128, -129, i32::MIN, i32::MAX])
    ];
    let imm = prop_oneof![-130..130i32, any::<i32>()];
    (
        reg(),
        reg(),
        (reg(), offset),
        imm,
        any::<u64>(),
        any::<u8>(),
        0..1u64 << 30,
    )
        .prop_map(|(a, b, (base, offset), imm, wide, small, far)| Operands {
            a,
            b,
            mem: Mem { base, offset },
            imm,
            wide,
            small,
            far: BASE + far,
        })
}

/// The bytes of one instruction.
fn emit(write: impl FnOnce(&mut Asm<'_>)) -> Vec<u8> {
    let mut out = [0; 24];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    write(&mut asm);
    let len = asm.buf.finish().expect("it fits");
    assert!(out[len..].iter().all(|&byte| byte == POISON));
    out[..len].to_vec()
}

/// All instructions in `bytes`, which lie at `BASE`, as text.
fn read(bytes: &[u8]) -> String {
    read_at(bytes, BASE)
}

fn read_at(bytes: &[u8], base: u64) -> String {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    let mut lines = Vec::new();
    for instruction in Decoder::with_ip(64, bytes, base, DecoderOptions::NONE).iter() {
        assert!(!instruction.is_invalid(), "{bytes:02x?}");
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        lines.push(line);
    }
    lines.join("\n")
}

type Case = (
    &'static str,
    fn(&mut Asm<'_>, Operands),
    fn(Operands) -> String,
);

/// Each instruction with the text that it must read back as.
#[rustfmt::skip]
const CASES: &[Case] = &[
    ("load64", |s, o| s.load64(o.a, o.mem), |o| format!("mov {},{}", name(o.a, 64), o.mem())),
    ("load32", |s, o| s.load32(o.a, o.mem), |o| format!("mov {},{}", name(o.a, 32), o.mem())),
    ("lea", |s, o| s.lea(o.a, o.mem), |o| format!("lea {},{}", name(o.a, 64), o.mem())),
    ("load64_element", |s, o| s.load64_element(o.a, o.mem, o.b), |o| format!("mov {},{}", name(o.a, 64), o.element())),
    ("store64_element", |s, o| s.store64_element(o.mem, o.b, o.a), |o| format!("mov {},{}", o.element(), name(o.a, 64))),
    ("add64_mem", |s, o| s.add64_mem(o.a, o.mem), |o| format!("add {},{}", name(o.a, 64), o.mem())),
    ("add32_mem", |s, o| s.add32_mem(o.a, o.mem), |o| format!("add {},{}", name(o.a, 32), o.mem())),
    ("sub32_mem", |s, o| s.sub32_mem(o.a, o.mem), |o| format!("sub {},{}", name(o.a, 32), o.mem())),
    ("and32_mem", |s, o| s.and32_mem(o.a, o.mem), |o| format!("and {},{}", name(o.a, 32), o.mem())),
    ("or64_mem", |s, o| s.or64_mem(o.a, o.mem), |o| format!("or {},{}", name(o.a, 64), o.mem())),
    ("or16_mem", |s, o| s.or16_mem(o.a, o.mem), |o| format!("or {},{}", name(o.a, 16), o.mem())),
    ("xor64_mem", |s, o| s.xor64_mem(o.a, o.mem), |o| format!("xor {},{}", name(o.a, 64), o.mem())),
    ("cmp64_mem", |s, o| s.cmp64_mem(o.a, o.mem), |o| format!("cmp {},{}", name(o.a, 64), o.mem())),
    ("cmp32_mem", |s, o| s.cmp32_mem(o.a, o.mem), |o| format!("cmp {},{}", name(o.a, 32), o.mem())),
    ("store64", |s, o| s.store64(o.mem, o.a), |o| format!("mov {},{}", o.mem(), name(o.a, 64))),
    ("store32", |s, o| s.store32(o.mem, o.a), |o| format!("mov {},{}", o.mem(), name(o.a, 32))),
    ("add64_to", |s, o| s.add64_to(o.mem, o.a), |o| format!("add {},{}", o.mem(), name(o.a, 64))),
    ("add32_to", |s, o| s.add32_to(o.mem, o.a), |o| format!("add {},{}", o.mem(), name(o.a, 32))),
    ("sub32_from", |s, o| s.sub32_from(o.mem, o.a), |o| format!("sub {},{}", o.mem(), name(o.a, 32))),
    ("lock_cmpxchg64", |s, o| s.lock_cmpxchg64(o.mem, o.a), |o| format!("lock cmpxchg {},{}", o.mem(), name(o.a, 64))),
    ("inc64", |s, o| s.inc64(o.mem), |o| format!("inc qword ptr {}", o.mem())),
    ("inc32", |s, o| s.inc32(o.mem), |o| format!("inc dword ptr {}", o.mem())),
    ("dec32", |s, o| s.dec32(o.mem), |o| format!("dec dword ptr {}", o.mem())),
    ("cmp64_imm", |s, o| s.cmp64_imm(o.mem, o.imm), |o| format!("cmp qword ptr {},{}", o.mem(), o.imm64())),
    ("cmp32_imm", |s, o| s.cmp32_imm(o.mem, o.imm), |o| format!("cmp dword ptr {},{}", o.mem(), o.imm32())),
    ("cmp64_imm32", |s, o| s.cmp64_imm32(o.mem, o.imm), |o| format!("cmp qword ptr {},{}", o.mem(), o.imm64())),
    ("cmp32_imm32", |s, o| s.cmp32_imm32(o.mem, o.imm), |o| format!("cmp dword ptr {},{}", o.mem(), o.imm32())),
    ("store64_imm", |s, o| s.store64_imm(o.mem, o.imm), |o| format!("mov qword ptr {},{}", o.mem(), o.imm64())),
    ("store32_imm", |s, o| s.store32_imm(o.mem, o.imm), |o| format!("mov dword ptr {},{}", o.mem(), o.imm32())),
    ("test32_imm", |s, o| s.test32_imm(o.mem, o.imm), |o| format!("test dword ptr {},{}", o.mem(), o.imm32())),
    ("move64", |s, o| s.move64(o.a, o.b), |o| format!("mov {},{}", name(o.a, 64), name(o.b, 64))),
    ("move32", |s, o| s.move32(o.a, o.b), |o| format!("mov {},{}", name(o.a, 32), name(o.b, 32))),
    ("add64", |s, o| s.add64(o.a, o.b), |o| format!("add {},{}", name(o.a, 64), name(o.b, 64))),
    ("sub64", |s, o| s.sub64(o.a, o.b), |o| format!("sub {},{}", name(o.a, 64), name(o.b, 64))),
    ("and32", |s, o| s.and32(o.a, o.b), |o| format!("and {},{}", name(o.a, 32), name(o.b, 32))),
    ("xor32", |s, o| s.xor32(o.a, o.b), |o| format!("xor {},{}", name(o.a, 32), name(o.b, 32))),
    ("test64", |s, o| s.test64(o.a, o.b), |o| format!("test {},{}", name(o.a, 64), name(o.b, 64))),
    ("test32", |s, o| s.test32(o.a, o.b), |o| format!("test {},{}", name(o.a, 32), name(o.b, 32))),
    ("cmp64", |s, o| s.cmp64(o.a, o.b), |o| format!("cmp {},{}", name(o.a, 64), name(o.b, 64))),
    ("bit_test64", |s, o| s.bit_test64(o.a, o.b), |o| format!("bt {},{}", name(o.a, 64), name(o.b, 64))),
    ("cmp64_reg_imm", |s, o| s.cmp64_reg_imm(o.a, o.imm), |o| format!("cmp {},{}", name(o.a, 64), o.imm64())),
    ("cmp64_at", |s, o| s.cmp64_at(o.a, o.target()), |o| format!("cmp {},[{}]", name(o.a, 64), hex(o.far))),
    ("cmova64_at", |s, o| s.cmova64_at(o.a, o.target()), |o| format!("cmova {},[{}]", name(o.a, 64), hex(o.far))),
    ("sub64_at", |s, o| s.sub64_at(o.a, o.target()), |o| format!("sub {},[{}]", name(o.a, 64), hex(o.far))),
    ("add64_at", |s, o| s.add64_at(o.a, o.target()), |o| format!("add {},[{}]", name(o.a, 64), hex(o.far))),
    ("inc64_at", |s, o| s.inc64_at(o.target()), |o| format!("inc qword ptr [{}]", hex(o.far))),
    ("dec32_at", |s, o| s.dec32_at(o.target()), |o| format!("dec dword ptr [{}]", hex(o.far))),
    ("cmp32_at_zero", |s, o| s.cmp32_at_zero(o.target()), |o| format!("cmp dword ptr [{}],0", hex(o.far))),
    ("jne_near", |s, o| { let here = s.buf.label(); s.bind(here); s.jne_near(here); let _ = o; }, |_| format!("jne {}", hex(BASE))),
    ("lea_at", |s, o| s.lea_at(o.a, o.target()), |o| format!("lea {},[{}]", name(o.a, 64), hex(o.far))),
    ("or8", |s, o| s.or8(o.mem, o.small as i8), |o| format!("or byte ptr {},{}", o.mem(), hex(u64::from(o.small)))),
    ("inc64_element", |s, o| s.inc64_element(o.mem, o.b), |o| format!("inc qword ptr {}", o.element())),
    ("verw_at", |s, o| s.verw_at(o.target()), |o| format!("verw [{}]", hex(o.far))),
    ("jmp", |s, o| s.jmp(o.target()), |o| format!("jmp {}", hex(o.far))),
    ("call", |s, o| s.call(o.target()), |o| format!("call {}", hex(o.far))),
    ("je", |s, o| s.jcc(Cond::Equal, o.target()), |o| format!("je {}", hex(o.far))),
    ("jne", |s, o| s.jcc(Cond::NotEqual, o.target()), |o| format!("jne {}", hex(o.far))),
    ("jb", |s, o| s.jcc(Cond::Below, o.target()), |o| format!("jb {}", hex(o.far))),
    ("jae", |s, o| s.jcc(Cond::AboveEqual, o.target()), |o| format!("jae {}", hex(o.far))),
    ("ja", |s, o| s.jcc(Cond::Above, o.target()), |o| format!("ja {}", hex(o.far))),
    ("jbe", |s, o| s.jcc(Cond::BelowEqual, o.target()), |o| format!("jbe {}", hex(o.far))),
    ("jns", |s, o| s.jcc(Cond::NotNegative, o.target()), |o| format!("jns {}", hex(o.far))),
    ("set64", |s, o| s.set64(o.a, o.wide), |o| format!("mov {},{}", name(o.a, 64), hex(o.wide))),
    ("set32", |s, o| s.set32(o.a, o.imm as u32), |o| format!("mov {},{}", name(o.a, 32), o.imm32())),
    ("set_rsp", |s, o| s.set_rsp(o.wide), |o| format!("mov rsp,{}", hex(o.wide))),
    ("load_rax_absolute", |s, o| s.load_rax_absolute(o.wide), |o| format!("mov rax,[{}]", hex(o.wide))),
    ("load_eax_absolute", |s, o| s.load_eax_absolute(o.wide), |o| format!("mov eax,[{}]", hex(o.wide))),
    ("save_rsp_gs", |s, o| s.save_rsp_gs(o.imm), |o| format!("mov gs:[{}],rsp", o.imm64())),
    ("restore_rsp_gs", |s, o| s.restore_rsp_gs(o.imm), |o| format!("mov rsp,gs:[{}]", o.imm64())),
    ("save_rsp", |s, o| s.save_rsp(o.imm), |o| format!("mov [{}],rsp", o.imm64())),
    ("restore_rsp", |s, o| s.restore_rsp(o.imm), |o| format!("mov rsp,[{}]", o.imm64())),
    ("push", |s, o| s.push(o.a), |o| format!("push {}", name(o.a, 64))),
    ("pop", |s, o| s.pop(o.a), |o| format!("pop {}", name(o.a, 64))),
    ("dec32_reg", |s, o| s.dec32_reg(o.a), |o| format!("dec {}", name(o.a, 32))),
    ("shl64", |s, o| s.shl64(o.a, o.small % 62 + 2), |o| format!("shl {},{}", name(o.a, 64), hex(u64::from(o.small % 62 + 2)))),
    ("imul64", |s, o| s.imul64(o.a, o.b, o.small as i8), |o| format!("imul {}{},{}", name(o.a, 64), if o.a == o.b { String::new() } else { format!(",{}", name(o.b, 64)) }, hex(o.small as i8 as u64))),
    ("test_r11", |s, o| s.test_r11(o.imm as u32), |o| format!("test r11d,{}", o.imm32())),
    ("rep_movsb", |s, _| s.rep_movsb(), |_| "rep movsb [rdi],[rsi]".into()),
    ("swapgs", |s, _| s.swapgs(), |_| "swapgs".into()),
    ("stac", |s, _| s.stac(), |_| "stac".into()),
    ("clac", |s, _| s.clac(), |_| "clac".into()),
    ("int3", |s, _| s.int3(), |_| "int3".into()),
    ("nop", |s, _| s.nop(), |_| "nop".into()),
    ("endbr64", |s, _| s.endbr64(), |_| "endbr64".into()),
    ("sysretq", |s, _| s.sysretq(), |_| "sysretq".into()),
];

/// Names of the methods that emit an instruction, taken from the file itself: none may be left out above.
fn methods() -> Vec<String> {
    let source = include_str!("../../../engine/x86/asm.rs");
    let body = source.split_once("impl<'a> Asm<'a> {").expect("the type").1;
    let by_macro = body.lines().filter_map(|l| {
        let (name, rest) = l.trim().split_once(": ")?;
        (l.starts_with("        ") && rest.ends_with(';') && !name.contains(['/', ' ']))
            .then(|| name.to_owned())
    });
    let written = body.lines().filter_map(|l| {
        l.trim()
            .strip_prefix("pub fn ")?
            .split('(')
            .next()
            .map(str::to_owned)
    });
    let helpers = ["new", "data64", "bind", "jcc", "jmp_near", "pad"];
    by_macro
        .chain(written)
        .filter(|name| !helpers.contains(&name.as_str()))
        .collect()
}

#[test]
fn every_instruction_is_tried() {
    let names: Vec<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    let methods = methods();
    assert!(methods.len() > 60, "{methods:?}");
    let missing: Vec<_> = methods
        .iter()
        .filter(|method| !names.contains(&method.as_str()))
        .collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn instructions_read_back_as_written(operands in operands()) {
        for (name, write, expected) in CASES {
            let bytes = emit(|asm| write(asm, operands));
            prop_assert_eq!(read(&bytes), expected(operands), "{}: {:02x?}", name, bytes);
        }
    }

    /// An offset or immediate is either in the instruction as it is, or refused.
    #[test]
    fn no_number_is_cut_off(value in prop_oneof![any::<u64>(), any::<i32>().prop_map(|v| i64::from(v) as u64)]) {
        let target = target();
        let one = |write: &dyn Fn(&mut Masm<'_>)| {
            let mut out = [0; 24];
            let mut masm = Masm::new(&target, Profile::Kernel, &mut out, BASE);
            write(&mut masm);
            masm.finish().map(|len| read(&out[..len]))
        };
        let fits = i32::try_from(value as i64);
        let mem = |offset: i32| Operands { a: Reg::Rax, b: Reg::Rax, mem: Mem { base: Reg::Rbx, offset }, imm: 0, wide: 0, small: 0, far: 0 }.mem();
        let load = one(&|m| m.load64(Reg::Rax, field(Reg::Rbx, value)));
        prop_assert_eq!(load, fits.map(|v| format!("mov rax,{}", mem(v))).map_err(|_| Reason::Layout));
        let store = one(&|m| m.store_address(field(Reg::Rbx, 16), value));
        prop_assert_eq!(store, fits.map(|v| format!("mov qword ptr [rbx+0x10],{}", hex(v as u64))).map_err(|_| Reason::Layout));
        let bits = u32::try_from(value);
        let mask = one(&|m| m.store_constant32(field(Reg::Rbx, 16), value));
        prop_assert_eq!(mask, bits.map(|v| format!("mov dword ptr [rbx+0x10],{}", hex(u64::from(v)))).map_err(|_| Reason::Layout));
        let set = one(&|m| m.set(Reg::Rcx, value));
        let reg = if bits.is_ok() { "ecx" } else { "rcx" };
        prop_assert_eq!(set, Ok(format!("mov {reg},{}", hex(value))));
    }

    /// Labels before and behind, at any distance, lead where they were placed.
    #[test]
    fn labels_lead_where_they_are(before in 0..200usize, between in 0..200usize) {
        let mut out = [0; 512];
        let mut asm = Asm::new(Buf::new(&mut out, BASE));
        let (back, forward) = (asm.buf.label(), asm.buf.label());
        (0..before).for_each(|_| asm.nop());
        asm.bind(back);
        asm.jcc(Cond::Above, forward.into());
        (0..between).for_each(|_| asm.nop());
        asm.jmp(back.into());
        asm.bind(forward);
        let len = asm.buf.finish().expect("it fits");
        let text = read(&out[..len]);
        prop_assert!(text.contains(&format!("ja {}", hex(BASE + len as u64))), "{}", text);
        prop_assert!(text.ends_with(&format!("jmp {}", hex(BASE + before as u64))), "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Near labels lead where they were placed, or are refused.
    #[test]
    fn near_labels_are_near(between in 0..300usize) {
        let mut out = [0; 512];
        let mut asm = Asm::new(Buf::new(&mut out, BASE));
        let (back, forward) = (asm.buf.label(), asm.buf.label());
        asm.bind(back);
        asm.jne_near(forward);
        (0..between).for_each(|_| asm.nop());
        asm.jmp_near(back);
        asm.bind(forward);
        match asm.buf.finish() {
            Ok(len) => {
                prop_assert_eq!(len, between + 4);
                let text = read(&out[..len]);
                prop_assert!(text.starts_with(&format!("jne {}", hex(BASE + len as u64))), "{}", text);
                prop_assert!(text.ends_with(&format!("jmp {}", hex(BASE))), "{}", text);
            }
            Err(reason) => {
                prop_assert_eq!(reason, Reason::Layout);
                prop_assert!(between > 124, "{} bytes are not too far", between);
            }
        }
    }
}

/// Each pad pushes its number and leads behind the last; labels of exits lead to pads that there are, wherever those are moved.
#[test]
fn pads_follow_one_another() {
    const COUNT: u8 = 32;
    let mut out = [0; 256];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    asm.jcc(Cond::Above, Label::exit(3).into());
    asm.jmp(Label::exit(COUNT - 1).into());
    // A group of four, something else, and the others.
    for (first, count) in [(0, 4), (4, COUNT - 4)] {
        asm.buf.bind_pads(count);
        (0..count).for_each(|at| asm.pad(first + at, count - 1 - at));
        asm.nop();
    }
    assert_eq!(asm.buf.slide(0, 201), 60);
    assert_eq!(asm.buf.finish(), Ok(201));
    let mut decoder = Decoder::with_ip(64, &out[60..201], BASE + 60, DecoderOptions::NONE);
    let pads = BASE + 60 + 11;
    let pad = |number| pads + number * 4 + u64::from(number >= 4);
    assert_eq!(decoder.decode().near_branch_target(), pad(3));
    assert_eq!(decoder.decode().near_branch_target(), pad(31));
    for number in 0..u64::from(COUNT) {
        let (push, jump) = (decoder.decode(), decoder.decode());
        assert_eq!((push.ip(), push.mnemonic()), (pad(number), Mnemonic::Push));
        assert_eq!(push.immediate(0), number);
        let behind = if number < 4 { pads + 16 } else { BASE + 200 };
        assert_eq!(jump.near_branch_target(), behind);
        if number == 3 {
            assert_eq!(decoder.decode().mnemonic(), Mnemonic::Nop);
        }
    }
    for wrong in [COUNT, u8::MAX] {
        let mut asm = Asm::new(Buf::new(&mut out, BASE));
        asm.jmp(Label::exit(wrong).into());
        asm.buf.bind_pads(COUNT);
        assert_eq!(asm.buf.finish(), Err(Reason::Layout), "{wrong}");
    }
}

#[test]
fn a_buffer_that_is_full_says_so_and_keeps_measuring() {
    let mut out = [0; 4];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    (0..6).for_each(|_| asm.nop());
    assert_eq!(asm.buf.at(), 6);
    assert_eq!(asm.buf.finish(), Err(Reason::SlotFull));
}

#[test]
fn a_label_that_was_never_placed_is_a_fault() {
    let mut out = [0; 16];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    let label = asm.buf.label();
    asm.jmp(label.into());
    assert_eq!(asm.buf.finish(), Err(Reason::Layout));
}

#[test]
fn what_is_moved_keeps_its_meaning() {
    let mut out = [0; 64];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    let (before, inner, after) = (asm.buf.label(), asm.buf.label(), asm.buf.label());
    asm.bind(before);
    asm.nop();
    let start = asm.buf.at();
    asm.bind(inner);
    asm.jcc(Cond::Above, before.into());
    asm.jcc(Cond::Below, inner.into());
    asm.jmp(after.into());
    let code = asm.buf.at() - start;
    assert_eq!(asm.buf.slide(start, 40), 40 - code);
    asm.bind(after);
    asm.jmp(inner.into());
    let len = asm.buf.finish().expect("it fits");
    assert!(out[start..40 - code].iter().all(|&byte| byte == POISON));
    let (to, end) = (|at: usize| hex(BASE + at as u64), 40);
    let expected = format!(
        "ja {}\njb {}\njmp {}\njmp {}",
        to(0),
        to(40 - code),
        to(end),
        to(40 - code)
    );
    let all = read_at(&out[40 - code..len], BASE + (40 - code) as u64);
    assert_eq!(all, expected);
}

#[test]
fn what_is_too_long_or_fixed_cannot_be_moved() {
    let mut out = [0; 16];
    let mut buf = Buf::new(&mut out, BASE);
    buf.extend(&[0x90; 8]);
    buf.slide(0, 7);
    assert_eq!(buf.finish(), Err(Reason::SlotFull));
    let mut out = [0; 16];
    let mut asm = Asm::new(Buf::new(&mut out, BASE));
    asm.jmp(Dest::External(BASE));
    asm.buf.slide(0, 16);
    assert_eq!(asm.buf.finish(), Err(Reason::Layout));
}
