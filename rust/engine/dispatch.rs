// SPDX-License-Identifier: GPL-2.0

//! The trap vector of a process: where LSTAR points while the process runs.
//!
//! It tells the calls that have a path from all others by comparing registers, and jumps. What it may cost is fixed: a call
//! without paths pays at most [`OTHER_CALL`] instructions, a descriptor without a path at most [`OTHER_DESCRIPTOR`] once it is
//! known. Few descriptors are compared one by one, paths first. More are found by halving: the numbers from zero upwards are
//! intervals with one target each. Only where that takes too many levels or bytes does the price rise: then paths are compared
//! one by one and all others are looked up in a bit map.
//!
//! Reads and writes that it does not lead to a path are counted down from a budget, and reported when that is used up
//! ([`super::worth`]): a vector that is in vain goes. Numbers above [`MOST_FD`] are such calls, whatever the kernel makes of their
//! lower half: they are never reported.

use super::specs::{layout, pipe_read, pipe_write, Facts, Reason};
use super::target::Target;
use super::x86::buf::{Dest, Label};
use super::x86::door::Door;
use super::x86::masm::{Masm, Profile};
use super::x86::regs::{FD, RESULT};

/// Most instructions before the stock entry for a call without paths.
pub const OTHER_CALL: usize = 6;
/// Most instructions before the stock entry for a descriptor that is known to have no path, or for any without a path if
/// the vector does not report misses, the two that count it included; unless more than three are known of a call.
pub const OTHER_DESCRIPTOR: usize = 12;
/// Instructions that count a call and go on to the stock entry.
const COUNTED: usize = 2;
/// Most intervals that are told apart.
const INTERVALS: usize = 16;
/// Largest number of a descriptor that is reported.
pub const MOST_FD: u32 = u32::MAX >> 2;

const _: () = assert!(pipe_read::SPEC.syscall == 0 && pipe_write::SPEC.syscall == 1);

/// What is known about a descriptor and a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The descriptor.
    pub fd: u32,
    /// Entry of its path; `None` if it has none and none should be made.
    pub target: Option<u64>,
}

impl Entry {
    fn has_path(&self) -> bool {
        self.target.is_some()
    }
}

/// What a vector is to do. Each descriptor may be in each list once, in any order.
#[derive(Clone, Copy, Debug)]
pub struct VectorPlan<'a> {
    /// Descriptors that are not listed are reported by the miss handler; otherwise they count as those without a path.
    pub report: bool,
    /// Address of the 32-bit budget of calls without a path.
    pub budget: u64,
    /// For `write`.
    pub write: &'a [Entry],
    /// For `read`.
    pub read: &'a [Entry],
}

/// The numbers from `start` up to the next interval's start, and where they lead.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interval {
    start: u32,
    target: Dest,
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
    target: &Target,
    base: u64,
    kernel_stack: u64,
    out: &mut [u8; layout::VECTOR_SLOT],
) -> Result<usize, Reason> {
    emit_for(
        Profile::Kernel,
        plan,
        facts,
        target,
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
    target: &Target,
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
        let mut masm = Masm::new(target, profile, out, base);
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
    let target = m.target();
    let (read, unlisted, missed, report) = (m.label(), m.label(), m.label(), m.label());
    let stock = m.stock_entry();
    let choose = |call| Choose {
        shape,
        missed: missed.into(),
        unknown: if plan.report { unlisted } else { missed }.into(),
        call,
        spent: Door::arrival(target).saturating_add(3),
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
    m.bind(read);
    choose(read_call).emit(m, plan.read)?;

    let door = Door::new(facts, kernel_stack);
    if plan.report {
        m.bind(unlisted);
        m.compare_constant(FD, u64::from(MOST_FD));
        m.below_or_equal(report);
    }
    m.bind(missed);
    m.spend(plan.budget);
    m.not_negative(stock);
    m.bind(report);
    m.enter_kernel(&door);
    m.call(target.miss_thunk);
    m.leave_kernel(&door);
    m.exit_to_stock();
    Ok(())
}

/// Tells the descriptors of one call apart.
struct Choose {
    shape: Shape,
    /// Where descriptors go that have no path.
    missed: Dest,
    /// Where descriptors go that are in no list.
    unknown: Dest,
    /// The call's number, which is in rax.
    call: u64,
    /// Instructions executed before.
    spent: usize,
}

impl Choose {
    fn emit(&self, m: &mut Masm<'_>, entries: &[Entry]) -> Result<(), Reason> {
        let count = |which: fn(&Entry) -> bool| {
            let listed = entries.iter().filter(|e| self.matters(e) && which(e));
            listed.fold(0usize, |n, _| n.saturating_add(2))
        };
        let (paths, others) = (count(|e| e.target.is_some()), count(|e| e.target.is_none()));
        let room = OTHER_DESCRIPTOR
            .saturating_sub(self.spent)
            .saturating_sub(COUNTED);
        // The jump behind them counts if that leads to where the price is fixed too.
        let last = usize::from(self.unknown == self.missed);
        if paths.saturating_add(others).saturating_add(last) <= room {
            self.one_by_one(m, entries, Entry::has_path);
            self.one_by_one(m, entries, |e| !e.has_path());
            m.go(self.unknown);
            return Ok(());
        }
        if self.shape == Shape::Small {
            self.by_map(m, entries);
            return Ok(());
        }
        let fits = |intervals: &Intervals, before: usize| {
            before.saturating_add(self.price(intervals.all())) <= room
        };
        if let Some(rest) = self.intervals(entries, |e| !e.has_path()) {
            if fits(&rest, paths) {
                self.one_by_one(m, entries, Entry::has_path);
                self.halve(m, rest.all());
                return Ok(());
            }
        }
        if let Some(all) = self.intervals(entries, |_| true) {
            if fits(&all, 0) {
                self.halve(m, all.all());
                return Ok(());
            }
        }
        if let Some(rest) = self.intervals(entries, Entry::has_path) {
            if fits(&rest, others) {
                self.one_by_one(m, entries, |e| !e.has_path());
                self.halve(m, rest.all());
                return Ok(());
            }
        }
        Err(Reason::TooManyDescriptors)
    }

    fn target(&self, entry: &Entry) -> Dest {
        entry.target.map_or(self.missed, Dest::External)
    }

    /// False if a descriptor goes where those go that are in no list.
    fn matters(&self, entry: &Entry) -> bool {
        self.target(entry) != self.unknown
    }

    fn one_by_one(&self, m: &mut Masm<'_>, entries: &[Entry], which: impl Fn(&Entry) -> bool) {
        for entry in entries.iter().filter(|e| self.matters(e) && which(e)) {
            m.compare_constant(FD, u64::from(entry.fd));
            m.equal(self.target(entry));
        }
    }

    /// Paths one by one, then a map of the small numbers without a path.
    fn by_map(&self, m: &mut Masm<'_>, entries: &[Entry]) {
        let small = |e: &Entry| e.fd < u64::BITS;
        self.one_by_one(m, entries, Entry::has_path);
        self.one_by_one(m, entries, |e| !e.has_path() && !small(e));
        let others = entries
            .iter()
            .filter(|e| !e.has_path() && small(e) && self.matters(e));
        let map = others.fold(0, |map: u64, e| map | 1u64.checked_shl(e.fd).unwrap_or(0));
        if map != 0 {
            m.compare_constant(FD, u64::from(u64::BITS));
            m.above_or_equal(self.unknown);
            m.in_map(map, FD, RESULT, self.call, self.missed);
        }
        m.go(self.unknown);
    }

    /// `None`: they are too many.
    fn intervals(&self, entries: &[Entry], which: impl Fn(&Entry) -> bool) -> Option<Intervals> {
        let mut intervals = Intervals::new(self.unknown);
        let mut from = 0;
        while let Some(entry) = entries
            .iter()
            .filter(|e| e.fd >= from && which(e))
            .min_by_key(|e| e.fd)
        {
            intervals.push(entry.fd, self.target(entry))?;
            from = entry.fd.saturating_add(1);
            intervals.push(from, self.unknown)?;
        }
        Some(intervals)
    }

    /// How the intervals are told apart by one comparison. `None`: there is one.
    fn split<'i>(&self, intervals: &'i [Interval]) -> Option<Split<'i>> {
        if let [outer, one, last] = intervals {
            let single = last.start == one.start.saturating_add(1);
            if single && outer.target == last.target {
                let (outer, one) = intervals.get(..2)?.split_at_checked(1)?;
                let in_vain = outer.first()?.target == self.missed;
                let (jump, fall, branch) = match in_vain {
                    true => (outer, one, Branch::Different),
                    false => (one, outer, Branch::Equal),
                };
                return Some(Split {
                    at: one.first()?.start,
                    branch,
                    jump,
                    fall,
                });
            }
        }
        let (left, right) = intervals.split_at_checked(intervals.len() / 2)?;
        let at = right.first()?.start;
        match left {
            [] => None,
            // A call in vain is to be cheap, so it is never left to the jump at the end.
            [one] if one.target == self.missed => Some(Split {
                at,
                branch: Branch::Below,
                jump: left,
                fall: right,
            }),
            _ => Some(Split {
                at,
                branch: Branch::AboveOrEqual,
                jump: right,
                fall: left,
            }),
        }
    }

    /// Most instructions that [`Choose::halve`] executes before a call is counted as one without a path.
    fn price(&self, intervals: &[Interval]) -> usize {
        let leaf = |intervals: &[Interval], steps| match intervals {
            [only] if only.target == self.missed => Some(steps),
            [_] => Some(0),
            _ => None,
        };
        match self.split(intervals) {
            None => leaf(intervals, 1).unwrap_or(0),
            Some(split) => {
                let jump = leaf(split.jump, 2);
                let jump = jump.unwrap_or_else(|| self.after(2, split.jump));
                jump.max(self.after(2, split.fall))
            }
        }
    }

    /// [`Choose::price`] after so many instructions; nothing if no call in vain ends there.
    fn after(&self, steps: usize, intervals: &[Interval]) -> usize {
        match self.price(intervals) {
            0 => 0,
            more => more.saturating_add(steps),
        }
    }

    fn halve(&self, m: &mut Masm<'_>, intervals: &[Interval]) {
        let Some(split) = self.split(intervals) else {
            if let [only] = intervals {
                m.go(only.target);
            }
            return;
        };
        m.compare_constant(FD, u64::from(split.at));
        let inner: Option<Label> = match split.jump {
            [_] => None,
            _ => Some(m.label()),
        };
        let target = match (inner, split.jump) {
            (None, [only]) => only.target,
            (Some(label), _) => label.into(),
            (None, _) => self.unknown,
        };
        match split.branch {
            Branch::Equal => m.equal(target),
            Branch::Different => m.different(target),
            Branch::Below => m.below(target),
            Branch::AboveOrEqual => m.above_or_equal(target),
        }
        self.halve(m, split.fall);
        if let Some(label) = inner {
            m.bind(label);
            self.halve(m, split.jump);
        }
    }
}

/// When a comparison of the descriptor with a number jumps.
#[derive(Clone, Copy)]
enum Branch {
    Equal,
    Different,
    Below,
    AboveOrEqual,
}

/// One comparison, and the intervals that are left either way.
struct Split<'i> {
    at: u32,
    branch: Branch,
    jump: &'i [Interval],
    fall: &'i [Interval],
}

/// Intervals in rising order that cover all numbers.
struct Intervals {
    list: [Interval; INTERVALS],
    len: usize,
}

impl Intervals {
    fn new(target: Dest) -> Self {
        Self {
            list: [Interval { start: 0, target }; INTERVALS],
            len: 1,
        }
    }

    /// From `start` on, which is at least the last start, numbers lead to `target`. `None`: there is no room.
    fn push(&mut self, start: u32, target: Dest) -> Option<()> {
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
            return Some(());
        }
        let place = self.list.get_mut(self.len)?;
        *place = Interval { start, target };
        self.len = self.len.saturating_add(1);
        Some(())
    }

    fn all(&self) -> &[Interval] {
        self.list.get(..self.len).unwrap_or(&[])
    }
}
