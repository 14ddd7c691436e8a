//! Watches a run: everybody must get on. Shows where they are if not.

use super::board::{Board, DESKS, STRESSORS};
use super::counts::Count;
use super::stressors;
use crate::proc::Kid;
use crate::{sys, sysfs};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often something is told.
const TALK: Duration = Duration::from_secs(5);

pub struct Watch {
    board: &'static Board,
    patience: Duration,
    /// Whether the kernel's log is to tell who is blocked; a log that does so is a failed boot.
    logs: bool,
    pub started: Instant,
    talked: Instant,
    /// Progress of each desk, and sign of life of each stressor, and when it was seen to change.
    desks: [(u64, Instant); DESKS],
    stressors: [(u64, Instant); STRESSORS],
}

impl Watch {
    pub fn new(board: &'static Board, patience: Duration, logs: bool) -> Watch {
        let now = Instant::now();
        Watch {
            board,
            patience,
            logs,
            started: now,
            talked: now,
            desks: [(0, now); DESKS],
            stressors: [(0, now); STRESSORS],
        }
    }

    /// Fails if somebody does not get on.
    pub fn look(&mut self, stressors: &[(usize, Kid)]) -> Result<(), String> {
        let now = Instant::now();
        let mut hangs = None;
        for (i, (desk, seen)) in self.board.desks.iter().zip(&mut self.desks).enumerate() {
            let busy =
                desk.owner.load(Ordering::SeqCst) != 0 && desk.done.load(Ordering::SeqCst) == 0;
            let progress = desk.progress.load(Ordering::SeqCst);
            if !busy || progress != seen.0 {
                *seen = (progress, now);
            } else if now.duration_since(seen.1) > self.patience {
                hangs = Some(format!(
                    "process {i} has not moved a byte for {:?}",
                    self.patience
                ));
            }
        }
        for (number, _) in stressors.iter().filter(|_| !self.board.leaving()) {
            let (Some(alive), Some(seen)) = (
                self.board.alive.get(*number),
                self.stressors.get_mut(*number),
            ) else {
                continue;
            };
            let alive = alive.load(Ordering::SeqCst);
            if alive != seen.0 {
                *seen = (alive, now);
            } else if now.duration_since(seen.1) > self.patience {
                let name = stressors::ALL.get(*number).map_or("", |s| s.name);
                hangs = Some(format!("stressor {name} hangs"));
            }
        }
        match hangs {
            None => Ok(()),
            Some(who) => {
                self.show_stacks();
                Err(who)
            }
        }
    }

    /// A line about how it goes, now and then.
    pub fn talk(&mut self) {
        if self.talked.elapsed() < TALK {
            return;
        }
        self.talked = Instant::now();
        let b = self.board;
        let calls: u64 = b.used().map(|d| d.progress.load(Ordering::Relaxed)).sum();
        let count = |c| b.count(c);
        println!(
            "# torture: {} s, {calls} calls, {} specialized, {} attaches, {} insmods, {} forks, {} threads, {} execs, {} signals, {} faults",
            self.started.elapsed().as_secs(),
            b.hits.load(Ordering::Relaxed),
            count(Count::Attaches),
            count(Count::Insmods),
            count(Count::Forks),
            count(Count::Threads) + count(Count::ThreadCarries),
            count(Count::Execs) + count(Count::ThreadExecs),
            count(Count::Signals),
            count(Count::UserFaults) + count(Count::Refused),
        );
    }

    /// Prints where every process of this program is, threads too.
    pub fn show_stacks(&self) {
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<i32>() else {
                continue;
            };
            if !sys::read_text(&format!("/proc/{pid}/comm")).is_ok_and(|c| c.starts_with("guest")) {
                continue;
            }
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let folder = task.path().to_string_lossy().into_owned();
                for file in ["stat", "wchan", "syscall", "stack"] {
                    let text = sys::read_text(&format!("{folder}/{file}")).unwrap_or_default();
                    println!("# {folder}/{file}: {}", text.replace('\n', " | "));
                }
            }
            if let Ok(state) = sysfs::state(pid) {
                println!("# {pid}: {state}");
            }
        }
        if self.logs {
            let _ = sys::write_text("/proc/sysrq-trigger", "w");
        }
    }
}
