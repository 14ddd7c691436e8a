// SPDX-License-Identifier: GPL-2.0

//! Making code and taking it away: the life of slots.
//!
//! A slot is reserved, filled in scratch memory, written once, and poisoned with `int3` when
//! it is retired. It is written or poisoned only while no CPU can be inside it, which the
//! caller shows with a [`Quiesced`]. Retired slots are collected: once it was shown that nobody
//! is inside them, anybody may poison them, so that is left to a worker ([`Code::flush`]).

use crate::engine::arena::{Class, Slot};
use crate::engine::dispatch::{self, Entry, VectorPlan};
use crate::engine::specs::{layout, trap_vector, Reason};
use crate::engine::syscall::Call;
use crate::engine::template::exits::{self, Entries};
use crate::engine::template::memory::Seen;
use crate::engine::template::{self, Instance, PathData, PathKind};
use crate::engine::x86::masm::Profile;
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

// `rust/glue/arena.S` names the exit routines in this order.
const _: () = assert!(PathKind::PipeWrite as usize == 0 && PathKind::PipeRead as usize == 1);

/// As many slots as one batch of edits takes.
const BATCH: usize = c::SYNTHJIT_MAX_EDITS as usize;

/// All slots that exist.
const SLOTS: usize = layout::PATH_SLOTS + layout::VECTOR_SLOTS;

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
    /// Gives `p` a new vector for its paths and, if one is requested, one path more.
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
        let code = path.code;
        if p.paths.push(path, GFP_KERNEL).is_err() {
            self.release(code.slot);
            return Err(Reason::NoMemory);
        }
        let made = self.write(scratch, p, view, Some(code));
        if made.is_ok() {
            self.counters.synthesized = self.counters.synthesized.wrapping_add(1);
            glue::trace_synthesize(code.slot);
        } else {
            // It was not written and has no directory yet.
            p.paths.pop();
            self.release(code.slot);
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
        let made = self.emit_in(process, view, request, slot, scratch);
        if made.is_err() {
            self.release(slot);
        }
        made
    }

    /// Makes a path for a slot.
    fn emit_in(
        &self,
        (tgid, memory): (i32, Seen),
        view: &View,
        request: CompileRequest,
        slot: Slot,
        scratch: &mut Scratch,
    ) -> Result<Path, Reason> {
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let instance = Instance {
            fd: request.fd,
            task: view.task,
            kernel_stack: view.kernel_stack,
            files: view.files,
            file_mode: request.seen.f_mode,
            data: machine.data(slot),
            memory_changes: view.mm.wrapping_add(machine.facts.mm_lock_seq),
            exit: machine.exits_of(request.kind)?,
        };
        let (kind, facts, target) = (request.kind, &machine.facts, &machine.target);
        let base = machine.address(slot);
        let code = template::emit(kind, facts, &instance, target, base, &mut scratch.path)?;
        let mut made = Made {
            fd: request.fd,
            call: request.call.number(),
            ino: request.seen.ino,
            ..glue::made(kind.spec().name, tgid, base, code.len)
        };
        for (place, exit) in made.exits.iter_mut().zip(kind.exits().all()) {
            // CAST: reasons are few.
            *place = exit.reason as u8;
        }
        glue::slot_made(slot, &made);
        glue::begin_path(slot.index(), request.fd, view.task);
        worth::begin_path(slot.index());
        glue::note_memory(slot.index(), memory.anew());
        Ok(Path {
            kind,
            call: request.call,
            fd: request.fd,
            instance,
            code: Used {
                slot,
                len: code.len,
            },
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
        path: Option<Used>,
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
        if let Some(used) = path {
            let code = scratch.path.get(..used.len).unwrap_or(&scratch.path);
            edits.add(Edit::Code(machine.address(used.slot), code));
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

    /// Retires the vector of `p`.
    pub(crate) fn retire_vector(&mut self, p: &mut Process, quiesced: &Quiesced) {
        if let Some(old) = p.vector.take() {
            worth::settle_vector(p, old.slot.index());
            self.retire(old, quiesced);
        }
    }

    /// Retires the code of `path`, which no vector enters any more.
    pub(crate) fn retire_path(&mut self, path: &Path, reason: Reason, quiesced: &Quiesced) {
        glue::trace_retire(path.code.slot, reason);
        self.retire(path.code, quiesced);
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
        };
        first.wrapping_add(slot.offset() as u64)
    }

    /// The data of a path in that slot. CAST: slots are few.
    fn data(&self, slot: Slot) -> PathData {
        let offset = (slot.index() as u64).wrapping_mul(PathData::SIZE);
        PathData(self.arrays.path_data.wrapping_add(offset))
    }

    /// The exit routine of a kind of path.
    fn exits_of(&self, kind: PathKind) -> Result<Entries, Reason> {
        let entries = self.exits.get(kind as usize).copied();
        entries.ok_or(Reason::Layout)
    }

    /// Writes the exit routines, which stay as long as the module.
    ///
    /// # Errors
    ///
    /// Those of [`exits::emit_routine`]; `NoMemory`: it was not written.
    pub(crate) fn write_exits(&mut self) -> Result<(), Reason> {
        let available = PathKind::ALL.iter().filter(|kind| kind.spec().available);
        for kind in available {
            let mut out = [0; layout::EXIT_ROUTINE];
            let size = layout::EXIT_ROUTINE as u64;
            let base = self
                .arrays
                .exits
                .wrapping_add((*kind as u64).wrapping_mul(size));
            let (facts, target) = (&self.facts, &self.target);
            let made = exits::emit_routine(Profile::Kernel, *kind, facts, target, base, &mut out)?;
            let place = self.exits.get_mut(*kind as usize);
            *place.ok_or(Reason::Layout)? = made.entries;
            let mut edits = Edits::new();
            edits.add(Edit::Code(base, out.get(..made.len).unwrap_or(&out)));
            edits.make().map_err(|_| Reason::NoMemory)?;
        }
        Ok(())
    }

    /// Address of the budget of a vector. CAST: slots are few.
    fn misses_of(&self, slot: Slot) -> u64 {
        let offset = (slot.index() as u64).wrapping_mul(4);
        self.arrays.misses.wrapping_add(offset)
    }
}
