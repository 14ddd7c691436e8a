// SPDX-License-Identifier: GPL-2.0

//! The trap vector of a process: where LSTAR points while the process runs.
//!
//! It tells the calls that have a path from all others by comparing registers, writes no memory, and jumps. What it may
//! cost is fixed: a call without paths pays at most [`OTHER_CALL`] instructions, a descriptor without a path at most
//! [`OTHER_DESCRIPTOR`] once it is known. Few descriptors are compared one by one, paths first. More are found by halving:
//! the numbers from zero upwards are intervals with one target each, and every level of the search costs two instructions.
//! Only where that takes too many levels or bytes does the price rise: then paths are compared one by one and all others
//! are looked up in a bit map.

use super::specs::{layout, pipe_read, pipe_write, Facts, Reason};
use super::x86::buf::{Label, Target};
use super::x86::door::Door;
use super::x86::masm::{Masm, Profile};
use super::x86::regs::{FD, RESULT};
use super::Ground;

/// Most instructions before the stock entry for a call without paths.
pub const OTHER_CALL: usize = 6;
/// Most instructions before the stock entry for a descriptor that is known to have no path, or for any without a path if
/// the vector does not learn; unless there are many.
pub const OTHER_DESCRIPTOR: usize = 12;
/// Most intervals that are told apart within [`OTHER_DESCRIPTOR`]: four levels of two instructions, after at most four.
const INTERVALS: usize = 16;

const _: () = assert!(pipe_read::SPEC.syscall == 0 && pipe_write::SPEC.syscall == 1);

/// What is known about a descriptor and a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The descriptor.
    pub fd: u32,
    /// Entry of its path; `None` if it has none and none should be made.
    pub target: Option<u64>,
}

/// What a vector is to do. Each descriptor may be in each list once, in any order.
#[derive(Clone, Copy, Debug)]
pub struct VectorPlan<'a> {
    /// Descriptors that are not listed are reported by the learn thunk; otherwise they are left to the stock entry.
    pub learn: bool,
    /// For `write`.
    pub write: &'a [Entry],
    /// For `read`.
    pub read: &'a [Entry],
}

/// The numbers from `start` up to the next interval's start, and where they lead.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interval {
    start: u32,
    target: Target,
}

/// Makes a vector into `out`, a slot that will be at address `base`, for the task whose `pt_regs` are at `kernel_stack`.
/// Unused bytes become `int3`. Returns the length.
///
/// # Errors
///
/// `TooManyDescriptors` if they do not fit the slot, `DescriptorNumber` if one does
/// not fit an immediate, `Layout` if an address is out of reach of the slot.
pub fn emit(
    plan: &VectorPlan<'_>,
    facts: &Facts,
    ground: &Ground,
    base: u64,
    kernel_stack: u64,
    out: &mut [u8; layout::VECTOR_SLOT],
) -> Result<usize, Reason> {
    emit_for(
        Profile::Kernel,
        plan,
        facts,
        ground,
        base,
        kernel_stack,
        out,
    )
}

/// [`emit`] for a chosen profile.
pub fn emit_for(
    profile: Profile,
    plan: &VectorPlan<'_>,
    facts: &Facts,
    ground: &Ground,
    base: u64,
    kernel_stack: u64,
    out: &mut [u8; layout::VECTOR_SLOT],
) -> Result<usize, Reason> {
    if plan
        .write
        .iter()
        .chain(plan.read)
        .any(|e| i32::try_from(e.fd).is_err())
    {
        return Err(Reason::DescriptorNumber);
    }
    let mut made = Err(Reason::TooManyDescriptors);
    for shape in [Shape::Fast, Shape::Small] {
        let mut masm = Masm::new(ground, profile, out, base);
        made = emit_in(shape, &mut masm, plan, facts, kernel_stack).and_then(|()| masm.finish());
        if !matches!(made, Err(Reason::SlotFull | Reason::TooManyDescriptors)) {
            return made;
        }
    }
    made.map_err(|_| Reason::TooManyDescriptors)
}

/// What counts when descriptors are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// At most [`OTHER_DESCRIPTOR`] instructions.
    Fast,
    /// Few bytes.
    Small,
}

fn emit_in(
    shape: Shape,
    m: &mut Masm<'_>,
    plan: &VectorPlan<'_>,
    facts: &Facts,
    kernel_stack: u64,
) -> Result<(), Reason> {
    let ground = m.ground();
    let (read, learn) = (m.label(), m.label());
    let stock = m.stock_entry();
    let unknown = if plan.learn {
        Target::Label(learn)
    } else {
        stock
    };
    let choose = |call| Choose {
        shape,
        stock,
        unknown,
        call,
        spent: Door::arrival(ground).saturating_add(3),
    };

    m.arrive();
    // All 64 bits: the stock entry looks at the low half alone, but then it also decides what the rest means.
    let (read_call, write_call) = (
        u64::from(pipe_read::SPEC.syscall),
        u64::from(pipe_write::SPEC.syscall),
    );
    m.compare_constant(RESULT, write_call);
    m.above(stock);
    m.below(read);
    choose(write_call).emit(m, plan.write)?;
    m.place(read);
    choose(read_call).emit(m, plan.read)?;
    if plan.learn {
        let door = Door::new(facts, kernel_stack);
        m.place(learn);
        m.enter_kernel(&door);
        m.call(ground.learn_thunk);
        m.leave_kernel(&door);
        m.exit_to_stock();
    }
    Ok(())
}

/// Tells the descriptors of one call apart.
struct Choose {
    shape: Shape,
    stock: Target,
    /// Where descriptors go that are in no list.
    unknown: Target,
    /// The call's number, which is in rax.
    call: u64,
    /// Instructions executed before.
    spent: usize,
}

impl Choose {
    fn emit(&self, m: &mut Masm<'_>, entries: &[Entry]) -> Result<(), Reason> {
        // Two for each descriptor, and the jump behind them if that leads to the stock entry too.
        let listed = entries
            .iter()
            .filter(|e| self.matters(e))
            .fold(0, |n: usize, _| n.saturating_add(1));
        let last = usize::from(self.unknown == self.stock);
        let one_by_one = listed
            .saturating_mul(2)
            .saturating_add(self.spent)
            .saturating_add(last);
        if one_by_one <= OTHER_DESCRIPTOR {
            self.one_by_one(m, entries.iter().filter(|e| e.target.is_some()));
            self.one_by_one(
                m,
                entries
                    .iter()
                    .filter(|e| e.target.is_none() && self.matters(e)),
            );
            m.go(self.unknown);
        } else if self.shape == Shape::Small {
            self.by_map(m, entries);
        } else {
            self.halve(m, self.intervals(entries)?.all());
        }
        Ok(())
    }

    fn target(&self, entry: &Entry) -> Target {
        entry.target.map_or(self.stock, Target::Address)
    }

    /// False if a descriptor goes where those go that are in no list.
    fn matters(&self, entry: &Entry) -> bool {
        self.target(entry) != self.unknown
    }

    fn one_by_one<'e>(&self, m: &mut Masm<'_>, entries: impl Iterator<Item = &'e Entry>) {
        for entry in entries {
            m.compare_constant(FD, u64::from(entry.fd));
            m.equal(self.target(entry));
        }
    }

    /// Paths one by one, then a map of the small numbers without a path.
    fn by_map(&self, m: &mut Masm<'_>, entries: &[Entry]) {
        self.one_by_one(m, entries.iter().filter(|e| e.target.is_some()));
        let others = || {
            entries
                .iter()
                .filter(|e| e.target.is_none() && self.matters(e))
        };
        self.one_by_one(m, others().filter(|e| e.fd >= u64::BITS));
        let map = others().fold(0, |map: u64, e| map | 1u64.checked_shl(e.fd).unwrap_or(0));
        if map != 0 {
            m.compare_constant(FD, u64::from(u64::BITS));
            m.above_or_equal(self.unknown);
            m.in_map(map, FD, RESULT, self.call, self.stock);
        }
        m.go(self.unknown);
    }

    fn intervals(&self, entries: &[Entry]) -> Result<Intervals, Reason> {
        let mut intervals = Intervals::new(self.unknown);
        let mut from = 0;
        while let Some(entry) = entries.iter().filter(|e| e.fd >= from).min_by_key(|e| e.fd) {
            intervals.push(entry.fd, self.target(entry))?;
            from = entry.fd.saturating_add(1);
            intervals.push(from, self.unknown)?;
        }
        Ok(intervals)
    }

    /// The stock entry is always reached by a conditional jump: it is the target that must be cheap.
    fn halve(&self, m: &mut Masm<'_>, intervals: &[Interval]) {
        let Some((left, right)) = intervals.split_at_checked(intervals.len() / 2) else {
            return;
        };
        match (left, right) {
            ([], [only]) => m.go(only.target),
            ([one], [next, ..]) if one.target == self.stock => {
                m.compare_constant(FD, u64::from(next.start));
                m.below(one.target);
                self.halve(m, right);
            }
            (_, [last]) => {
                m.compare_constant(FD, u64::from(last.start));
                m.above_or_equal(last.target);
                self.halve(m, left);
            }
            (_, [next, ..]) => {
                let upper: Label = m.label();
                m.compare_constant(FD, u64::from(next.start));
                m.above_or_equal(upper);
                self.halve(m, left);
                m.place(upper);
                self.halve(m, right);
            }
            (_, []) => {}
        }
    }
}

/// Intervals in rising order that cover all numbers.
struct Intervals {
    list: [Interval; INTERVALS],
    len: usize,
}

impl Intervals {
    fn new(target: Target) -> Self {
        Self {
            list: [Interval { start: 0, target }; INTERVALS],
            len: 1,
        }
    }

    /// From `start` on, which is at least the last start, numbers lead to `target`.
    fn push(&mut self, start: u32, target: Target) -> Result<(), Reason> {
        // An interval that nothing is left of makes way.
        if self
            .list
            .get(self.len.wrapping_sub(1))
            .is_some_and(|last| last.start == start)
        {
            self.len = self.len.saturating_sub(1);
        }
        if self.len > 0
            && self
                .list
                .get(self.len.wrapping_sub(1))
                .is_some_and(|last| last.target == target)
        {
            return Ok(());
        }
        let place = self
            .list
            .get_mut(self.len)
            .ok_or(Reason::TooManyDescriptors)?;
        *place = Interval { start, target };
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    fn all(&self) -> &[Interval] {
        self.list.get(..self.len).unwrap_or(&[])
    }
}
