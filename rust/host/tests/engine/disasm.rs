//! The second opinion: `iced-x86` reads back what the engine wrote.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use synthjit_engine::x86::buf::POISON;

/// Everything that can be executed in `bytes`, which lie at `base`, if it is entered at `entries`: by address.
///
/// # Panics
///
/// If that leads to an invalid instruction, out of the slot, or into the middle of another instruction.
pub fn reachable(bytes: &[u8], base: u64, entries: &[u64]) -> BTreeMap<u64, Instruction> {
    let inside = base..base + bytes.len() as u64;
    let mut found = BTreeMap::new();
    let mut left = entries.to_vec();
    while let Some(at) = left.pop() {
        if found.contains_key(&at) {
            continue;
        }
        assert!(inside.contains(&at), "{at:#x} is outside of the slot");
        let instruction = decode(bytes, base, at);
        found.insert(at, instruction);
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call => left.push(instruction.next_ip()),
            FlowControl::ConditionalBranch => {
                left.push(instruction.next_ip());
                left.extend(Some(instruction.near_branch_target()).filter(|t| inside.contains(t)));
            }
            FlowControl::UnconditionalBranch => {
                left.extend(Some(instruction.near_branch_target()).filter(|t| inside.contains(t)))
            }
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Sysretq => {}
            other => panic!("{at:#x}: {:?} with {other:?}", instruction.mnemonic()),
        }
    }
    let mut end = 0;
    for (&at, instruction) in &found {
        assert!(at >= end, "{at:#x} lies within another instruction");
        end = instruction.next_ip();
    }
    found
}

/// The instruction at `at`.
pub fn decode(bytes: &[u8], base: u64, at: u64) -> Instruction {
    let offset = (at - base) as usize;
    let instruction = Decoder::with_ip(64, &bytes[offset..], at, DecoderOptions::NONE).decode();
    assert!(
        !instruction.is_invalid(),
        "{at:#x}: {:02x?}",
        &bytes[offset..bytes.len().min(offset + 8)]
    );
    instruction
}

/// True if every byte from `from` on that belongs to none of the instructions is poison.
pub fn rest_is_poison(
    bytes: &[u8],
    base: u64,
    from: usize,
    code: &BTreeMap<u64, Instruction>,
) -> bool {
    let mut covered = vec![false; bytes.len()];
    for (&at, instruction) in code {
        let at = (at - base) as usize;
        covered[at..at + instruction.len()].fill(true);
    }
    bytes
        .iter()
        .zip(covered)
        .skip(from)
        .all(|(&byte, covered)| covered || byte == POISON)
}

/// Address behind the first mutex operation and its branch.
pub fn behind_lock(bytes: &[u8], base: u64) -> u64 {
    let entry = bytes
        .iter()
        .skip(16)
        .position(|&b| b != POISON)
        .expect("code")
        + 16;
    let mut at = base + entry as u64;
    loop {
        let instruction = decode(bytes, base, at);
        at = instruction.next_ip();
        if instruction.mnemonic() == Mnemonic::Cmpxchg {
            return decode(bytes, base, at).next_ip();
        }
    }
}
