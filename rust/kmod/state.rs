// SPDX-License-Identifier: GPL-2.0

//! What the module knows: the machine, the attached processes, their code.
//!
//! Locks, outermost first:
//!
//! 1. [`CHANGE`]: held by whoever adds or removes processes, paths and their directories.
//!    Files of per-process directories never take it, so directories are removed under it.
//! 2. [`STATE`]: the data. Held for short, but text is written under it (it may sleep).

use crate::engine::account::Account;
use crate::engine::arena::Arena;
use crate::engine::backoff::Backoff;
use crate::engine::lifecycle::State as Life;
use crate::engine::negative::NegativeCache;
use crate::engine::specs::{layout, Arrays, Bail, Facts, Reason};
use crate::engine::syscall::Call;
use crate::engine::target::Target;
use crate::engine::template::exits::Entries;
use crate::engine::template::memory::Seen;
use crate::engine::template::{Instance, PathKind};
use crate::engine::worth;
use crate::glue::{self, Dir, Task};
use crate::synth::{Retired, Scratch, Used};
use kernel::prelude::*;
use kernel::sync::Arc;

kernel::sync::global_lock! {
    // SAFETY: Initialised first thing at load.
    pub(crate) unsafe(uninit) static CHANGE: Mutex<()> = ();
}

kernel::sync::global_lock! {
    // SAFETY: Initialised first thing at load.
    pub(crate) unsafe(uninit) static STATE: Mutex<State> = State::new();
}

/// A path that is live for one descriptor and call.
pub(crate) struct Path {
    pub(crate) kind: PathKind,
    pub(crate) call: Call,
    pub(crate) fd: u32,
    /// What it was made for.
    pub(crate) instance: Instance,
    pub(crate) code: Used,
    /// Kernel address at which the vector enters it.
    pub(crate) entry: u64,
    /// Calls that it had served when it was judged last.
    pub(crate) judged_hits: u64,
    /// `None` until [`crate::tidy`] has made the directory.
    pub(crate) dir: Option<Dir>,
}

/// What paths of one call did.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    /// Calls that they did themselves.
    pub(crate) hits: u64,
    /// Their exits, by the number of the reason.
    bails: [u64; Bail::ALL.len()],
}

impl Tally {
    const fn new() -> Self {
        Self {
            hits: 0,
            bails: [0; Bail::ALL.len()],
        }
    }

    /// Why exits were taken, and how often.
    pub(crate) fn bails(&self) -> impl Iterator<Item = (Bail, u64)> + '_ {
        let counts = Bail::ALL.iter().copied().zip(self.bails);
        counts.filter(|(_, count)| *count != 0)
    }
}

/// What the paths of a process did.
#[derive(Clone, Copy)]
pub(crate) struct Tallies {
    pub(crate) read: Tally,
    pub(crate) write: Tally,
}

impl Tallies {
    pub(crate) const fn new() -> Self {
        Self {
            read: Tally::new(),
            write: Tally::new(),
        }
    }

    /// Adds what `path` has counted, which has served so many calls.
    pub(crate) fn add(&mut self, path: &Path, hits: u64) {
        let tally = match path.call {
            Call::Read => &mut self.read,
            Call::Write => &mut self.write,
        };
        tally.hits = tally.hits.wrapping_add(hits);
        for (bail, count) in path.exits() {
            if let Some(sum) = tally.bails.get_mut(bail as usize) {
                *sum = sum.wrapping_add(count);
            }
        }
    }
}

impl Path {
    /// What it has counted.
    pub(crate) fn counts(&self) -> glue::Counts {
        glue::counts(self.code.slot.index())
    }

    /// Calls that it served.
    pub(crate) fn hits(&self) -> u64 {
        self.counts().hits
    }

    /// Exits that were taken since its budget was filled last.
    pub(crate) fn bailed(&self) -> u64 {
        worth::used(worth::BAILS, self.counts().budget)
    }

    /// Why exits were taken, and how often.
    pub(crate) fn exits(&self) -> impl Iterator<Item = (Bail, u64)> + '_ {
        let exits = self.kind.exits().all().iter().zip(0u8..);
        let slot = self.code.slot.index();
        exits.map(move |(exit, number)| (exit.reason, glue::exit_count(slot, number)))
    }

    /// How often it bailed out.
    pub(crate) fn bailouts(&self) -> u64 {
        let counts = self.exits().map(|(_, count)| count);
        counts.fold(0, u64::wrapping_add)
    }
}

/// A process that ended while it was attached.
#[derive(Clone, Copy)]
pub(crate) struct Exited {
    pub(crate) tgid: i32,
    pub(crate) did: Tallies,
}

/// Processes that are remembered after their end.
const EXITED: usize = 32;

/// The last processes that ended, for who waits for one.
pub(crate) struct Ends {
    list: [Option<Exited>; EXITED],
    next: usize,
}

impl Ends {
    const fn new() -> Self {
        Self {
            list: [None; EXITED],
            next: 0,
        }
    }

    /// Remembers one and forgets the oldest.
    pub(crate) fn add(&mut self, exited: Exited) {
        if let Some(place) = self.list.get_mut(self.next) {
            *place = Some(exited);
        }
        self.next = self.next.wrapping_add(1) % EXITED;
    }

    pub(crate) fn latest_first(&self) -> impl Iterator<Item = &Exited> {
        (1..=EXITED).filter_map(|back| {
            let at = self.next.wrapping_add(EXITED).wrapping_sub(back) % EXITED;
            self.list.get(at)?.as_ref()
        })
    }
}

/// One attached process.
pub(crate) struct Process {
    pub(crate) tgid: i32,
    pub(crate) enabled: bool,
    pub(crate) life: Life,
    pub(crate) vector: Option<Used>,
    pub(crate) paths: KVec<Path>,
    /// The vector is not what paths and negative cache ask for any more.
    pub(crate) stale: bool,
    pub(crate) negatives: NegativeCache,
    /// What it costs to be attached.
    pub(crate) account: Account,
    /// What was done by paths that it has no more.
    pub(crate) did: Tallies,
    /// Calls that paths had served when the vector was judged last.
    pub(crate) judged_hits: u64,
    /// When descriptors are forgotten that are found to have no path now, in milliseconds since boot.
    pub(crate) forget_at: u64,
    /// Penalty for assumptions that break, and for a vector that is not worth its cost.
    pub(crate) broken: Backoff,
    /// Penalty for looking at descriptors without a path again.
    pub(crate) fruitless: Backoff,
    /// What the last look at its memory found.
    pub(crate) memory: Seen,
    /// Penalty for paths that are not worth their cost.
    pub(crate) in_vain: Backoff,
    /// When specialization may be tried again after a break.
    pub(crate) not_before: u64,
    /// When a work was last asked for, in milliseconds since boot.
    pub(crate) wakes_at: u64,
    pub(crate) dir: Option<Arc<Dir>>,
    pub(crate) task: Task,
}

impl Process {
    /// Calls that paths of it have served since it was attached.
    pub(crate) fn hits(&self) -> u64 {
        let gone = self.did.read.hits.wrapping_add(self.did.write.hits);
        let live = self.paths.iter().map(Path::hits);
        live.fold(gone, u64::wrapping_add)
    }
}

/// Counters, in the order of [`crate::sysfs::STAT_NAMES`] where they appear there.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) synthesized: u64,
    pub(crate) retired: u64,
    /// Of paths that are gone, and of others before their budget was filled last.
    pub(crate) bailouts: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
}

/// What was found out about the machine at load.
pub(crate) struct Machine {
    pub(crate) facts: Facts,
    pub(crate) target: Target,
    pub(crate) arrays: Arrays,
    /// The exit routine of each kind of path, once it was written.
    pub(crate) exits: [Entries; layout::EXIT_ROUTINES],
}

/// The arena and what is needed to fill it.
pub(crate) struct Code {
    pub(crate) machine: Option<Machine>,
    pub(crate) arena: Arena,
    pub(crate) counters: Counters,
    /// Slots that are to be poisoned.
    pub(crate) retired: Retired,
    /// `None` while it is in use, and before a platform was found good.
    pub(crate) scratch: Option<KBox<Scratch>>,
}

/// Everything, under [`STATE`].
pub(crate) struct State {
    /// `Reason::None`: vectors can be used.
    pub(crate) platform: Reason,
    pub(crate) enabled: bool,
    pub(crate) processes: KVec<KBox<Process>>,
    pub(crate) exited: Ends,
    pub(crate) code: Code,
}

impl State {
    const fn new() -> Self {
        Self {
            platform: Reason::None,
            enabled: true,
            processes: KVec::new(),
            exited: Ends::new(),
            code: Code {
                machine: None,
                arena: Arena::new(),
                counters: Counters {
                    synthesized: 0,
                    retired: 0,
                    bailouts: 0,
                    refused: 0,
                    dropped: 0,
                },
                retired: Retired::new(),
                scratch: None,
            },
        }
    }

    /// Exits of paths since load.
    pub(crate) fn bailouts(&self) -> u64 {
        let paths = self.processes.iter().flat_map(|p| &p.paths);
        let live = paths.map(Path::bailed);
        live.fold(self.code.counters.bailouts, u64::wrapping_add)
    }

    /// The attached process `tgid`.
    pub(crate) fn process(&self, tgid: i32) -> Option<&Process> {
        self.processes.iter().find(|p| p.tgid == tgid).map(|p| &**p)
    }
}
