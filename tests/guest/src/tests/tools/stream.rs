//! The process that tools look at: it streams through a pipe for ever, and on demand does a known mixture of calls between two
//! marks. Attached or beside it does the same to the letter, so whatever a tool sees of it must be the same too.

use super::tool::{wait_for, PATIENCE};
use crate::proc::{nap, Board, Ended, Kid};
use crate::sys::{self, Pipe, Sys};
use crate::tests::support::lab::{Attached, Lab, Res};
use crate::{ensure, same};
use std::arch::global_asm;
use std::ffi::CStr;

extern "C" {
    /// Does the call `nr` with the six arguments at `args`.
    fn guest_call(nr: usize, args: *const [usize; 6]) -> isize;
    /// Its instruction `syscall`.
    static guest_call_syscall: u8;
}

global_asm!(
    ".text",
    ".global guest_call",
    "guest_call:",
    "mov rax, rdi",
    "mov r11, rsi",
    "mov rdi, [r11]",
    "mov rsi, [r11 + 8]",
    "mov rdx, [r11 + 16]",
    "mov r10, [r11 + 24]",
    "mov r8, [r11 + 32]",
    "mov r9, [r11 + 40]",
    ".global guest_call_syscall",
    "guest_call_syscall:",
    "syscall",
    "ret",
);

/// Descriptor that no process has; closing it is the mark before and behind the mixture.
pub const MARK: i32 = -1000;

/// Flags of the board.
const READY: usize = 0;
const STOP: usize = 1;
const WANTED: usize = 2;
const DONE: usize = 3;

/// Words of the board.
const SERIAL: usize = 0;
const WRONG: usize = 1;
const READ_END: usize = 2;
const WRITE_END: usize = 3;
const RESULTS: usize = 16;

/// Time between two rounds of the stream, in nanoseconds: tools must be able to follow.
static PAUSE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 500_000,
};

/// Number of calls between the marks.
pub const CALLS: usize = ROUNDS * 21;
const ROUNDS: usize = 4;

/// A file that is not there; opening it fails.
pub const FORBIDDEN: &CStr = c"/tmp/synthjit-forbidden";

/// Pages of different counts; a call that is longer than a page has no path.
static BYTES: [u8; 5000] = [b'z'; 5000];

/// What the process works on.
struct Files {
    /// The pipe of stream and mixture.
    p: Pipe,
    /// An empty pipe whose reader does not wait.
    empty: Pipe,
    null: i32,
}

impl Files {
    fn open() -> Sys<Files> {
        Ok(Files {
            p: Pipe::new(0)?,
            empty: Pipe::new(libc::O_NONBLOCK)?,
            null: sys::open("/dev/null", libc::O_WRONLY, 0)?,
        })
    }
}

/// Address of the instruction with which a stream does all its calls.
pub fn call_address() -> usize {
    &raw const guest_call_syscall as usize
}

fn call(nr: i64, args: [usize; 6]) -> isize {
    // SAFETY: callers pass memory they own or addresses that are meant to be wrong; the clobbers are the C ABI's.
    unsafe { guest_call(nr as usize, &args) }
}

/// One round of the stream: its number goes out and comes back, and is an argument that the kernel ignores. False: it came
/// back wrong.
fn round(files: &Files, serial: u64) -> bool {
    let out = format!("{serial:08}");
    let (mut back, n) = ([0u8; 8], serial as usize);
    let wrote = call(
        libc::SYS_write,
        [files.p.w as usize, out.as_ptr() as usize, 8, n, 0, 0],
    );
    let read = call(
        libc::SYS_read,
        [files.p.r as usize, back.as_mut_ptr() as usize, 8, n, 0, 0],
    );
    wrote == 8 && read == 8 && back == out.as_bytes()
}

/// The mixture: paths' fast cases, calls that bail out, calls that have no path. Tells each result.
fn mixture(files: &Files, mut tell: impl FnMut(usize, isize)) {
    let (r, w, from) = (
        files.p.r as usize,
        files.p.w as usize,
        BYTES.as_ptr() as usize,
    );
    let mut room = [0u8; 5000];
    let to = room.as_mut_ptr() as usize;
    let mark = [MARK as usize, 0, 0, 0, 0, 0];
    let _ = call(libc::SYS_close, mark);
    let mut n = 0;
    let mut one = |nr, a: [usize; 3]| {
        let got = call(nr, [a[0], a[1], a[2], 0, 0, 0]);
        tell(n, got);
        n += 1;
        got
    };
    for i in 0..ROUNDS {
        one(libc::SYS_write, [w, from, 8 + i]);
        one(libc::SYS_read, [r, to, 4]);
        one(libc::SYS_read, [r, to, 4 + i]);
        one(libc::SYS_write, [w, from, 61]);
        one(libc::SYS_write, [w, from, 100 + i]);
        one(libc::SYS_read, [r, to, 200]);
        one(libc::SYS_write, [w, from, 4096]);
        one(libc::SYS_read, [r, to, 4096]);
        one(libc::SYS_write, [w, from, 5000]);
        one(libc::SYS_read, [r, to, 5000]);
        one(libc::SYS_read, [files.empty.r as usize, to, 8]);
        one(libc::SYS_getuid, [0; 3]);
        one(
            libc::SYS_openat,
            [libc::AT_FDCWD as usize, FORBIDDEN.as_ptr() as usize, 0],
        );
        one(libc::SYS_lseek, [r, 0, libc::SEEK_CUR as usize]);
        one(libc::SYS_write, [999, from, 8]);
        one(libc::SYS_write, [w, 16, 8]);
        one(libc::SYS_write, [w, from, 0]);
        let copy = one(libc::SYS_dup, [w, 0, 0]);
        one(libc::SYS_write, [copy as usize, from, 8 + i]);
        one(libc::SYS_close, [copy as usize, 0, 0]);
        one(libc::SYS_read, [r, to, 64]);
    }
    let _ = call(libc::SYS_write, [files.null as usize, from, 1, 0, 0, 0]);
    let _ = call(libc::SYS_close, mark);
}

fn pause() {
    let at = &raw const PAUSE as usize;
    let _ = call(
        libc::SYS_clock_nanosleep,
        [libc::CLOCK_MONOTONIC as usize, 0, at, 0, 0, 0],
    );
}

/// Streams until told to stop; its exit status.
fn stream(board: &Board, pace: Pace) -> Res {
    let files = Files::open()?;
    board.put(READ_END, files.p.r as u64);
    board.put(WRITE_END, files.p.w as u64);
    let (mut serial, mut done) = (0, 0);
    while board.flag(STOP) == 0 {
        if board.flag(WANTED) > done {
            mixture(&files, |n, result| board.put(RESULTS + n, result as u64));
            done += 1;
            board.raise(DONE, done);
        }
        serial += 1;
        board.put(SERIAL, serial);
        if !round(&files, serial) {
            board.put(WRONG, serial);
            ensure!(false, "round {serial} went wrong");
        }
        board.raise(READY, 1);
        if pace == Pace::Easy {
            pause();
        }
    }
    Ok(())
}

/// How fast a stream is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It sleeps between rounds.
    Easy,
    /// It does nothing but call.
    Hurried,
}

/// A running stream.
pub struct Stream {
    pub kid: Kid,
    pub r: i32,
    pub w: i32,
    board: &'static Board,
    me: Option<Attached>,
}

impl Stream {
    /// A stream beside the module: stock.
    pub fn beside() -> Res<Stream> {
        Stream::with_pace(Pace::Easy)
    }

    /// A stock stream of any pace.
    pub fn with_pace(pace: Pace) -> Res<Stream> {
        let board = Board::new()?;
        let kid = Kid::spawn(|| stream(board, pace))?;
        ensure!(board.await_flag(READY, 1), "the stream does not begin");
        Ok(Stream {
            kid,
            r: board.word(READ_END) as i32,
            w: board.word(WRITE_END) as i32,
            board,
            me: None,
        })
    }

    /// A stream that is attached, and whose calls run specialized.
    pub fn attached(lab: &Lab) -> Res<Stream> {
        let mut s = Stream::beside()?;
        s.attach(lab)?;
        s.fast_again(lab)?;
        Ok(s)
    }

    /// Attaches it.
    pub fn attach(&mut self, lab: &Lab) -> Res {
        self.me = Some(lab.attach_other(self.kid.pid)?);
        Ok(())
    }

    pub fn pid(&self) -> i32 {
        self.kid.pid
    }

    /// The round that was begun last: of its calls nobody knows whether they are over.
    pub fn serial(&self) -> u64 {
        self.board.word(SERIAL)
    }

    /// Waits for rounds that begin from now on.
    pub fn rounds(&self, more: u64) -> Res {
        let until = self.serial() + more;
        let went = wait_for(|| (self.serial() > until).then_some(()));
        ensure!(went.is_some(), "the stream stands still");
        Ok(())
    }

    /// Has it do the mixture once and waits for the end. What the calls returned.
    pub fn mixture(&self) -> Res<Vec<i64>> {
        self.ask_mixture();
        self.await_mixture()
    }

    /// Has it do the mixture when it next comes round.
    pub fn ask_mixture(&self) {
        self.board.raise(WANTED, self.next_mixture());
    }

    /// What [`Stream::ask_mixture`] stores, and where: a debugger can do so too.
    pub fn next_mixture(&self) -> u32 {
        self.board.flag(DONE) + 1
    }

    /// See [`Stream::next_mixture`].
    pub fn ask_address(&self) -> usize {
        &raw const self.board.flags[WANTED] as usize
    }

    /// Waits for the end of the mixture. What the calls returned.
    pub fn await_mixture(&self) -> Res<Vec<i64>> {
        let wanted = self.board.flag(WANTED);
        let done = wait_for(|| (self.board.flag(DONE) >= wanted).then_some(()));
        ensure!(done.is_some(), "the mixture of calls does not end");
        Ok((0..CALLS)
            .map(|n| self.board.word(RESULTS + n) as i64)
            .collect())
    }

    /// Calls that its paths have done.
    pub fn hits(&self, lab: &Lab) -> (u64, u64) {
        use crate::sysfs::Call::{Read, Write};
        (
            lab.hits_of(self.pid(), self.w, Write),
            lab.hits_of(self.pid(), self.r, Read),
        )
    }

    /// Waits until calls run specialized (again), if it is attached.
    pub fn fast_again(&self, lab: &Lab) -> Res {
        if lab.stock || self.me.is_none() {
            return Ok(());
        }
        let grown = wait_for(|| {
            let before = self.hits(lab);
            nap(5);
            let after = self.hits(lab);
            (after.0 > before.0 && after.1 > before.1).then_some(())
        });
        ensure!(
            grown.is_some(),
            "calls do not run specialized; state {:?}",
            lab.state_of(self.pid())
        );
        Ok(())
    }

    /// Does something during which no call may run specialized.
    pub fn slow<T>(&self, lab: &Lab, work: impl FnOnce() -> Res<T>) -> Res<T> {
        let before = self.hits(lab);
        let done = work()?;
        let after = self.hits(lab);
        ensure!(
            after.0 <= before.0 && after.1 <= before.1,
            "calls ran specialized: {before:?} {after:?}"
        );
        Ok(done)
    }

    /// Stops it; all that it read must have been what it wrote.
    pub fn finish(mut self) -> Res {
        self.board.raise(STOP, 1);
        same!(self.kid.wait(PATIENCE), Some(Ended::Exit(0)), "the stream");
        same!(self.board.word(WRONG), 0, "round that read wrong bytes");
        Ok(())
    }
}

/// The program `guest workload`: attaches itself by writing its number to `attach` (any file), warms up, does the mixture and
/// says what the calls returned. Its exit status.
pub fn main(attach: &str, rounds: u64) -> i32 {
    let Ok(files) = Files::open() else { return 9 };
    if sys::write_text(attach, &sys::getpid().to_string()).is_err() {
        return 8;
    }
    if !(1..=rounds).all(|serial| round(&files, serial)) {
        return 7;
    }
    let mut results = Vec::new();
    mixture(&files, |_, result| results.push(result));
    println!("results {results:?}");
    0
}
