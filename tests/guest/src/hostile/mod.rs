//! What an attached process can do to make its own calls dear: each act alone, and mixtures of them, stock against attached, in
//! instructions. Exit code 1 if one of them costs more than [`BOUND`] above stock on average over [`OVER`], or if the kernel's memory
//! grows.
//!
//! A run is shorter than that. It has two windows of equal calls, and a third is the same calls before the process is attached. What
//! is paid once (a burst that the account allows, tries whose pauses grow) is in the first window, and is taken as it is; what is paid
//! all the time is in the second, and goes on. So the average is at most what the first window costs more than stock, divided by
//! [`OVER`], and the share by which the second does.

mod acts;
mod exec;
mod world;

use crate::benchmarks::calls::clock::Clock;
use crate::proc::{nap, Ended, Kid};
use crate::{sys, sysfs};
use acts::{Act, ACTS};
pub use exec::again;
use std::time::Duration;
use world::World;

/// Most that calls may cost more than stock, in hundredths of a percent.
const BOUND: i64 = 200;
/// Over how many ticks of the clock (nanoseconds, and instructions) that is the average.
const OVER: i64 = 10_000_000_000;
/// Ticks that a window takes at least, on the stock kernel.
const WINDOW: u64 = 80_000_000;
/// How many windows of the second kind: the longer, the less single ticks of the timer weigh.
const LATER: u32 = 2;
/// Most that the kernel's own memory may grow over all of it, in KiB; processes and rings leave some of it behind on any kernel.
const GROWTH: u64 = 8192;
/// Most that memory may become less while one act goes on, in KiB.
const LESS: u64 = 4096;

#[derive(clap::Args)]
pub struct Args {
    /// Module file
    #[arg(long, default_value = "/lib/synthjit.ko")]
    module: String,
    /// Only acts and mixtures whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
    /// So many mixtures
    #[arg(long, default_value_t = 16)]
    mixtures: u64,
    /// Seed of the first mixture
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A window takes so many milliseconds at least
    #[arg(long)]
    window: Option<u64>,
}

/// Ticks of the same calls.
#[derive(Clone, Copy, Debug)]
pub struct Ticks {
    /// Before the process is attached.
    pub stock: u64,
    /// Just after.
    pub first: u64,
    /// Later, on average.
    pub later: u64,
}

impl Ticks {
    /// By how much calls cost more than stock on average over [`OVER`], in hundredths of a percent.
    fn excess(self) -> i64 {
        let more = |ticks: u64| ticks as i64 - self.stock as i64;
        let once = more(self.first).max(0) * 10_000 / OVER;
        once + more(self.later) * 10_000 / self.stock.max(1) as i64
    }
}

pub fn main(args: &Args) -> i32 {
    match run(args) {
        Ok(0) => 0,
        Ok(bad) => {
            println!("# hostile: {bad} cost too much");
            1
        }
        Err(why) => {
            println!("# hostile: {why}");
            1
        }
    }
}

fn run(args: &Args) -> Result<usize, String> {
    if !Clock::new().counts_instructions() {
        return Err(
            "the clock does not count instructions: boot with -icount shift=0,sleep=off".into(),
        );
    }
    let window = args.window.map_or(WINDOW, |ms| ms * 1_000_000);
    // What the boot has left to do must not be in the first window.
    nap(3000);
    sys::insmod(&args.module, "").map_err(|e| format!("insmod {}: {e}", args.module))?;
    let wanted = |name: &str| name.contains(&args.filter);
    let before = meminfo("SUnreclaim:")?;
    let mut bad = 0;
    let mut all = 0;
    let mut one = |name: &str, f: &dyn Fn() -> Result<Ticks, String>| -> Result<(), String> {
        if wanted(name) {
            all += 1;
            bad += usize::from(!in_child(name, f)?);
        }
        Ok(())
    };
    for act in ACTS {
        one(act.name, &|| alone(act, window))?;
    }
    one("exec", &|| exec::run(window))?;
    for seed in args.seed..args.seed + args.mixtures {
        one(&format!("mixture {seed}"), &|| mixture(seed, window))?;
    }
    let grown = meminfo("SUnreclaim:")?.saturating_sub(before);
    println!(
        "# hostile: {bad} of {all} cost more than {} %, memory grew by {grown} KiB",
        percent(BOUND)
    );
    sys::rmmod(sysfs::MODULE).map_err(|e| format!("rmmod: {e}"))?;
    if grown > GROWTH {
        return Err(format!(
            "memory grew by {grown} KiB, at most {GROWTH} are allowed"
        ));
    }
    Ok(bad)
}

/// Whether `f`, in a process of its own, stays within the bound. Prints the figures.
fn in_child(name: &str, f: &dyn Fn() -> Result<Ticks, String>) -> Result<bool, String> {
    let mut kid = Kid::fork(|| match f() {
        Ok(ticks) => {
            let excess = ticks.excess();
            let Ticks {
                stock,
                first,
                later,
            } = ticks;
            println!(
                "HOSTILE {} % {name}: stock {stock} first {first} later {later}",
                percent(excess)
            );
            i32::from(excess > BOUND)
        }
        Err(why) => {
            println!("# hostile: {name}: {why}");
            2
        }
    })
    .map_err(|e| format!("fork: {e}"))?;
    match kid.join() {
        Some(Ended::Exit(0)) => Ok(true),
        Some(Ended::Exit(1)) => Ok(false),
        other => Err(format!("{name} ended with {other:?}")),
    }
}

fn percent(hundredths: i64) -> String {
    let sign = if hundredths < 0 { "-" } else { "+" };
    format!(
        "{sign}{}.{:02}",
        hundredths.abs() / 100,
        hundredths.abs() % 100
    )
}

/// One act again and again.
fn alone(act: &Act, window: u64) -> Result<Ticks, String> {
    let mut world = World::new().map_err(|e| format!("setup: {e}"))?;
    let rounds = window / world.cost(act.step);
    measure(&mut world, |world| {
        for _ in 0..rounds {
            (act.step)(world);
        }
    })
}

/// A few acts in the order and for as long as chance has it, always the same for one seed.
fn mixture(seed: u64, window: u64) -> Result<Ticks, String> {
    let mut world = World::new().map_err(|e| format!("setup: {e}"))?;
    world.reseed(seed);
    let count = 2 + world.below(5);
    let chosen: Vec<&Act> = (0..count).map(|_| &ACTS[world.below(ACTS.len())]).collect();
    let names: Vec<&str> = chosen.iter().map(|a| a.name).collect();
    println!("# mixture {seed}: {}", names.join(", "));
    let costs: Vec<u64> = chosen.iter().map(|act| world.cost(act.step)).collect();
    let phase = |world: &mut World| {
        let which = world.below(chosen.len());
        let times = [1, 1, 2, 5, 20, 100, 500][world.below(7)];
        // None is to be all of it.
        for _ in 0..times.min(window / 20 / costs[which]).max(1) {
            (chosen[which].step)(world);
        }
    };
    world.reseed(seed);
    let phases = world.rounds_to(window, phase);
    measure(&mut world, |world| {
        world.reseed(seed);
        for _ in 0..phases {
            phase(world);
        }
    })
}

/// The same calls stock, just after attaching, and later.
fn measure(world: &mut World, calls: impl Fn(&mut World)) -> Result<Ticks, String> {
    let mut timed = || {
        let began = world::ticks();
        calls(world);
        world::ticks() - began
    };
    let stock = timed();
    let before = meminfo("MemAvailable:")?;
    sysfs::attach(sys::getpid()).map_err(|e| format!("attach: {e}"))?;
    let first = timed();
    let later = (0..LATER).map(|_| timed()).sum::<u64>() / u64::from(LATER);
    let known = sys::read_text("/sys/kernel/debug/synthjit/without").unwrap_or_default();
    let (lines, most) = (known.lines().count(), 32);
    if lines > most {
        return Err(format!(
            "{lines} descriptors are known to have no path, more than {most}"
        ));
    }
    let less = before.saturating_sub(meminfo("MemAvailable:")?);
    if less > LESS {
        return Err(format!("{less} KiB of memory are gone, more than {LESS}"));
    }
    let _ = sysfs::detach(sys::getpid());
    Ok(Ticks {
        stock,
        first,
        later,
    })
}

/// A line of `/proc/meminfo`, in KiB, once workers had time to tidy up.
fn meminfo(name: &str) -> Result<u64, String> {
    nap(200);
    let text = sys::read_text("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("no {name} in /proc/meminfo"))
}

/// The time limit of a helper.
const SOON: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paid_once_counts_once() {
        let ticks = |first, later| {
            Ticks {
                stock: 100_000_000,
                first,
                later,
            }
            .excess()
        };
        assert_eq!(ticks(100_000_000, 100_000_000), 0);
        assert_eq!(ticks(100_000_000, 103_000_000), 300);
        assert_eq!(ticks(200_000_000, 100_000_000), 100);
        assert_eq!(
            ticks(50_000_000, 50_000_000),
            -5000,
            "gains are not used up by what was paid once"
        );
    }
}
