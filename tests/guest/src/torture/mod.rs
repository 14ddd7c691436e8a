//! Torture: streams of known bytes between attached processes, while everything is done to these that a machine can do to a
//! process. No byte may be lost, come twice, come out of order or be changed, and nothing may stand still.
//!
//! [`streams`] says who streams; [`worker`] and [`relay`] stream; [`check`] compares. [`stressors`] are what others do to the streaming
//! processes, [`actions`] what these do to themselves, and [`phases`] says which of them come when. [`counts`] are the effects that
//! were seen.

mod actions;
mod board;
mod check;
mod counts;
mod message;
mod phases;
mod relay;
mod seen;
mod share;
pub mod starvation;
mod streams;
pub mod stressors;
mod verdict;
mod watch;
mod worker;

pub use actions::resume;
pub use board::Lie;

use crate::proc::{Ended, Kid};
use crate::{sys, sysfs};
use board::Board;
use counts::{Count, Missing};
use message::LONGEST;
use phases::{Phase, Phases};
use share::Shares;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use streams::Built;
use watch::Watch;
use worker::Worker;

#[derive(clap::Args)]
pub struct Args {
    /// What messages and choices depend on; without it the time of day
    #[arg(long)]
    seed: Option<u64>,
    /// For how long to stream under stress, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds without progress after which a process counts as hanging
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Without the module: shows that nothing goes wrong by itself
    #[arg(long)]
    stock: bool,
    /// Only stream
    #[arg(long)]
    calm: bool,
    /// Only these stressors (may be given more than once); streaming processes do nothing to themselves
    #[arg(long)]
    only: Vec<String>,
    /// A mistake to make on purpose: it must be found
    #[arg(long)]
    lie: Option<Lie>,
    /// Module file
    #[arg(long, default_value = crate::tests::MODULE_FILE)]
    module: String,
}

/// How much longer a run may take until everything has been done.
const LONGER: Duration = Duration::from_secs(300);

/// A run that goes on.
struct Run<'a> {
    args: &'a Args,
    seed: u64,
    board: &'static Board,
    built: Vec<Built>,
    workers: Vec<(usize, Kid)>,
    stressors: Vec<(usize, Kid)>,
    missing: Missing,
    watch: Watch,
    shares: Shares,
}

/// Runs the torture; the exit code of the program.
pub fn main(args: &Args) -> i32 {
    let seed = args.seed.unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64 & 0xffff_ffff)
    });
    println!("# torture: seed {seed}, {} s", args.seconds);
    match Run::start(args, seed) {
        Ok(mut run) => {
            let outcome = run.whole();
            let failed = outcome.is_err();
            run.tell(outcome);
            i32::from(failed)
        }
        Err(why) => {
            println!("TORTURE failed seed={seed}: {why}");
            1
        }
    }
}

/// For the torture's own tests: a short run without stress in which one relay does not do its duty. What was found.
pub fn finds(lie: Lie, stock: bool) -> Result<String, String> {
    let args = Args {
        seed: Some(7),
        seconds: 60,
        // Only the relay that stops is to be found by its standing still, however slow the machine is.
        patience: if lie == Lie::Stuck { 8 } else { 60 },
        stock,
        calm: true,
        only: Vec::new(),
        lie: Some(lie),
        module: String::new(),
    };
    let outcome = Run::start(&args, 7)?.whole();
    match outcome {
        Ok(()) => Err(format!(
            "nothing was found, though a relay told a lie: {lie:?}"
        )),
        Err(why) => Ok(why),
    }
}

/// For the torture's own tests: a short run without stress and without lies.
pub fn streams_calmly(seconds: u64, stock: bool) -> Result<(), String> {
    let args = Args {
        seed: Some(8),
        seconds,
        patience: 30,
        stock,
        calm: true,
        only: Vec::new(),
        lie: None,
        module: String::new(),
    };
    let outcome = Run::start(&args, 8)?.whole();
    outcome
}

impl<'a> Run<'a> {
    fn start(args: &'a Args, seed: u64) -> Result<Run<'a>, String> {
        let fail = |what: &'static str| move |e| format!("{what}: {e}");
        stressors::go_first();
        // Forks are many, and no number may be used for another process soon.
        let _ = sys::write_text("/proc/sys/kernel/pid_max", "4194304");
        if !args.stock {
            if !args.module.is_empty() {
                std::env::set_var(crate::tests::MODULE_VAR, &args.module);
            }
            crate::tests::load_if_missing()?;
            sysfs::set("enabled", "1").map_err(|e| format!("enabled: {e}"))?;
        }
        let (board, fd) = Board::create().map_err(fail("shared memory"))?;
        board.stock.store(u32::from(args.stock), Ordering::SeqCst);
        let still = args.calm || !args.only.is_empty();
        let (missing, impossible) = match args.calm {
            true => (Vec::new(), Vec::new()),
            false => stressors::missing(args.stock),
        };
        let impossible = actions::set(&impossible);
        board.impossible.store(impossible, Ordering::SeqCst);
        let built = streams::build(board, seed, still).map_err(fail("pipes"))?;
        let mut run = Run {
            args,
            seed,
            board,
            built,
            workers: Vec::new(),
            stressors: Vec::new(),
            missing,
            watch: Watch::new(
                board,
                Duration::from_secs(args.patience),
                args.lie.is_none(),
            ),
            shares: Shares::new(),
        };
        run.plant();
        run.start_workers(fd).map_err(fail("fork"))?;
        if !args.calm {
            run.start_stressors().map_err(fail("fork"))?;
        }
        Ok(run)
    }

    /// Tells the relay of the plain chain to lie.
    fn plant(&self) {
        for desk in &self.board.desks {
            // SAFETY: nobody streams yet.
            let state = unsafe { desk.state() };
            if state.role == board::Role::Relay as u32 {
                state.lie = self.args.lie.map_or(0, |l| l as u32);
            }
        }
    }

    fn start_workers(&mut self, fd: i32) -> sys::Sys<()> {
        let desks: Vec<usize> = self.built.iter().flat_map(|b| b.desks.clone()).collect();
        for index in desks {
            let (board, stock) = (self.board, self.args.stock);
            let kid = Kid::spawn(move || {
                stressors::go_last();
                worker::take_signals();
                let Ok(mut worker) = Worker::new(board, fd, index) else {
                    return worker::WRONG;
                };
                worker.take_over();
                if !stock && sysfs::attach(sys::getpid()).is_ok() {
                    board.did(Count::Attaches);
                }
                worker.run()
            })?;
            if let Some(desk) = self.board.desks.get(index) {
                desk.owner.store(kid.pid, Ordering::SeqCst);
            }
            if !self.args.calm {
                stressors::memory::confine(kid.pid);
            }
            self.workers.push((index, kid));
        }
        Ok(())
    }

    fn start_stressors(&mut self) -> sys::Sys<()> {
        let pipes: Vec<_> = self.built.iter().flat_map(|b| b.pipes.clone()).collect();
        for (number, stressor) in stressors::ALL.iter().enumerate() {
            let only = &self.args.only;
            let wanted = only.is_empty() || only.iter().any(|o| o == stressor.name);
            let missing = |goal: &Count| self.missing.iter().any(|(m, _)| m == goal);
            let idle = !stressor.goals.is_empty() && stressor.goals.iter().all(missing);
            if !wanted || idle || stressor.module && self.args.stock {
                continue;
            }
            let started = self.watch.started;
            let kid = stressors::start(number, stressor, self.board, &pipes, self.seed, started)?;
            self.stressors.push((number, kid));
        }
        Ok(())
    }

    /// All of it: streaming under stress, the end of the stressors, the end of the streams, the reckoning.
    fn whole(&mut self) -> Result<(), String> {
        let done = self
            .stress()
            .and_then(|()| self.end_stressors())
            .and_then(|()| self.end_streams())
            .and_then(|()| self.reckon());
        if done.is_err() {
            self.board.abort.store(1, Ordering::SeqCst);
        }
        done
    }

    /// Phase after phase, until the time is over and everything has been done that can be done. On a slow machine that takes longer.
    fn stress(&mut self) -> Result<(), String> {
        let least = Duration::from_secs(self.args.seconds);
        let most = least + LONGER;
        let numbers = self.stressors.iter().map(|(number, _)| *number);
        let pager = |n: &usize| {
            stressors::ALL
                .get(*n)
                .is_some_and(|s| s.name == stressors::PAGER)
        };
        let mut phases = Phases::new(self.seed, numbers.filter(|n| !pager(n)).collect());
        loop {
            let now = self.watch.started.elapsed();
            let undone = counts::undone(self.board, &self.missing);
            let left = self.complete() && !self.undone().is_empty();
            if now >= least && (!left || now >= most) {
                return Ok(());
            }
            let phase = match now < least {
                true => phases.next(),
                false => phases.for_undone(&undone),
            };
            self.phase(&phase, if now < least { least } else { most })?;
        }
    }

    /// One phase; it ends early when the time is over.
    fn phase(&mut self, phase: &Phase, end: Duration) -> Result<(), String> {
        let begin = Instant::now();
        let possible = |c: &&Count| !self.missing.iter().any(|(m, _)| m == *c);
        let goals: Vec<(Count, u64)> = phase
            .goals
            .iter()
            .filter(possible)
            .map(|c| (*c, self.board.count(*c)))
            .collect();
        self.board.begin_phase(phase.set);
        if phase.is_quiet() && self.complete() && !self.args.stock {
            self.attach_anew();
        }
        self.shares.phase(self.board, phase.is_quiet());
        loop {
            let reached = goals.iter().all(|(c, n)| self.board.count(*c) > *n)
                && (!phase.is_quiet() || self.args.stock || self.shares.quiet_enough());
            let now = begin.elapsed();
            let over = now >= phase.most || now >= phase.least && reached;
            let over = over || self.watch.started.elapsed() >= end;
            if over {
                println!("# torture: {:.1} s of {}", now.as_secs_f32(), phase.names());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
            self.look(true)?;
            if !self.args.stock {
                self.shares.look(self.board);
            }
        }
    }

    /// Processes that are left alone for a while because of what was done to them are specialized again at once when they are
    /// attached anew. Stressors of the phase before may attach as well.
    fn attach_anew(&self) {
        for pid in self.board.carriers() {
            let _ = sysfs::detach(pid);
            let _ = sysfs::attach(pid);
        }
    }

    /// Whether everything is to be done, as opposed to a part that was asked for.
    fn complete(&self) -> bool {
        !self.args.calm && self.args.only.is_empty()
    }

    /// What must be and is not, in words.
    fn undone(&self) -> Vec<String> {
        let undone = counts::undone(self.board, &self.missing);
        let shares = (!self.args.stock)
            .then(|| self.shares.complaint())
            .flatten();
        let texts = undone.iter().map(|c| format!("never done: {}", c.text()));
        texts.chain(shares).collect()
    }

    /// Whether all is well so far.
    fn look(&mut self, talk: bool) -> Result<(), String> {
        if let Some(wrong) = self.board.told() {
            return Err(format!("{:?}: {}", wrong.kind, wrong.text));
        }
        for (index, kid) in &mut self.workers {
            let done = self
                .board
                .desks
                .get(*index)
                .is_some_and(|d| d.done.load(Ordering::SeqCst) != 0);
            if let (Some(end), false) = (kid.ended(), done) {
                // What it told is more to the point.
                if let Some(wrong) = self.board.told() {
                    return Err(format!("{:?}: {}", wrong.kind, wrong.text));
                }
                return Err(format!("process {index} ended: {end:?}"));
            }
        }
        for (number, kid) in &mut self.stressors {
            if let (Some(end), false) = (kid.ended(), self.board.leaving()) {
                let name = stressors::ALL.get(*number).map_or("", |s| s.name);
                return Err(format!("stressor {name} ended: {end:?}"));
            }
        }
        self.watch.look(&self.stressors)?;
        if talk {
            self.watch.talk();
        }
        Ok(())
    }

    /// The stressors put everything right and end. The pager stays as long as somebody may need it.
    fn end_stressors(&mut self) -> Result<(), String> {
        self.board.leave.store(1, Ordering::SeqCst);
        self.board.begin_phase(0);
        let pager = |number: usize| {
            stressors::ALL
                .get(number)
                .is_some_and(|s| s.name == stressors::PAGER)
        };
        let limit = Instant::now() + Duration::from_secs(self.args.patience);
        while let Some((number, _)) = self
            .stressors
            .iter_mut()
            .find_map(|(n, kid)| (!pager(*n) && kid.ended().is_none()).then_some((*n, ())))
        {
            std::thread::sleep(Duration::from_millis(50));
            self.look(false)?;
            if Instant::now() > limit {
                let name = stressors::ALL.get(number).map_or("", |s| s.name);
                self.watch.show_stacks();
                return Err(format!("stressor {name} does not come to an end"));
            }
        }
        // One that stopped somebody has ended before it could let him go on.
        for pid in self.board.carriers() {
            // SAFETY: takes numbers only.
            unsafe { libc::kill(pid, libc::SIGCONT) };
        }
        if !self.args.stock {
            crate::tests::load_if_missing()?;
        }
        Ok(())
    }

    fn end_streams(&mut self) -> Result<(), String> {
        self.board.stop.store(1, Ordering::SeqCst);
        loop {
            let left = self
                .workers
                .iter_mut()
                .any(|(_, kid)| kid.ended().is_none());
            self.look(false)?;
            if !left {
                break;
            }
            self.stop_sharers();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.board.leave.store(2, Ordering::SeqCst);
        for (_, kid) in &mut self.stressors {
            let _ = kid.wait(Duration::from_secs(5));
        }
        for (index, kid) in &mut self.workers {
            let end = kid.ended();
            if end != Some(Ended::Exit(0)) {
                return Err(format!("process {index} ended: {end:?}"));
            }
        }
        Ok(())
    }

    /// Readers that share a pipe cannot know who gets the last message. When all have been written, readers get one more each,
    /// which says so; one at a time, since one reader could take two.
    fn stop_sharers(&self) {
        for stream in self.built.iter().filter(|b| b.shared) {
            let busy = |role: board::Role| {
                let desks = stream.desks.iter().filter_map(|d| self.board.desks.get(*d));
                let desks = desks.filter(|d| d.done.load(Ordering::SeqCst) == 0);
                // SAFETY: the role is never written while processes stream.
                let busy = desks.filter(|d| unsafe { d.state() }.role == role as u32);
                busy.count()
            };
            let (from, to) = stream.pipes.first().copied().unwrap_or((-1, -1));
            let empty = sys::fionread(from) == Ok(0);
            if empty && busy(board::Role::Writer) == 0 && busy(board::Role::Reader) > 0 {
                let mut out = [0; LONGEST];
                let n = message::stopper(&mut out);
                let _ = sys::write(to, out.get(..n).unwrap_or_default());
            }
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.board.abort.store(1, Ordering::SeqCst);
        // Descriptors of the pipes, for the next run in the same process.
        for (r, w) in self.built.iter().flat_map(|b| b.pipes.clone()) {
            let _ = sys::close(r);
            let _ = sys::close(w);
        }
    }
}
