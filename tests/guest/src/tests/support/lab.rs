//! What a test has at hand: the module (or nothing, in stock mode), attaching, and counting which calls ran specialized.

use crate::proc::{patient, poll_until};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use nix::errno::Errno;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Why a test did not pass.
#[derive(Debug)]
pub enum Stop {
    Fail(String),
    Skip(String),
}

/// Result of a test and of its parts.
pub type Res<T = ()> = Result<T, Stop>;

/// A child fails as a test does; the text goes to the report of the test that it belongs to.
impl crate::proc::Answer for Res {
    fn exit(self) -> (i32, Option<String>) {
        match self {
            Ok(()) => (0, None),
            Err(Stop::Fail(text)) => (1, Some(text)),
            Err(Stop::Skip(text)) => (4, Some(text)),
        }
    }
}

impl From<Errno> for Stop {
    #[track_caller]
    fn from(e: Errno) -> Stop {
        Stop::Fail(format!("{}: a call failed with {e}", Location::caller()))
    }
}

impl From<std::io::Error> for Stop {
    #[track_caller]
    fn from(e: std::io::Error) -> Stop {
        Stop::Fail(format!("{}: {e}", Location::caller()))
    }
}

/// Fails the test with a text unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($cond:expr, $($arg:tt)+) => {
        if !$cond {
            return Err($crate::tests::support::lab::Stop::Fail(format!("{}:{}: {}", file!(), line!(), format!($($arg)+))));
        }
    };
}

/// Fails the test unless both values are equal; shows both.
#[macro_export]
macro_rules! same {
    ($got:expr, $want:expr, $($arg:tt)+) => {{
        let (got, want) = (&$got, &$want);
        if got != want {
            return Err($crate::tests::support::lab::Stop::Fail(format!(
                "{}:{}: {}: got {:?}, want {:?}", file!(), line!(), format!($($arg)+), got, want
            )));
        }
    }};
}

/// Ends the test as skipped.
#[macro_export]
macro_rules! skip {
    ($($arg:tt)+) => {
        return Err($crate::tests::support::lab::Stop::Skip(format!($($arg)+)))
    };
}

/// How often a case may come out wrong before it counts as failed, without a tick that would be to blame.
const ROUNDS: usize = 12;

/// What one run of a case came to.
pub enum Round {
    /// What it was to be.
    Right,
    /// Something else, which is told; a tick came in between and left the kernel something to do.
    Disturbed(String),
    /// Something else, which is told.
    Wrong(String),
}

/// Runs a case until it comes out right. The less of a CPU the host gives to the guest, the more ticks come between two
/// instructions, so runs that a tick disturbs do not count, for ten seconds.
pub fn until_right(mut run: impl FnMut() -> Res<Round>) -> Res {
    let (begin, limit) = (Instant::now(), patient(Duration::from_secs(10)));
    let mut wrong = 0;
    loop {
        let seen = match run()? {
            Round::Right => return Ok(()),
            Round::Disturbed(_) if begin.elapsed() < limit => continue,
            Round::Disturbed(seen) | Round::Wrong(seen) => seen,
        };
        wrong += 1;
        if wrong == ROUNDS {
            return Err(Stop::Fail(format!("{wrong} times wrong, last {seen}")));
        }
    }
}

/// Name of the reason for which a path bails out after a tick.
pub const TICK: &str = "exit_work";

/// Exits that paths of this process have taken, or those for one reason. `None`: there are no listings.
fn own_exits(reason: Option<&str>) -> Option<u64> {
    let about = format!("{} ", sys::getpid());
    let text = sysfs::listing("bailouts").ok()?;
    let own = text.lines().filter_map(|line| line.strip_prefix(&about));
    let count = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let name = words.next()?;
        let is = reason.is_none_or(|reason| reason == name);
        is.then(|| words.next()?.parse::<u64>().ok())?
    };
    Some(own.filter_map(count).sum())
}

/// Calls of this process that bailed out because of ticks, so far.
fn ticks() -> u64 {
    own_exits(Some(TICK)).unwrap_or(0)
}

/// The surroundings of one test.
#[derive(Clone, Copy)]
pub struct Lab {
    /// No module: the same semantics are expected of the stock kernel alone.
    pub stock: bool,
    /// How many calls run specialized is not what the test says: this CPU has no fast string copies, so longer ones are left to
    /// the stock path ([`string_copies`]). What the calls do is tested all the same.
    pub uncounted: bool,
}

/// Bytes of the longest copy that a path does on a CPU without fast string copies (specs/arena.toml, COPY_MAX_SLOW).
pub const LONGEST_SLOW_COPY: usize = 64;

/// Whether the kernel found that `rep movsb` is fast at any length (ERMS, FSRM). Unknown is yes.
pub fn string_copies() -> bool {
    let text = sys::read_text("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    flags.is_none_or(|line| {
        line.split_whitespace()
            .any(|flag| flag == "erms" || flag == "fsrm")
    })
}

/// This process or another one being attached; detached when dropped.
pub struct Attached {
    pub tgid: i32,
    stock: bool,
}

impl Drop for Attached {
    fn drop(&mut self) {
        if !self.stock {
            let _ = sysfs::detach(self.tgid);
        }
    }
}

/// Long enough for anything that only has to be scheduled.
pub const SOON: Duration = Duration::from_secs(10);

/// Skips a test that means nothing without the module.
pub fn needs_module(lab: &Lab) -> Res {
    if lab.stock {
        skip!("about the module only");
    }
    Ok(())
}

/// Descriptor, call and how many calls of it shall run specialized.
pub type Want = (i32, Call, u64);

impl Lab {
    /// Attaches this process.
    pub fn attach(&self) -> Res<Attached> {
        self.attach_other(sys::getpid())
    }

    /// Attaches any process.
    pub fn attach_other(&self, tgid: i32) -> Res<Attached> {
        if !self.stock {
            if let Err(e) = sysfs::attach(tgid) {
                return Err(Stop::Fail(format!(
                    "attach {tgid}: {e}; platform/trap_vector: {:?}",
                    sysfs::get("platform/trap_vector")
                )));
            }
        }
        Ok(Attached {
            tgid,
            stock: self.stock,
        })
    }

    /// A counter of `stats/`; zero in stock mode.
    pub fn stat(&self, name: &str) -> Res<u64> {
        if self.stock {
            return Ok(0);
        }
        sysfs::counter(name).map_err(|e| Stop::Fail(format!("stats/{name}: {e}")))
    }

    /// Hits of a path of this process; zero when there is none.
    pub fn hits(&self, fd: i32, call: Call) -> u64 {
        self.hits_of(sys::getpid(), fd, call)
    }

    pub fn hits_of(&self, tgid: i32, fd: i32, call: Call) -> u64 {
        if self.stock {
            return 0;
        }
        sysfs::hits(tgid, fd, call).unwrap_or(0)
    }

    /// Text of a process's state, for messages; empty in stock mode.
    pub fn state_of(&self, tgid: i32) -> String {
        if self.stock {
            return String::new();
        }
        sysfs::state(tgid).unwrap_or_else(|e| format!("(no state: {e})"))
    }

    /// Runs `f` (repeatable) until in one run exactly the wanted calls ran specialized and exactly `bails` bailed out.
    ///
    /// A tick can send single calls to the stock path, rightly; a case that never comes out right without one is not.
    pub fn exact(&self, wants: &[Want], bails: u64, mut f: impl FnMut() -> Res) -> Res {
        if self.stock || self.uncounted {
            return f();
        }
        let right = until_right(|| {
            let hits: Vec<u64> = wants.iter().map(|w| self.hits(w.0, w.1)).collect();
            let (before, ticked) = (self.bailouts(bails == 0)?, ticks());
            f()?;
            let bailed = self.bailouts(bails == 0)?.wrapping_sub(before);
            let more: Vec<u64> = wants
                .iter()
                .zip(&hits)
                .map(|(w, h)| self.hits(w.0, w.1).wrapping_sub(*h))
                .collect();
            if bailed == bails && wants.iter().zip(&more).all(|(w, m)| w.2 == *m) {
                return Ok(Round::Right);
            }
            let seen = format!("hits {more:?}, bailouts {bailed}");
            Ok(match ticks() == ticked {
                true => Round::Wrong(seen),
                false => Round::Disturbed(seen),
            })
        });
        right.map_err(|stop| match stop {
            Stop::Fail(text) => Stop::Fail(format!(
                "wanted hits {wants:?} and {bails} bailouts: {text}; state {:?}",
                self.state_of(sys::getpid())
            )),
            skip => skip,
        })
    }

    /// Bail-outs so far. `own`: of paths that this process has now, if that can be told; other attached processes may be at work.
    /// Else of all paths that there were, also of those that went because of it.
    fn bailouts(&self, own: bool) -> Res<u64> {
        match own.then(|| own_exits(None)).flatten() {
            Some(count) => Ok(count),
            None => self.stat("bailouts"),
        }
    }

    /// [`Lab::exact`] without a bail-out.
    pub fn fast(&self, wants: &[Want], f: impl FnMut() -> Res) -> Res {
        self.exact(wants, 0, f)
    }

    /// Runs `f` once; its calls on that descriptor must all go to the stock path, at least `bails` of them by a bail-out.
    pub fn slow(&self, fd: i32, call: Call, bails: u64, f: impl FnOnce() -> Res) -> Res {
        if self.stock {
            return f();
        }
        let (hits, before) = (self.hits(fd, call), self.stat("bailouts")?);
        f()?;
        let (hits2, bailed) = (
            self.hits(fd, call),
            self.stat("bailouts")?.wrapping_sub(before),
        );
        ensure!(
            hits2 <= hits,
            "{fd}.{}: {} calls ran specialized that must not",
            call.name(),
            hits2 - hits
        );
        ensure!(
            bailed >= bails,
            "{fd}.{}: {bailed} bail-outs, want at least {bails}",
            call.name()
        );
        Ok(())
    }

    /// Sends bytes through the pipe until both ends run specialized (again); the back-off after a broken assumption is waited
    /// for, ten seconds at most.
    pub fn warm(&self, p: &Pipe) -> Res {
        self.warm_with(p.r, p.w)
    }

    /// [`Lab::warm`] for any two descriptors of one empty pipe.
    pub fn warm_with(&self, r: i32, w: i32) -> Res {
        let ok = poll_until(Duration::from_secs(10), || {
            let before = (self.hits(w, Call::Write), self.hits(r, Call::Read));
            for i in 0..4u8 {
                if let Err(e) = echo(r, w, &[i, !i]) {
                    return Some(Err(e));
                }
            }
            let after = (self.hits(w, Call::Write), self.hits(r, Call::Read));
            (self.stock || (after.0 > before.0 && after.1 > before.1)).then_some(Ok(()))
        });
        match ok {
            Some(done) => done,
            None => {
                let (hits, bails) = (
                    (self.hits(w, Call::Write), self.hits(r, Call::Read)),
                    self.stat("bailouts")?,
                );
                echo(r, w, b"?")?;
                let (hits2, bails2) = (
                    (self.hits(w, Call::Write), self.hits(r, Call::Read)),
                    self.stat("bailouts")?,
                );
                Err(Stop::Fail(format!(
                    "descriptors {r} and {w} do not become specialized; state {:?}; paths {:?}; one more write and read: hits {hits:?} \
                     to {hits2:?}, bailouts {bails} to {bails2}",
                    self.state_of(sys::getpid()),
                    sysfs::list(&format!("processes/{}/fds", sys::getpid())),
                )))
            }
        }
    }

    /// A warm pipe of this process, which is attached as long as the [`Rig`] lives.
    pub fn rig(&self) -> Res<Rig> {
        self.rig_with(0)
    }

    /// [`Lab::rig`] with flags for `pipe2(2)`.
    pub fn rig_with(&self, flags: i32) -> Res<Rig> {
        let p = Pipe::new(flags)?;
        let me = self.attach()?;
        self.warm(&p)?;
        Ok(Rig { p, _me: me })
    }

    /// The usual proof that all is well again: one byte there and back, both specialized.
    pub fn fast_again(&self, p: &Pipe) -> Res {
        self.warm(p)?;
        self.fast(&[(p.w, Call::Write, 1), (p.r, Call::Read, 1)], || {
            echo(p.r, p.w, b"#")
        })
    }
}

/// An attached process with a specialized pipe.
pub struct Rig {
    pub p: Pipe,
    /// Detaches when the rig goes.
    _me: Attached,
}

/// Sends bytes through an empty pipe and verifies them.
pub fn echo(r: i32, w: i32, data: &[u8]) -> Res {
    same!(
        sys::write(w, data),
        Ok(data.len()),
        "write of {} bytes",
        data.len()
    );
    expect(r, data)
}

/// Reads exactly these bytes with one call that asks for no more.
pub fn expect(r: i32, want: &[u8]) -> Res {
    expect_of(r, want.len(), want)
}

/// Reads with one call that asks for `ask` bytes and must deliver exactly `want`.
pub fn expect_of(r: i32, ask: usize, want: &[u8]) -> Res {
    let mut got = vec![0xa5u8; ask + 8];
    let n = sys::read_at(r, got.as_mut_ptr() as usize, ask);
    same!(n, Ok(want.len()), "read of {ask} bytes");
    let data = got.get(..want.len()).unwrap_or_default();
    if data != want {
        let at = data.iter().zip(want).position(|(a, b)| a != b);
        return Err(Stop::Fail(format!(
            "read of {ask} bytes: wrong byte at {at:?}"
        )));
    }
    ensure!(
        got.iter().skip(want.len()).all(|b| *b == 0xa5),
        "read of {ask} bytes wrote behind what it returned"
    );
    Ok(())
}

/// Pseudo-random bytes, different for every `seed`.
pub fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}
