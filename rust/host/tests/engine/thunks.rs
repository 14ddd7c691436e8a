//! Where generated code calls compiled code: what the thunks of `rust/glue/entry.S` leave in the registers.
//!
//! They have no branches, so each is followed once, from its first instruction to its return. At every call the only registers
//! that may hold what the user chose are the called function's arguments; at the return every register is what it was.

use std::collections::BTreeMap;

use iced_x86::{FlowControl, Instruction, Mnemonic as M, OpKind, Register};

use crate::disasm::decode;
use crate::machine::bytes;

extern "C" {
    fn synthjit_tail_thunk();
    fn synthjit_miss_thunk();
    fn synthjit_bail_thunk();
}

/// What the thunks call. Nothing here runs, so all that counts is that the functions differ.
macro_rules! called {
    ($($name:ident),*) => {$(
        #[no_mangle]
        extern "C" fn $name() {
            unreachable!(stringify!($name));
        }
    )*};
}
called!(
    synthjit_tail,
    synthjit_miss,
    synthjit_bailed,
    synthjit_untrain_ret,
    synthjit_clear_bhb
);

/// The most bytes that a thunk has.
const LENGTH: usize = 128;

/// What a register or a place on the stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// What this register held when the thunk was entered. The user chose it, for all that the thunk knows.
    Entry(Register),
    /// The low 32 bits of that.
    Half(Register),
    Zero,
    /// So many bytes above the stack pointer at the entry.
    Stack(i64),
    /// Where generated code called from.
    Caller,
    /// Something below that, aligned.
    Aligned,
    /// What a called function left.
    Left,
}

/// A thunk, the arguments that its function has, and what they are.
struct Thunk {
    name: &'static str,
    entry: u64,
    function: u64,
    arguments: &'static [(Register, Value)],
}

fn thunks() -> [Thunk; 3] {
    use Register::{RAX, RDI, RSI};
    [
        Thunk {
            name: "tail",
            entry: synthjit_tail_thunk as *const () as u64,
            function: synthjit_tail as *const () as u64,
            arguments: &[(RDI, Value::Entry(RDI)), (RSI, Value::Entry(RSI))],
        },
        Thunk {
            name: "miss",
            entry: synthjit_miss_thunk as *const () as u64,
            function: synthjit_miss as *const () as u64,
            arguments: &[(RDI, Value::Half(RDI)), (RSI, Value::Half(RAX))],
        },
        Thunk {
            name: "bail",
            entry: synthjit_bail_thunk as *const () as u64,
            function: synthjit_bailed as *const () as u64,
            arguments: &[(RSI, Value::Half(RAX)), (RDI, Value::Entry(RDI))],
        },
    ]
}

const GENERAL: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// What the C calling convention has a function keep.
const KEPT: [Register; 7] = [
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

struct State {
    registers: BTreeMap<Register, Value>,
    /// By distance from the stack pointer at the entry.
    stack: BTreeMap<i64, Value>,
}

impl State {
    fn at_entry() -> Self {
        let entry = |register| (register, Value::Entry(register));
        let mut registers = BTreeMap::from(GENERAL.map(entry));
        registers.insert(Register::RSP, Value::Stack(0));
        Self {
            registers,
            stack: BTreeMap::from([(0, Value::Caller)]),
        }
    }

    fn get(&self, register: Register) -> Value {
        self.registers[&register.full_register()]
    }

    /// Writes a register; 32 bits of it clear the rest.
    fn set(&mut self, register: Register, value: Value) {
        let value = match (register.size(), value) {
            (4, Value::Entry(of)) => Value::Half(of),
            _ => value,
        };
        self.registers.insert(register.full_register(), value);
    }

    /// Where a register points on the stack.
    fn place(&self, register: Register) -> Result<i64, String> {
        match self.get(register) {
            Value::Stack(at) => Ok(at),
            other => Err(format!("{register:?} is {other:?}")),
        }
    }

    /// Registers with values of the user, each as text.
    fn chosen(&self) -> Vec<(Register, Value)> {
        let all = self.registers.iter();
        all.filter(|(_, value)| matches!(value, Value::Entry(_) | Value::Half(_)))
            .map(|(register, value)| (*register, *value))
            .collect()
    }

    /// A call of `to`, which is the thunk's function or a routine of its static calls.
    fn call(&mut self, to: u64, thunk: &Thunk) -> Result<(), String> {
        if self.get(Register::RSP) != Value::Aligned {
            return Err(format!("calls {to:#x} with a stack that is not aligned"));
        }
        let extra: Vec<_> = self
            .chosen()
            .into_iter()
            .filter(|held| !thunk.arguments.contains(held))
            .collect();
        if !extra.is_empty() {
            return Err(format!("calls {to:#x} with {extra:x?}"));
        }
        let is_lost = if to == thunk.function {
            for (register, value) in thunk.arguments {
                if self.get(*register) != *value {
                    let found = self.get(*register);
                    return Err(format!("{register:?} is {found:?}, not {value:?}"));
                }
            }
            |register: &Register| !KEPT.contains(register)
        } else {
            // arch/x86/entry/entry_64.S, clear_bhb_loop; arch/x86/lib/retpoline.S.
            |register: &Register| [Register::RAX, Register::RCX].contains(register)
        };
        for register in GENERAL.into_iter().filter(is_lost) {
            self.set(register, Value::Left);
        }
        Ok(())
    }

    fn step(&mut self, i: &Instruction, thunk: &Thunk) -> Result<(), String> {
        let (to, from) = (i.op0_register(), i.op1_register());
        let registers = i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register;
        match i.mnemonic() {
            M::Push => {
                let at = self.place(Register::RSP)? - 8;
                self.stack.insert(at, self.get(to));
                self.set(Register::RSP, Value::Stack(at));
            }
            M::Pop => {
                let at = self.place(Register::RSP)?;
                let value = self.stack.get(&at).ok_or("pops what was not pushed")?;
                self.set(to, *value);
                self.set(Register::RSP, Value::Stack(at + 8));
            }
            M::Mov if registers => self.set(to, self.get(from)),
            M::Mov if i.memory_base() == Register::RBP => {
                let at = self.place(Register::RBP)? + i.memory_displacement64() as i64;
                let value = self.stack.get(&at).ok_or("loads what was not stored")?;
                self.set(to, *value);
            }
            M::Lea if i.memory_base() == Register::RBP => {
                let at = self.place(Register::RBP)? + i.memory_displacement64() as i64;
                self.set(to, Value::Stack(at));
            }
            M::And if to == Register::RSP => self.set(to, Value::Aligned),
            M::Xor if registers && to == from => self.set(to, Value::Zero),
            M::Call => return self.call(i.near_branch_target(), thunk),
            other => return Err(format!("{other:?} is not known here")),
        }
        Ok(())
    }

    fn at_return(&self) -> Result<(), String> {
        let was = State::at_entry().registers;
        let changed: Vec<_> = self
            .registers
            .iter()
            .filter(|(r, value)| was[r] != **value)
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(format!("returns with {changed:?}"))
    }
}

/// The thunk's instructions, up to its return.
fn code(thunk: &Thunk) -> Vec<Instruction> {
    let (bytes, mut at, mut code) = (bytes(thunk.entry, LENGTH), thunk.entry, Vec::new());
    loop {
        let i = decode(&bytes, thunk.entry, at);
        code.push(i);
        match i.flow_control() {
            FlowControl::Return => return code,
            FlowControl::Next | FlowControl::Call => at = i.next_ip(),
            other => panic!("{}: {other:?}", thunk.name),
        }
    }
}

/// Follows the thunk through these instructions.
fn follow(thunk: &Thunk, code: &[Instruction]) -> Result<(), String> {
    let (mut state, mut calls) = (State::at_entry(), Vec::new());
    for i in code {
        let wrong = |what| format!("{}, {:#x}: {what}", thunk.name, i.ip() - thunk.entry);
        match i.flow_control() {
            FlowControl::Return => state.at_return().map_err(wrong)?,
            _ => state.step(i, thunk).map_err(wrong)?,
        }
        if i.flow_control() == FlowControl::Call {
            calls.push(i.near_branch_target());
        }
    }
    let mitigations = [synthjit_untrain_ret, synthjit_clear_bhb].map(|f| f as *const () as u64);
    if calls != [mitigations[0], mitigations[1], thunk.function] {
        return Err(format!("{} calls {calls:x?}", thunk.name));
    }
    Ok(())
}

#[test]
fn compiled_code_is_called_without_the_users_registers() {
    let wrong: Vec<_> = thunks()
        .iter()
        .filter_map(|thunk| follow(thunk, &code(thunk)).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The walk sees each instruction that is missing: those that keep, clear, call and restore.
#[test]
fn what_a_thunk_lacks_is_seen() {
    for thunk in thunks() {
        let code = code(&thunk);
        for missing in 0..code.len() - 1 {
            let mut without = code.clone();
            let gone = without.remove(missing);
            assert!(
                follow(&thunk, &without).is_err(),
                "{}: nothing is wrong without {gone}",
                thunk.name
            );
        }
    }
}
