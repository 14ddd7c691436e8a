//! Differential tester: the same random calls in two processes, one of them attached, compared call by call.
//!
//! Two executors live for the whole run and get sequences through shared memory, so a sequence costs its calls and little else.
//! Every sequence depends only on the seed and its number.

mod asleep;
mod channel;
mod exec;
mod gen;
mod op;
mod partner;
pub mod pool;
pub mod rng;
mod shrink;

use crate::proc::Kid;
use crate::sysfs;
use op::{first_difference, print, Op};
use pool::{Both, Pool};
use std::time::Instant;

/// Sequences that run on one attachment: enough that code made for one sequence meets the objects of others.
const ATTACH_EVERY: u64 = 4;

#[derive(clap::Args)]
pub struct Args {
    /// First part of what the sequences depend on; without it the time of day
    #[arg(long)]
    seed: Option<u64>,
    /// How many sequences
    #[arg(long, default_value_t = 2000)]
    count: u64,
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
pub struct Found {
    pub sequences: u64,
    pub calls: u64,
    pub specialised: u64,
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
    println!("# diff: seed {seed}, {} sequences", args.count);
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
        for file in ["enabled", "profile"] {
            sysfs::set(file, "1").map_err(|e| format!("{file}: {e}"))?;
        }
        bails = sysfs::counter("bailouts").map_err(|e| format!("stats/bailouts: {e}"))?;
    }
    let start = Instant::now();
    let mut pool = Pool::start(args.stock, false)?;
    let storm_kid = args
        .storm
        .then(storm)
        .transpose()
        .map_err(|e| format!("fork: {e}"))?;
    let numbers = args.only.map_or(0..args.count, |n| n..n + 1);
    let found = run(&mut pool, seed, numbers, true)?;
    drop(storm_kid);
    if args.storm && !args.stock {
        for file in ["enabled", "profile"] {
            sysfs::set(file, "1").map_err(|e| format!("{file}: {e}"))?;
        }
    }
    let bails = if args.stock {
        0
    } else {
        sysfs::counter("bailouts").unwrap_or(bails) - bails
    };
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
        "seed={seed} sequences={} calls={} specialised={} bailouts={bails} ms={}",
        found.sequences,
        found.calls,
        found.specialised,
        start.elapsed().as_millis()
    );
    if let Some(f) = &found.failure {
        // The one line that is left when a log is cut short.
        println!("DIFF failed {counts}; sequence {}: {}", f.number, f.why);
        return Ok(1);
    }
    if !args.stock && found.specialised == 0 {
        println!("DIFF failed {counts}: no call ran specialised, nothing was tested");
        return Ok(1);
    }
    println!("DIFF ok {counts}");
    Ok(0)
}

/// A process that switches everything off and on, every few milliseconds, as long as it lives.
fn storm() -> crate::sys::Sys<Kid> {
    Kid::spawn(|| {
        for i in 0u32.. {
            let (file, every) = if i % 2 == 0 {
                ("enabled", 4)
            } else {
                ("profile", 6)
            };
            let _ = sysfs::set(file, if i % every < every / 2 { "0" } else { "1" });
            crate::proc::nap(u64::from(i % 7));
        }
        0
    })
}

/// Runs sequences until one fails, which is made small then.
pub fn run(
    pool: &mut Pool,
    seed: u64,
    numbers: std::ops::Range<u64>,
    talk: bool,
) -> Result<Found, String> {
    let mut found = Found {
        sequences: 0,
        calls: 0,
        specialised: 0,
        failure: None,
    };
    for number in numbers {
        let ops = gen::sequence(seed, number);
        found.sequences += 1;
        found.calls += ops.len() as u64;
        let why = match pool.run(&ops) {
            Ok([a, b]) if a == b => None,
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
        if talk && found.sequences % 500 == 0 {
            found.specialised = pool.specialised();
            println!(
                "# diff: {} sequences, {} calls, {} specialised",
                found.sequences, found.calls, found.specialised
            );
        }
    }
    found.specialised = pool.specialised();
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
    match run(&mut pool, seed, 0..50, false)?.failure {
        Some(f) => Ok(f.small.len()),
        None => Err("the tester did not notice an executor that tells lies".into()),
    }
}

/// For the tester's own test: two stock processes must agree.
pub fn agrees_with_itself(seed: u64, count: u64) -> Result<(), String> {
    let mut pool = Pool::start(true, false)?;
    match run(&mut pool, seed, 0..count, false)?.failure {
        None => Ok(()),
        Some(f) => Err(format!(
            "two stock processes differ in sequence {}: {}\n{}",
            f.number,
            f.why,
            print(&f.small, None)
        )),
    }
}
