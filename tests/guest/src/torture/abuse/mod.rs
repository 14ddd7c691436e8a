//! Processes that abuse those that stream. Each comes back to its loop often, and is missed if it does not.

mod arena;
mod attach;
mod hotplug;
mod look;
pub mod memory;
mod modules;
mod moves;
mod pager;
mod ptrace;
mod resize;
mod signals;
pub mod swap;
mod switch;
mod trace;
mod waiters;

use super::board::Board;
use super::counts::{Count, Missing};
use super::deeds::Deed;
use super::streams::Ends;
use crate::diff::rng::Rng;
use crate::proc::Kid;
use crate::sys::Sys;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest rest after having been busy.
const FAIR: Duration = Duration::from_millis(400);

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
    /// Whether to go on; also says that this abuser is alive.
    pub fn on(&self) -> bool {
        if let Some(alive) = self.board.alive.get(self.number) {
            alive.store(self.started.elapsed().as_secs() + 1, Ordering::Relaxed);
        }
        !self.board.leaving()
    }

    /// The same for one that others need to come to their end.
    pub fn on_to_the_last(&self) -> bool {
        self.on();
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
}

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
];

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
    Kid::spawn(move || {
        run(&mut ground);
        0
    })
}

/// What cannot be done on this machine, by abusers and by streaming processes.
pub fn missing(stock: bool) -> (Missing, Vec<Deed>) {
    let mut all: Missing = ALL.iter().flat_map(|a| (a.missing)()).collect();
    let mut deeds = Vec::new();
    if !std::path::Path::new("/proc/self/make-it-fail").exists() {
        all.push((Count::Starved, "no fault injection".into()));
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
