// SPDX-License-Identifier: GPL-2.0

//! Making code and taking it away: the life of slots.
//!
//! A slot is reserved, filled in scratch memory, written once, and poisoned with `int3` when
//! it is retired. It is written or poisoned only while no CPU can be inside it, which the
//! caller shows with a [`Quiesced`]. Retired slots are collected: once it was shown that nobody
//! is inside them, anybody may poison them, so that is left to a worker ([`Code::flush`]).

use crate::engine::admit::Call;
use crate::engine::arena::{Class, Slot};
use crate::engine::paths::{self, Instance, PathKind};
use crate::engine::specs::{layout, trap_vector, Reason};
use crate::engine::vector::{self, Entry, VectorPlan};
use crate::glue::{self, c, Edit, Edits, FdView, Made, Quiesced, View};
use crate::state::{Code, Machine, Path, Process};
use kernel::prelude::*;

/// A path that is to be made.
pub(crate) struct Order {
    pub(crate) kind: PathKind,
    pub(crate) call: Call,
    pub(crate) fd: u32,
    pub(crate) seen: FdView,
}

/// Where code is made before it is written to its slot. Not on the stack, which is short.
pub(crate) struct Scratch {
    path: [u8; layout::PATH_SLOT],
    vector: [u8; layout::VECTOR_SLOT],
}

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self {
            path: [0; layout::PATH_SLOT],
            vector: [0; layout::VECTOR_SLOT],
        }
    }
}

/// A slot in use, and how many of its bytes are.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    pub(crate) slot: Slot,
    pub(crate) len: usize,
}

/// As many slots as one batch of edits takes.
const BATCH: usize = c::SYNTHJIT_MAX_EDITS as usize;

/// Retired slots that still hold code. There is room for all that exist, since poisoning needs memory and may have to wait.
pub(crate) struct Retired {
    list: [Option<Used>; layout::PATH_SLOTS + layout::VECTOR_SLOTS],
    count: usize,
}

impl Retired {
    pub(crate) const fn new() -> Self {
        Self {
            list: [None; layout::PATH_SLOTS + layout::VECTOR_SLOTS],
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
    /// Gives `p` a new vector for its paths and, if there is an order, one path more.
    /// Returns the address of the vector; the older one is retired.
    ///
    /// # Errors
    ///
    /// A reason; the process then has the paths it had before, and no vector.
    pub(crate) fn rebuild(
        &mut self,
        p: &mut Process,
        view: &View,
        order: Option<Order>,
        quiesced: &Quiesced,
    ) -> Result<u64, Reason> {
        let mut scratch = self.scratch.take().ok_or(Reason::NoMemory)?;
        let made = self.rebuild_in(&mut scratch, p, view, order, quiesced);
        self.scratch = Some(scratch);
        made
    }

    fn rebuild_in(
        &mut self,
        scratch: &mut Scratch,
        p: &mut Process,
        view: &View,
        order: Option<Order>,
        quiesced: &Quiesced,
    ) -> Result<u64, Reason> {
        self.retire_vector(p, quiesced);
        let Some(order) = order else {
            return self.write(scratch, p, view, None);
        };
        let path = self.emit_path(p.tgid, view, order, &mut scratch.path)?;
        let used = path.code;
        if p.paths.push(path, GFP_KERNEL).is_err() {
            self.release(used.slot);
            return Err(Reason::NoMemory);
        }
        let made = self.write(scratch, p, view, Some(used));
        if made.is_ok() {
            self.counters.synthesized = self.counters.synthesized.wrapping_add(1);
            glue::trace_synthesize(used.slot);
        } else {
            // It was not written and has no directory yet.
            p.paths.pop();
            self.release(used.slot);
        }
        made
    }

    fn emit_path(
        &mut self,
        tgid: i32,
        view: &View,
        order: Order,
        out: &mut [u8; layout::PATH_SLOT],
    ) -> Result<Path, Reason> {
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let slot = self.arena.reserve(Class::Path)?;
        let instance = Instance {
            fd: order.fd,
            task: view.task,
            kernel_stack: view.kernel_stack,
            files: view.files,
            file_mode: order.seen.f_mode,
            hits: self.profile.then(|| machine.hits_addr(slot)),
            report_bails: glue::bailouts_traced(),
        };
        let base = machine.address(slot);
        match paths::emit(
            order.kind,
            &machine.facts,
            &instance,
            &machine.ground,
            base,
            out,
        ) {
            Ok(code) => {
                glue::clear_hits(slot.index());
                glue::slot_made(
                    slot,
                    &Made {
                        fd: order.fd,
                        call: order.call.number(),
                        ino: order.seen.ino,
                        ..glue::made(order.kind.spec().name, tgid, base, code.len)
                    },
                );
                Ok(Path {
                    kind: order.kind,
                    call: order.call,
                    fd: order.fd,
                    instance,
                    code: Used {
                        slot,
                        len: code.len,
                    },
                    entry: code.entry,
                    dir: None,
                })
            }
            Err(reason) => {
                self.release(slot);
                Err(reason)
            }
        }
    }

    /// Writes `path`, if it is given, and a vector, in one batch.
    fn write(
        &mut self,
        scratch: &mut Scratch,
        p: &mut Process,
        view: &View,
        path: Option<Used>,
    ) -> Result<u64, Reason> {
        let slot = self.arena.reserve(Class::Vector)?;
        let len = match self.emit_vector(p, view, slot, &mut scratch.vector) {
            Ok(len) => len,
            Err(reason) => {
                self.release(slot);
                return Err(reason);
            }
        };
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let addr = machine.address(slot);
        glue::slot_made(
            slot,
            &glue::made(trap_vector::SPEC.name, p.tgid, addr, len),
        );
        let mut edits = Edits::new();
        if let Some(path) = path {
            let code = scratch.path.get(..path.len).unwrap_or(&scratch.path);
            edits.add(Edit::Code(machine.address(path.slot), code));
        }
        let code = scratch.vector.get(..len).unwrap_or(&scratch.vector);
        edits.add(Edit::Code(addr, code));
        match edits.make() {
            Ok(()) => {
                p.vector = Some(Used { slot, len });
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
    /// a path only, and does not learn, since it would meet the others again and again.
    fn emit_vector(
        &self,
        p: &Process,
        view: &View,
        slot: Slot,
        out: &mut [u8; layout::VECTOR_SLOT],
    ) -> Result<usize, Reason> {
        let machine = self.machine.as_ref().ok_or(Reason::SymbolMissing)?;
        let mut learn = true;
        loop {
            let (write, read) = (
                entries(p, Call::Write, learn)?,
                entries(p, Call::Read, learn)?,
            );
            let plan = VectorPlan {
                learn,
                write: &write,
                read: &read,
            };
            let base = machine.address(slot);
            let stack = view.kernel_stack;
            match vector::emit(&plan, &machine.facts, &machine.ground, base, stack, out) {
                Err(Reason::TooManyDescriptors) if learn => learn = false,
                other => return other,
            }
        }
    }

    /// Takes the vector of `p` away.
    pub(crate) fn retire_vector(&mut self, p: &mut Process, quiesced: &Quiesced) {
        if let Some(old) = p.vector.take() {
            self.retire(old, quiesced);
        }
    }

    /// Takes the code of `path` away, which no vector enters any more.
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
            Class::Path => self.paths,
            Class::Vector => self.vectors,
        };
        first.wrapping_add(slot.offset() as u64)
    }

    /// Address of the hit counter of a path slot. CAST: slots are few.
    fn hits_addr(&self, slot: Slot) -> u64 {
        self.hits
            .wrapping_add((slot.index() as u64).wrapping_mul(8))
    }
}

/// What a vector has to know of `p` for one call.
fn entries(p: &Process, call: Call, all: bool) -> Result<KVec<Entry>, Reason> {
    let most = p.paths.len().saturating_add(p.without.len());
    let mut list = KVec::with_capacity(most, GFP_KERNEL).map_err(|_| Reason::NoMemory)?;
    let mut add = |fd, target| {
        list.push_within_capacity(Entry { fd, target })
            .map_err(|_| Reason::NoMemory)
    };
    for path in p.paths.iter().filter(|x| x.call == call) {
        add(path.fd, Some(path.entry))?;
    }
    for without in p.without.iter().filter(|x| all && x.call == call) {
        add(without.fd, None)?;
    }
    Ok(list)
}
