//! Torture: streams of known bytes between attached processes, while everything is done to these that a machine can do to a
//! process. No byte may be lost, come twice, come out of order or be changed, and nothing may stand still.
//!
//! [`streams`] says who streams, [`worker`] and [`relay`] stream, [`check`] compares, [`deeds`] are what streaming processes do
//! to themselves, [`abuse`] is what others do to them, [`counts`] is what came of it.

mod abuse;
mod board;
mod check;
mod counts;
mod deeds;
mod message;
mod relay;
mod seen;
mod streams;
mod verdict;
mod watch;
mod worker;

pub use board::Lie;
pub use deeds::resume;

use crate::proc::{Ended, Kid};
use crate::{sys, sysfs};
use board::Board;
use counts::{Count, Missing};
use message::LONGEST;
use seen::Seen;
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
    /// For how long to stream under abuse, in seconds
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
    /// Only these abusers (may be given more than once); streaming processes do nothing to themselves
    #[arg(long)]
    only: Vec<String>,
    /// A mistake to make on purpose: it must be found
    #[arg(long)]
    lie: Option<Lie>,
    /// Module file
    #[arg(long, default_value = crate::tests::MODULE_FILE)]
    module: String,
}

/// A run that goes on.
struct Run<'a> {
    args: &'a Args,
    seed: u64,
    board: &'static Board,
    built: Vec<Built>,
    workers: Vec<(usize, Kid)>,
    abusers: Vec<(usize, Kid)>,
    missing: Missing,
    watch: Watch,
    seen: Seen,
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

/// For the torture's own tests: a short run without abuse in which one relay does not do its duty. What was found.
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

/// For the torture's own tests: a short run without abuse and without lies.
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
        // Forks are many, and no number may be used for another process soon.
        let _ = sys::write_text("/proc/sys/kernel/pid_max", "4194304");
        if !args.stock {
            if !args.module.is_empty() {
                std::env::set_var(crate::tests::MODULE_VAR, &args.module);
            }
            crate::tests::load_if_missing()?;
            for file in ["enabled", "profile"] {
                sysfs::set(file, "1").map_err(|e| format!("{file}: {e}"))?;
            }
        }
        let (board, fd) = Board::create().map_err(fail("shared memory"))?;
        board.stock.store(u32::from(args.stock), Ordering::SeqCst);
        let still = args.calm || !args.only.is_empty();
        let (missing, impossible) = match args.calm {
            true => (Vec::new(), Vec::new()),
            false => abuse::missing(args.stock),
        };
        let impossible = deeds::set(&impossible);
        board.impossible.store(impossible, Ordering::SeqCst);
        let built = streams::build(board, seed, still).map_err(fail("pipes"))?;
        let mut run = Run {
            args,
            seed,
            board,
            built,
            workers: Vec::new(),
            abusers: Vec::new(),
            missing,
            watch: Watch::new(
                board,
                Duration::from_secs(args.patience),
                args.lie.is_none(),
            ),
            seen: Seen::default(),
        };
        run.plant();
        run.start_workers(fd).map_err(fail("fork"))?;
        if !args.calm {
            run.start_abusers().map_err(fail("fork"))?;
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
                abuse::memory::confine(kid.pid);
            }
            self.workers.push((index, kid));
        }
        Ok(())
    }

    fn start_abusers(&mut self) -> sys::Sys<()> {
        let pipes: Vec<_> = self.built.iter().flat_map(|b| b.pipes.clone()).collect();
        for (number, abuser) in abuse::ALL.iter().enumerate() {
            let only = &self.args.only;
            let wanted = only.is_empty() || only.iter().any(|o| o == abuser.name);
            if !wanted || abuser.module && self.args.stock {
                continue;
            }
            let started = self.watch.started;
            let kid = abuse::start(number, abuser, self.board, &pipes, self.seed, started)?;
            self.abusers.push((number, kid));
        }
        Ok(())
    }

    /// All of it: streaming under abuse, the end of the abusers, the end of the streams, the reckoning.
    fn whole(&mut self) -> Result<(), String> {
        let done = self
            .abuse()
            .and_then(|()| self.end_abusers())
            .and_then(|()| self.end_streams())
            .and_then(|()| self.reckon());
        if done.is_err() {
            self.board.abort.store(1, Ordering::SeqCst);
        }
        done
    }

    fn abuse(&mut self) -> Result<(), String> {
        let least = Duration::from_secs(self.args.seconds);
        // On a slow machine it takes longer until everything has been done once.
        let most = least + Duration::from_secs(self.args.patience);
        let all = self.args.calm || !self.args.only.is_empty();
        loop {
            let now = self.watch.started.elapsed();
            let left = now < most && !all && !self.undone().is_empty();
            if now >= least && !left {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
            self.look(true)?;
            // Otherwise the abuser that loads the module anew looks.
            if self.args.calm && !self.args.stock {
                self.seen.look(self.board);
            }
        }
    }

    /// What could have been done and was not.
    fn undone(&self) -> Vec<&'static str> {
        let mut undone = counts::undone(self.board, &self.missing);
        if !self.args.stock && self.board.hits.load(Ordering::SeqCst) == 0 {
            undone.push("a call that ran specialised");
        }
        undone
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
        for (number, kid) in &mut self.abusers {
            if let (Some(end), false) = (kid.ended(), self.board.leaving()) {
                let name = abuse::ALL.get(*number).map_or("", |a| a.name);
                return Err(format!("abuser {name} ended: {end:?}"));
            }
        }
        self.watch.look(&self.abusers)?;
        if talk {
            self.watch.talk();
        }
        Ok(())
    }

    /// The abusers put everything right and end. The pager stays as long as somebody may need it.
    fn end_abusers(&mut self) -> Result<(), String> {
        self.board.leave.store(1, Ordering::SeqCst);
        let pager = |number: usize| abuse::ALL.get(number).is_some_and(|a| a.name == "pager");
        let limit = Instant::now() + Duration::from_secs(self.args.patience);
        while let Some((number, _)) = self
            .abusers
            .iter_mut()
            .find_map(|(n, kid)| (!pager(*n) && kid.ended().is_none()).then_some((*n, ())))
        {
            std::thread::sleep(Duration::from_millis(50));
            self.look(false)?;
            if Instant::now() > limit {
                let name = abuse::ALL.get(number).map_or("", |a| a.name);
                self.watch.show_stacks();
                return Err(format!("abuser {name} does not come to an end"));
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
        for (_, kid) in &mut self.abusers {
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
