//! Processes that abuse those that stream. Each does so while it is its turn ([`super::turns`]), comes back to its loop often, and
//! is missed if it does not. What it must bring about is counted where it can be seen to have had its effect.

mod arena;
mod attach;
pub mod hotplug;
mod look;
pub mod memory;
mod modules;
mod moves;
mod pager;
mod ptrace;
mod resize;
mod signals;
mod starve;
pub mod swap;
mod switch;
mod trace;
mod waiters;

use super::board::Board;
use super::counts::{Count, Missing};
use super::deeds::Deed;
use super::streams::Ends;
use crate::diff::rng::Rng;
use crate::proc::{futex_wait, Kid};
use crate::sys::Sys;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest rest after having been busy.
const FAIR: Duration = Duration::from_millis(400);
/// How often one whose turn it is not shows that it is alive.
const LOOK: Duration = Duration::from_secs(1);

/// What an abuser has to work with.
pub struct Ground {
    pub board: &'static Board,
    pub pipes: Vec<Ends>,
    pub rng: Rng,
    started: Instant,
    number: usize,
    woke: Instant,
    rounds: usize,
}

impl Ground {
    /// Waits for this abuser's turn; also says that it is alive. False: it is to end.
    fn turn(&self) -> bool {
        loop {
            let turn = self.board.turn.load(Ordering::SeqCst);
            if self.on() || self.board.leaving() {
                return !self.board.leaving();
            }
            futex_wait(&self.board.turn, turn, LOOK);
        }
    }

    /// Whether to go on, because it is this abuser's turn still; also says that it is alive.
    pub fn on(&self) -> bool {
        self.live();
        let mine = self.board.turn.load(Ordering::Relaxed) & 1 << self.number != 0;
        mine && !self.board.leaving()
    }

    fn live(&self) {
        if let Some(alive) = self.board.alive.get(self.number) {
            alive.store(self.started.elapsed().as_secs() + 1, Ordering::Relaxed);
        }
    }

    /// The same for one that others need to come to their end.
    pub fn on_to_the_last(&self) -> bool {
        self.live();
        self.board.leave.load(Ordering::Relaxed) < 2 && !self.board.aborted()
    }

    /// 0, 1, 2 and so on below `n`, then again: for abusers that have several ways, all of which must be gone.
    pub fn round(&mut self, n: usize) -> usize {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds.wrapping_sub(1) % n.max(1)
    }

    /// Sleeps for a random time of less than so many milliseconds, or for twice as long as this abuser has been busy, so that
    /// abuse leaves time to stream on a slow machine too.
    pub fn nap(&mut self, ms: usize) {
        let random = Duration::from_micros(self.rng.below(ms * 1000) as u64);
        let fair = (self.woke.elapsed() * 2).min(FAIR);
        std::thread::sleep(random.max(fair));
        self.woke = Instant::now();
    }

    /// Rests for so many milliseconds, or until the turn is over.
    pub fn rest(&mut self, ms: u64) {
        let end = Instant::now() + Duration::from_millis(ms);
        while self.on() && Instant::now() < end {
            self.nap(20);
        }
    }

    /// Somebody who streams.
    pub fn carrier(&mut self) -> Option<i32> {
        self.rng.pick(&self.board.carriers())
    }

    /// Some pipe.
    pub fn pipe(&mut self) -> Option<Ends> {
        self.rng.pick(&self.pipes)
    }

    pub fn did(&self, what: Count) {
        self.board.did(what);
    }
}

/// One kind of abuser.
pub struct Abuser {
    pub name: &'static str,
    pub run: fn(&mut Ground),
    /// What cannot be done on this machine.
    pub missing: fn() -> Missing,
    /// Needs the module.
    pub module: bool,
    /// What it must have done in a run, all of it within some seconds of a turn alone.
    pub goals: &'static [Count],
}

/// The one that has no turns, since deeds need it at any time.
pub const PAGER: &str = "pager";

/// All of them.
pub const ALL: &[Abuser] = &[
    attach::ABUSER,
    switch::ABUSER,
    modules::ABUSER,
    look::ABUSER,
    arena::ABUSER,
    resize::ABUSER,
    waiters::ABUSER,
    signals::ABUSER,
    ptrace::ABUSER,
    trace::ABUSER,
    moves::ABUSER,
    hotplug::ABUSER,
    pager::ABUSER,
    memory::ABUSER,
    swap::ABUSER,
    starve::ABUSER,
];

/// This process and those that it forks are served before those that stream, which are many: who abuses sleeps most of the time
/// and would otherwise wait for a CPU most of the rest.
pub fn go_first() {
    set_nice(-15);
}

/// Back to what is usual.
pub fn go_last() {
    set_nice(0);
}

fn set_nice(nice: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

/// Starts an abuser.
pub fn start(
    number: usize,
    abuser: &Abuser,
    board: &'static Board,
    pipes: &[Ends],
    seed: u64,
    started: Instant,
) -> Sys<Kid> {
    let mut ground = Ground {
        board,
        pipes: pipes.to_vec(),
        rng: Rng::new(seed ^ 0xab05e, number as u64),
        started,
        number,
        woke: Instant::now(),
        rounds: 0,
    };
    let run = abuser.run;
    let at_any_time = abuser.name == PAGER;
    Kid::spawn(move || {
        if at_any_time {
            run(&mut ground);
        }
        while ground.turn() {
            run(&mut ground);
        }
        0
    })
}

/// What cannot be done on this machine, by abusers and by streaming processes.
pub fn missing(stock: bool) -> (Missing, Vec<Deed>) {
    let mut all: Missing = ALL.iter().flat_map(|a| (a.missing)()).collect();
    let mut deeds = Vec::new();
    if all.iter().any(|(c, _)| *c == Count::Starved) {
        deeds.push(Deed::Starve);
    }
    if let Err(why) = super::deeds::uring_probe() {
        all.push((Count::Urings, format!("no io_uring: {why}")));
        all.push((Count::UringWrites, "no io_uring".into()));
        deeds.push(Deed::Uring);
    }
    if !std::path::Path::new("/proc/sys/kernel/seccomp").exists() {
        all.push((Count::Seccomps, "no seccomp filters".into()));
        all.push((Count::Filtered, "no seccomp filters".into()));
        deeds.push(Deed::Seccomp);
    }
    if all.iter().any(|(c, _)| *c == Count::UserFaults) {
        deeds.push(Deed::UserFault);
    }
    if all.iter().any(|(c, _)| *c == Count::PageOuts) {
        deeds.push(Deed::PageOut);
    }
    if stock {
        use Count::*;
        for c in [
            Attaches,
            Detaches,
            Switches,
            ProcessSwitches,
            Profiles,
            Insmods,
            Rmmods,
            Looks,
            Crowd,
            ArenaFull,
            ArenaShort,
            SwitchedOff,
            StarvedCode,
            StarvedAttaches,
            StarvedResizes,
        ] {
            all.push((c, "without the module".into()));
        }
    }
    (all, deeds)
}

/// Nothing is missing.
fn nothing() -> Missing {
    Vec::new()
}
