//! Child processes, memory shared with them, and what /proc says about them.

use crate::sys::{self, Sys};
use nix::errno::Errno;
use std::panic::Location;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A forked child; killed and reaped when dropped.
pub struct Kid {
    pub pid: i32,
    end: Option<Ended>,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
}

/// What the closure of a child may answer: what the child exits with, and what went wrong in it.
pub trait Answer {
    /// Exit code, and a text for the [`Notes`] unless all went well.
    fn exit(self) -> (i32, Option<String>);
}

impl Answer for i32 {
    fn exit(self) -> (i32, Option<String>) {
        let text = (self != 0).then(|| format!("exits with {self}"));
        (self, text)
    }
}

/// Of a child that nobody asks how it ended.
impl Answer for () {
    fn exit(self) -> (i32, Option<String>) {
        (0, None)
    }
}

/// Exit code of a child, whose failure is noted with the place that made it.
pub fn answered(answer: impl Answer, born: &Location) -> i32 {
    let (code, text) = answer.exit();
    if let Some(text) = text {
        let me = sys::getpid();
        note(&format!(
            "process {me} of {}:{}: {text}",
            born.file(),
            born.line()
        ));
    }
    code
}

/// Bytes for what children say.
const NOTES_BYTES: usize = 8192 - std::mem::size_of::<AtomicUsize>();

/// What failing children say, in memory that a test shares with every process below it. What finds no room is left out.
pub struct Notes {
    used: AtomicUsize,
    text: [AtomicU8; NOTES_BYTES],
}

/// Where notes go to; null: to the output.
static NOTES: AtomicPtr<Notes> = AtomicPtr::new(std::ptr::null_mut());

impl Notes {
    /// An empty page, shared with processes that are forked from now on.
    pub fn new() -> Sys<&'static Notes> {
        let at = sys::map(std::mem::size_of::<Notes>(), 3, libc::MAP_SHARED)?;
        // SAFETY: fresh shared pages, large and aligned enough, unmapped by `close` only; zeroes are valid atomics.
        Ok(unsafe { &*(at as *const Notes) })
    }

    /// Has [`note`] write here, in processes that are forked from now on too.
    pub fn collect(&'static self) {
        NOTES.store(std::ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
    }

    /// What was noted, one a line.
    pub fn text(&self) -> String {
        let used = self.used.load(Ordering::SeqCst).min(NOTES_BYTES);
        let bytes = self.text.iter().take(used);
        let bytes: Vec<u8> = bytes.map(|b| b.load(Ordering::Relaxed)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Adds a line, whoever else does the same.
    pub fn add(&self, line: &str) {
        let at = self.used.fetch_add(line.len() + 1, Ordering::SeqCst);
        let place = self.text.iter().skip(at);
        for (to, from) in place.zip(line.bytes().chain([b'\n'])) {
            to.store(from, Ordering::Relaxed);
        }
    }

    /// Takes the page away. Nobody may be writing any more.
    pub fn close(&'static self) {
        NOTES.store(std::ptr::null_mut(), Ordering::Relaxed);
        let _ = sys::unmap(
            std::ptr::from_ref(self) as usize,
            std::mem::size_of::<Notes>(),
        );
    }
}

/// Has the test's report say `line` if the test fails; without a test it is printed.
pub fn note(line: &str) {
    // SAFETY: null, or a page that stays mapped as long as anybody may write to it.
    match unsafe { NOTES.load(Ordering::Relaxed).as_ref() } {
        Some(notes) => notes.add(line),
        None => println!("# {line}"),
    }
}

impl Kid {
    /// Forks a child that runs `f` and exits with what it answers; what went wrong is noted. It dies with its parent.
    #[track_caller]
    pub fn spawn<A: Answer>(f: impl FnOnce() -> A) -> Sys<Kid> {
        let born = Location::caller();
        Kid::fork(|| answered(f(), born))
    }

    /// [`Kid::spawn`] of one whose exit code is no failure, or is told by other means.
    pub fn fork(f: impl FnOnce() -> i32) -> Sys<Kid> {
        // SAFETY: this program is single-threaded wherever it forks, so the child may use everything.
        match unsafe { libc::fork() } {
            -1 => Err(Errno::last()),
            0 => {
                // SAFETY: plain prctl; `_exit` runs no handlers of the parent's copy.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    libc::_exit(f())
                }
            }
            pid => Ok(Kid { pid, end: None }),
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        if self.end.is_some() {
            return self.end;
        }
        let mut status = 0;
        // SAFETY: `status` is ours.
        let got = unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) };
        if got != self.pid {
            return None;
        }
        self.end = decode(status);
        self.end
    }

    /// Sleeps until the end: in the meantime the CPU is the child's alone.
    pub fn join(&mut self) -> Option<Ended> {
        if self.end.is_none() {
            let mut status = 0;
            // SAFETY: `status` is ours.
            let got = unsafe { libc::waitpid(self.pid, &mut status, 0) };
            self.end = (got == self.pid).then(|| decode(status)).flatten();
        }
        self.end
    }

    /// Waits for the end, at most `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<Ended> {
        poll_until(limit, || self.ended())
    }

    pub fn signal(&self, signal: i32) {
        if self.end.is_none() {
            // SAFETY: a child that is not reaped keeps its number.
            unsafe { libc::kill(self.pid, signal) };
        }
    }
}

impl Drop for Kid {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
        if self.end.is_none() {
            let _ = self.wait(Duration::from_secs(5));
        }
    }
}

/// A `waitpid` status as the end of a process; `None` for a stop.
pub fn decode(status: i32) -> Option<Ended> {
    if libc::WIFEXITED(status) {
        Some(Ended::Exit(libc::WEXITSTATUS(status)))
    } else if libc::WIFSIGNALED(status) {
        Some(Ended::Signal(libc::WTERMSIG(status)))
    } else {
        None
    }
}

/// What each time limit is multiplied by at least: tests give what is enough on an idle host, and no host need be idle. A limit that
/// is not reached costs nothing.
const BUSY_HOST: u32 = 3;

/// What time limits are multiplied by; see [`patient`].
static PATIENCE: AtomicU32 = AtomicU32::new(BUSY_HOST);

/// Multiplies the limit of every wait in this process and those that it forks from now on: for a kernel that is slow.
pub fn set_patience(factor: u32) {
    PATIENCE.store(factor * BUSY_HOST, Ordering::Relaxed);
}

/// A time limit as it is on this kernel.
pub fn patient(limit: Duration) -> Duration {
    limit * PATIENCE.load(Ordering::Relaxed)
}

/// Asks `f` again and again, 200 microseconds apart, until it answers or the time is over.
pub fn poll_until<T>(limit: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let limit = patient(limit);
    let start = Instant::now();
    loop {
        if let Some(v) = f() {
            return Some(v);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Sleeps, which also schedules this process out and in.
pub fn nap(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Memory that this process shares with children forked later.
pub struct Board {
    pub flags: [AtomicU32; 16],
    pub words: [AtomicU64; 256],
}

impl Board {
    /// A zeroed board; lives as long as the process.
    pub fn new() -> Sys<&'static Board> {
        let at = sys::map(
            std::mem::size_of::<Board>().next_multiple_of(4096),
            3,
            libc::MAP_SHARED,
        )?;
        // SAFETY: fresh shared pages, never unmapped, large and aligned enough; zeroes are valid atomics.
        Ok(unsafe { &*(at as *const Board) })
    }

    pub fn raise(&self, flag: usize, value: u32) {
        if let Some(f) = self.flags.get(flag) {
            f.store(value, Ordering::SeqCst);
        }
    }

    pub fn flag(&self, flag: usize) -> u32 {
        self.flags.get(flag).map_or(0, |f| f.load(Ordering::SeqCst))
    }

    /// Waits until a flag is at least `value`; false when it took longer than ten seconds.
    pub fn await_flag(&self, flag: usize, value: u32) -> bool {
        poll_until(Duration::from_secs(10), || {
            (self.flag(flag) >= value).then_some(())
        })
        .is_some()
    }

    pub fn put(&self, word: usize, value: u64) {
        if let Some(w) = self.words.get(word) {
            w.store(value, Ordering::SeqCst);
        }
    }

    pub fn add(&self, word: usize, value: u64) -> u64 {
        self.words
            .get(word)
            .map_or(0, |w| w.fetch_add(value, Ordering::SeqCst))
    }

    pub fn word(&self, word: usize) -> u64 {
        self.words.get(word).map_or(0, |w| w.load(Ordering::SeqCst))
    }
}

/// State letter of `/proc/PID/stat`; `None` when there is no such process.
pub fn state(pid: i32) -> Option<char> {
    let text = sys::read_text(&format!("/proc/{pid}/stat")).ok()?;
    text.rsplit(')').next()?.trim_start().chars().next()
}

/// Waits until a process sleeps in the kernel (interruptibly or not), twice in a row.
pub fn await_sleep(pid: i32) -> bool {
    let mut seen = 0;
    poll_until(Duration::from_secs(10), || {
        seen = if matches!(state(pid), Some('S' | 'D')) {
            seen + 1
        } else {
            0
        };
        (seen >= 3).then_some(())
    })
    .is_some()
}

/// Sleeps until `word` is no longer `old`, at most `limit`; may return early.
pub fn futex_wait(word: &AtomicU32, old: u32, limit: Duration) {
    let t = libc::timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    let args = [
        word as *const AtomicU32 as usize,
        libc::FUTEX_WAIT as usize,
        old as usize,
        &t as *const libc::timespec as usize,
    ];
    let _ = sys::sys(libc::SYS_futex, &args);
}

/// Wakes all that sleep on `word`.
pub fn futex_wake(word: &AtomicU32) {
    let args = [
        word as *const AtomicU32 as usize,
        libc::FUTEX_WAKE as usize,
        i32::MAX as usize,
    ];
    let _ = sys::sys(libc::SYS_futex, &args);
}

/// The four counters of `/proc/PID/io` that calls move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    pub rchar: u64,
    pub wchar: u64,
    pub syscr: u64,
    pub syscw: u64,
}

impl Io {
    pub fn parse(text: &str) -> Io {
        let mut io = Io::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim().parse().unwrap_or(0);
            match key {
                "rchar" => io.rchar = value,
                "wchar" => io.wchar = value,
                "syscr" => io.syscr = value,
                "syscw" => io.syscw = value,
                _ => {}
            }
        }
        io
    }

    pub fn minus(self, o: Io) -> Io {
        Io {
            rchar: self.rchar.wrapping_sub(o.rchar),
            wchar: self.wchar.wrapping_sub(o.wchar),
            syscr: self.syscr.wrapping_sub(o.syscr),
            syscw: self.syscw.wrapping_sub(o.syscw),
        }
    }
}

/// Reads a process's own counters and leaves out what this reading itself adds to them.
pub struct IoMeter {
    fd: i32,
    own_bytes: u64,
    own_calls: u64,
}

impl IoMeter {
    pub fn open() -> Sys<IoMeter> {
        let fd = sys::open("/proc/self/io", libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
        Ok(IoMeter {
            fd,
            own_bytes: 0,
            own_calls: 0,
        })
    }

    /// The counters as they would be had nobody looked.
    pub fn now(&mut self) -> Sys<Io> {
        let mut buf = [0u8; 512];
        let n = sys::pread(self.fd, &mut buf, 0)?;
        let text = String::from_utf8_lossy(buf.get(..n).unwrap_or_default());
        let mut io = Io::parse(&text);
        io.rchar = io.rchar.wrapping_sub(self.own_bytes);
        io.syscr = io.syscr.wrapping_sub(self.own_calls);
        self.own_bytes += n as u64;
        self.own_calls += 1;
        Ok(io)
    }
}

impl IoMeter {
    /// Leaves a `pread64` of another file out of the counters as well.
    pub fn leave_out(&mut self, bytes: usize) {
        self.own_bytes += bytes as u64;
        self.own_calls += 1;
    }

    pub fn descriptor(&self) -> i32 {
        self.fd
    }
}

impl Drop for IoMeter {
    fn drop(&mut self) {
        let _ = sys::close(self.fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_child_says_why() {
        let notes = Notes::new().expect("memory");
        notes.collect();
        let ended = |mut kid: Kid| kid.join();
        let silent = Kid::spawn(|| 7).map(ended);
        let inner = Kid::spawn(|| Kid::spawn(|| 3).ok().and_then(ended).map_or(9, |_| 0));
        assert_eq!(silent, Ok(Some(Ended::Exit(7))));
        assert_eq!(inner.map(ended), Ok(Some(Ended::Exit(0))));
        let text = notes.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with(": exits with 7"), "{text}");
        assert!(lines[1].ends_with(": exits with 3"), "{text}");
        assert!(lines.iter().all(|l| l.contains("src/proc.rs:")), "{text}");
        // What is too long does not run over.
        notes.add(&"x".repeat(2 * NOTES_BYTES));
        notes.add("lost");
        assert_eq!(notes.text().len(), NOTES_BYTES);
        notes.close();
    }

    #[test]
    fn io_text_is_read() {
        let io = Io::parse("rchar: 10\nwchar: 20\nsyscr: 3\nsyscw: 4\nread_bytes: 9\n");
        assert_eq!(
            io,
            Io {
                rchar: 10,
                wchar: 20,
                syscr: 3,
                syscw: 4
            }
        );
        assert_eq!(
            io.minus(Io {
                rchar: 1,
                wchar: 2,
                syscr: 3,
                syscw: 0
            }),
            Io {
                rchar: 9,
                wchar: 18,
                syscr: 0,
                syscw: 4
            }
        );
    }
}
