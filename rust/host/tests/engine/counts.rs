//! How many instructions each fast case executes, counted by single-stepping real code: with the vector before and
//! `syscall` itself. One byte of a copy counts one, as it does under the instruction clock of the benchmark.

use synthjit_engine::dispatch::{self, Entry, VectorPlan};
use synthjit_engine::specs::layout;
use synthjit_engine::template::PathKind;

use crate::facts::{self, Form};
use crate::machine::store32;
use crate::model::{Around, Pipe};
use crate::oracle::pipe;
use crate::world::{World, FD};

/// Makes a vector into the slot of that number. Returns its address.
fn install_vector(world: &World, number: usize, plan: &VectorPlan<'_>) -> u64 {
    let slot = world.machine.vector_slot(number);
    let mut out = [0; layout::VECTOR_SLOT];
    let stack = world.instance().kernel_stack;
    dispatch::emit_for(
        world.profile(),
        plan,
        &world.facts,
        &world.target,
        slot,
        stack,
        &mut out,
    )
    .expect("a vector");
    world.machine.install(slot, &out);
    slot
}

/// Instructions of a call of `kind` for `count` bytes on `before`, `syscall` included.
fn executed(world: &World, kind: PathKind, before: &Pipe, count: u64) -> u64 {
    let code = world.install(kind, &world.instance());
    let entry = [Entry {
        fd: FD,
        target: Some(code.entry),
    }];
    let (write, read): (&[Entry], &[Entry]) = match kind {
        PathKind::PipeWrite => (&entry, &[]),
        PathKind::PipeRead => (&[], &entry),
    };
    let plan = VectorPlan {
        report: true,
        budget: world.budget(),
        write,
        read,
    };
    let slot = install_vector(world, 0, &plan);
    world.set(before, &Around::quiet());
    let ran = world.call(
        slot,
        kind,
        [u64::from(FD), world.user, count],
        0x246,
        true,
        None,
    );
    ran.returned(count).expect("done");
    ran.outcome.steps + 1
}

#[test]
fn fast_cases_stay_within_their_budgets_on_each_kernel() {
    Form::ALL
        .into_iter()
        .for_each(fast_cases_stay_within_their_budgets);
}

/// On a kernel of that form.
pub fn fast_cases_stay_within_their_budgets(form: Form) {
    use PathKind::{PipeRead, PipeWrite};
    assert!(
        facts::target().smap && !facts::target().verw && !facts::target().ibt,
        "as the benchmark's CPU"
    );
    let world = World::new(form);
    // What the page of a pool costs more than that of a place.
    let pool = match form {
        Form::Pool => 1,
        Form::Places => 0,
    };
    // Interrupts are off as long (docs/limits.md).
    let longest = 4096 + 110;
    let cases = [
        ("write 1 into empty", PipeWrite, 0, 1, 94 + pool),
        ("write 1 behind data", PipeWrite, 10, 1, 98),
        ("read 1 of more", PipeRead, 10, 1, 90),
        ("read 1 of 1", PipeRead, 1, 1, 99),
        ("write 64 into empty", PipeWrite, 0, 64, 157 + pool),
        ("read 64 of 64", PipeRead, 64, 64, 162),
        ("write 4096 into empty", PipeWrite, 0, 4096, 4194 + pool),
        ("read 4096 of 4096", PipeRead, 4096, 4096, 4199),
        ("write 4095 behind data", PipeWrite, 1, 4095, 4197),
        ("read 4095 of 4096", PipeRead, 4096, 4095, 4189),
    ];
    // What is needed today; whoever needs more has to say so here.
    let mut too_many = Vec::new();
    let mut one_byte = 0;
    for (name, kind, filled, count, budget) in cases {
        let steps = executed(&world, kind, &pipe(form, filled), count);
        println!("{form:?}: {name}: {steps}, budget {budget}");
        if steps > budget {
            too_many.push(format!("{name}: {steps} instead of {budget}"));
        }
        assert!(steps <= longest, "{name}: {steps}");
        if name == "write 1 into empty" || name == "read 1 of 1" {
            one_byte += steps;
        }
    }
    assert!(too_many.is_empty(), "{too_many:?}");
    assert!(one_byte <= 197, "a byte through the pipe: {one_byte}");
}

/// A step is one instruction: the count of a run without repetition is the number of instructions that it passes.
#[test]
fn counting_is_exact() {
    let world = World::new(Form::Pool);
    let plan = VectorPlan {
        report: false,
        budget: world.budget(),
        write: &[],
        read: &[],
    };
    let slot = install_vector(&world, 1, &plan);
    store32(world.budget(), 2);
    // compare, above, below, the jump at the end, and the two that count.
    let ran = world.call(slot, PathKind::PipeWrite, [4, 0, 0], 0x246, true, None);
    assert_eq!(ran.outcome.steps, 6);
    let ran = world.call(slot, PathKind::PipeWrite, [4, 0, 0], 0x246, false, None);
    assert_eq!(ran.outcome.steps, 0, "not counted unless asked");
}
