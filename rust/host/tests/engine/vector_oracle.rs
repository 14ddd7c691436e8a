//! One vector: made, executed for descriptors in and around its lists, compared with what the lists say.

use std::collections::BTreeMap;

use synthjit_engine::dispatch::{self, Entry, VectorPlan, MOST_FD, OTHER_CALL, OTHER_DESCRIPTOR};
use synthjit_engine::specs::{layout, Reason};
use synthjit_engine::target::Target;

use crate::machine::{load32, store32, Left, Outcome, Regs, PATHS};
use crate::world::World;

/// Calls in vain before one is reported.
const BUDGET: u32 = 3;

/// Descriptors of one call: the number of the stub that each leads to, or that it has no path.
pub type Fds = BTreeMap<u32, Option<usize>>;

/// Installs stubs that stand for paths: stub `n` returns to user space with `n` in rax.
pub fn stubs(world: &World) -> Vec<u64> {
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

/// Makes the vector and puts it into its slot. Returns its address.
pub fn install(world: &World, target: &Target, plan: &VectorPlan<'_>) -> Result<u64, Reason> {
    let slot = world.machine.vector_slot(0);
    let mut out = [0; layout::VECTOR_SLOT];
    let stack = world.instance().kernel_stack;
    dispatch::emit_for(
        world.profile(),
        plan,
        &world.facts,
        target,
        slot,
        stack,
        &mut out,
    )?;
    world.machine.install(slot, &out);
    Ok(slot)
}

/// Runs the vector for a call with this number and descriptor. Returns the registers before, and what happened.
pub fn call(world: &World, vector: u64, number: u64, fd: u64, count: bool) -> (Regs, Outcome) {
    call_with(world, BUDGET, vector, number, fd, count)
}

/// [`call`] with so many calls in vain before one is reported.
pub fn call_with(
    world: &World,
    budget: u32,
    vector: u64,
    number: u64,
    fd: u64,
    count: bool,
) -> (Regs, Outcome) {
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
    store32(world.budget(), budget);
    (before, world.machine.run(vector, before, count, None))
}

/// The list for a plan.
pub fn entries(fds: &Fds, stubs: &[u64]) -> Vec<Entry> {
    fds.iter()
        .map(|(&fd, stub)| Entry {
            fd,
            target: stub.map(|n| stubs[n]),
        })
        .collect()
}

/// Sends all kinds of descriptors through a vector. False if there was no room for what it should know.
///
/// # Errors
///
/// What went elsewhere, cost too much or changed a register.
pub fn check(
    world: &World,
    target: &Target,
    stubs: &[u64],
    report: bool,
    write: &Fds,
    read: &Fds,
    seed: u64,
) -> Result<bool, String> {
    let (w, r) = (entries(write, stubs), entries(read, stubs));
    let plan = VectorPlan {
        report,
        budget: world.budget(),
        write: &w,
        read: &r,
    };
    let vector = match install(world, target, &plan) {
        Ok(vector) => vector,
        Err(reason) => {
            // What is refused needs more than the smallest shape has room for.
            let long = |list: &[Entry]| {
                let one_by_one = |e: &&Entry| e.target.is_some() || report && e.fd >= 64;
                list.iter().filter(one_by_one).count()
            };
            if reason != Reason::TooManyDescriptors || long(&w) + long(&r) <= 6 {
                return Err(format!("refused, {}: {w:?} {r:?}", reason.text()));
            }
            return Ok(false);
        }
    };
    let odd = [
        u64::MAX,
        u64::from(u32::MAX),
        1 << 32,
        1 << 32 | 4,
        seed,
        seed % 12,
        i32::MAX as u64,
    ];
    let few = w.len().max(r.len()) <= 3;
    for (number, fds) in [(1u64, write), (0, read)] {
        let paths = fds
            .iter()
            .filter(|(&fd, stub)| stub.is_some() || fd >= 64)
            .count();
        let most = if few {
            OTHER_DESCRIPTOR
        } else {
            OTHER_DESCRIPTOR.max(12 + 2 * paths)
        };
        let near = fds
            .keys()
            .flat_map(|&fd| [fd.wrapping_sub(1), fd, fd.wrapping_add(1)])
            .map(u64::from);
        for fd in near.chain(odd) {
            let known = u32::try_from(fd).ok().and_then(|fd| fds.get(&fd));
            let (before, outcome) = call(world, vector, number, fd, true);
            let wrong = |what: &str| {
                let why = format!("{what}: call {number} of {fd}, report {report}: {outcome:?}");
                Err(format!("{why}, {target:?}, {fds:?}"))
            };
            if let Some(Some(stub)) = known {
                let expected = Regs {
                    rax: *stub as u64,
                    ..before
                };
                if outcome.left != Left::User || outcome.regs != expected {
                    return wrong("not sent to its path");
                }
                continue;
            }
            if outcome.left != Left::Stock || outcome.regs != before {
                return wrong("not left to the stock entry as it was");
            }
            let new = report && known.is_none() && fd <= u64::from(MOST_FD);
            if outcome.misses != u64::from(new) {
                return wrong("reported when it should not, or not when it should");
            }
            if load32(world.budget()) != BUDGET - u32::from(!new) {
                return wrong("counted as in vain when it should not, or not when it should");
            }
            if (known.is_some() || !report) && outcome.steps > most as u64 {
                return wrong("too many instructions");
            }
        }
    }
    for number in [2, 39, 0x4000_0001, 1 << 32, 1 << 32 | 1, u64::MAX] {
        let (before, outcome) = call(world, vector, number, 4, true);
        let same = outcome.left == Left::Stock && outcome.regs == before && outcome.misses == 0;
        if !same || outcome.steps > OTHER_CALL as u64 {
            return Err(format!("call {number}: {outcome:?}"));
        }
    }
    Ok(true)
}
