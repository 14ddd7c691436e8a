//! What holds for all code that the engine makes: how it is laid out and what it may contain.

use std::collections::BTreeMap;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic};
use synthjit_engine::specs::{layout, Facts, Reason};
use synthjit_engine::target::Target;
use synthjit_engine::template::{self, exits, Instance, PathCode, PathData, PathKind};
use synthjit_engine::x86::masm::Profile;

use crate::disasm::{reachable, rest_is_poison};

/// A path as it lies in memory.
pub struct Image {
    /// Its slot, and behind it the exit routine of its kind.
    pub bytes: Vec<u8>,
    pub code: PathCode,
    /// Length of the routine.
    routine: usize,
    data: PathData,
}

/// Makes the path of `kind` for a slot at `base`, and its exit routine for behind it.
///
/// # Errors
///
/// As of the engine.
pub fn image(
    kind: PathKind,
    facts: &Facts,
    instance: &Instance,
    target: &Target,
    base: u64,
) -> Result<Image, Reason> {
    let behind = base.wrapping_add(layout::PATH_SLOT as u64);
    let mut routine = [0; layout::EXIT_ROUTINE];
    let exit = exits::emit_routine(Profile::Kernel, kind, facts, target, behind, &mut routine)?;
    let instance = Instance {
        exit: exit.entries,
        ..*instance
    };
    let mut path = [0; layout::PATH_SLOT];
    let code = template::emit(kind, facts, &instance, target, base, &mut path)?;
    let mut bytes = path.to_vec();
    bytes.extend(routine);
    Ok(Image {
        bytes,
        code,
        routine: exit.len,
        data: instance.data,
    })
}

/// Every instruction is of a kind that generated code may contain, and leaves the slot only for known places.
fn instructions(
    all: &BTreeMap<u64, Instruction>,
    base: u64,
    len: usize,
    target: &Target,
    paths: &[u64],
    data: &[u64],
) {
    let inside = base..base + len as u64;
    for (at, instruction) in all {
        assert!(
            inside.contains(&(instruction.next_ip() - 1)),
            "{at:#x} runs out of the slot"
        );
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::Return => assert_eq!(instruction.code(), Code::Sysretq),
            FlowControl::Call => {
                let thunks = [target.tail_thunk, target.miss_thunk, target.bail_thunk];
                assert!(
                    thunks.contains(&instruction.near_branch_target()),
                    "{at:#x} calls something else"
                );
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let to = instruction.near_branch_target();
                let known =
                    to == target.stock_entry || paths.contains(&to) || all.contains_key(&to);
                assert!(known, "{at:#x} jumps to {to:#x}");
            }
            other => panic!("{at:#x}: {other:?}"),
        }
        assert_ne!(instruction.mnemonic(), Mnemonic::Ret);
        if instruction.is_ip_rel_memory_operand() {
            let to = instruction.ip_rel_memory_address();
            let known = [target.verw_sel, target.bailouts_traced, base, base + 8];
            assert!(
                known.contains(&to) || data.contains(&to),
                "{at:#x} refers to {to:#x}"
            );
        }
    }
}

/// A path at `base`.
///
/// # Panics
///
/// If it is not lawful.
pub fn path(image: &Image, base: u64, target: &Target) {
    let (out, code) = (&image.bytes[..], &image.code);
    let all = reachable(out, base, &[code.entry]);
    let seen = image.data.at(PathData::MEMORY_SEEN);
    let data = [image.data.0, seen, seen + 4];
    instructions(&all, base, out.len(), target, &[], &data);
    // Each pad is used, then: what no guard leads to would be a rest.
    assert!(rest_is_poison(out, base, 16, &all));
    let trap = u64::from(out[code.len - 1] == 0xcc);
    let end = base + layout::PATH_SLOT as u64;
    assert_eq!(
        all.range(..end).map(|(_, i)| i.next_ip()).max(),
        Some(base + code.len as u64 - trap)
    );
    assert_eq!(
        all.range(end..).map(|(_, i)| i.next_ip()).max(),
        Some(end + image.routine as u64)
    );
    let copies = all.iter().filter(|(_, i)| i.mnemonic() == Mnemonic::Movsb);
    let copies: Vec<u64> = copies.map(|(at, _)| at - base).collect();
    assert_eq!(
        copies,
        [layout::COPY_SITE_A as u64, layout::COPY_SITE_B as u64]
    );
    let sysret = all.values().find(|i| i.mnemonic() == Mnemonic::Sysretq);
    let behind = (sysret.expect("sysret").next_ip() - base) as usize;
    assert_eq!(
        out[behind], 0xcc,
        "speculation is not stopped behind sysret"
    );
    let count = |mnemonic| all.values().filter(|i| i.mnemonic() == mnemonic).count();
    for (mnemonic, wanted) in [(Mnemonic::Stac, 2), (Mnemonic::Clac, 2)] {
        assert_eq!(count(mnemonic), if target.smap { wanted } else { 0 });
    }
    assert_eq!(count(Mnemonic::Verw), usize::from(target.verw));
    assert_eq!(
        count(Mnemonic::Swapgs),
        3,
        "in, out to the user, out to stock"
    );
}

/// A vector of `len` bytes in the slot `out` at `base`, whose paths begin at `targets`.
///
/// # Panics
///
/// If it is not lawful.
pub fn vector(out: &[u8], base: u64, len: usize, target: &Target, budget: u64, targets: &[u64]) {
    let all = reachable(out, base, &[base]);
    instructions(&all, base, out.len(), target, targets, &[budget]);
    assert!(rest_is_poison(out, base, 0, &all));
    assert_eq!(
        all.values().map(Instruction::next_ip).max(),
        Some(base + len as u64)
    );
    assert_eq!(all[&base].mnemonic() == Mnemonic::Endbr64, target.ibt);
}
