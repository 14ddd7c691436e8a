//! A streaming process: writes, reads, passes on, and now and then does something to itself.

use super::actions;
use super::board::{map_shared, Board, Desk, Lie, Role, State, PAGE, PAGES};
use super::check::{Kind, Wrong};
use super::counts::Count;
use super::message::{digest, FIXED, LONGEST};
use super::relay;
use crate::diff::rng::Rng;
use crate::sys::{self, Sys};
use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Steps at a time, after which it is asked whether an action is due.
const STRIDE: usize = 16;
/// Strides between two actions: less than so many. Not a time, so that on a slow machine streams go on as well.
const ACTION_PAUSE: usize = 12;
/// Exit code of a process that saw its stream go wrong.
pub const WRONG: i32 = 1;

/// A process (or thread) that streams now.
pub struct Worker {
    pub board: &'static Board,
    pub fd: i32,
    pub index: usize,
    /// The second mapping of the desk's buffer, which calls use and actions spoil.
    pub at: usize,
    /// Actions are done; not by a thread or child that only goes on for a while.
    pub actions: bool,
    /// What calls may return just now because an action provokes it.
    pub expect: Expect,
}

/// Errors that are right for a while.
#[derive(Clone, Copy, Default)]
pub struct Expect {
    /// `EFAULT`, because the buffer is taken away under the call.
    pub fault: bool,
}

/// Why streaming ended.
pub enum Stop {
    /// The stream is complete.
    Done,
    /// Something is wrong, here or elsewhere, and was told.
    Abort,
}

pub type Step<T = ()> = Result<T, Stop>;

impl Worker {
    /// Gets ready to stream for a desk.
    pub fn new(board: &'static Board, fd: i32, index: usize) -> Sys<Worker> {
        let desk = board.desks.get(index).ok_or(Errno::EINVAL)?;
        let at = map_shared(fd, board.buffer_offset(desk), PAGES * PAGE)?;
        Ok(Worker {
            board,
            fd,
            index,
            at,
            actions: true,
            expect: Expect::default(),
        })
    }

    /// The same stream in another process or thread, which has no actions of its own.
    pub fn other(&self) -> Worker {
        Worker {
            actions: false,
            expect: Expect::default(),
            ..*self
        }
    }

    pub fn desk(&self) -> &'static Desk {
        &self.board.desks[self.index]
    }

    #[allow(clippy::mut_from_ref)]
    pub fn state(&self) -> &mut State {
        // SAFETY: a `Worker` exists where the stream is carried on, and only one carries it on at a time.
        unsafe { self.desk().state() }
    }

    /// The buffer through the mapping that nobody spoils.
    #[allow(clippy::mut_from_ref)]
    pub fn buffer(&self) -> &mut [u8] {
        // SAFETY: as for the state.
        unsafe { &mut *self.desk().buffer.get() }
    }

    /// Random numbers that go on wherever the stream is carried on.
    pub fn random(&self) -> Rng {
        let state = self.state();
        state.random = state.random.wrapping_add(1);
        Rng::new(state.random, self.index as u64)
    }

    /// From now on this process or thread streams.
    pub fn take_over(&self) {
        self.desk().carrier.store(sys::getpid(), Ordering::SeqCst);
    }

    /// The program that exec was to bring is here.
    pub fn count_exec(&self) {
        let state = self.state();
        let index = (state.exec as usize).wrapping_sub(1);
        if let Some(what) = super::counts::ALL.get(index) {
            self.board.did(*what);
        }
        state.exec = 0;
    }

    /// Tells that the stream is wrong.
    pub fn wrong(&self, wrong: Wrong) -> Stop {
        let stream = super::streams::STREAMS
            .get(self.state().stream as usize)
            .map_or("", |s| s.name);
        let text = format!("stream {stream}, process {}: {}", self.index, wrong.text);
        self.board.tell(&Wrong { text, ..wrong });
        Stop::Abort
    }

    /// A result of a call that cannot be right.
    pub fn surprise(&self, text: String) -> Stop {
        self.wrong(Wrong {
            kind: Kind::Changed,
            bytes: 0,
            text,
        })
    }

    /// Repeats a call as long as it says to. `None`: nothing was there to do, or no room.
    pub fn retry(&self, name: &str, mut call: impl FnMut() -> Sys) -> Step<Option<usize>> {
        loop {
            match call() {
                Ok(n) => {
                    self.desk().progress.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(n));
                }
                Err(Errno::EINTR) => self.board.did(Count::Interrupted),
                Err(Errno::EAGAIN) => {
                    self.let_others();
                    if self.board.aborted() {
                        return Err(Stop::Abort);
                    }
                    return Ok(None);
                }
                Err(Errno::EFAULT) if self.expect.fault => {
                    self.board.did(Count::Refused);
                    self.let_others();
                }
                // A limit on memory may hit any call.
                Err(Errno::ENOMEM) => {
                    self.board.did(Count::NoMemory);
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(e) => return Err(self.surprise(format!("{name}: {e}"))),
            }
            if self.board.aborted() {
                return Err(Stop::Abort);
            }
        }
    }

    /// Nothing can be done before somebody else has done something.
    fn let_others(&self) {
        let _ = sys::sys(libc::SYS_sched_yield, &[]);
        if self.random().chance(1, 8) {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Streams until the end; the exit code of the process.
    pub fn run(&mut self) -> i32 {
        loop {
            match self.steps(STRIDE) {
                Ok(()) => {}
                Err(Stop::Done) => {
                    self.desk().done.store(1, Ordering::SeqCst);
                    return 0;
                }
                Err(Stop::Abort) => return WRONG,
            }
            if self.actions && self.board.actions_wanted() && self.due() {
                actions::one(self);
            }
        }
    }

    /// Goes on for `n` steps, less if the stream ends.
    pub fn steps(&mut self, n: usize) -> Step {
        for _ in 0..n {
            if self.board.aborted() {
                return Err(Stop::Abort);
            }
            match self.state().role {
                r if r == Role::Writer as u32 => self.write_message()?,
                r if r == Role::Reader as u32 => self.read_some()?,
                r if r == Role::Both as u32 => {
                    // Some go in before they come out.
                    for _ in 0..1 + self.random().below(4) {
                        self.write_message_unless_ended()?;
                    }
                    self.read_waiting()?;
                }
                r => relay::step(self, r == Role::Splicer as u32)?,
            }
        }
        Ok(())
    }

    /// Whether an action is due; sets when the next one is.
    fn due(&self) -> bool {
        let state = self.state();
        if state.due > 0 {
            state.due -= 1;
            return false;
        }
        state.due = self.random().below(ACTION_PAUSE) as u64;
        true
    }

    fn write_message_unless_ended(&mut self) -> Step {
        match self.state().ended {
            0 => self.write_message(),
            _ => Ok(()),
        }
    }

    /// Writes one message, whole, as a write of up to `PIPE_BUF` bytes must be.
    pub fn write_message(&mut self) -> Step {
        let last = self.board.stopping();
        let state = self.state();
        if state.ended != 0 {
            return Err(Stop::Done);
        }
        // Anywhere in the first page, so that some messages cross into the next one.
        let start = self.random().below(PAGE);
        let n = self.compose(start, last);
        let to = state.to;
        let addr = self.at + start;
        let written = loop {
            let call = || match n % 7 {
                // The same by a call that has no path.
                0 => writev(to, addr, n),
                _ => sys::write_at(to, addr, n),
            };
            match self.retry("write", call)? {
                Some(k) => break k,
                None if self.board.stopping() && !last => return Ok(()),
                None => {}
            }
            // Its own reader must make room.
            if state.role == Role::Both as u32 {
                return self.read_waiting();
            }
        };
        if written != n {
            return Err(self.surprise(format!(
                "a write of {n} bytes, which must be atomic, wrote {written}"
            )));
        }
        self.wrote(n, last);
        Ok(())
    }

    /// Puts the next message at `start` of the buffer; its length.
    pub fn compose(&self, start: usize, last: bool) -> usize {
        let state = self.state();
        let out = self
            .buffer()
            .get_mut(start..start + LONGEST)
            .unwrap_or_default();
        state
            .checker
            .rules
            .compose(state.writer as u16, state.seq, last, out)
    }

    /// The message has been written.
    pub fn wrote(&self, n: usize, last: bool) {
        let state = self.state();
        state.sum = state
            .sum
            .wrapping_add(digest(state.writer as u16, state.seq));
        state.seq += 1;
        state.written += n as u64;
        state.ended = u32::from(last);
    }

    /// Reads once and checks what came.
    fn read_some(&mut self) -> Step {
        if self.state().checker.complete() {
            return Err(Stop::Done);
        }
        self.read_once().map(|_| ())
    }

    fn read_once(&mut self) -> Step<usize> {
        let state = self.state();
        let mut r = self.random();
        // Readers that share a pipe must take whole messages.
        let n = match (state.checker.rules.fixed, r.below(4)) {
            (0, 0) => 1 + r.below(64),
            (0, 1) => 2 * LONGEST,
            (0, _) => 1 + r.below(LONGEST),
            (_, k) => FIXED * (1 + 5 * k),
        };
        let start = r.below(PAGE);
        let from = state.from;
        let Some(got) = self.retry("read", || sys::read_at(from, self.at + start, n))? else {
            return Ok(0);
        };
        if got == 0 || got > n {
            return Err(self.surprise(format!("a read of {n} bytes returned {got}")));
        }
        let bytes = self.buffer().get(start..start + got).unwrap_or_default();
        match state.checker.feed(bytes) {
            Ok(()) => Ok(got),
            Err(wrong) => Err(self.wrong(wrong)),
        }
    }

    /// Reads until nothing is left in this process's own pipe.
    fn read_waiting(&mut self) -> Step {
        while sys::fionread(self.state().from).is_ok_and(|n| n > 0) {
            self.read_once()?;
        }
        match self.state().checker.complete() {
            true => Err(Stop::Done),
            false => Ok(()),
        }
    }

    /// Whether a lie that was planted here is due.
    pub fn lie(&self) -> Option<Lie> {
        // Late enough that everything is under way.
        let lies = [
            Lie::Lost,
            Lie::Duplicated,
            Lie::Swapped,
            Lie::Flipped,
            Lie::Stuck,
        ];
        let state = self.state();
        (state.lie != 0 && state.passed > 20_000)
            .then(|| lies.into_iter().find(|l| *l as u32 == state.lie))
            .flatten()
    }
}

fn writev(fd: i32, addr: usize, n: usize) -> Sys {
    let half = n / 2;
    let iov = [addr, half, addr + half, n - half];
    sys::sys(libc::SYS_writev, &[fd as usize, iov.as_ptr() as usize, 2])
}

/// Signals that may arrive at any time: handled, some of them without restarting the call.
pub fn take_signals() {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the handler does nothing; the set is ours.
    unsafe {
        for (signal, flags) in [
            (libc::SIGUSR1, libc::SA_RESTART),
            (libc::SIGUSR2, 0),
            (libc::SIGALRM, 0),
            (libc::SIGIO, libc::SA_RESTART),
            (libc::SIGRTMIN() + 1, 0),
        ] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            action.sa_flags = flags;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_UNBLOCK, &all, std::ptr::null_mut());
    }
}
