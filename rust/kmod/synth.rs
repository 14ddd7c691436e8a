// SPDX-License-Identifier: GPL-2.0

//! Making code and taking it away: the life of slots.
//!
//! A slot is reserved, filled in scratch memory, written once, and poisoned with `int3` when
//! it is retired. It is written or poisoned only while no CPU can be inside it, which the
//! caller shows with a [`Quiesced`]. Retired slots are collected: once it was shown that nobody
//! is inside them, anybody may poison them, so that is left to a worker ([`Code::flush`]).

use crate::engine::arena::{Class, Slot};
use crate::engine::dispatch::{self, Entry, VectorPlan};
use crate::engine::specs::{layout, trap_vector, Bail, Reason};
use crate::engine::syscall::Call;
use crate::engine::template::bails::{self, BailCounts};
use crate::engine::template::memory::{Memory, Seen};
use crate::engine::template::{self, Counts, Instance, PathKind};
use crate::glue::{self, c, Edit, Edits, FdView, Made, Quiesced, View};
use crate::state::{Code, Machine, Path, Process};
use crate::worth;
use kernel::prelude::*;

/// A path that is to be compiled.
pub(crate) struct CompileRequest {
    pub(crate) kind: PathKind,
    pub(crate) call: Call,
    pub(crate) fd: u32,
    pub(crate) seen: FdView,
}

/// Where code is made before it is written to its slot. Not on the stack, which is short.
pub(crate) struct Scratch {
    path: [u8; layout::PATH_SLOT],
    vector: [u8; layout::VECTOR_SLOT],
    stubs: [u8; layout::STUB_SLOT],
    write: List,
    read: List,
}

/// What a vector has to know for one call.
struct List {
    entries: [Entry; ENTRIES],
    len: usize,
}

/// Most entries of a list. A vector has no room for so many.
const ENTRIES: usize = 64;

impl List {
    const fn new() -> Self {
        let nothing = Entry {
            fd: 0,
            target: None,
        };
        Self {
            entries: [nothing; ENTRIES],
            len: 0,
        }
    }

    fn add(&mut self, fd: u32, target: Option<u64>) -> Result<(), Reason> {
        let place = self.entries.get_mut(self.len);
        *place.ok_or(Reason::TooManyDescriptors)? = Entry { fd, target };
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// Fills it with what `p` has: paths, and with `all` those that are known to have none.
    fn fill(&mut self, p: &Process, call: Call, all: bool) -> Result<&[Entry], Reason> {
        self.len = 0;
        for path in p.paths.iter().filter(|x| x.call == call) {
            self.add(path.fd, Some(path.entry))?;
        }
        let negatives = p.negatives.entries().iter();
        for negative in negatives.filter(|x| all && x.call == call) {
            self.add(negative.fd, None)?;
        }
        Ok(self.entries.get(..self.len).unwrap_or_default())
    }
}

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self {
            path: [0; layout::PATH_SLOT],
            vector: [0; layout::VECTOR_SLOT],
            stubs: [0; layout::STUB_SLOT],
            write: List::new(),
            read: List::new(),
        }
    }
}

/// A slot in use, and how many of its bytes are.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) slot: Slot,
    pub(crate) len: usize,
}

/// The slots of one path.
struct Pieces {
    code: Used,
    stubs: Option<Used>,
}

/// As many slots as one batch of edits takes.
const BATCH: usize = c::SYNTHJIT_MAX_EDITS as usize;

/// All slots that exist.
const SLOTS: usize = layout::PATH_SLOTS + layout::VECTOR_SLOTS + layout::STUB_SLOTS;

/// Retired slots that still hold code. There is room for all that exist, since poisoning needs memory and may have to wait.
pub(crate) struct Retired {
    list: [Option<Used>; SLOTS],
    count: usize,
}

impl Retired {
    pub(crate) const fn new() -> Self {
        Self {
            list: [None; SLOTS],
            count: 0,
        }
    }

    fn push(&mut self, used: Used) {
        // Each slot is retired once between being reserved and released.
        if let Some(place) = self.list.get_mut(self.count) {
            *place = Some(used);
            self.count = self.count.wrapping_add(1);
        }
    }

    /// Where the last batch of the list begins.
    fn last(&self) -> usize {
        self.count.saturating_sub(BATCH)
    }

    fn pop(&mut self) -> Option<Used> {
        self.count = self.count.checked_sub(1)?;
        self.list.get_mut(self.count)?.take()
    }
}

impl Code {
    /// Gives `p` a new vector for its paths and, if there is an request, one path more.
    /// Returns the address of the vector; the older one is retired.
    ///
    /// # Errors
    ///
    /// A reason; the process then has the paths it had before, and no vector.
    pub(crate) fn rebuild(
        &mut self,
        p: &mut Process,
        view: &View,
        request: Option<CompileRequest>,
        quiesced: &Quiesced,
    ) -> Result<u64, Reason> {
        let mut scratch = self.scratch.take().ok_or(Reason::NoMemory)?;
        let made = self.rebuild_in(&mut scratch, p, view, request, quiesced);
        self.scratch = Some(scratch);
        made
    }

    fn rebuild_in(
        &mut self,
        scratch: &mut Scratch,
        p: &mut Process,
        view: &View,
        request: Option<CompileRequest>,
        quiesced: &Quiesced,
    ) -> Result<u64, Reason> {
        self.retire_vector(p, quiesced);
        let Some(request) = request else {
            return self.write(scratch, p, view, None);
        };
        let path = self.emit_path((p.tgid, p.memory), view, request, scratch)?;
        let pieces = Pieces {
            code: path.code,
            stubs: path.stubs,
        };
        if p.paths.push(path, GFP_KERNEL).is_err() {
            self.release_pieces(&pieces);
            return Err(Reason::NoMemory);
        }
        let made = self.write(scratch, p, view, Some(&pieces));
        if made.is_ok() {
            self.counters.synthesized = self.counters.synthesized.wrapping_add(1);
            glue::trace_synthesize(pieces.code.slot);
        } else {
            // It was not written and has no directory yet.
            p.paths.pop();
            self.release_pieces(&pieces);
        }
        made
    }

    fn emit_path(
        &mut self,
        process: (i32, Seen),
        view: &View,
        request: CompileRequest,
        scratch: &mut Scratch,
    ) -> Result<Path, Reason> {
        let slot = self.arena.reserve(Class::Path)?;
        // Without room for stubs the path does all but tell why it gives calls back.
        let stubs = match self.profile {
            true => self.arena.reserve(Class::Stubs).ok(),
            false => None,
        };
        let made = self.emit_in(process, view, request, (slot, stubs), scratch);
        if made.is_err() {
            self.release(slot);
            if let Some(stubs) = stubs {
                self.release(stubs);
            }
        }
        made
    }

    /// Makes a path for a slot, and its stubs for theirs.
    fn emit_in(
        &self,
        (tgid, memory): (i32, Seen),
        view: &View,
        request: CompileRequest,
        (slot, stubs): (Slot, Option<Slot>),
        scratch: &mut Scratch,
    ) -> Result<Path, Reason> {
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let counts = stubs.map(|slot| machine.bail_counts(slot));
        let instance = Instance {
            fd: request.fd,
            task: view.task,
            kernel_stack: view.kernel_stack,
            files: view.files,
            file_mode: request.seen.f_mode,
            counts: machine.counts_of(slot),
            report_bails: glue::bailouts_traced(),
            bails: counts,
            memory: machine.memory(view, slot),
        };
        let (kind, facts, target) = (request.kind, &machine.facts, &machine.target);
        let base = machine.address(slot);
        let code = template::emit(kind, facts, &instance, target, base, &mut scratch.path)?;
        let made = |slot, code, len| {
            let made = Made {
                fd: request.fd,
                call: request.call.number(),
                ino: request.seen.ino,
                ..glue::made(kind.spec().name, tgid, code, len)
            };
            glue::slot_made(slot, &made);
            Used { slot, len }
        };
        let stubs = match stubs.zip(counts) {
            Some((slot, counts)) => {
                let out = &mut scratch.stubs;
                let len = bails::emit(kind, facts, (&counts, instance.memory), target, &code, out)?;
                glue::clear_bail_counts(slot.index());
                Some(made(slot, counts.stubs, len))
            }
            None => None,
        };
        worth::begin_path(slot.index());
        glue::note_memory(slot.index(), memory.anew());
        Ok(Path {
            kind,
            call: request.call,
            fd: request.fd,
            instance,
            code: made(slot, base, code.len),
            stubs,
            judged_hits: 0,
            entry: code.entry,
            dir: None,
        })
    }

    /// Writes a path, if it is given, and a vector, in one batch.
    fn write(
        &mut self,
        scratch: &mut Scratch,
        p: &mut Process,
        view: &View,
        path: Option<&Pieces>,
    ) -> Result<u64, Reason> {
        let slot = self.arena.reserve(Class::Vector)?;
        let len = match self.emit_vector(p, view, slot, scratch) {
            Ok(len) => len,
            Err(reason) => {
                self.release(slot);
                return Err(reason);
            }
        };
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let addr = machine.address(slot);
        glue::slot_made(slot, &glue::made(trap_vector::SPEC.name, p.tgid, addr, len));
        let mut edits = Edits::new();
        if let Some(path) = path {
            let used = path.code;
            let code = scratch.path.get(..used.len).unwrap_or(&scratch.path);
            edits.add(Edit::Code(machine.address(used.slot), code));
            if let Some(used) = path.stubs {
                let code = scratch.stubs.get(..used.len).unwrap_or(&scratch.stubs);
                edits.add(Edit::Code(machine.address(used.slot), code));
            }
        }
        let code = scratch.vector.get(..len).unwrap_or(&scratch.vector);
        edits.add(Edit::Code(addr, code));
        match edits.make() {
            Ok(()) => {
                worth::begin_vector(slot.index());
                p.vector = Some(Used { slot, len });
                p.stale = false;
                glue::tidy_soon();
                Ok(addr)
            }
            Err(_) => {
                self.release(slot);
                Err(Reason::NoMemory)
            }
        }
    }

    /// A vector that knows all descriptors of `p`. If they are too many it knows those with
    /// a path only, and does not report misses, since it would meet the others again and again.
    fn emit_vector(
        &self,
        p: &Process,
        view: &View,
        slot: Slot,
        scratch: &mut Scratch,
    ) -> Result<usize, Reason> {
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let mut report = !p.negatives.is_full();
        loop {
            let plan = VectorPlan {
                report,
                budget: machine.misses_of(slot),
                write: scratch.write.fill(p, Call::Write, report)?,
                read: scratch.read.fill(p, Call::Read, report)?,
            };
            let base = machine.address(slot);
            let (stack, out) = (view.kernel_stack, &mut scratch.vector);
            match dispatch::emit(&plan, &machine.facts, &machine.target, base, stack, out) {
                Err(Reason::TooManyDescriptors) if report => report = false,
                other => return other,
            }
        }
    }

    /// Takes the vector of `p` away.
    pub(crate) fn retire_vector(&mut self, p: &mut Process, quiesced: &Quiesced) {
        if let Some(old) = p.vector.take() {
            worth::settle_vector(p, old.slot.index());
            self.retire(old, quiesced);
        }
    }

    /// Takes the code of `path` away, which no vector enters any more.
    pub(crate) fn retire_path(&mut self, path: &Path, reason: Reason, quiesced: &Quiesced) {
        glue::trace_retire(path.code.slot, reason);
        self.retire(path.code, quiesced);
        if let Some(stubs) = path.stubs {
            self.retire(stubs, quiesced);
        }
        self.counters.retired = self.counters.retired.wrapping_add(1);
    }

    fn retire(&mut self, used: Used, _: &Quiesced) {
        if self.retired.count >= BATCH {
            self.flush();
        }
        self.retired.push(used);
        glue::tidy_soon();
    }

    /// Poisons and frees what was retired, in as many batches as it takes.
    pub(crate) fn flush(&mut self) {
        while self.retired.count > 0 {
            let Some(machine) = self.machine.as_ref() else {
                return;
            };
            let first = self.retired.last();
            let batch = self.retired.list.get(first..).unwrap_or_default();
            let mut edits = Edits::new();
            for used in batch.iter().flatten() {
                edits.add(Edit::Poison(machine.address(used.slot), used.len));
            }
            if edits.make().is_err() {
                pr_err!("retired code could not be poisoned yet\n");
                return;
            }
            while self.retired.count > first {
                let Some(used) = self.retired.pop() else {
                    return;
                };
                self.release(used.slot);
            }
        }
    }

    fn release_pieces(&mut self, pieces: &Pieces) {
        self.release(pieces.code.slot);
        if let Some(stubs) = pieces.stubs {
            self.release(stubs.slot);
        }
    }

    fn release(&mut self, slot: Slot) {
        if self.arena.release(slot).is_err() {
            pr_err!("a slot was released twice\n");
        }
    }
}

impl Machine {
    /// Address of a slot. CAST: offsets are small.
    pub(crate) fn address(&self, slot: Slot) -> u64 {
        let first = match slot.class() {
            Class::Path => self.arrays.paths,
            Class::Vector => self.arrays.vectors,
            Class::Stubs => self.arrays.stubs,
        };
        first.wrapping_add(slot.offset() as u64)
    }

    /// Where a path counts whose stubs are in that slot. CAST: Slots and reasons are few.
    fn bail_counts(&self, stubs: Slot) -> BailCounts {
        let of_slot = (Bail::ALL.len() as u64).wrapping_mul(8);
        let offset = (stubs.index() as u64).wrapping_mul(of_slot);
        BailCounts {
            stubs: self.address(stubs),
            counters: self.arrays.bails.wrapping_add(offset),
        }
    }

    /// What a path compares in that slot before a long copy. CAST: slots are few.
    fn memory(&self, view: &View, slot: Slot) -> Memory {
        const NOTED: u64 = core::mem::size_of::<glue::c::synthjit_memory>() as u64;
        let offset = (slot.index() as u64).wrapping_mul(NOTED);
        Memory {
            changes: view.mm.wrapping_add(self.facts.mm_lock_seq),
            noted: self.arrays.memory.wrapping_add(offset),
        }
    }

    /// Where a path counts. CAST: slots are few.
    fn counts_of(&self, slot: Slot) -> Counts {
        let offset = (slot.index() as u64).wrapping_mul(Counts::SIZE);
        Counts(self.arrays.counts.wrapping_add(offset))
    }

    /// Address of the budget of a vector. CAST: slots are few.
    fn misses_of(&self, slot: Slot) -> u64 {
        let offset = (slot.index() as u64).wrapping_mul(4);
        self.arrays.misses.wrapping_add(offset)
    }
}
