//! Differential tester: the same random calls in two processes, one of them attached, compared call by call.
//!
//! Two executors live for the whole run and get sequences through shared memory, so a sequence costs its calls and little else.
//! Every sequence depends only on the seed and its number.
//!
//! A sequence is mostly reads and writes of pipes. Half of them put other objects on the numbers of pipes and bring descriptors in
//! by sockets, `pidfd_getfd` and the like; some have a helper, a child or a thread, that makes some of the calls. Not in sequences:
//! inotify, since one mark on a pipe keeps every pipe of the machine off its paths until the next boot.

mod asleep;
mod calls;
mod channel;
mod exec;
mod gen;
mod gen_mixed;
mod helper;
mod mixed;
mod op;
mod partner;
pub mod pool;
pub mod rng;
mod shrink;
mod tally;

use crate::proc::Kid;
use crate::sysfs;
use op::{first_difference, print, Op};
use pool::{Both, Pool};
use std::time::{Duration, Instant};
use tally::Tally;

/// Sequences that run on one attachment: enough that code made for one sequence meets the objects of others.
const ATTACH_EVERY: u64 = 4;

/// Sequences from which on the share of specialized calls is judged.
const SHARE_FROM: u64 = 200;

/// Sequences between two lines of progress.
const SAY_EVERY: u64 = 500;

#[derive(clap::Args)]
pub struct Args {
    /// First part of what the sequences depend on; without it the time of day
    #[arg(long)]
    seed: Option<u64>,
    /// How many sequences
    #[arg(long, default_value_t = 2000)]
    count: u64,
    /// As many sequences as fit into this many seconds, instead of a number of them
    #[arg(long, conflicts_with = "count")]
    seconds: Option<u64>,
    /// Percentage of calls that must have run specialized
    #[arg(long, default_value_t = 10)]
    least: u64,
    /// Only the sequence with this number
    #[arg(long)]
    only: Option<u64>,
    /// Attach neither process: shows that the tester itself finds no difference where there is none
    #[arg(long)]
    stock: bool,
    /// Switch the module's settings to and fro meanwhile
    #[arg(long)]
    storm: bool,
    /// Module file
    #[arg(long, default_value = crate::tests::MODULE_FILE)]
    module: String,
}

/// What a run found.
#[derive(Default)]
pub struct Found {
    pub sequences: u64,
    /// Of these, how many put other objects on the numbers, and how many have a helper.
    pub mixed: u64,
    pub helped: u64,
    pub calls: u64,
    pub specialized: u64,
    pub tally: Tally,
    pub failure: Option<Failure>,
}

/// A sequence after which the two processes differed.
pub struct Failure {
    pub number: u64,
    pub why: String,
    pub small: Vec<Op>,
    outcomes: Option<Both>,
}

/// Runs the tester; the exit code of the program.
pub fn main(args: &Args) -> i32 {
    let seed = args.seed.unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64 & 0xffff_ffff)
    });
    match args.seconds {
        Some(n) => println!("# diff: seed {seed}, {n} seconds"),
        None => println!("# diff: seed {seed}, {} sequences", args.count),
    }
    match prepared(args, seed) {
        Ok(code) => code,
        Err(why) => {
            println!("DIFF failed seed={seed}: {why}");
            1
        }
    }
}

fn prepared(args: &Args, seed: u64) -> Result<i32, String> {
    let mut bails = 0;
    if !args.stock {
        std::env::set_var(crate::tests::MODULE_VAR, &args.module);
        crate::tests::load_if_missing()?;
        sysfs::set("enabled", "1").map_err(|e| format!("enabled: {e}"))?;
        bails = sysfs::counter("bailouts").map_err(|e| format!("stats/bailouts: {e}"))?;
    }
    let start = Instant::now();
    let mut pool = Pool::start(args.stock, false)?;
    let storm_kid = args
        .storm
        .then(storm)
        .transpose()
        .map_err(|e| format!("fork: {e}"))?;
    let numbers = match (args.only, args.seconds) {
        (Some(n), _) => n..n + 1,
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => 0..args.count,
    };
    let limit = args.seconds.map(Duration::from_secs);
    let found = run(&mut pool, seed, numbers, Talk::Yes { limit })?;
    drop(storm_kid);
    if args.storm && !args.stock {
        sysfs::set("enabled", "1").map_err(|e| format!("enabled: {e}"))?;
    }
    let bails = if args.stock {
        0
    } else {
        sysfs::counter("bailouts").unwrap_or(bails) - bails
    };
    println!("# diff: calls that went well, of all: {}", found.tally);
    if let Some(f) = &found.failure {
        println!("# sequence {} of seed {seed}: {}", f.number, f.why);
        println!("# again with: guest diff --seed {seed} --only {}", f.number);
        print!(
            "{}",
            print(
                &f.small,
                f.outcomes
                    .as_ref()
                    .map(|[a, b]| [a.as_slice(), b.as_slice()])
            )
        );
    }
    let counts = format!(
        "seed={seed} sequences={} mixed={} helped={} calls={} specialized={} bailouts={bails} ms={}",
        found.sequences,
        found.mixed,
        found.helped,
        found.calls,
        found.specialized,
        start.elapsed().as_millis()
    );
    if let Some(f) = &found.failure {
        // The one line that is left when a log is cut short.
        println!("DIFF failed {counts}; sequence {}: {}", f.number, f.why);
        return Ok(1);
    }
    let share = found.specialized * 100 / found.calls.max(1);
    if !args.stock && found.sequences >= SHARE_FROM && share < args.least {
        println!(
            "DIFF failed {counts}: less than {} % of the calls ran specialized, too little was tested",
            args.least
        );
        return Ok(1);
    }
    println!("DIFF ok {counts}");
    Ok(0)
}

/// A process that switches everything off and on, every few milliseconds, as long as it lives.
fn storm() -> crate::sys::Sys<Kid> {
    Kid::spawn(|| {
        for i in 0u32.. {
            // Every third time it is on already, and everybody recompiles.
            let _ = sysfs::set("enabled", if i % 3 == 0 { "0" } else { "1" });
            crate::proc::nap(u64::from(i % 7));
        }
        0
    })
}

/// Whether a run says how far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    No,
    /// Every so many sequences; with a limit every minute, and it ends when the time is over.
    Yes {
        limit: Option<Duration>,
    },
}

impl Talk {
    fn is_due(self, sequences: u64, since: Instant) -> bool {
        match self {
            Talk::No => false,
            Talk::Yes { limit: None } => sequences % SAY_EVERY == 0,
            Talk::Yes { limit: Some(_) } => since.elapsed() >= Duration::from_secs(60),
        }
    }

    fn is_over(self, start: Instant) -> bool {
        matches!(self, Talk::Yes { limit: Some(limit) } if start.elapsed() >= limit)
    }
}

/// Runs sequences until one fails, which is made small then.
pub fn run(
    pool: &mut Pool,
    seed: u64,
    numbers: std::ops::Range<u64>,
    talk: Talk,
) -> Result<Found, String> {
    let mut found = Found::default();
    let start = Instant::now();
    let mut said = start;
    for number in numbers {
        if talk.is_over(start) {
            break;
        }
        let ops = gen::sequence(seed, number);
        found.sequences += 1;
        found.calls += ops.len() as u64;
        let any = |is: fn(&Op) -> bool| u64::from(ops.iter().any(is));
        found.mixed += any(|op| matches!(op, Op::Mixed(_)));
        found.helped += any(|op| matches!(op, Op::Start { .. }));
        let why = match pool.run(&ops) {
            Ok([a, b]) if a == b => {
                found.tally.add(&ops, &a);
                None
            }
            Ok([a, b]) => {
                let what = first_difference(&ops, [&a, &b]).unwrap_or_default();
                Some((format!("the processes differ: {what}"), Some([a, b])))
            }
            Err(why) => Some((why, None)),
        };
        if let Some((why, outcomes)) = why {
            found.failure = Some(smaller(pool, number, &ops, why, outcomes));
            break;
        }
        if found.sequences % ATTACH_EVERY == 0 {
            pool.attach_again()?;
        }
        if talk.is_due(found.sequences, said) {
            said = Instant::now();
            found.specialized = pool.specialized();
            println!(
                "# diff: {} sequences, {} calls, {} specialized",
                found.sequences, found.calls, found.specialized
            );
        }
    }
    found.specialized = pool.specialized();
    Ok(found)
}

/// Makes a failing sequence small; one that does not fail a second time is shown as it was.
fn smaller(
    pool: &mut Pool,
    number: u64,
    ops: &[Op],
    why: String,
    outcomes: Option<Both>,
) -> Failure {
    if !pool.differs(ops) {
        let why = format!("{why} (not when run again)");
        return Failure {
            number,
            why,
            small: ops.to_vec(),
            outcomes,
        };
    }
    let small = shrink::shrink(ops, |s| pool.differs(s));
    let why = format!(
        "{why}; {} calls, made smaller to {}",
        ops.len(),
        small.len()
    );
    Failure {
        number,
        why,
        outcomes: pool.run(&small).ok(),
        small,
    }
}

/// For the tester's own test: a second executor that tells lies must be found out, and the sequence made small.
pub fn finds_planted_lies(seed: u64) -> Result<usize, String> {
    let mut pool = Pool::start(true, true)?;
    match run(&mut pool, seed, 0..50, Talk::No)?.failure {
        Some(f) => Ok(f.small.len()),
        None => Err("the tester did not notice an executor that tells lies".into()),
    }
}

/// For the tester's own test: two stock processes must agree.
pub fn agrees_with_itself(seed: u64, count: u64) -> Result<(), String> {
    let mut pool = Pool::start(true, false)?;
    match run(&mut pool, seed, 0..count, Talk::No)?.failure {
        None => Ok(()),
        Some(f) => Err(format!(
            "two stock processes differ in sequence {}: {}\n{}",
            f.number,
            f.why,
            print(&f.small, None)
        )),
    }
}
