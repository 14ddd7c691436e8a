//! Vectors, really executed: who is sent where, at what price.

use proptest::prelude::*;
use proptest::sample::select;
use synthjit_engine::paths::PathKind;
use synthjit_engine::specs::{layout, Reason};
use synthjit_engine::vector::{self, Entry, VectorPlan, OTHER_CALL, OTHER_DESCRIPTOR};
use synthjit_engine::Ground;

use crate::machine::{Left, Outcome, Regs, PATHS};
use crate::world::World;

/// Installs stubs that stand for paths: stub `n` returns to user space with `n` in rax.
fn stubs(world: &World) -> Vec<u64> {
    (0..PATHS)
        .map(|n| {
            let slot = world.machine.path_slot(n);
            let mut code = vec![0xb8, n as u8, 0, 0, 0, 0xe9];
            let distance = world.machine.user_entry().wrapping_sub(slot + 10) as u32;
            code.extend(distance.to_le_bytes());
            world.machine.install(slot, &code);
            slot
        })
        .collect()
}

fn install(world: &World, ground: &Ground, plan: &VectorPlan<'_>) -> Result<u64, Reason> {
    let slot = world.machine.vector_slot(0);
    let mut out = [0; layout::VECTOR_SLOT];
    let stack = world.instance().kernel_stack;
    vector::emit_for(
        world.profile(),
        plan,
        &world.facts,
        ground,
        slot,
        stack,
        &mut out,
    )?;
    world.machine.install(slot, &out);
    Ok(slot)
}

fn call(world: &World, vector: u64, number: u64, fd: u64, count: bool) -> (Regs, Outcome) {
    let before = Regs {
        rax: number,
        rcx: 1,
        rdx: 2,
        rbx: 3,
        rsp: 0x7ffc_0000_1238,
        rbp: 5,
        rsi: 6,
        rdi: fd,
        r8_to_r15: [8, 9, 10, 0x246, 12, 13, 14, 15],
    };
    (before, world.machine.run(vector, before, count, None))
}

fn entries(fds: &std::collections::BTreeMap<u32, Option<usize>>, stubs: &[u64]) -> Vec<Entry> {
    fds.iter()
        .map(|(&fd, stub)| Entry {
            fd,
            target: stub.map(|n| stubs[n]),
        })
        .collect()
}

type Fds = std::collections::BTreeMap<u32, Option<usize>>;

fn descriptors() -> impl Strategy<Value = Fds> {
    let fd = prop_oneof![0..10u32, 0..200u32, select(vec![i32::MAX as u32 - 1, 1024])];
    let stub = |share| prop::option::weighted(share, 0..PATHS);
    prop_oneof![
        3 => prop::collection::btree_map(fd.clone(), stub(0.5), 0..9),
        1 => prop::collection::btree_map(0..70u32, stub(0.1), 9..30),
    ]
}

#[test]
fn each_descriptor_is_sent_where_it_belongs() {
    random_vectors(250);
}

/// This many random vectors, each tried with descriptors in and around its lists.
pub fn random_vectors(cases: u32) {
    let world = World::new();
    let stubs = stubs(&world);
    let config = crate::random::config(cases);
    let made = std::cell::Cell::new(0u32);
    proptest!(config, |(write in descriptors(), read in descriptors(), learn: bool, ibt: bool, seed: u64)| {
        let ground = Ground { ibt, ..world.ground };
        let (w, r) = (entries(&write, &stubs), entries(&read, &stubs));
        let vector = match install(&world, &ground, &VectorPlan { learn, write: &w, read: &r }) {
            Ok(vector) => vector,
            Err(reason) => {
                prop_assert_eq!(reason, Reason::TooManyDescriptors);
                // What is refused needs more than the smallest shape has room for.
                let long = |list: &[Entry]| list.iter().filter(|e| e.target.is_some() || learn && e.fd >= 64).count();
                prop_assert!(long(&w) + long(&r) > 6, "refused: {:?} {:?}", w, r);
                return Ok(());
            }
        };
        made.set(made.get() + 1);
        let odd = [u64::MAX, u64::from(u32::MAX), 1 << 32, seed, seed % 12, i32::MAX as u64];
        for (number, fds) in [(1u64, &write), (0, &read)] {
            let near = fds.keys().flat_map(|&fd| [fd.wrapping_sub(1), fd, fd + 1]).map(u64::from);
            for fd in near.chain(odd).chain([1 << 32 | 4]) {
                let known = u32::try_from(fd).ok().and_then(|fd| fds.get(&fd));
                let (before, outcome) = call(&world, vector, number, fd, true);
                match known {
                    Some(Some(stub)) => {
                        prop_assert_eq!(outcome.left, Left::User, "{}", fd);
                        prop_assert_eq!(outcome.regs, Regs { rax: *stub as u64, ..before });
                    }
                    _ => {
                        prop_assert_eq!(outcome.left, Left::Stock, "{}", fd);
                        prop_assert_eq!(outcome.regs, before);
                        prop_assert_eq!(outcome.learnt, u64::from(learn && known.is_none()), "{}", fd);
                        let few = w.len().max(r.len()) <= 4;
                        let paths = fds.iter().filter(|(&fd, stub)| stub.is_some() || fd >= 64).count();
                        let most = if few { OTHER_DESCRIPTOR } else { OTHER_DESCRIPTOR.max(10 + 2 * paths) };
                        if known.is_some() || !learn {
                            prop_assert!(outcome.steps <= most as u64, "{} instructions for {fd} of call {number}, {ground:?}, learn {learn}: {fds:?}", outcome.steps);
                        }
                    }
                }
            }
        }
        for number in [2, 39, 0x4000_0001, 1 << 32, 1 << 32 | 1, u64::MAX] {
            let (before, outcome) = call(&world, vector, number, 4, true);
            prop_assert_eq!(outcome.left, Left::Stock);
            prop_assert_eq!(outcome.regs, before);
            prop_assert!(outcome.steps <= OTHER_CALL as u64, "{} instructions for call {}", outcome.steps, number);
            prop_assert_eq!(outcome.learnt, 0);
        }
    });
    assert!(
        made.get() > cases / 5 * 3,
        "too few vectors could be made: {}",
        made.get()
    );
}

/// One pipe's two ends and the standard descriptors are a common process: they fit, and the path costs two comparisons.
#[test]
fn a_common_process_fits() {
    let world = World::new();
    let stubs = stubs(&world);
    let none = |fd| Entry { fd, target: None };
    let write = [
        none(0),
        none(1),
        none(2),
        Entry {
            fd: 4,
            target: Some(stubs[1]),
        },
    ];
    let read = [
        none(0),
        Entry {
            fd: 3,
            target: Some(stubs[0]),
        },
    ];
    let vector = install(
        &world,
        &world.ground,
        &VectorPlan {
            learn: true,
            write: &write,
            read: &read,
        },
    )
    .expect("it fits");
    let (_, outcome) = call(
        &world,
        vector,
        PathKind::PipeWrite.syscall().into(),
        4,
        true,
    );
    // Three to find the call, two for the descriptor, two of the stub.
    assert_eq!(
        (outcome.left, outcome.regs.rax, outcome.steps),
        (Left::User, 1, 7)
    );
    let (_, outcome) = call(&world, vector, PathKind::PipeRead.syscall().into(), 3, true);
    assert_eq!(
        (outcome.left, outcome.regs.rax, outcome.steps),
        (Left::User, 0, 7)
    );
}

/// Two dozen descriptors a call, a few of them with paths.
#[test]
pub fn many_descriptors_fit() {
    let world = World::new();
    let stubs = stubs(&world);
    let list = |from: u32| -> Vec<Entry> {
        (0..24)
            .map(|fd| Entry {
                fd,
                target: (fd >= from && fd < from + 4).then(|| stubs[(fd - from) as usize]),
            })
            .collect()
    };
    let (write, read) = (list(10), list(3));
    let vector = install(
        &world,
        &world.ground,
        &VectorPlan {
            learn: true,
            write: &write,
            read: &read,
        },
    )
    .expect("it fits");
    for (number, entries) in [(1, &write), (0, &read)] {
        for entry in entries {
            let (before, outcome) = call(&world, vector, number, entry.fd.into(), true);
            let stub = entry
                .target
                .and_then(|t| stubs.iter().position(|&s| s == t));
            assert_eq!(
                outcome.left,
                if stub.is_some() {
                    Left::User
                } else {
                    Left::Stock
                }
            );
            assert_eq!(outcome.regs.rax, stub.map_or(before.rax, |n| n as u64));
            assert_eq!(outcome.learnt, 0);
        }
        assert_eq!(call(&world, vector, number, 24, false).1.learnt, 1);
    }
}

/// As long as one call has few, finding out that a descriptor has no path keeps its price.
#[test]
pub fn halving_keeps_the_price() {
    let world = World::new();
    let stubs = stubs(&world);
    let write: Vec<Entry> = (0..7)
        .map(|i| Entry {
            fd: 3 * i,
            target: (i % 2 == 0).then(|| stubs[i as usize]),
        })
        .collect();
    let vector = install(
        &world,
        &world.ground,
        &VectorPlan {
            learn: true,
            write: &write,
            read: &[],
        },
    )
    .expect("it fits");
    for entry in write.iter().filter(|e| e.target.is_none()) {
        let (_, outcome) = call(&world, vector, 1, entry.fd.into(), true);
        assert!(
            outcome.left == Left::Stock && outcome.steps <= OTHER_DESCRIPTOR as u64,
            "{outcome:?}"
        );
    }
}

#[test]
fn descriptors_that_cannot_be_immediates_are_refused() {
    let world = World::new();
    let entry = [Entry {
        fd: 1 << 31,
        target: None,
    }];
    let refused = install(
        &world,
        &world.ground,
        &VectorPlan {
            learn: true,
            write: &entry,
            read: &[],
        },
    );
    assert_eq!(refused.err(), Some(Reason::DescriptorNumber));
}
