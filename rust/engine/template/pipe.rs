// SPDX-License-Identifier: GPL-2.0

//! What the two calls on a pipe have in common: finding the pipe, the mutex, and the end.
//!
//! Why the guards suffice. The descriptor leads to the file by loads only, and the file by a load to the pipe, so a path
//! holds no address of either that could be stale; interrupts are off, so neither can be freed meanwhile (the task is the
//! only one with this table, and it is here). `f_op` says that it is a pipe, `f_mode` that this end may be used this way.
//! The head and tail of the ring, buffers and cached pages are only looked at under the pipe's mutex.

use super::super::specs::{layout, pipe, Bail, Facts};
use super::super::x86::buf::{Dest, Label};
use super::super::x86::door::Door;
use super::super::x86::masm::{field, Masm};
use super::super::x86::regs::{
    Reg, COUNT, DEST, FD, FILE, LESS_ONE, OWNER, PIPE, RESULT, RING, SOURCE, TASK, USER,
};
use super::{exits, tail, Instance, PathData, PathKind};

/// In what `write` and `read` differ outside of their own guards and commits.
pub(super) struct Side {
    /// The path.
    pub(super) kind: PathKind,
    /// Flags of the file that lead to the stock path; zero: none is looked at.
    pub(super) refused_file_flags: u64,
    /// Offset in the pipe of the list of those who want SIGIO.
    pub(super) fasync: u64,
    /// Offset in the task of the count of bytes.
    pub(super) bytes: u64,
    /// Offset in the task of the count of calls.
    pub(super) calls: u64,
    /// Holds the number of bytes done, from the commit to the end.
    pub(super) done: Reg,
    /// Says that the call was a write.
    pub(super) writes: bool,
}

/// Other places of the shared part.
struct Places {
    /// The common end of all cases.
    end: Label,
    tail_unlock: Label,
    tail_wake: Label,
    tail: Label,
    leave: Label,
    /// More is asked for than may be copied from or to any memory.
    long: Label,
    /// It may be copied.
    counted: Label,
    /// One of three words is not zero.
    of_three: Label,
}

/// The shared part of a path on a pipe.
pub(super) struct Pipe<'a> {
    known: &'a pipe::Known,
    instance: &'a Instance,
    door: Door,
    side: Side,
    places: Places,
    user_ptr_max: Dest,
    page_bias: Dest,
}

impl<'a> Pipe<'a> {
    /// Puts the constants into the slot and makes the labels.
    pub(super) fn new(
        m: &mut Masm<'_>,
        facts: &Facts,
        known: &'a pipe::Known,
        instance: &'a Instance,
        side: Side,
    ) -> Self {
        let user_ptr_max = m.constant(known.user_ptr_max);
        let page_bias = m.constant(known.page_bias);
        let places = Places {
            end: m.label(),
            tail_unlock: m.label(),
            tail_wake: m.label(),
            tail: m.label(),
            leave: m.label(),
            long: m.label(),
            counted: m.label(),
            of_three: m.label(),
        };
        Self {
            known,
            instance,
            door: Door::new(facts, instance.kernel_stack),
            side,
            places,
            user_ptr_max,
            page_bias,
        }
    }

    /// Where a guard leads that bails out for this reason.
    #[inline(always)]
    pub(super) fn bail(&self, bail: Bail) -> Dest {
        self.pad(bail).into()
    }

    /// The pad of the exit for this reason.
    #[inline(always)]
    fn pad(&self, bail: Bail) -> Label {
        Label::exit(self.side.kind.exits().number(bail))
    }

    /// The common end of all cases.
    pub(super) fn end_of_cases(&self) -> Label {
        self.places.end
    }

    /// Moves the code since offset `start`, which leads to a copy, to where the copy at `site` begins; then the copy.
    /// Returns the address of the beginning.
    pub(super) fn copy_at(&self, m: &mut Masm<'_>, start: usize, site: usize) -> u64 {
        m.open_user_memory();
        let begin = m.slide(start, site);
        m.copy(site, self.bail(Bail::PageMissing));
        begin
    }

    /// Enters the kernel, finds the pipe, checks everything that needs no mutex. Leaves the task in [`TASK`], the pipe in
    /// [`PIPE`] and the checked user buffer in [`USER`].
    pub(super) fn enter(&self, m: &mut Masm<'_>) {
        let (k, side) = (self.known, &self.side);
        m.enter_kernel(&self.door);
        m.save(TASK);
        m.save(PIPE);
        if !side.writes {
            m.save(USER);
        }
        m.guard_user_flags_clear(&self.door, self.bail(Bail::SingleStep));
        m.set(TASK, self.instance.task);
        m.guard_clear(
            field(TASK, k.thread_flags),
            k.exit_work_mask,
            self.bail(Bail::ExitWork),
        );

        m.load_rax(self.instance.files.wrapping_add(k.files_fdt));
        m.load64(Reg::Rax, field(Reg::Rax, k.fdtable_fd));
        m.load64(
            FILE,
            field(Reg::Rax, u64::from(self.instance.fd).wrapping_mul(8)),
        );
        let changed = self.bail(Bail::Replaced);
        m.guard_not_null(FILE, changed);
        m.guard_eq(field(FILE, k.file_f_op), k.pipeanon_fops, changed);
        m.guard_eq32(
            field(FILE, k.file_f_mode),
            u64::from(self.instance.file_mode),
            changed,
        );
        if side.refused_file_flags != 0 {
            m.guard_clear(
                field(FILE, k.file_f_flags),
                side.refused_file_flags,
                self.bail(Bail::PacketMode),
            );
        }
        m.load64(PIPE, field(FILE, k.file_private_data));

        // Three words that must be zero, in one branch; `of_three` looks which.
        m.load_rax(k.pipe_fsnotify);
        m.or64(Reg::Rax, field(TASK, k.syscall_work));
        m.or64(Reg::Rax, field(PIPE, side.fasync));
        m.different(self.places.of_three);

        let short = layout::COPY_MAX_SLOW as u64;
        if m.target().erms {
            m.guard_count(COUNT, LESS_ONE, short, self.places.long.into());
            m.bind_as(self.places.counted, "counted");
        } else {
            m.guard_count(COUNT, LESS_ONE, short, self.bail(Bail::Count));
        }
        m.guard_user_buffer(
            USER,
            LESS_ONE,
            self.user_ptr_max,
            self.bail(Bail::KernelAddress),
        );
        m.clamp_user_pointer(USER, self.user_ptr_max);
        #[cfg(synthjit_forced_faults)]
        m.forced_faults(super::super::x86::forced::Place::BeforeLock);
    }

    /// A count that is not short: interrupts are off during the copy, so it takes memory that is known to be fast.
    ///
    /// ```c
    ///     if (count > PAGE_SIZE) bail;
    ///     if (current->mm->mm_lock_seq != data->memory_seen) bail;
    /// ```
    ///
    /// `memory_seen` is 64 bits wide: what is no sequence number is never equal.
    fn long_count(&self, m: &mut Masm<'_>) {
        let seen = self.instance.data.at(PathData::MEMORY_SEEN);
        m.bind_as(self.places.long, "long");
        m.guard_less_one(LESS_ONE, self.known.page_size, self.bail(Bail::Count));
        m.load_eax(self.instance.memory_changes);
        m.compare_at(Reg::Rax, seen);
        m.equal(self.places.counted);
        m.compare_zero32_at(seen.wrapping_add(4));
        m.different_near(self.pad(Bail::DeviceMemory));
        m.go_near(self.pad(Bail::MemoryChanged));
    }

    /// In which of its three words the guard of [`Pipe::enter`] found something. What is zero again by now counts as the watch, which
    /// never goes.
    fn of_three(&self, m: &mut Masm<'_>) {
        m.bind_as(self.places.of_three, "of_three");
        m.compare_zero64(field(TASK, self.known.syscall_work));
        m.different_near(self.pad(Bail::Observed));
        m.compare_zero64(field(PIPE, self.side.fasync));
        m.different_near(self.pad(Bail::Sigio));
        m.go_near(self.pad(Bail::Watched));
    }

    /// Takes the mutex, and has faults on user memory fail at once from here on: with interrupts off they could not be
    /// handled.
    pub(super) fn lock(&self, m: &mut Masm<'_>) {
        m.try_lock(
            field(PIPE, self.known.pipe_mutex_owner),
            TASK,
            self.bail(Bail::MutexTaken),
        );
        m.inc32(field(TASK, self.known.pagefault_disabled));
        #[cfg(synthjit_forced_faults)]
        m.forced_faults(super::super::x86::forced::Place::Locked);
    }

    /// A field of the pipe.
    pub(super) fn pipe(&self, offset: u64) -> super::super::x86::masm::Field {
        field(PIPE, offset)
    }

    /// `reg` becomes the address of the ring's buffer at the index that `index` is the offset of.
    pub(super) fn ring(&self, m: &mut Masm<'_>, reg: Reg, index: u64) {
        let k = self.known;
        m.ring_element(
            reg,
            field(PIPE, index),
            field(PIPE, k.pipe_ring_size),
            k.buf_size,
            field(PIPE, k.pipe_bufs),
        );
    }

    /// Turns the address of a `struct page` in `reg` into the page's own.
    pub(super) fn page(&self, m: &mut Masm<'_>, reg: Reg) {
        m.page_address(reg, self.known.struct_page_shift, self.page_bias);
    }

    /// `reg` becomes the address of the page whose `struct page` is in `page`.
    pub(super) fn address_of_page(&self, m: &mut Masm<'_>, reg: Reg, page: Reg) {
        m.address_of_page(reg, page, self.known.struct_page_shift, self.page_bias);
    }

    /// [`SOURCE`] turns from the `struct page` of the buffer that [`RING`] points at into the address of its data.
    pub(super) fn source(&self, m: &mut Masm<'_>) {
        self.page(m, SOURCE);
        m.add_offset_in_page(SOURCE, field(RING, self.known.buf_offset));
    }

    /// Everything after the commit: account, unlock, look for those who wait, return. `waiters` leaves the zero flag clear
    /// if there are any. The number of bytes is in `side.done`; the copy has left [`super::super::x86::regs::ZERO`] zero.
    pub(super) fn end(
        &self,
        m: &mut Masm<'_>,
        waiters: impl Fn(&mut Masm<'_>),
        give_back_user: impl Fn(&mut Masm<'_>),
    ) {
        let (k, side) = (self.known, &self.side);
        m.bind_as(self.places.end, "end");
        m.set(OWNER, self.instance.task);
        m.dec32(field(OWNER, k.pagefault_disabled));
        m.add64_to(field(OWNER, side.bytes), side.done);
        m.inc64(field(OWNER, side.calls));
        m.count_own(self.instance.data.at(PathData::HITS));
        m.unlock(field(PIPE, k.pipe_mutex_owner));
        m.different(self.places.tail_unlock);
        // The unlock is a full barrier. It pairs with the one between a waiter's joining the list and its look at head and
        // tail (prepare_to_wait_event, poll_wait): either the waiter sees what was done here, or this sees the waiter.
        waiters(m);
        m.different(self.places.tail_wake);
        m.bind_as(self.places.leave, "leave");
        m.copy_reg(RESULT, side.done);
        give_back_user(m);
        m.set(FD, u64::from(self.instance.fd));
        m.restore(PIPE);
        m.restore(TASK);
        m.leave_kernel(&self.door);
        m.return_to_user();
    }

    /// Code that seldom runs: what guards lead to.
    pub(super) fn exits(&self, m: &mut Masm<'_>) {
        if m.target().erms {
            self.long_count(m);
        }
        self.of_three(m);
        let instance = self.instance;
        exits::emit_pads(m, self.side.kind, instance.data, instance.exit);
    }

    /// Code that seldom runs: what the end of the path leads to.
    pub(super) fn tails(&self, m: &mut Masm<'_>) {
        let places = &self.places;
        m.bind_as(places.tail_unlock, "tail_unlock");
        self.begin_tail(m, tail::UNLOCK);
        m.go_near(places.tail);
        m.bind_as(places.tail_wake, "tail_wake");
        self.begin_tail(m, 0);
        m.bind_as(places.tail, "tail");
        self.finish_tail(m);
        m.go(places.leave);
    }

    /// Keeps rsi, which is the user's buffer or the number of bytes done, and says what the tail is to do.
    fn begin_tail(&self, m: &mut Masm<'_>, bits: u32) {
        let side = if self.side.writes { tail::WRITER } else { 0 };
        m.save(SOURCE);
        m.set(SOURCE, u64::from(bits | side));
    }

    fn finish_tail(&self, m: &mut Masm<'_>) {
        m.copy_reg(DEST, PIPE);
        m.call(m.target().tail_thunk);
        m.restore(SOURCE);
    }
}
