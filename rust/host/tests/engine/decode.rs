//! Whatever a path or vector is made for, its bytes decode, stay in their slot, and contain nothing that a path must not.

use iced_x86::{Code, FlowControl, Instruction, Mnemonic};
use proptest::prelude::*;
use synthjit_engine::paths::{self, Instance, PathKind};
use synthjit_engine::specs::{layout, Reason};
use synthjit_engine::vector::{self, Entry, VectorPlan};
use synthjit_engine::Ground;

use crate::disasm::{reachable, rest_is_poison};
use crate::facts::{facts, ground, instance, PATH_BASE, VECTOR_BASE};

fn grounds() -> impl Strategy<Value = Ground> {
    any::<[bool; 4]>().prop_map(|[smap, ibt, verw, erms]| Ground {
        smap,
        ibt,
        verw,
        erms,
        ..ground()
    })
}

fn instances() -> impl Strategy<Value = Instance> {
    let numbers = (
        0..i32::MAX as u32,
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
        any::<bool>(),
    );
    numbers.prop_map(
        |(fd, task, kernel_stack, files, file_mode, hits)| Instance {
            // A descriptor's place in the table must be within an offset's reach.
            fd: fd >> 4,
            task,
            kernel_stack,
            files,
            file_mode,
            hits: hits.then_some(ground().bailouts + 64),
        },
    )
}

/// Every instruction is of a kind that generated code may contain, and leaves the slot only for known places.
fn lawful(
    all: &std::collections::BTreeMap<u64, Instruction>,
    base: u64,
    len: usize,
    ground: &Ground,
    paths: &[u64],
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
                let thunks = [ground.tail_thunk, ground.learn_thunk];
                assert!(
                    thunks.contains(&instruction.near_branch_target()),
                    "{at:#x} calls something else"
                );
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                let to = instruction.near_branch_target();
                let known =
                    to == ground.stock_entry || paths.contains(&to) || all.contains_key(&to);
                assert!(known, "{at:#x} jumps to {to:#x}");
            }
            other => panic!("{at:#x}: {other:?}"),
        }
        assert_ne!(instruction.mnemonic(), Mnemonic::Ret);
        if instruction.is_ip_rel_memory_operand() {
            let to = instruction.ip_rel_memory_address();
            let known = [
                ground.bailouts,
                ground.bailouts + 64,
                ground.verw_sel,
                base,
                base + 8,
            ];
            assert!(known.contains(&to), "{at:#x} refers to {to:#x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_are_lawful(ground in grounds(), instance in instances(), slot in 0..layout::PATH_SLOTS as u64) {
        let base = PATH_BASE + slot * layout::PATH_SLOT as u64;
        for kind in PathKind::ALL {
            let mut out = [0; layout::PATH_SLOT];
            let code = paths::emit(kind, &facts(), &instance, &ground, base, &mut out).expect("a path");
            let all = reachable(&out, base, &[code.entry]);
            lawful(&all, base, out.len(), &ground, &[]);
            prop_assert!(rest_is_poison(&out, base, 16, &all));
            prop_assert_eq!(all.values().map(Instruction::next_ip).max(), Some(base + code.len as u64 - u64::from(out[code.len - 1] == 0xcc)));
            let copies: Vec<u64> = all.iter().filter(|(_, i)| i.mnemonic() == Mnemonic::Movsb).map(|(at, _)| at - base).collect();
            prop_assert_eq!(copies, vec![layout::COPY_SITE_A as u64, layout::COPY_SITE_B as u64]);
            let behind_sysret = all.values().find(|i| i.mnemonic() == Mnemonic::Sysretq).expect("sysret").next_ip();
            prop_assert_eq!(out[(behind_sysret - base) as usize], 0xcc, "speculation is not stopped behind sysret");
            let has = |mnemonic| all.values().any(|i| i.mnemonic() == mnemonic);
            prop_assert_eq!(has(Mnemonic::Stac) && has(Mnemonic::Clac), ground.smap);
            prop_assert_eq!(has(Mnemonic::Verw), ground.verw);
            prop_assert_eq!(all.values().filter(|i| i.mnemonic() == Mnemonic::Swapgs).count(), 3, "in, out to the user, out to stock");
        }
    }

    #[test]
    fn vectors_are_lawful(ground in grounds(), learn: bool, fds in prop::collection::btree_map(0..12u32, any::<bool>(), 0..12)) {
        let entries: Vec<Entry> = fds.iter().map(|(&fd, &path)| Entry { fd, target: path.then_some(PATH_BASE + u64::from(fd) * 1024) }).collect();
        let targets: Vec<u64> = entries.iter().filter_map(|e| e.target).collect();
        let plan = VectorPlan { learn, write: &entries, read: &entries[..entries.len() / 2] };
        let mut out = [0; layout::VECTOR_SLOT];
        match vector::emit(&plan, &facts(), &ground, VECTOR_BASE, instance().kernel_stack, &mut out) {
            Ok(len) => {
                let all = reachable(&out, VECTOR_BASE, &[VECTOR_BASE]);
                lawful(&all, VECTOR_BASE, out.len(), &ground, &targets);
                prop_assert!(rest_is_poison(&out, VECTOR_BASE, 0, &all));
                prop_assert_eq!(all.values().map(Instruction::next_ip).max(), Some(VECTOR_BASE + len as u64));
                prop_assert_eq!(all[&VECTOR_BASE].mnemonic() == Mnemonic::Endbr64, ground.ibt);
            }
            Err(reason) => prop_assert!(reason == Reason::TooManyDescriptors && fds.len() > 4, "{}", reason.text()),
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let mut out = [0; layout::PATH_SLOT];
    let mut refusal = |facts, instance: &Instance, ground: &Ground, base| {
        paths::emit(
            PathKind::PipeWrite,
            &facts,
            instance,
            ground,
            base,
            &mut out,
        )
        .map_err(|reason| reason.name())
    };
    let (f, i, g) = (facts(), instance(), ground());
    assert!(refusal(f, &i, &g, PATH_BASE).is_ok());
    let mut far = f;
    far.pipeanon_fops = 0xffff_8880_0000_0000;
    assert_eq!(
        refusal(far, &i, &g, PATH_BASE),
        Err("layout"),
        "address that does not sign-extend"
    );
    let mut far = f;
    far.tss_sp2 = 0x1_0000_0000;
    assert_eq!(
        refusal(far, &i, &g, PATH_BASE),
        Err("layout"),
        "per-CPU offset"
    );
    let mut big = f;
    big.buf_size = 128;
    assert_eq!(
        refusal(big, &i, &g, PATH_BASE),
        Err("layout"),
        "size of a buffer"
    );
    assert_eq!(
        refusal(f, &i, &g, 0x7000_0000_0000),
        Err("layout"),
        "stock entry out of reach"
    );
    assert_eq!(
        refusal(f, &Instance { fd: u32::MAX, ..i }, &g, PATH_BASE),
        Err("descriptor_number")
    );
    assert_eq!(
        refusal(
            f,
            &Instance {
                fd: i32::MAX as u32,
                ..i
            },
            &g,
            PATH_BASE
        ),
        Err("layout"),
        "place in the table"
    );
}
