// SPDX-License-Identifier: GPL-2.0

//! Safe names for what the C glue offers.
//!
//! Everything unsafe that the module does towards C is in this file. C header:
//! `rust/glue/synthjit.h`, which states the contexts.

use crate::engine::arena::{Class, Slot};
use crate::engine::specs::{layout, Arrays, Facts, Reason};
use crate::engine::syscall::Call;
use crate::engine::target::Target;
use crate::engine::template::memory::{Seen, MOST_MAPPINGS};
use crate::engine::template::{tail, PathData};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::to_result;
use kernel::prelude::*;

/// The declarations that bindgen makes from `rust/glue/synthjit.h`.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub
)]
pub(crate) mod c {
    include!(env!("SYNTHJIT_GLUE"));
}

// Generated code and the C tail must mean the same by these bits.
const _: () = assert!(
    tail::UNLOCK == c::SYNTHJIT_TAIL_UNLOCK
        && tail::WRITER == c::SYNTHJIT_TAIL_WRITE
        && tail::NOTHING_ELSE == c::SYNTHJIT_TAIL_ONLY_UNLOCK
);

// Generated code and C must mean the same by these offsets.
const _: () = {
    use c::synthjit_path_data as C;
    use core::mem::{offset_of, size_of};
    assert!(
        offset_of!(C, hits) as u64 == PathData::HITS
            && offset_of!(C, budget) as u64 == PathData::BUDGET
            && offset_of!(C, faults) as u64 == PathData::FAULTS
            && offset_of!(C, memory_seen) as u64 == PathData::MEMORY_SEEN
            && offset_of!(C, memory_left) as u64 == PathData::MEMORY_LEFT
            && offset_of!(C, fd) as u64 == PathData::FD
            && offset_of!(C, task) as u64 == PathData::TASK
            && offset_of!(C, exits) as u64 == PathData::EXITS
            && size_of::<C>() as u64 == PathData::SIZE
    );
};

pub(crate) use c::synthjit_counts as Counts;
pub(crate) use c::synthjit_fd_view as FdView;
pub(crate) use c::synthjit_made as Made;
pub(crate) use c::synthjit_view as View;

/// Proof that no CPU is inside code that was withdrawn before, and none will be.
///
/// Two acts give it: [`quiesce`], after which every CPU has taken an interrupt, which it
/// cannot inside of generated code; or being the one task that could run the code, in the
/// kernel, after it was withdrawn.
pub(crate) struct Quiesced(());

/// The C side of an attached process. Freed on drop, which needs it detached or gone.
pub(crate) struct Task(NonNull<c::synthjit_task>);

// SAFETY: The C object is reference counted, and its fields are changed under a lock of C's
// or by the task itself, as `rust/glue/task.h` lays down.
unsafe impl Send for Task {}
// SAFETY: As above.
unsafe impl Sync for Task {}

impl Task {
    /// Attaches the leader of process `tgid`, a number of the initial PID namespace. Its
    /// notifier is linked by the first work that is queued. `ESRCH`: it has exited; `ENOMEM`.
    pub(crate) fn attach(tgid: i32) -> Result<Self> {
        let mut task = core::ptr::null_mut();
        // SAFETY: `task` is a valid place for the result.
        to_result(unsafe { c::synthjit_task_attach(tgid, &mut task) })?;
        NonNull::new(task).map(Self).ok_or(EINVAL)
    }

    /// Whether the kernel has work at each system call of the process now, so that no path serves.
    pub(crate) fn observed(&self) -> bool {
        // SAFETY: The object lives as long as `self`; any context.
        unsafe { c::synthjit_task_observed(self.0.as_ptr()) != 0 }
    }

    /// Why the process had no vector in its CPU when it was last scheduled in; `Reason::None` if it had.
    pub(crate) fn withheld(&self) -> Reason {
        // SAFETY: As in `observed`.
        Reason::from_number(unsafe { c::synthjit_task_withheld(self.0.as_ptr()) })
    }

    /// Whether this is the object that C calls `task`.
    pub(crate) fn is(&self, task: *mut c::synthjit_task) -> bool {
        self.0.as_ptr() == task
    }

    /// Whether the process was detached or has exited.
    pub(crate) fn gone(&self) -> bool {
        // SAFETY: As in `observed`.
        unsafe { c::synthjit_task_gone(self.0.as_ptr()) != 0 }
    }

    /// Takes the process's code out of use, wherever the task is.
    pub(crate) fn detach(&self) -> Quiesced {
        // SAFETY: `self.0` is alive: the owner's reference is ours until drop.
        unsafe { c::synthjit_task_detach(self.0.as_ptr()) };
        Quiesced(())
    }

    /// Has the task run [`crate::work::run`] when it next leaves the kernel.
    pub(crate) fn queue(&self, events: u32) {
        // SAFETY: As in `detach`.
        unsafe { c::synthjit_task_queue(self.0.as_ptr(), events) };
    }

    /// Queues an `EVENT_RETRY` in `ms` milliseconds, instead of an earlier such request.
    pub(crate) fn retry_in(&self, ms: u32) {
        // SAFETY: As in `detach`.
        unsafe { c::synthjit_task_retry_in(self.0.as_ptr(), ms) };
    }

    /// By the task itself: enters through `vector` from now on; 0 is the stock entry.
    pub(crate) fn publish(&self, vector: u64) -> Quiesced {
        // SAFETY: As in `detach`; only `work` calls this, in the task's own context.
        unsafe { c::synthjit_task_publish(self.0.as_ptr(), vector) };
        // The only task that could be inside the older vector is here instead.
        Quiesced(())
    }

    /// By the task itself: it has no code and a retry is due, so no event need be noted; or not.
    pub(crate) fn set_idle(&self, idle: bool) {
        // SAFETY: As in `detach`; only `work` calls this, in the task's own context.
        unsafe { c::synthjit_task_set_idle(self.0.as_ptr(), idle.into()) };
    }

    /// By anybody: stock entry for the task once [`quiesce`] has returned.
    pub(crate) fn withdraw(&self) {
        // SAFETY: As in `detach`.
        unsafe { c::synthjit_task_withdraw(self.0.as_ptr()) };
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // SAFETY: The owner's reference is given back here and nowhere else.
        unsafe { c::synthjit_task_free(self.0.as_ptr()) };
    }
}

/// Returns when every CPU has looked again at what it may run: none runs what was withdrawn before.
pub(crate) fn quiesce() -> Quiesced {
    // SAFETY: No preconditions but process context, which all callers are in.
    unsafe { c::synthjit_lstar_refresh_all() };
    Quiesced(())
}

/// A directory below `/sys/kernel/synthjit`. Once dropped it is removed by the next
/// [`remove_dirs_now`], since removal waits for reads of its files.
pub(crate) struct Dir(NonNull<c::synthjit_dir>);

// SAFETY: The C object is a kobject; nothing of it is bound to a thread.
unsafe impl Send for Dir {}
// SAFETY: As above; sysfs has its own locks.
unsafe impl Sync for Dir {}

impl Dir {
    /// `processes/TGID`.
    pub(crate) fn process(tgid: i32) -> Result<Self> {
        // SAFETY: sysfs was started before anything can be attached.
        NonNull::new(unsafe { c::synthjit_sysfs_add_process(tgid) })
            .map(Self)
            .ok_or(ENOMEM)
    }

    /// `processes/TGID/fds/FD.CALL`, below this process's directory.
    pub(crate) fn path(&self, tgid: i32, fd: u32, is_read: bool) -> Result<Self> {
        // SAFETY: `self.0` is alive until drop.
        NonNull::new(unsafe {
            c::synthjit_sysfs_add_path(self.0.as_ptr(), tgid, fd, is_read.into())
        })
        .map(Self)
        .ok_or(ENOMEM)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: Made by C and removed here only.
        unsafe { c::synthjit_sysfs_remove(self.0.as_ptr()) };
    }
}

/// One edit of the arena.
#[derive(Clone, Copy)]
pub(crate) enum Edit<'a> {
    /// Code for a place that holds `int3` now.
    Code(u64, &'a [u8]),
    /// `int3` over a place, given by address and length.
    Poison(u64, usize),
}

impl Edit<'_> {
    fn to_c(self) -> c::synthjit_edit {
        // CAST: Slots are smaller than a page.
        match self {
            Self::Code(addr, bytes) => c::synthjit_edit {
                addr,
                bytes: bytes.as_ptr(),
                len: bytes.len() as u32,
                expect_int3: 1,
            },
            Self::Poison(addr, len) => c::synthjit_edit {
                addr,
                bytes: core::ptr::null(),
                len: len as u32,
                expect_int3: 0,
            },
        }
    }
}

/// Edits that are made together: all or none, in one go.
pub(crate) struct Edits<'a> {
    list: [c::synthjit_edit; c::SYNTHJIT_MAX_EDITS as usize],
    count: usize,
    slices: PhantomData<&'a [u8]>,
}

impl<'a> Edits<'a> {
    pub(crate) fn new() -> Self {
        Self {
            list: Default::default(),
            count: 0,
            slices: PhantomData,
        }
    }

    /// Adds an edit. When the batch is full, `int3` that does not fit is left to another
    /// batch: `false`.
    pub(crate) fn add(&mut self, edit: Edit<'a>) -> bool {
        let place = self.list.get_mut(self.count);
        let done = place.is_some();
        if let Some(place) = place {
            *place = edit.to_c();
            self.count = self.count.wrapping_add(1);
        }
        done
    }

    /// Makes the edits; see `rust/glue/text.c`. A place that gets code must hold `int3`.
    pub(crate) fn make(&self) -> Result {
        if self.count == 0 {
            return Ok(());
        }
        // SAFETY: The slices are borrowed for `'a`; `count` entries were filled in.
        // CAST: The list is short.
        to_result(unsafe { c::synthjit_text_edit(self.list.as_ptr(), self.count as u32) })
    }
}

/// Remembers what a slot was made for, for those who meet its code. By the process that will run the slot, before it is published.
pub(crate) fn slot_made(slot: Slot, made: &Made) {
    let class = match slot.class() {
        Class::Path => c::SYNTHJIT_PATH,
        Class::Vector => c::SYNTHJIT_VECTOR,
    };
    // SAFETY: C copies what `made` points at and checks the range of the index. CAST: Slots are few.
    unsafe { c::synthjit_slot_made(slot.index() as u32, class, made) };
}

/// Shows in kallsyms what slots were made for. Some must wait for a while: `true`. Under STATE.
pub(crate) fn update_names() -> bool {
    // SAFETY: Process context; the callers hold STATE.
    unsafe { c::synthjit_names_update() != 0 }
}

/// What a slot is made for, but for what C adds.
pub(crate) fn made(spec: &'static str, tgid: i32, code: u64, len: usize) -> Made {
    // CAST: Names are short and slots small.
    Made {
        spec: spec.as_ptr(),
        spec_len: spec.len() as u32,
        tgid,
        code,
        bytes: len as u32,
        ..Made::default()
    }
}

/// The tracepoint `synthesize`: the path in `slot` is live.
pub(crate) fn trace_synthesize(slot: Slot) {
    // SAFETY: C checks the range. CAST: slots are few.
    unsafe { c::synthjit_trace_synthesize(slot.index() as u32) };
}

/// The tracepoint `retire`: the path in `slot` is gone.
pub(crate) fn trace_retire(slot: Slot, reason: Reason) {
    // SAFETY: As above.
    unsafe { c::synthjit_trace_retire(slot.index() as u32, reason as u32) };
}

/// The tracepoint `refuse`: the current process gets no path for a call on a descriptor, or no vector if `about` is `None`.
pub(crate) fn trace_refuse(tgid: i32, about: Option<(Call, u32, &FdView)>, reason: Reason) {
    // CAST: Descriptors are at most i32::MAX (`rust/glue/task.c`, report).
    let (fd, call, ino) = about.map_or((-1, c::SYNTHJIT_NO_CALL, 0), |(call, fd, seen)| {
        (fd as i32, call.number(), seen.ino)
    });
    // SAFETY: Any context.
    unsafe { c::synthjit_trace_refuse(tgid, fd, call, ino, reason as u32) };
}

/// The tracepoint `refuse`: process `tgid` is not attached.
pub(crate) fn trace_refuse_attach(tgid: i32, reason: Reason) {
    // SAFETY: Any context.
    unsafe { c::synthjit_trace_refuse_attach(tgid, reason as u32) };
}

/// The bytes of the path slot at `addr`, which a machine's `path_addr` gave.
pub(crate) fn slot_bytes(addr: u64) -> &'static [u8; layout::PATH_SLOT] {
    // SAFETY: Path slots are module text, readable as long as this code is. They are edited
    // only under STATE, which the callers hold.
    unsafe { &*(addr as *const [u8; layout::PATH_SLOT]) }
}

/// The current process. Process context.
pub(crate) fn view_current() -> View {
    let mut view = View::default();
    // SAFETY: `view` is a valid place.
    unsafe { c::synthjit_view_current(&mut view) };
    view
}

/// Descriptor `fd` of the current process. Process context.
pub(crate) fn view_fd(fd: u32) -> FdView {
    let mut view = FdView::default();
    // SAFETY: `view` is a valid place.
    unsafe { c::synthjit_view_fd(fd, &mut view) };
    view
}

/// Whether all memory of the current process is ordinary: then the number of its changes, else `None`. Process context.
pub(crate) fn look_at_memory() -> Option<u32> {
    let mut changes = 0;
    // SAFETY: `changes` is a valid place.
    let ordinary = unsafe { c::synthjit_memory_look(MOST_MAPPINGS, &mut changes) };
    (ordinary != 0).then_some(changes)
}

/// Has the path in slot `slot` compare with this. By the process itself, or before the path can run.
pub(crate) fn note_memory(slot: usize, seen: Seen) {
    // SAFETY: As in `hits`. CAST: slots are few.
    unsafe { c::synthjit_memory_note(slot as u32, seen.word, seen.left) };
}

/// Whether the path in slot `slot` has asked for a look at the memory.
pub(crate) fn memory_asked(slot: usize) -> bool {
    // SAFETY: As in `hits`. CAST: slots are few.
    unsafe { c::synthjit_memory_asked(slot as u32) != 0 }
}

/// Whether kernel text that paths stand for is changed at this moment.
pub(crate) fn mirrors_traced() -> bool {
    // SAFETY: Any context.
    unsafe { c::synthjit_mirrors_traced() != 0 }
}

/// Whether no CPU may have a vector at this moment, because KVM looks at `MSR_LSTAR`.
pub(crate) fn vectors_held() -> bool {
    // SAFETY: Any context.
    unsafe { c::synthjit_vectors_held() != 0 }
}

/// The first reason against a trap vector on this machine.
pub(crate) fn check_platform() -> Reason {
    // SAFETY: Process context, which module load is.
    Reason::from_number(unsafe { c::synthjit_platform_check() })
}

/// What the specs bake in on this machine. `ENOENT`: a symbol is missing.
pub(crate) fn load_facts() -> Result<(Facts, Target, Arrays)> {
    let mut facts = Facts::default();
    let mut target = Target::default();
    let mut arrays = Arrays::default();
    // SAFETY: Each of the three is generated with one layout for C and Rust, and a `bool` of C is 0 or 1 as one of Rust.
    to_result(unsafe {
        c::synthjit_load_facts(
            (&raw mut facts).cast(),
            (&raw mut target).cast(),
            (&raw mut arrays).cast(),
        )
    })?;
    Ok((facts, target, arrays))
}

/// The number in the initial PID namespace of the process that is `nr` in the caller's.
/// `ESRCH`: no such process; `EINVAL`: a kernel thread.
pub(crate) fn find_process(nr: i32) -> Result<i32> {
    // SAFETY: Process context.
    let tgid = unsafe { c::synthjit_find_process(nr) };
    to_result(tgid.min(0)).map(|()| tgid)
}

/// Symbol resolution, which everything else at load needs.
pub(crate) fn start_symbols() -> Result {
    // SAFETY: Called once, at load.
    to_result(unsafe { c::synthjit_symbols_start() })
}

/// Starts notifiers and the watch of kernel text.
pub(crate) fn start() -> Result {
    // SAFETY: Called once, at load.
    to_result(unsafe { c::synthjit_glue_start() })
}

/// Stops what [`start`] started. Every process must be detached.
pub(crate) fn stop() {
    // SAFETY: Called once, at unload, after a successful `start`.
    unsafe { c::synthjit_glue_stop() };
}

/// Starts the watches, before the first process is attached. Idempotent.
pub(crate) fn watch() -> Result {
    // SAFETY: Under the lock that serialises attach and detach.
    to_result(unsafe { c::synthjit_watch() })
}

/// Shows the files of `/sys/kernel/synthjit`.
pub(crate) fn start_sysfs() -> Result {
    // SAFETY: Called once, last at load.
    to_result(unsafe { c::synthjit_sysfs_start() })
}

/// Shows the listings of `/sys/kernel/debug/synthjit`, if there is debugfs.
pub(crate) fn start_debugfs() {
    // SAFETY: Called once, at load.
    unsafe { c::synthjit_debugfs_start() };
}

/// No listing is read when this returns.
pub(crate) fn stop_debugfs() {
    // SAFETY: Process context. Without a start there is nothing to stop.
    unsafe { c::synthjit_debugfs_stop() };
}

/// A listing that is being read, for [`crate::listing`] to print into.
pub(crate) struct List(pub(crate) *mut c::seq_file);

impl fmt::Write for List {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // SAFETY: C made this of a seq_file whose `show` is running. CAST: usize is 64 bits wide here.
        let full = unsafe { c::synthjit_list_write(self.0, s.as_ptr().cast(), s.len() as u64) };
        match full {
            0 => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

/// No attach or detach runs or can come when this returns.
pub(crate) fn close_sysfs() {
    // SAFETY: After a successful `start_sysfs`.
    unsafe { c::synthjit_sysfs_close() };
}

/// Removes the directories that were dropped. Not under the lock that `show` takes.
pub(crate) fn remove_dirs_now() {
    // SAFETY: Process context, holding no lock that readers of our files take.
    unsafe { c::synthjit_sysfs_remove_now() };
}

/// Has [`crate::tidy::tidy`] run a moment later.
pub(crate) fn tidy_soon() {
    // SAFETY: After `start`, which all callers are.
    unsafe { c::synthjit_tidy_soon() };
}

/// Removes what is left of `/sys/kernel/synthjit`.
pub(crate) fn stop_sysfs() {
    // SAFETY: After a successful `start_sysfs`, all process directories gone.
    unsafe { c::synthjit_sysfs_stop() };
}

/// Milliseconds since boot.
pub(crate) fn now_ms() -> u64 {
    // SAFETY: Any context.
    unsafe { c::synthjit_jiffies_ms() }
}

/// 32 random bits.
pub(crate) fn random() -> u32 {
    // SAFETY: Any context.
    unsafe { c::synthjit_random() }
}

/// Nanoseconds, to see how long something takes.
pub(crate) fn clock_ns() -> u64 {
    // SAFETY: Any context.
    unsafe { c::synthjit_clock_ns() }
}

/// What the path in slot `slot` has counted.
pub(crate) fn counts(slot: usize) -> Counts {
    let mut counts = Counts::default();
    // SAFETY: `counts` is a valid place; C checks the range. CAST: slots are few.
    unsafe { c::synthjit_counts_get(slot as u32, &mut counts) };
    counts
}

/// Sets what the path in slot `slot` counts, while nobody runs it.
pub(crate) fn set_counts(slot: usize, counts: &Counts) {
    // SAFETY: As above.
    unsafe { c::synthjit_counts_set(slot as u32, counts) };
}

/// What the vector in slot `slot` has left of its budget.
pub(crate) fn misses(slot: usize) -> u32 {
    // SAFETY: C checks the range. CAST: slots are few.
    unsafe { c::synthjit_misses_get(slot as u32) }
}

/// Fills the budget of the vector in slot `slot`, while nobody runs it.
pub(crate) fn set_misses(slot: usize, budget: i32) {
    // SAFETY: As above. CAST: a budget is not negative.
    unsafe { c::synthjit_misses_set(slot as u32, budget as u32) };
}

/// How often exit `number` of the path in slot `slot` was taken.
pub(crate) fn exit_count(slot: usize, number: u8) -> u64 {
    // SAFETY: C checks the range. CAST: slots are few.
    unsafe { c::synthjit_exit_count(slot as u32, number.into()) }
}

/// The data of a path that is about to be in slot `slot`: nothing is counted. While nobody runs it.
pub(crate) fn begin_path(slot: usize, fd: u32, task: u64) {
    // SAFETY: C checks the range. CAST: slots are few.
    unsafe { c::synthjit_data_begin(slot as u32, fd, task) };
}
