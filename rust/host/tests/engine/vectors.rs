//! Vectors, really executed: who is sent where, at what price.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use synthjit_engine::dispatch::{Entry, VectorPlan, OTHER_DESCRIPTOR};
use synthjit_engine::specs::Reason;
use synthjit_engine::target::Target;
use synthjit_engine::template::PathKind;

use crate::facts::Form;
use crate::machine::{Left, PATHS};
use crate::vector_oracle::{call, call_with, check, install, stubs, Fds};
use crate::world::World;

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
    let world = World::new(Form::Pool);
    let stubs = stubs(&world);
    let config = crate::random::config(cases);
    let made = std::cell::Cell::new(0u32);
    proptest!(config, |(write in descriptors(), read in descriptors(), report: bool, ibt: bool, seed: u64)| {
        let target = Target { ibt, ..world.target };
        let done = check(&world, &target, &stubs, report, &write, &read, seed).map_err(TestCaseError::fail)?;
        made.set(made.get() + u32::from(done));
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
    let world = World::new(Form::Pool);
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
        &world.target,
        &VectorPlan {
            report: true,
            budget: world.budget(),
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
    let world = World::new(Form::Pool);
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
        &world.target,
        &VectorPlan {
            report: true,
            budget: world.budget(),
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
            assert_eq!(outcome.misses, 0);
        }
        assert_eq!(call(&world, vector, number, 24, false).1.misses, 1);
    }
}

/// As long as one call has few, finding out that a descriptor has no path keeps its price.
#[test]
pub fn halving_keeps_the_price() {
    let world = World::new(Form::Pool);
    let stubs = stubs(&world);
    let write: Vec<Entry> = (0..7)
        .map(|i| Entry {
            fd: 3 * i,
            target: (i % 2 == 0).then(|| stubs[i as usize]),
        })
        .collect();
    let vector = install(
        &world,
        &world.target,
        &VectorPlan {
            report: true,
            budget: world.budget(),
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
    let world = World::new(Form::Pool);
    let entry = [Entry {
        fd: 1 << 31,
        target: None,
    }];
    let refused = install(
        &world,
        &world.target,
        &VectorPlan {
            report: true,
            budget: world.budget(),
            write: &entry,
            read: &[],
        },
    );
    assert_eq!(refused.err(), Some(Reason::DescriptorNumber));
}

/// The call that finds the budget of calls in vain used up is reported, whatever its descriptor, and changes nothing else.
#[test]
pub fn a_used_up_budget_is_reported() {
    let world = World::new(Form::Pool);
    let write = [Entry {
        fd: 1,
        target: None,
    }];
    for report in [true, false] {
        let plan = VectorPlan {
            report,
            budget: world.budget(),
            write: &write,
            read: &[],
        };
        let vector = install(&world, &world.target, &plan).expect("it fits");
        for fd in [1, 1 << 32 | 1, u64::MAX] {
            for (left, misses) in [(1, 0), (0, 1)] {
                let (before, outcome) = call_with(&world, left, vector, 1, fd, true);
                assert_eq!(
                    (outcome.left, outcome.misses),
                    (Left::Stock, misses),
                    "{fd}"
                );
                assert_eq!(outcome.regs, before);
            }
        }
    }
}
