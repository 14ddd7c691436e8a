//! What generated code may do speculatively: every route through it is followed, whatever the branches would say.
//!
//! At SYSCALL the user chooses all registers. No route may use such a value as an address of memory; the user's pointer becomes
//! usable by the conditional move that follows its comparison with the end of user space, and by nothing else. The same walk
//! shows that per-CPU memory and the stack are the kernel's whenever they are used, and that user memory is open for the copies
//! alone. With what registers compiled code is called is in [`crate::thunks`].

use std::collections::BTreeMap;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use synthjit_engine::dispatch::{self, Entry, VectorPlan};
use synthjit_engine::specs::layout;
use synthjit_engine::target::Target;
use synthjit_engine::template::{Instance, PathKind};

use crate::disasm::reachable;
use crate::facts::{
    facts, facts_of, instance, spacious_facts_of, target_with, Form, BUDGET, PATH_BASE, SWITCHES,
    VECTOR_BASE,
};
use crate::lawful::image;

/// What is known before an instruction, on all routes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// Registers that hold what the user chose, a bit each.
    chosen: u16,
    /// The same for what was pushed.
    stack: Vec<bool>,
    /// The flags tell how this register compares with the end of user space.
    compared: Option<Register>,
    /// The GS base is the kernel's.
    kernel_gs: bool,
    /// User memory is open.
    open: bool,
}

impl State {
    fn at_syscall() -> Self {
        State {
            chosen: u16::MAX,
            stack: Vec::new(),
            compared: None,
            kernel_gs: false,
            open: false,
        }
    }

    fn is_chosen(&self, reg: Register) -> bool {
        reg.is_gpr() && self.chosen >> reg.full_register().number() & 1 != 0
    }

    fn set(&mut self, reg: Register, chosen: bool) {
        let bit = 1 << reg.full_register().number();
        self.chosen = if chosen {
            self.chosen | bit
        } else {
            self.chosen & !bit
        };
    }

    /// What holds whichever route was taken.
    fn join(&self, other: &State) -> Result<State, String> {
        if (self.stack.len(), self.kernel_gs, self.open)
            != (other.stack.len(), other.kernel_gs, other.open)
        {
            return Err("routes meet with another stack, GS base or AC flag".into());
        }
        let stack = self
            .stack
            .iter()
            .zip(&other.stack)
            .map(|(a, b)| a | b)
            .collect();
        Ok(State {
            chosen: self.chosen | other.chosen,
            stack,
            compared: self.compared.filter(|c| Some(*c) == other.compared),
            ..*self
        })
    }

    /// What holds behind `i`.
    fn after(
        mut self,
        i: &Instruction,
        factory: &mut InstructionInfoFactory,
        user_ptr_max: u64,
    ) -> Result<State, String> {
        use Mnemonic as M;
        let info = factory.info(i);
        if i.mnemonic() != M::Lea {
            for memory in info.used_memory() {
                if self.is_chosen(memory.base()) || self.is_chosen(memory.index()) {
                    return Err("uses what the user chose as an address".into());
                }
                if memory.segment() == Register::GS && !self.kernel_gs {
                    return Err("uses per-CPU memory with the user's GS base".into());
                }
                if self.open && i.mnemonic() != M::Movsb {
                    return Err("touches memory while user memory is open".into());
                }
            }
        }
        let at_max = i.is_ip_rel_memory_operand() && i.ip_rel_memory_address() == user_ptr_max;
        let (to, from) = (i.op0_register(), i.op1_register());
        let is_reg = i.op0_kind() == OpKind::Register;
        match i.mnemonic() {
            M::Swapgs => self.kernel_gs = !self.kernel_gs,
            M::Stac => self.open = true,
            M::Clac => self.open = false,
            M::Push => self.stack.push(self.is_chosen(to)),
            M::Pop => {
                let was = self.stack.pop().ok_or("pops what was not pushed")?;
                self.set(to, was);
            }
            // The user's stack pointer is the only thing that a path reads back from per-CPU memory.
            M::Mov if is_reg => {
                let chosen = self.is_chosen(from) || i.memory_segment() == Register::GS;
                self.set(to, chosen);
            }
            M::Cmova if at_max && self.compared == Some(to) => self.set(to, false),
            M::Xor if is_reg && to == from => self.set(to, false),
            M::Lea => {
                let chosen = self.is_chosen(i.memory_base()) || self.is_chosen(i.memory_index());
                self.set(to, chosen);
            }
            M::Add | M::Sub | M::Or | M::Xor | M::And | M::Imul | M::Shl | M::Dec | M::Inc
                if is_reg =>
            {
                let chosen = self.is_chosen(to) || self.is_chosen(from);
                self.set(to, chosen);
            }
            // These change no register, or one by nothing that the user chose, or leave what was there.
            M::Mov
            | M::Add
            | M::Sub
            | M::Or
            | M::Inc
            | M::Dec
            | M::Cmp
            | M::Test
            | M::Bt
            | M::Cmova
            | M::Cmpxchg
            | M::Movsb
            | M::Endbr64
            | M::Verw
            | M::Sysretq
            | M::Call
            | M::Jmp
            | M::Je
            | M::Jne
            | M::Ja
            | M::Jae
            | M::Jbe
            | M::Jns
            | M::Jb => {}
            other => return Err(format!("{other:?} is not known here")),
        }
        if i.mnemonic() == M::Cmp && at_max {
            self.compared = Some(to);
        } else if i.rflags_modified() != 0 {
            self.compared = None;
        }
        Ok(self)
    }

    /// What must hold where code is left for user space or for the stock entry.
    fn may_leave(&self) -> Result<(), String> {
        match self {
            _ if self.kernel_gs || self.open || !self.stack.is_empty() => {
                Err("leaves with the kernel's GS base, stack or AC flag".into())
            }
            _ if !self.is_chosen(Register::RSP) => Err("leaves with the kernel's stack".into()),
            _ => Ok(()),
        }
    }
}

/// Follows every route from `entry`. `base` is where the slot lies, which begins with the end of user space if it is a path's.
fn follow(code: &BTreeMap<u64, Instruction>, entry: u64, base: u64) -> Result<(), String> {
    let mut factory = InstructionInfoFactory::new();
    let mut before = BTreeMap::from([(entry, State::at_syscall())]);
    let mut left = vec![entry];
    while let Some(at) = left.pop() {
        let i = &code[&at];
        let wrong = |what: String| format!("{at:#x} {:?}: {what}", i.mnemonic());
        let state = before[&at]
            .clone()
            .after(i, &mut factory, base)
            .map_err(wrong)?;
        let mut next = Vec::new();
        match i.flow_control() {
            FlowControl::Next | FlowControl::Call => next.push(i.next_ip()),
            FlowControl::ConditionalBranch => next.extend([i.next_ip(), i.near_branch_target()]),
            FlowControl::UnconditionalBranch => next.push(i.near_branch_target()),
            FlowControl::Return => state.may_leave().map_err(wrong)?,
            other => return Err(wrong(format!("{other:?}"))),
        }
        for to in next {
            if !code.contains_key(&to) {
                state.may_leave().map_err(wrong)?;
                continue;
            }
            let joined = match before.get(&to) {
                Some(known) => known.join(&state).map_err(wrong)?,
                None => state.clone(),
            };
            if before.get(&to) != Some(&joined) {
                before.insert(to, joined);
                left.push(to);
            }
        }
    }
    assert_eq!(before.len(), code.len(), "not every instruction was met");
    Ok(())
}

/// Every combination of what the engine is told about the CPU.
fn machines() -> impl Iterator<Item = Target> {
    (0..1 << SWITCHES).map(target_with)
}

/// Every path on every kernel, for small and for large numbers: its bytes, those of its exit routine behind them, and its entry.
fn all_paths() -> Vec<(Vec<u8>, u64, Target)> {
    let mut all = Vec::new();
    let kernels = Form::ALL.map(|form| [(facts_of(form), 4), (spacious_facts_of(form), 1 << 20)]);
    for target in machines() {
        for ((facts, fd), kind) in kernels
            .into_iter()
            .flatten()
            .flat_map(|kernel| PathKind::ALL.map(|kind| (kernel, kind)))
        {
            let instance = Instance { fd, ..instance() };
            let image = image(kind, &facts, &instance, &target, PATH_BASE).expect("a path");
            all.push((image.bytes, image.code.entry, target));
        }
    }
    all
}

fn follow_path(bytes: &[u8], entry: u64) -> Result<(), String> {
    follow(&reachable(bytes, PATH_BASE, &[entry]), entry, PATH_BASE)
}

#[test]
fn no_path_uses_an_address_of_the_users_choice() {
    let all = all_paths();
    assert_eq!(all.len(), 128);
    for (bytes, entry, target) in all {
        follow_path(&bytes, entry).unwrap_or_else(|what| panic!("{target:?}: {what}"));
    }
}

#[test]
fn no_vector_uses_an_address_of_the_users_choice() {
    for target in machines() {
        for (report, count) in [(true, 0), (true, 2), (false, 9), (true, 9), (true, 24)] {
            let entries: Vec<Entry> = (0..count)
                .map(|fd| Entry {
                    fd: 2 * fd + 1,
                    target: (fd % 9 == 0).then_some(PATH_BASE + 0x37),
                })
                .collect();
            let plan = VectorPlan {
                report,
                budget: BUDGET,
                write: &entries,
                read: &entries[..entries.len() / 2],
            };
            let mut out = [0; layout::VECTOR_SLOT];
            let stack = instance().kernel_stack;
            dispatch::emit(&plan, &facts(), &target, VECTOR_BASE, stack, &mut out)
                .expect("a vector");
            let code = reachable(&out, VECTOR_BASE, &[VECTOR_BASE]);
            // Nothing in a vector is compared with the end of user space.
            follow(&code, VECTOR_BASE, 0)
                .unwrap_or_else(|what| panic!("{target:?}, {count} descriptors: {what}"));
        }
    }
}

/// CPU buffers are cleared by the last instruction before the return, and only where that is needed.
#[test]
fn buffers_are_cleared_last() {
    for (bytes, entry, target) in all_paths() {
        let code = reachable(&bytes, PATH_BASE, &[entry]);
        for at in code
            .iter()
            .filter(|(_, i)| i.mnemonic() == Mnemonic::Sysretq)
            .map(|(at, _)| at)
        {
            let last = code
                .range(..at)
                .next_back()
                .map(|(_, i)| i.mnemonic())
                .expect("there is more");
            assert_eq!(last == Mnemonic::Verw, target.verw, "{target:?}");
        }
    }
}

/// Only what the thunks guard is called, nothing returns or branches to where memory or a register says, and nothing faults on
/// demand (`x86/forced.rs`).
#[test]
fn branches_lead_to_fixed_places() {
    for (bytes, entry, target) in all_paths() {
        for i in reachable(&bytes, PATH_BASE, &[entry]).values() {
            let fixed = match i.flow_control() {
                FlowControl::Next
                | FlowControl::ConditionalBranch
                | FlowControl::UnconditionalBranch => true,
                FlowControl::Call => [target.tail_thunk, target.miss_thunk, target.bail_thunk]
                    .contains(&i.near_branch_target()),
                FlowControl::Return => i.mnemonic() == Mnemonic::Sysretq,
                _ => false,
            };
            assert!(fixed, "{:#x} {:?}", i.ip(), i.mnemonic());
        }
    }
}

/// The walk sees what is missing: one instruction after the other is taken out of a path.
#[test]
fn what_is_missing_is_seen() {
    let (bytes, entry, _) = all_paths().pop().expect("a path");
    let code = reachable(&bytes, PATH_BASE, &[entry]);
    let without = |mnemonic: Mnemonic, nth: usize| {
        let gone = code
            .values()
            .filter(|i| i.mnemonic() == mnemonic)
            .nth(nth)
            .expect("it is there");
        let at = (gone.ip() - PATH_BASE) as usize;
        let mut bytes = bytes.clone();
        // A move of rbp to itself is as good as nothing, byte for byte.
        let nothing: &[u8] = match gone.len() {
            3 => &[0x48, 0x89, 0xed],
            8 => &[0x48, 0x89, 0xed, 0x48, 0x89, 0xed, 0x89, 0xed],
            n => panic!("{n} bytes"),
        };
        bytes[at..at + nothing.len()].copy_from_slice(nothing);
        follow_path(&bytes, entry).expect_err("it is not missed")
    };
    assert!(without(Mnemonic::Cmova, 0).contains("as an address"));
    assert!(without(Mnemonic::Swapgs, 0).contains("GS base"));
    assert!(without(Mnemonic::Clac, 0).contains("AC flag"));
}
