//! Paths and vectors for any facts, instance and place: refused with a reason, or code that another disassembler finds
//! lawful. Nothing is executed.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use synthjit_engine::dispatch::{self, Entry, VectorPlan};
use synthjit_engine::specs::{layout, Facts};
use synthjit_engine::target::Target;
use synthjit_engine::template::{Instance, PathKind};
use synthjit_fuzz::facts::{facts, instance, target_with, PATH_BASE, VECTOR_BASE};
use synthjit_fuzz::lawful;

#[derive(Arbitrary, Debug)]
struct Input {
    cpu: [bool; Target::SWITCHES.len()],
    /// Facts that are otherwise, by number.
    facts: Vec<(u8, u64)>,
    instance: Option<(u32, u64, u64, u64, u32)>,
    slot: u8,
    /// Distances from the slot to thunks and entry.
    thunks: Option<[i64; 5]>,
    write: bool,
    plan: Option<Plan>,
}

#[derive(Arbitrary, Debug)]
struct Plan {
    report: bool,
    write: Vec<(u32, Option<i64>)>,
    read: Vec<(u32, Option<i64>)>,
}

/// The example's facts with some of them changed.
fn changed(changes: &[(u8, u64)]) -> Facts {
    let mut facts = facts();
    let words = size_of::<Facts>() / size_of::<u64>();
    let start = (&raw mut facts).cast::<u64>();
    for (number, value) in changes {
        // SAFETY: `Facts` is `repr(C)` and has only fields of type u64, as the spec compiler writes it; the index is
        // within its size.
        unsafe { start.add(usize::from(*number) % words).write(*value) };
    }
    facts
}

/// Each descriptor once, with a target at this distance from the slot.
fn entries(list: &[(u32, Option<i64>)]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (fd, distance) in list.iter().take(64) {
        let target = distance.map(|d| outside(VECTOR_BASE, d, layout::VECTOR_SLOT));
        if entries.iter().all(|e| e.fd != *fd) {
            entries.push(Entry { fd: *fd, target });
        }
    }
    entries
}

/// An address at this distance from a slot, not in it.
fn outside(base: u64, distance: i64, size: usize) -> u64 {
    let address = base.wrapping_add_signed(distance);
    match address.wrapping_sub(base) < size as u64 {
        true => base.wrapping_sub(16),
        false => address,
    }
}

fuzz_target!(|input: Input| {
    let facts = changed(&input.facts);
    let base = match input.plan {
        Some(_) => VECTOR_BASE,
        None => PATH_BASE + u64::from(input.slot) * layout::PATH_SLOT as u64,
    };
    let switches = input.cpu.iter().rev();
    let mut target = target_with(switches.fold(0, |bits, on| bits << 1 | u32::from(*on)));
    let mut data = instance().data;
    if let Some(distances) = input.thunks {
        let places = distances.map(|d| outside(base, d, layout::PATH_SLOT));
        [
            target.stock_entry,
            target.tail_thunk,
            target.miss_thunk,
            target.bail_thunk,
            data.0,
        ] = places;
    }
    let mut instance = Instance { data, ..instance() };
    if let Some((fd, task, kernel_stack, files, file_mode)) = input.instance {
        instance = Instance {
            fd,
            task,
            kernel_stack,
            files,
            file_mode,
            ..instance
        };
    }
    match input.plan {
        None => {
            let kind = PathKind::ALL[usize::from(!input.write)];
            if let Ok(image) = lawful::image(kind, &facts, &instance, &target, base) {
                lawful::path(&image, base, &target);
            }
        }
        Some(plan) => {
            let (write, read) = (entries(&plan.write), entries(&plan.read));
            let all = write.iter().chain(&read);
            let targets: Vec<u64> = all.filter_map(|e| e.target).collect();
            let plan = VectorPlan {
                report: plan.report,
                budget: data.0,
                write: &write,
                read: &read,
            };
            let mut out = [0; layout::VECTOR_SLOT];
            let stack = instance.kernel_stack;
            if let Ok(len) = dispatch::emit(&plan, &facts, &target, base, stack, &mut out) {
                lawful::vector(&out, base, len, &target, data.0, &targets);
            }
        }
    }
});
