//! A process that lets a guest run, whatever kind of guest that is, beside attached processes.

use super::traffic::{pin, Traffic, SOON};
use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys;
use crate::sysfs;
use crate::tests::support::lab::{Lab, Res, Stop};
use crate::torture::stressors::hotplug::others;
use crate::{ensure, same, skip};

/// Words of the board: how often the guest has run, and how often it has found something wrong.
const RUNS: usize = 0;
const FAULTS: usize = 1;
/// Flag of the board: the guest is to end.
const STOP: usize = 0;
/// Fewer calls than these say nothing about how many of them are served.
const CALLS: u64 = 20_000;

/// The process.
pub struct Guest {
    board: &'static Board,
    kid: Kid,
}

/// What it lets run until it is told to stop.
pub trait Run {
    /// Lets the guest run once: how often it has in all, and how often it has found something wrong.
    fn run(&mut self) -> Result<(u64, u64), String>;
}

/// Starts a guest, on one CPU if one is given.
pub type Start = fn(Option<usize>) -> Res<Guest>;

impl Guest {
    /// `make` is called in the process.
    pub fn start<R: Run>(
        cpu: Option<usize>,
        make: impl FnOnce() -> Result<R, String>,
    ) -> Res<Guest> {
        let board = Board::new()?;
        let kid = Kid::spawn(|| -> Res {
            if let Some(cpu) = cpu {
                pin(0, cpu)?;
            }
            let mut guest = make().map_err(Stop::Fail)?;
            while board.flag(STOP) == 0 {
                let (runs, faults) = guest.run().map_err(Stop::Fail)?;
                board.put(RUNS, runs);
                board.put(FAULTS, faults);
            }
            Ok(())
        })?;
        Ok(Guest { board, kid })
    }

    /// It runs so many times more, and finds nothing wrong.
    pub fn goes_on(&mut self, runs: u64) -> Res {
        let before = self.board.word(RUNS);
        let done = poll_until(SOON, || {
            let more = self.board.word(RUNS) - before;
            (more >= runs || self.kid.ended().is_some()).then_some(more)
        });
        ensure!(
            done.is_some_and(|more| more >= runs),
            "the guest ran {} times; its process ended with {:?}",
            self.board.word(RUNS) - before,
            self.kid.ended()
        );
        same!(
            self.board.word(FAULTS),
            0,
            "how often the guest found something wrong"
        );
        Ok(())
    }

    pub fn stop(mut self) -> Res {
        self.board.raise(STOP, 1);
        same!(
            self.kid.wait(SOON),
            Some(Ended::Exit(0)),
            "the guest's process"
        );
        same!(
            self.board.word(FAULTS),
            0,
            "how often the guest found something wrong"
        );
        Ok(())
    }
}

/// On one CPU after the other: attached processes are served at least nine tenths as often beside a guest as alone, and the guest is
/// right also while vectors are retired and installed again.
pub fn are_served(lab: &Lab, start: Start, runs: u64) -> Res {
    for cpu in 0..=others().len() {
        let traffic = Traffic::start(lab, Some(cpu))?;
        let alone = traffic.goes_on(CALLS)?;
        let mut guest = start(Some(cpu))?;
        guest.goes_on(runs / 10)?;
        let before = traffic.served();
        guest.goes_on(runs)?;
        traffic.goes_on(CALLS)?;
        let beside = traffic.served().since(before);
        println!("# CPU {cpu}: alone {alone:?}, beside a guest {beside:?}");
        ensure!(
            beside.share() * 10 >= alone.share() * 9,
            "alone {alone:?}, beside a guest {beside:?}"
        );
        for _ in 0..10 {
            sysfs::set("enabled", "0")?;
            sysfs::set("enabled", "1")?;
            let _me = lab.attach()?;
        }
        guest.goes_on(runs / 10)?;
        traffic.is_served()?;
        guest.stop()?;
        traffic.stop()?;
    }
    Ok(())
}

/// All CPUs but the first one go and come, six times, beside a guest and attached processes that may be on any.
pub fn cpus_come_and_go(lab: &Lab, start: Start, runs: u64) -> Res {
    let files = others();
    if files.is_empty() {
        skip!("needs two CPUs");
    }
    let traffic = Traffic::start(lab, None)?;
    let mut guest = start(None)?;
    for _ in 0..6 {
        for value in ["0", "1"] {
            for file in &files {
                sys::write_text(file, value)?;
            }
            guest.goes_on(runs)?;
            traffic.is_served()?;
        }
    }
    guest.stop()?;
    traffic.stop()
}
