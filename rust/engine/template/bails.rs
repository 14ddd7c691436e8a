// SPDX-License-Identifier: GPL-2.0

//! Why a path gives a call back, counted.
//!
//! On request each guard leads to a stub of its own, which adds one to a counter and goes on to where the guard would have
//! led. A stub changes the flags and nothing else, and no exit reads them. Stubs lie in a slot of their own: the path's is
//! full, and has the same instructions and the same size with and without.
//!
//! ```text
//!  slot  0        stub of the spec's first bail-out
//!        STUB     stub of the second ...
//!        ...      which of three words was not zero, where one guard looks at all of them
//!        ...      why memory is not known to be fast
//!        ...      int3
//! ```

use super::super::specs::{layout, Bail, Facts, Reason};
use super::super::target::Target;
use super::super::x86::buf::{Dest, Label};
use super::super::x86::masm::{Masm, Profile};
use super::memory::Memory;
use super::{pipe, PathCode, PathKind};

/// Bytes of a stub: `inc qword [rip + counter]` and `jmp exit`.
const STUB: u8 = 12;
/// Stubs in whose place the code is that finds out which of three words it was.
const OF_THREE: u8 = 3;
/// Bytes of a counter.
const COUNTER: u64 = 8;

/// Where a path counts why it gives calls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BailCounts {
    /// Address of the slot of its stubs, [`layout::STUB_SLOT`] bytes.
    pub stubs: u64,
    /// Address of its 64-bit counters, one for each of [`Bail::ALL`].
    pub counters: u64,
}

impl BailCounts {
    /// Address of the stub of `bail` for a path of `kind`; behind all of them if it has none.
    pub fn stub(&self, kind: PathKind, bail: Bail) -> u64 {
        self.at(number(kind, bail))
    }

    /// Address of what finds out which of three words it was.
    pub fn of_three(&self, kind: PathKind) -> u64 {
        self.at(stubs(kind))
    }

    /// Address of what finds out why memory is not known to be fast.
    pub fn of_memory(&self, kind: PathKind) -> u64 {
        self.at(stubs(kind).saturating_add(OF_THREE))
    }

    fn at(&self, number: u8) -> u64 {
        let offset = u64::from(number).wrapping_mul(u64::from(STUB));
        self.stubs.wrapping_add(offset)
    }

    /// Address of the counter of `bail`.
    fn counter(&self, bail: Bail) -> u64 {
        self.counters
            .wrapping_add((bail as u64).wrapping_mul(COUNTER))
    }
}

/// The places that give a call back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exits<T> {
    /// The mutex is not held.
    pub bail: T,
    /// The same, and the descriptor is looked at: another object is there now.
    pub changed: T,
    /// The same, now and then: the process's memory is looked at.
    pub memory: T,
    /// The mutex is held.
    pub bail_locked: T,
    /// The mutex is held, and a copy is incomplete.
    pub fault: T,
}

/// Found before the mutex is taken.
const NOT_LOCKED: [Bail; 10] = [
    Bail::SingleStep,
    Bail::ExitWork,
    Bail::Watched,
    Bail::Observed,
    Bail::Sigio,
    Bail::Count,
    Bail::KernelAddress,
    Bail::PacketMode,
    Bail::ReaderWaits,
    Bail::MutexTaken,
];

impl<T: Copy> Exits<T> {
    /// Where a guard leads.
    fn of(&self, bail: Bail) -> T {
        match bail {
            Bail::Replaced => self.changed,
            Bail::DeviceMemory | Bail::MemoryChanged => self.memory,
            Bail::PageMissing => self.fault,
            _ if NOT_LOCKED.contains(&bail) => self.bail,
            _ => self.bail_locked,
        }
    }
}

/// What the guards of one path refer to: exits, or stubs in their place. A table, since making a path is part of what the first
/// call costs.
pub(super) struct Guards {
    labels: [Label; Bail::ALL.len()],
    of_three: Label,
    of_memory: Label,
}

impl Guards {
    /// For a path of `kind` that counts there, or does not.
    pub(super) fn new(
        m: &mut Masm<'_>,
        kind: PathKind,
        counts: Option<&BailCounts>,
        exits: &Exits<Label>,
    ) -> Self {
        match counts {
            Some(counts) => Self::to_stubs(m, kind, counts, exits),
            None => Self::to_exits(exits),
        }
    }

    fn to_exits(exits: &Exits<Label>) -> Self {
        let mut labels = [exits.bail_locked; Bail::ALL.len()];
        let others = [
            (Bail::Replaced, exits.changed),
            (Bail::DeviceMemory, exits.memory),
            (Bail::MemoryChanged, exits.memory),
            (Bail::PageMissing, exits.fault),
        ];
        let not_locked = NOT_LOCKED.into_iter().map(|bail| (bail, exits.bail));
        for (bail, exit) in not_locked.chain(others) {
            if let Some(place) = labels.get_mut(bail as usize) {
                *place = exit;
            }
        }
        Self {
            labels,
            of_three: exits.bail,
            of_memory: exits.memory,
        }
    }

    #[cold]
    fn to_stubs(
        m: &mut Masm<'_>,
        kind: PathKind,
        counts: &BailCounts,
        exits: &Exits<Label>,
    ) -> Self {
        m.set_row(counts.stubs, STUB);
        let mut guards = Self::to_exits(exits);
        for bail in kind.spec().bails {
            if let Some(place) = guards.labels.get_mut(*bail as usize) {
                *place = Label::in_row(number(kind, *bail));
            }
        }
        guards.of_three = Label::in_row(stubs(kind));
        guards.of_memory = Label::in_row(stubs(kind).saturating_add(OF_THREE));
        guards
    }

    /// Where a guard leads that gives the call back for this reason.
    #[inline(always)]
    pub(super) fn bail(&self, bail: Bail) -> Dest {
        let label = self.labels.get(bail as usize);
        label.copied().unwrap_or(self.of_three).into()
    }

    /// Where the guard leads that looks at three words at a time.
    pub(super) fn of_three(&self) -> Dest {
        self.of_three.into()
    }

    /// Where the guard leads that wants the memory to be known.
    pub(super) fn of_memory(&self) -> Dest {
        self.of_memory.into()
    }
}

/// Number of the stub of `bail` in the slot; behind all of them if a path of `kind` has none.
fn number(kind: PathKind, bail: Bail) -> u8 {
    let bails = kind.spec().bails.iter().zip(0u8..);
    bails
        .filter(|(b, _)| **b == bail)
        .map(|(_, number)| number)
        .next()
        .unwrap_or(stubs(kind))
}

/// Stubs of a path of `kind`. CAST: A slot has room for few.
fn stubs(kind: PathKind) -> u8 {
    kind.spec().bails.len() as u8
}

/// Makes the stubs of a path that was made as `code`, into the slot that `counts` names. Unused bytes become `int3`. Returns
/// the length.
///
/// # Errors
///
/// `SlotFull` if they do not fit the slot, `Layout` if an address is out of reach of it.
#[cold]
#[inline(never)]
pub fn emit(
    kind: PathKind,
    facts: &Facts,
    (counts, memory): (&BailCounts, Memory),
    target: &Target,
    code: &PathCode,
    out: &mut [u8; layout::STUB_SLOT],
) -> Result<usize, Reason> {
    // A stub does nothing that only a kernel may.
    let mut m = Masm::new(target, Profile::Kernel, out, counts.stubs);
    for bail in kind.spec().bails {
        if m.address() != counts.stub(kind, *bail) {
            return Err(Reason::Layout);
        }
        if matches!(bail, Bail::DeviceMemory | Bail::MemoryChanged) && !target.erms {
            m.poison_to(m.address().wrapping_add(STUB.into()));
            continue;
        }
        m.count_own(counts.counter(*bail));
        m.go(Dest::External(code.exits.of(*bail)));
    }
    pipe::tell_of_three(&mut m, kind, facts, |bail| {
        Dest::External(counts.stub(kind, bail))
    });
    if target.erms {
        m.poison_to(counts.of_memory(kind));
        pipe::tell_of_memory(&mut m, memory, |bail| {
            Dest::External(counts.stub(kind, bail))
        });
    }
    m.finish()
}
