//! Processes that disturb those that stream. Each does so in its phases ([`super::phases`]), comes back to its loop often, and
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

use super::actions::Action;
use super::board::Board;
use super::counts::{Count, Missing};
use super::streams::Ends;
use crate::diff::rng::Rng;
use crate::proc::{futex_wait, Kid};
use crate::sys::Sys;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Longest rest after having been busy.
const FAIR: Duration = Duration::from_millis(400);
/// How often a stressor shows that it is alive outside of its phases.
const LOOK: Duration = Duration::from_secs(1);

/// What a stressor has to work with.
pub struct Context {
    pub board: &'static Board,
    pub pipes: Vec<Ends>,
    pub rng: Rng,
    started: Instant,
    number: usize,
    woke: Instant,
    rounds: usize,
}

impl Context {
    /// Waits for a phase of this stressor; also says that it is alive. False: it is to end.
    fn await_phase(&self) -> bool {
        loop {
            let phase = self.board.phase.load(Ordering::SeqCst);
            if self.on() || self.board.leaving() {
                return !self.board.leaving();
            }
            futex_wait(&self.board.phase, phase, LOOK);
        }
    }

    /// Whether to go on, because a phase of this stressor is still under way; also says that it is alive.
    pub fn on(&self) -> bool {
        self.live();
        let mine = self.board.phase.load(Ordering::Relaxed) & 1 << self.number != 0;
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

    /// 0, 1, 2 and so on below `n`, then again: for stressors that have several ways, all of which must be gone.
    pub fn round(&mut self, n: usize) -> usize {
        self.rounds = self.rounds.wrapping_add(1);
        self.rounds.wrapping_sub(1) % n.max(1)
    }

    /// Sleeps for a random time of less than so many milliseconds, or for twice as long as this stressor has been busy, so that
    /// stress leaves time to stream on a slow machine too.
    pub fn nap(&mut self, ms: usize) {
        let random = Duration::from_micros(self.rng.below(ms * 1000) as u64);
        let fair = (self.woke.elapsed() * 2).min(FAIR);
        std::thread::sleep(random.max(fair));
        self.woke = Instant::now();
    }

    /// Rests for so many milliseconds, or until the phase is over.
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

/// One kind of stressor.
pub struct Stressor {
    pub name: &'static str,
    pub run: fn(&mut Context),
    /// What cannot be done on this machine.
    pub missing: fn() -> Missing,
    /// Needs the module.
    pub module: bool,
    /// What it must have done in a run, all of it within some seconds of a phase of its own.
    pub goals: &'static [Count],
}

/// The one that has no phases, since actions need it at any time.
pub const PAGER: &str = "pager";

/// All of them.
pub const ALL: &[Stressor] = &[
    attach::STRESSOR,
    switch::STRESSOR,
    modules::STRESSOR,
    look::STRESSOR,
    arena::STRESSOR,
    resize::STRESSOR,
    waiters::STRESSOR,
    signals::STRESSOR,
    ptrace::STRESSOR,
    trace::STRESSOR,
    moves::STRESSOR,
    hotplug::STRESSOR,
    pager::STRESSOR,
    memory::STRESSOR,
    swap::STRESSOR,
    starve::STRESSOR,
];

/// This process and those that it forks are served before those that stream, which are many: a stressor sleeps most of the time
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

/// Starts a stressor.
pub fn start(
    number: usize,
    stressor: &Stressor,
    board: &'static Board,
    pipes: &[Ends],
    seed: u64,
    started: Instant,
) -> Sys<Kid> {
    let mut context = Context {
        board,
        pipes: pipes.to_vec(),
        rng: Rng::new(seed ^ 0xab05e, number as u64),
        started,
        number,
        woke: Instant::now(),
        rounds: 0,
    };
    let run = stressor.run;
    let at_any_time = stressor.name == PAGER;
    Kid::spawn(move || {
        if at_any_time {
            run(&mut context);
        }
        while context.await_phase() {
            run(&mut context);
        }
        0
    })
}

/// What cannot be done on this machine, by stressors and by streaming processes.
pub fn missing(stock: bool) -> (Missing, Vec<Action>) {
    let mut all: Missing = ALL.iter().flat_map(|s| (s.missing)()).collect();
    let mut actions = Vec::new();
    if all.iter().any(|(c, _)| *c == Count::Starved) {
        actions.push(Action::Starve);
    }
    if let Err(why) = super::actions::uring_probe() {
        all.push((Count::Urings, format!("no io_uring: {why}")));
        all.push((Count::UringWrites, "no io_uring".into()));
        actions.push(Action::Uring);
    }
    if !std::path::Path::new("/proc/sys/kernel/seccomp").exists() {
        all.push((Count::Seccomps, "no seccomp filters".into()));
        all.push((Count::Filtered, "no seccomp filters".into()));
        actions.push(Action::Seccomp);
    }
    if all.iter().any(|(c, _)| *c == Count::UserFaults) {
        actions.push(Action::UserFault);
    }
    if all.iter().any(|(c, _)| *c == Count::PageOuts) {
        actions.push(Action::PageOut);
    }
    if stock {
        use Count::*;
        for c in [
            Attaches,
            Detaches,
            Switches,
            ProcessSwitches,
            Recompiles,
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
    (all, actions)
}

/// Nothing is missing.
fn nothing() -> Missing {
    Vec::new()
}
