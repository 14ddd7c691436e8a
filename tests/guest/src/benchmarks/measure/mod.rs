//! What `make report` measures in the guest, printed for `tools/report`: one line a figure, first word what it is.
//!
//! ```text
//! FACT NAME TEXT                      the machine
//! SECTION CALL MODE TICKS             one marked call, in the order in which the plugin sees them
//! SIZE CALL BYTES MODE MEDIAN         the sweep over sizes
//! PROGRAM NUMBER MODE TICKS ROUNDS    a test program of Massalin's thesis
//! SYMBOL ADDRESS NAME                 where functions begin
//! VALUE PATH NAME NUMBER              what a path was made of
//! ```
//!
//! MODE is `stock` before the module is loaded, `attached` after the process has attached itself. TICKS are instructions.

mod facts;
mod programs;

use crate::benchmarks::calls::clock::Clock;
use crate::benchmarks::calls::figures::{Bench, Kind, KINDS};
use crate::benchmarks::calls::stats::Figure;
use crate::sys;
use crate::sysfs::{self, Call};

/// Marked calls of each kind. Odd, so that the median is one of them.
const CALLS: usize = 9;
/// Repetitions of a figure of the sweep.
const REPETITIONS: usize = 21;
/// The sweep's sizes are the powers of two up to this one, which fills a pipe.
const LARGEST: usize = 65_536;

/// Milliseconds after which a kernel that has just come up has done what it puts off.
const QUIET: u64 = 10_000;

#[derive(clap::Args)]
pub struct Args {
    /// Module file
    #[arg(long, default_value = "/lib/synthjit.ko")]
    module: String,
    /// Calls one by one, marked for the plugin
    #[arg(long)]
    calls: bool,
    /// Where functions begin
    #[arg(long)]
    symbols: bool,
    /// Pipe reads and writes of all sizes
    #[arg(long)]
    sizes: bool,
    /// The test programs of Massalin's thesis
    #[arg(long)]
    programs: bool,
}

/// Runs everything; the exit code of the program.
pub fn main(args: &Args) -> i32 {
    match run(args) {
        Ok(0) => {
            println!("# measure: all results are right");
            0
        }
        Ok(wrong) => {
            println!("# measure: {wrong} bytes or results were wrong");
            1
        }
        Err(why) => {
            println!("# measure: {why}");
            1
        }
    }
}

/// How many bytes or results were wrong.
fn run(args: &Args) -> Result<u64, String> {
    let clock = Clock::new();
    if !clock.counts_instructions() {
        return Err(
            "the clock does not count instructions: boot with -icount shift=0,sleep=off".into(),
        );
    }
    facts::machine()?;
    crate::proc::nap(QUIET);
    let mut bench = Bench::with_room(clock, LARGEST).map_err(|e| format!("pipe: {e}"))?;
    let mut wrong = figures(args, &clock, &mut bench, "stock")?;
    sys::insmod(&args.module, "").map_err(|e| format!("insmod {}: {e}", args.module))?;
    sysfs::attach(sys::getpid()).map_err(|e| format!("attach: {e}"))?;
    bench.warm(16);
    // A worker gives the paths their directories and names.
    crate::proc::nap(100);
    wrong += figures(args, &clock, &mut bench, "attached")?;
    if args.symbols {
        facts::symbols()?;
        facts::values(bench.pipe.w, Call::Write);
        facts::values(bench.pipe.r, Call::Read);
    }
    Ok(wrong + bench.wrong)
}

fn figures(args: &Args, clock: &Clock, bench: &mut Bench, mode: &str) -> Result<u64, String> {
    if args.calls {
        calls(clock, bench, mode);
    }
    if args.sizes {
        sizes(bench, mode);
    }
    match args.programs {
        true => programs::all(mode),
        false => Ok(0),
    }
}

fn calls(clock: &Clock, bench: &mut Bench, mode: &str) {
    // A pair of calls is what its two calls are.
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::Pair) {
        bench.warm_up(kind);
        bench.set_clock(clock.with_marks());
        for ticks in bench.samples(kind, CALLS) {
            println!("SECTION {} {mode} {ticks}", kind.name());
        }
        bench.set_clock(*clock);
    }
}

fn sizes(bench: &mut Bench, mode: &str) {
    let sizes = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n <= LARGEST);
    for n in sizes {
        for (name, kind) in [
            ("write", Kind::WriteEmpty(n)),
            ("read", Kind::ReadEmptying(n)),
        ] {
            bench.warm_up(kind);
            let figure = Figure::of(&mut bench.samples(kind, REPETITIONS));
            println!("SIZE {name} {n} {mode} {}", figure.median);
        }
    }
}
