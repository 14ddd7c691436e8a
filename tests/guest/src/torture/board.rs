//! Memory that all processes of a run share, behind a descriptor, so that a process finds it again after exec.
//!
//! Every streaming process has a [`Desk`] in it with all that it must not forget. So whoever goes on with a stream (a child, a
//! thread, another program) finds everything there. A desk belongs to one of them at a time: the one that streams.

use super::check::{Checker, Wrong};
use super::message::LONGEST;
use super::phases::ACTIONS;
use crate::proc::futex_wake;
use crate::sys::{self, Sys};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Most streaming processes.
pub const DESKS: usize = 20;
/// Pages of a desk's buffer.
pub const PAGES: usize = 4;
pub const PAGE: usize = 4096;
/// Most stressors.
pub const STRESSORS: usize = 20;

const TEXT: usize = 1024;

/// What a streaming process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// Composes messages and writes them.
    Writer = 1,
    /// Reads and checks.
    Reader = 2,
    /// Reads from one pipe and writes to another one.
    Relay = 3,
    /// A relay that prefers `splice`, `tee` and `vmsplice`.
    Splicer = 4,
    /// Writes and reads the same pipe, which needs nobody to wake.
    Both = 5,
}

/// Mistakes made on purpose, to show that they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[repr(u32)]
pub enum Lie {
    /// A byte that was read is not passed on
    Lost = 1,
    /// A byte is passed on twice
    Duplicated = 2,
    /// Two neighbouring pieces change places
    Swapped = 3,
    /// A bit is turned over
    Flipped = 4,
    /// Nothing is passed on any more
    Stuck = 5,
}

/// What a streaming process must not forget. Plain data.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct State {
    pub role: u32,
    /// Stream that this belongs to; index into [`super::streams::STREAMS`].
    pub stream: u32,
    /// Descriptors to read from and to write to; -1: none.
    pub from: i32,
    pub to: i32,
    /// The same as all other processes know them.
    pub from_home: i32,
    pub to_home: i32,
    /// Set of [`super::actions::Action`]s that it may do.
    pub actions: u64,
    pub random: u64,
    /// Strides until the next action is due.
    pub due: u64,
    /// The writer's number and its next message's.
    pub writer: u32,
    /// The last message has been written.
    pub ended: u32,
    pub seq: u64,
    pub written: u64,
    /// Sum of the digests of the messages written.
    pub sum: u64,
    /// A relay's bytes that wait: where they begin in the buffer and how many they are.
    pub held_at: u32,
    pub held: u32,
    /// Bytes that a relay has passed on.
    pub passed: u64,
    pub lie: u32,
    /// What the program that comes by exec is to count, and that it came: the count's index and one; 0: nothing.
    pub exec: u32,
    pub checker: Checker,
}

/// One streaming process.
#[repr(C, align(4096))]
pub struct Desk {
    /// What calls are done with: mapped a second time by whoever streams, so that this mapping may be spoilt.
    pub buffer: UnsafeCell<[u8; PAGES * PAGE]>,
    state: UnsafeCell<State>,
    /// The process of the run that answers for this desk; 0: the desk is not used.
    pub owner: AtomicI32,
    /// Who streams now.
    pub carrier: AtomicI32,
    /// Calls that moved bytes.
    pub progress: AtomicU64,
    pub done: AtomicU32,
    /// A userfaultfd of the carrier that waits to be served (-1: none), the address it is for, and the answer.
    pub uffd: AtomicI32,
    pub uffd_at: AtomicU64,
    pub uffd_served: AtomicU32,
    /// For a process that shares the carrier's memory: 1 go on, 0 end.
    pub meddle: AtomicU32,
}

// SAFETY: the cells belong to the one process that streams; it changes hands by fork, exec and waiting.
unsafe impl Sync for Desk {}

impl Desk {
    /// The state.
    ///
    /// # Safety
    ///
    /// Only for the process that streams, and for the main process before streaming begins and after it ended.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn state(&self) -> &mut State {
        // SAFETY: by the contract nobody else has a reference.
        unsafe { &mut *self.state.get() }
    }
}

/// All that is shared.
#[repr(C, align(4096))]
pub struct Board {
    pub desks: [Desk; DESKS],
    pub counts: [AtomicU64; 64],
    /// Writers end their streams.
    pub stop: AtomicU32,
    /// Stressors end.
    pub leave: AtomicU32,
    /// Something went wrong: everybody ends.
    pub abort: AtomicU32,
    /// Processes of the crowd that fills the arena that have got what they get.
    pub crowd: AtomicU32,
    /// The stressors of this phase: bits of [`super::phases::Phase::set`].
    pub phase: AtomicU32,
    /// Not zero: nobody is attached, nothing of the module is there.
    pub stock: AtomicU32,
    /// Set of actions that this kernel does not know.
    pub impossible: AtomicU64,
    /// Set of actions that somebody has begun. Those that nobody has come first.
    pub begun: AtomicU64,
    /// Calls that ran specialized, bytes of code in use at most: what was seen of them.
    pub hits: AtomicU64,
    pub bails: AtomicU64,
    pub made: AtomicU64,
    pub dropped: AtomicU64,
    pub arena: AtomicU64,
    /// Seconds since the beginning at which a stressor was last seen alive, by its number.
    pub alive: [AtomicU64; STRESSORS],
    wrong_kind: AtomicU32,
    wrong_bytes: AtomicU64,
    wrong_text: UnsafeCell<[u8; TEXT]>,
    /// 0 nothing, 1 being written, 2 complete.
    wrong: AtomicU32,
}

// SAFETY: the text is written by whoever turns `wrong` from 0 to 1 and read when it is 2; all else is atomic or a desk.
unsafe impl Sync for Board {}

impl Board {
    /// A new board behind a descriptor that survives exec.
    pub fn create() -> Sys<(&'static Board, i32)> {
        let name = c"torture";
        let fd = sys::sys(libc::SYS_memfd_create, &[name.as_ptr() as usize, 0])? as i32;
        sys::sys(libc::SYS_ftruncate, &[fd as usize, Self::bytes()])?;
        Ok((Self::of(fd)?, fd))
    }

    #[cfg(test)]
    pub fn new() -> Sys<&'static Board> {
        Self::create().map(|(board, _)| board)
    }

    fn bytes() -> usize {
        std::mem::size_of::<Board>().next_multiple_of(PAGE)
    }

    /// The board behind a descriptor; mapped as long as the process lives.
    pub fn of(fd: i32) -> Sys<&'static Board> {
        let at = map_shared(fd, 0, Self::bytes())?;
        // SAFETY: a fresh mapping of a file of that size, page-aligned, never unmapped. Zeroes are valid in every field.
        Ok(unsafe { &*(at as *const Board) })
    }

    /// Offset of a desk's buffer in the file.
    pub fn buffer_offset(&self, desk: &Desk) -> usize {
        desk.buffer.get() as usize - self as *const Board as usize
    }

    pub fn aborted(&self) -> bool {
        self.abort.load(Ordering::Relaxed) != 0
    }

    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    pub fn leaving(&self) -> bool {
        self.leave.load(Ordering::Relaxed) != 0 || self.aborted()
    }

    /// A phase with these stressors begins.
    pub fn begin_phase(&self, set: u32) {
        self.phase.store(set, Ordering::SeqCst);
        futex_wake(&self.phase);
    }

    /// Whether those who stream may act now.
    pub fn actions_wanted(&self) -> bool {
        self.phase.load(Ordering::Relaxed) & ACTIONS != 0
    }

    /// Calls that moved bytes.
    pub fn calls(&self) -> u64 {
        self.desks
            .iter()
            .map(|d| d.progress.load(Ordering::Relaxed))
            .sum()
    }

    pub fn stock(&self) -> bool {
        self.stock.load(Ordering::Relaxed) != 0
    }

    /// Desks that are used.
    pub fn used(&self) -> impl Iterator<Item = &Desk> {
        self.desks
            .iter()
            .filter(|d| d.owner.load(Ordering::SeqCst) != 0)
    }

    /// Process numbers of all that stream now.
    pub fn carriers(&self) -> Vec<i32> {
        self.used()
            .filter(|d| d.done.load(Ordering::SeqCst) == 0)
            .map(|d| d.carrier.load(Ordering::SeqCst))
            .filter(|p| *p > 0)
            .collect()
    }

    /// Tells of a wrong stream; only the first one is kept. Everybody ends.
    pub fn tell(&self, wrong: &Wrong) {
        let first = self
            .wrong
            .compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.wrong_kind.store(wrong.kind as u32, Ordering::SeqCst);
            self.wrong_bytes.store(wrong.bytes, Ordering::SeqCst);
            let n = wrong.text.len().min(TEXT - 1);
            // SAFETY: this process turned `wrong` from 0 to 1; the text is longer than `n`.
            unsafe {
                std::ptr::copy_nonoverlapping(wrong.text.as_ptr(), self.wrong_text.get().cast(), n)
            };
            self.wrong.store(2, Ordering::SeqCst);
        }
        self.abort.store(1, Ordering::SeqCst);
    }

    /// What was told first.
    pub fn told(&self) -> Option<Wrong> {
        use super::check::Kind;
        if self.wrong.load(Ordering::SeqCst) != 2 {
            return None;
        }
        // SAFETY: complete, and never written again.
        let text = unsafe { &*self.wrong_text.get() };
        let end = text.iter().position(|b| *b == 0).unwrap_or(TEXT);
        let kinds = [Kind::Lost, Kind::Duplicated, Kind::Reordered, Kind::Changed];
        let kind = self.wrong_kind.load(Ordering::SeqCst);
        Some(Wrong {
            kind: kinds
                .into_iter()
                .find(|k| *k as u32 == kind)
                .unwrap_or(Kind::Changed),
            bytes: self.wrong_bytes.load(Ordering::SeqCst),
            text: String::from_utf8_lossy(text.get(..end).unwrap_or_default()).into_owned(),
        })
    }
}

/// Maps a part of a file for reading and writing.
pub fn map_shared(fd: i32, offset: usize, len: usize) -> Sys {
    sys::sys(
        libc::SYS_mmap,
        &[0, len, 3, libc::MAP_SHARED as usize, fd as usize, offset],
    )
}

// A message and a relay's reading must fit behind any beginning inside the first page.
const _: () = assert!(PAGES * PAGE >= 2 * LONGEST + PAGE);

#[cfg(test)]
mod tests {
    use super::super::check::Kind;
    use super::*;

    #[test]
    fn the_first_fault_is_kept() {
        let board = Board::new().unwrap();
        assert_eq!(board.told(), None);
        let wrong = |kind, text: &str| Wrong {
            kind,
            bytes: 3,
            text: text.to_string(),
        };
        board.tell(&wrong(Kind::Reordered, "first"));
        board.tell(&wrong(Kind::Lost, "second"));
        assert!(board.aborted());
        assert_eq!(board.told(), Some(wrong(Kind::Reordered, "first")));
    }

    #[test]
    fn buffers_lie_on_pages_of_their_own() {
        let board = Board::new().unwrap();
        for desk in &board.desks {
            assert_eq!(board.buffer_offset(desk) % PAGE, 0);
        }
    }
}
