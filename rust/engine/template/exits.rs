// SPDX-License-Identifier: GPL-2.0

//! The ways out of a path on a pipe, and the routine that they have in common.
//!
//! ```text
//!  path     ...   jne pad of its exit
//!           pads  push number; jmp over the others            for each exit that holds the mutex
//!                 rdi = address of the path's data; jmp held
//!           pads  push number; jmp over the others            for each other exit
//!                 rdi = address of the path's data; jmp entered
//!  routine  entered   count; report; mark; jmp stock entry
//!           held      count; report; undo the copy; unlock; jmp to the end of the other
//! ```

use super::super::exit::{Exit, Exits, Undo};
use super::super::specs::{layout, pipe, Bail, Facts, Reason};
use super::super::target::Target;
use super::super::x86::buf::Label;
use super::super::x86::door::Door;
use super::super::x86::masm::{field, Masm, Profile};
use super::super::x86::regs::{
    COUNT, DATA, DEST, EXIT, FD, LEFT, OWNER, PIPE, RESULT, SOURCE, TASK, USER,
};
use super::{pipe_read, pipe_write, tail, PathData, PathKind};

/// What the guards undo that `write` and `read` have in common.
pub(super) const COMMON: &[Exit] = &[
    exit(Bail::SingleStep, Undo::Entered),
    exit(Bail::ExitWork, Undo::Entered),
    exit(Bail::Replaced, Undo::Object),
    exit(Bail::Watched, Undo::Entered),
    exit(Bail::Observed, Undo::Entered),
    exit(Bail::Sigio, Undo::Entered),
    exit(Bail::Count, Undo::Entered),
    exit(Bail::DeviceMemory, Undo::Memory),
    exit(Bail::MemoryChanged, Undo::Memory),
    exit(Bail::KernelAddress, Undo::Entered),
    exit(Bail::MutexTaken, Undo::Entered),
    exit(Bail::PageMissing, Undo::Copied),
    exit(Bail::ForeignBuffer, Undo::Locked),
];

/// An exit that is taken for this reason and undoes that.
pub(super) const fn exit(reason: Bail, undo: Undo) -> Exit {
    Exit { reason, undo }
}

impl PathKind {
    /// The exits of its paths.
    pub const fn exits(self) -> &'static Exits {
        match self {
            Self::PipeWrite => &pipe_write::EXITS,
            Self::PipeRead => &pipe_read::EXITS,
        }
    }

    /// Those exits that code for this machine can take: memory is looked at only where long copies are fast.
    pub fn exits_on(self, target: &Target) -> &'static [Exit] {
        let all = self.exits();
        let used = match target.erms {
            true => all.all().len(),
            false => all.first(Undo::Memory).into(),
        };
        all.all().get(..used).unwrap_or_default()
    }
}

/// Makes the pads of a path, and the ways from there to the exit routine of its kind.
pub(super) fn emit_pads(m: &mut Masm<'_>, kind: PathKind, data: PathData, routine: Entries) {
    let first = kind.exits().first(Undo::Entered);
    let exits = kind.exits_on(m.target()).split_at_checked(first.into());
    let (held, others) = exits.unwrap_or_default();
    for (first, exits, entry) in [(0, held, routine.held), (first, others, routine.entered)] {
        m.exit_pads(first, exits);
        m.address_of_data(DATA, data.0);
        m.go_external(entry);
    }
}

/// Addresses at which an exit routine is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// By exits that hold no mutex.
    pub entered: u64,
    /// By exits that hold the object's mutex ([`Undo::Locked`], [`Undo::Copied`]).
    pub held: u64,
}

/// An exit routine that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routine {
    /// Where it is entered.
    pub entries: Entries,
    /// Bytes up to the end of the last instruction.
    pub len: usize,
}

/// Places of a routine.
struct Places {
    held: Label,
    /// Nothing is left to undo but registers.
    plain: Label,
    /// The copy was complete, or has been undone.
    locked: Label,
    faults_left: Label,
    object: Label,
    /// The path goes on with its budget, or has reported itself.
    leave: Label,
}

/// Makes the exit routine of paths of `kind` into `out`, to be at address `base`. Unused bytes become `int3`.
///
/// It is entered by a jump with the number of the exit on the stack, the address of the path's data in [`DATA`], and everything else
/// as at the guard.
///
/// ```c
///     data->exits[number]++;
///     if (bailouts are traced) report(number, data);
///     switch (undo of number) {
///     held:
///     case COPIED:  if (--data->faults < 0) data->budget |= NEGATIVE;  rsi = the user's buffer;
///     case LOCKED:  pagefault_enable();  mutex_unlock(&pipe->mutex);  break;
///     entered:
///     case MEMORY:  if (--data->memory_left) break;
///     case OBJECT:  data->budget |= NEGATIVE;
///     case ENTERED:
///     }
///     restore registers;
///     if (--data->budget < 0) miss handler;
///     goto stock entry;
/// ```
///
/// # Errors
///
/// `SlotFull` if it does not fit, `Layout` if a fact does not fit the instruction that needs it or an address is out of reach.
pub fn emit_routine(
    profile: Profile,
    kind: PathKind,
    facts: &Facts,
    target: &Target,
    base: u64,
    out: &mut [u8; layout::EXIT_ROUTINE],
) -> Result<Routine, Reason> {
    let mut masm = Masm::new(target, profile, out, base);
    let entries = Entries {
        entered: base,
        held: emit_routine_into(&mut masm, kind, facts),
    };
    let len = masm.finish()?;
    Ok(Routine { entries, len })
}

/// Returns the address of the entry for exits that hold the mutex.
fn emit_routine_into(m: &mut Masm<'_>, kind: PathKind, facts: &Facts) -> u64 {
    let k = pipe::Known::new(facts);
    let (exits, writes) = (kind.exits(), kind == PathKind::PipeWrite);
    // No task's stack is entered here.
    let door = Door::new(facts, 0);
    let p = Places {
        held: m.label(),
        plain: m.label(),
        locked: m.label(),
        faults_left: m.label(),
        object: m.label(),
        leave: m.label(),
    };
    let data = |offset| field(DATA, offset);

    let report = count(m);
    m.compare_constant(EXIT, exits.first(Undo::Object).into());
    m.below(p.plain);
    if m.target().erms {
        m.equal(p.object);
        m.dec32(data(PathData::MEMORY_LEFT));
        m.different(p.plain);
    }
    m.bind_as(p.object, "object");
    m.mark_spent(data(PathData::BUDGET));
    m.bind_as(p.plain, "plain");
    if !writes {
        m.restore(USER);
    }
    m.restore(PIPE);
    m.restore(TASK);
    m.set(RESULT, u64::from(kind.syscall()));
    m.dec32(data(PathData::BUDGET));
    // A load leaves the flags as they are.
    m.load32(FD, data(PathData::FD));
    m.not_negative(p.leave);
    m.call(m.target().miss_thunk);
    m.bind_as(p.leave, "leave");
    m.leave_kernel(&door);
    m.exit_to_stock();
    report.emit(m);

    m.bind_as(p.held, "held");
    let report = count(m);
    m.compare_constant(EXIT, exits.first(Undo::Locked).into());
    m.above_or_equal(p.locked);
    m.dec32(data(PathData::FAULTS));
    m.not_negative(p.faults_left);
    m.mark_spent(data(PathData::BUDGET));
    m.bind_as(p.faults_left, "faults_left");
    if writes {
        // The copy moved the source by what it has done: count less rest.
        m.add_reg(SOURCE, LEFT);
        m.sub_reg(SOURCE, COUNT);
    }
    m.bind_as(p.locked, "locked");
    m.load64(OWNER, data(PathData::TASK));
    m.dec32(field(OWNER, k.pagefault_disabled));
    m.zero();
    m.unlock(field(PIPE, k.pipe_mutex_owner));
    m.equal(p.plain);
    // Somebody waits for the mutex: it is still held.
    m.save(DATA);
    m.save(SOURCE);
    m.copy_reg(DEST, PIPE);
    let side = if writes { tail::WRITER } else { 0 };
    m.set(SOURCE, u64::from(tail::UNLOCK | tail::NOTHING_ELSE | side));
    m.call(m.target().tail_thunk);
    m.restore(SOURCE);
    m.restore(DATA);
    m.go(p.plain);
    report.emit(m);
    m.address_of(p.held)
}

/// The way of exits that are reported.
struct Report {
    /// Somebody listens.
    wanted: Label,
    /// The exit has been reported, or nobody listens.
    done: Label,
}

/// Counts the exit whose number is on the stack, which goes to [`EXIT`]; it is reported if somebody listens.
fn count(m: &mut Masm<'_>) -> Report {
    let report = Report {
        wanted: m.label(),
        done: m.label(),
    };
    m.restore(EXIT);
    m.inc64_element(field(DATA, PathData::EXITS), EXIT);
    m.compare_zero32_at(m.target().bailouts_traced);
    m.different(report.wanted);
    m.bind_as(report.done, "counted");
    report
}

impl Report {
    fn emit(self, m: &mut Masm<'_>) {
        m.bind_as(self.wanted, "report");
        m.call(m.target().bail_thunk);
        m.go(self.done);
    }
}
