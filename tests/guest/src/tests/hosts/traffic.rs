//! Attached processes that send bytes through pipes, compare each that comes back, and count which of their calls ran specialized.

use crate::ensure;
use crate::proc::{self, poll_until, Board, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{Lab, Res, Stop};
use nix::errno::Errno;
use std::time::Duration;

/// Flags of the board: who is to stop, and who has found a wrong byte.
pub const STOP: usize = 0;
const WRONG: usize = 1;
/// Words of the board.
const CALLS: usize = 0;
const HITS: usize = 1;
const PINGS: usize = 2;
/// Echoes between two looks at the counters of hits.
const BATCH: u64 = 200;
/// How long something may take to make progress on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// Binds a process to one CPU; 0: the caller.
pub fn pin(pid: i32, cpu: usize) -> Res {
    let mask = [1u64 << cpu];
    sys::sys(
        libc::SYS_sched_setaffinity,
        &[pid as usize, 8, mask.as_ptr() as usize],
    )?;
    Ok(())
}

/// Has a process run before all others of its CPU but the kernel's own of the highest priority; 0: the caller.
pub fn run_first(pid: i32) -> Res {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: `priority` is ours.
    let done = unsafe { libc::sched_setscheduler(pid, libc::SCHED_FIFO, &priority) };
    ensure!(done == 0, "sched_setscheduler: {}", Errno::last());
    Ok(())
}

/// One that echoes through a pipe of its own, and two that talk to each other: all of them attached and on one CPU.
pub struct Traffic {
    board: &'static Board,
    kids: Vec<Kid>,
}

/// Calls of the first one, and how many of them ran specialized.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub calls: u64,
    pub hits: u64,
}

impl Served {
    pub fn since(self, before: Served) -> Served {
        Served {
            calls: self.calls - before.calls,
            hits: self.hits - before.hits,
        }
    }

    /// In thousandths.
    pub fn share(self) -> u64 {
        self.hits * 1000 / self.calls.max(1)
    }
}

fn hits(p: &Pipe) -> u64 {
    let me = sys::getpid();
    [(p.w, Call::Write), (p.r, Call::Read)]
        .into_iter()
        .filter_map(|(fd, call)| sysfs::hits(me, fd, call))
        .sum()
}

/// One byte through a pipe, there and back to the same process.
fn echo(p: &Pipe, value: u8) -> bool {
    let mut got = [!value];
    sys::write(p.w, &[value]) == Ok(1) && sys::read(p.r, &mut got) == Ok(1) && got[0] == value
}

fn echoes(board: &Board, p: &Pipe) -> bool {
    let mut before = hits(p);
    while board.flag(STOP) == 0 {
        if !(0..BATCH).all(|i| echo(p, i as u8)) {
            return false;
        }
        let after = hits(p);
        // A path that was recompiled counts from nought.
        board.add(HITS, after.checked_sub(before).unwrap_or(after));
        board.add(CALLS, 2 * BATCH);
        before = after;
    }
    true
}

fn pings(board: &Board, first: bool, (from, to): (&Pipe, &Pipe)) -> bool {
    let mut value = 0u8;
    loop {
        if first && sys::write(to.w, &[value]) != Ok(1) {
            return false;
        }
        let mut got = [!value];
        if sys::read(from.r, &mut got) != Ok(1) || got[0] != value {
            return false;
        }
        if !first && sys::write(to.w, &[value]) != Ok(1) {
            return false;
        }
        value = value.wrapping_add(1);
        board.add(PINGS, 1);
        if board.flag(STOP) != 0 {
            return true;
        }
    }
}

impl Traffic {
    pub fn start(lab: &Lab, cpu: Option<usize>) -> Res<Traffic> {
        let board = Board::new()?;
        let (there, back) = (Pipe::new(0)?, Pipe::new(0)?);
        let worker = |f: &dyn Fn() -> bool| {
            Kid::spawn(|| {
                let ready = cpu.is_none_or(|cpu| pin(0, cpu).is_ok());
                match ready.then(|| lab.attach()) {
                    Some(Ok(_me)) if f() => 0,
                    _ => {
                        board.raise(WRONG, 1);
                        1
                    }
                }
            })
        };
        let own = Pipe::new(0)?;
        let kids = vec![
            worker(&|| echoes(board, &own))?,
            worker(&|| pings(board, true, (&back, &there)))?,
            worker(&|| pings(board, false, (&there, &back)))?,
        ];
        let traffic = Traffic { board, kids };
        traffic.is_served()?;
        Ok(traffic)
    }

    /// The number of the one whose calls are counted.
    pub fn echoer(&self) -> i32 {
        self.kids[0].pid
    }

    pub fn pids(&self) -> Vec<i32> {
        self.kids.iter().map(|kid| kid.pid).collect()
    }

    pub fn served(&self) -> Served {
        Served {
            hits: self.board.word(HITS),
            calls: self.board.word(CALLS),
        }
    }

    /// All go on: they make so many calls more, of which this is told.
    pub fn goes_on(&self, calls: u64) -> Res<Served> {
        let (before, pings) = (self.served(), self.board.word(PINGS));
        let more = poll_until(SOON, || {
            let more = self.served().since(before);
            let done = more.calls >= calls && self.board.word(PINGS) > pings;
            (done || self.board.flag(WRONG) != 0).then_some(more)
        });
        ensure!(
            self.board.flag(WRONG) == 0,
            "a wrong byte, or a failed call"
        );
        more.ok_or_else(|| {
            Stop::Fail(format!(
                "{:?} and {} pings in {} s; states {:?}",
                self.served().since(before),
                self.board.word(PINGS) - pings,
                proc::patient(SOON).as_secs(),
                self.kids
                    .iter()
                    .map(|kid| sysfs::state(kid.pid))
                    .collect::<Vec<_>>(),
            ))
        })
    }

    /// Nearly all of their calls run specialized now or soon.
    pub fn is_served(&self) -> Res<Served> {
        let mut last = self.served();
        let good = poll_until(SOON, || {
            let more = self.goes_on(20 * BATCH).ok()?;
            last = more;
            (more.share() > 900).then_some(more)
        });
        good.ok_or_else(|| Stop::Fail(format!("{last:?}; state {:?}", sysfs::state(self.echoer()))))
    }

    /// They end, and no byte was wrong.
    pub fn stop(mut self) -> Res {
        self.board.raise(STOP, 1);
        let ended = self.kids.first_mut().and_then(|kid| kid.wait(SOON));
        ensure!(
            ended == Some(proc::Ended::Exit(0)),
            "the echoing process ended with {ended:?}"
        );
        // Of the other two the first one to stop leaves the other waiting.
        ensure!(
            self.board.flag(WRONG) == 0,
            "a wrong byte, or a failed call"
        );
        Ok(())
    }
}
