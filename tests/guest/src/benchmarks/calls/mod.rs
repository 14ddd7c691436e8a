//! The microbenchmark: one boot, four modes, every byte verified.
//!
//! The parent measures before the module is loaded, after, and while its child is attached and it is not; the child attaches
//! itself and measures what the paths cost. Exit code 1 if a byte was wrong or a promise missed.

pub mod clock;
pub mod figures;
mod mark;
mod report;
pub mod stats;

use crate::proc::{Board, Ended, Kid};
use crate::sys::{self, Sys};
use crate::sysfs::{self, Call};
use clock::{Clock, Req};
use figures::{Bench, KINDS};
use report::{Mode, Results};
use stats::Figure;
use std::ffi::CString;
use std::time::Duration;

/// First of the descriptor numbers that are used once only, for the cost of a synthesis.
const FRESH_FD: i32 = 40;
/// Rounds of attach and detach that are measured.
const ATTACHES: usize = 9;

/// Flags on the board between parent and child.
const READY: usize = 0;
const LEAVE: usize = 1;

/// Words on the board: two per figure of [`KINDS`], then these.
const W_WRONG: usize = 100;
const W_ATTACH: usize = 101;
const W_DETACH: usize = 102;
const W_ARENA: usize = 103;
const W_PATHS: usize = 104;
const W_FIRST_WRITE: usize = 105;
const W_FIRST_READ: usize = 106;

#[derive(clap::Args)]
pub struct Args {
    /// Module file
    #[arg(long, default_value = "/lib/synthjit.ko")]
    module: String,
    /// Measure only without the module, judge nothing
    #[arg(long)]
    stock: bool,
    /// Judge the bars even though the clock does not count instructions
    #[arg(long)]
    any_clock: bool,
}

/// Runs everything; the exit code of the program.
pub fn main(args: &Args) -> i32 {
    match run(args) {
        Ok(code) => code,
        Err(why) => {
            println!("# bench: {why}");
            1
        }
    }
}

fn run(args: &Args) -> Result<i32, String> {
    let clock = Clock::new();
    let exact = clock.counts_instructions();
    println!(
        "# clock: {}",
        if exact {
            "one tick per instruction"
        } else {
            "not instructions"
        }
    );
    if !exact && !args.stock && !args.any_clock {
        return Err("the clock does not count instructions: boot with -icount shift=0,sleep=off (or give --any-clock)".into());
    }
    if !args.stock && sysfs::present() {
        sys::rmmod(sysfs::MODULE)
            .map_err(|e| format!("module is loaded already and does not leave: {e}"))?;
    }
    let mut results = Results::default();
    let mut bench = Bench::new(clock).map_err(|e| format!("cannot make the pipe: {e}"))?;
    all(&mut bench, &mut results, Mode::Stock);
    let mut wrong = 0;
    let (writes, reads) = figures::first_calls(&clock, FRESH_FD, &mut wrong)
        .map_err(|e| format!("fresh pipes: {e}"))?;
    let (first_write, first_read) = (middle(writes), middle(reads));
    results.add("first_write", Mode::Stock, first_write);
    results.add("first_read", Mode::Stock, first_read);
    if !args.stock {
        with_module(
            args,
            &clock,
            &mut bench,
            &mut results,
            [first_write.median, first_read.median],
            &mut wrong,
        )?;
    }
    wrong += bench.wrong;
    print!("{}\n{}\n", results.machine(), results.table());
    if wrong != 0 {
        println!("# bench: {wrong} bytes or results were wrong");
        return Ok(1);
    }
    if args.stock {
        return Ok(0);
    }
    let bars = results.bars();
    for b in &bars {
        println!(
            "BAR {} {} {} {}",
            b.figure,
            b.value,
            b.bar,
            if b.met() { "ok" } else { "missed" }
        );
    }
    let missed = bars.iter().filter(|b| !b.met()).count();
    println!(
        "# bars: {} of {} met",
        bars.len() - missed,
        report::expected_bars()
    );
    Ok(i32::from(
        missed != 0 || bars.len() != report::expected_bars(),
    ))
}

fn middle(mut samples: Vec<u64>) -> Figure {
    Figure::of(&mut samples)
}

fn all(bench: &mut Bench, results: &mut Results, mode: Mode) {
    for k in KINDS {
        let f = bench.measure(k);
        results.add(&k.name(), mode, f);
    }
}

/// Everything from `insmod` to `rmmod`.
fn with_module(
    args: &Args,
    clock: &Clock,
    bench: &mut Bench,
    results: &mut Results,
    stock_first: [u64; 2],
    wrong: &mut u64,
) -> Result<(), String> {
    let module =
        sys::open(&args.module, libc::O_RDONLY, 0).map_err(|e| format!("{}: {e}", args.module))?;
    let options = CString::default();
    let t = clock.one(Req {
        nr: libc::SYS_finit_module,
        a: [module as usize, options.as_ptr() as usize, 0],
    });
    sys::split(t.ret[0])
        .map_err(|e| format!("insmod {}: {e}; the kernel log says why", args.module))?;
    results.add("insmod", Mode::Loaded, Figure::once(t.ticks));
    let platform =
        sysfs::get("platform/trap_vector").map_err(|e| format!("platform/trap_vector: {e}"))?;
    println!("# platform/trap_vector: {platform}");
    all(bench, results, Mode::Loaded);

    let board = Board::new().map_err(|e| format!("no shared memory: {e}"))?;
    let mut kid = Kid::spawn(|| match subject(*clock, board) {
        Ok(()) => 0,
        Err(why) => {
            println!("# bench: attached process: {why}");
            1
        }
    })
    .map_err(|e| format!("fork: {e}"))?;
    while !board.await_flag(READY, 1) {
        if let Some(end) = kid.ended() {
            return Err(format!("the attached process ended early: {end:?}"));
        }
    }
    all(bench, results, Mode::Bystander);
    board.raise(LEAVE, 1);
    match kid.wait(Duration::from_secs(60)) {
        Some(Ended::Exit(0)) => {}
        other => return Err(format!("the attached process ended with {other:?}")),
    }
    for (i, k) in KINDS.iter().enumerate() {
        let f = Figure {
            median: board.word(2 * i),
            min: board.word(2 * i + 1),
        };
        results.add(&k.name(), Mode::Attached, f);
    }
    for (name, word) in [
        ("attach", W_ATTACH),
        ("detach", W_DETACH),
        ("code_bytes", W_ARENA),
        ("path_bytes", W_PATHS),
        ("first_write", W_FIRST_WRITE),
        ("first_read", W_FIRST_READ),
    ] {
        results.add(name, Mode::Attached, Figure::once(board.word(word)));
    }
    for (name, word, stock) in [
        ("synthesis_write", W_FIRST_WRITE, stock_first[0]),
        ("synthesis_read", W_FIRST_READ, stock_first[1]),
    ] {
        results.add(
            name,
            Mode::Attached,
            Figure::once(board.word(word).saturating_sub(stock)),
        );
    }
    *wrong += board.word(W_WRONG);

    let name = CString::new(sysfs::MODULE).map_err(|e| e.to_string())?;
    let t = clock.one(Req {
        nr: libc::SYS_delete_module,
        a: [name.as_ptr() as usize, libc::O_NONBLOCK as usize, 0],
    });
    sys::split(t.ret[0]).map_err(|e| format!("rmmod: {e}"))?;
    results.add("rmmod", Mode::Loaded, Figure::once(t.ticks));
    Ok(())
}

/// The attached process: attaches itself, measures, stays until the bystander is done, then measures synthesis.
fn subject(clock: Clock, board: &Board) -> Result<(), String> {
    let e = |what: &'static str| move |err| format!("{what}: {err}");
    let me = sys::getpid();
    let mut bench = Bench::new(clock).map_err(e("pipe"))?;
    let (attach, detach) = attach_costs(&clock, me)?;
    board.put(W_ATTACH, attach.median);
    board.put(W_DETACH, detach.median);

    let before = sysfs::counter("arena_bytes_used").map_err(e("stats/arena_bytes_used"))?;
    sysfs::attach(me).map_err(e("attach"))?;
    wait_for_paths(&mut bench, me)?;
    let used = sysfs::counter("arena_bytes_used").map_err(e("stats/arena_bytes_used"))?;
    board.put(W_ARENA, used.saturating_sub(before));
    board.put(W_PATHS, sysfs::sum(me, "size"));

    for (i, k) in KINDS.iter().enumerate() {
        let f = bench.measure(*k);
        board.put(2 * i, f.median);
        board.put(2 * i + 1, f.min);
    }
    board.raise(READY, 1);
    while !board.await_flag(LEAVE, 1) {}

    let mut wrong = 0;
    let made = sysfs::counter("synthesized").map_err(e("stats/synthesized"))?;
    let (writes, reads) =
        figures::first_calls(&clock, FRESH_FD, &mut wrong).map_err(e("fresh pipes"))?;
    let made = sysfs::counter("synthesized")
        .map_err(e("stats/synthesized"))?
        .saturating_sub(made);
    let calls = writes.len() + reads.len();
    if made < calls as u64 {
        return Err(format!(
            "only {made} of {calls} first calls made a path: the synthesis figure would be too low"
        ));
    }
    board.put(W_FIRST_WRITE, middle(writes).median);
    board.put(W_FIRST_READ, middle(reads).median);
    board.put(W_WRONG, bench.wrong + wrong);
    Ok(())
}

/// Cost of attaching and of detaching oneself, from `write` on the sysfs file to the return to user space.
fn attach_costs(clock: &Clock, me: i32) -> Result<(Figure, Figure), String> {
    let text = me.to_string();
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for _ in 0..ATTACHES {
        for (file, samples) in [("attach", &mut on), ("detach", &mut off)] {
            let fd = sys::open(&sysfs::path(file), libc::O_WRONLY, 0)
                .map_err(|e| format!("{file}: {e}"))?;
            let t = clock.one(Req::write(fd, text.as_bytes()));
            let done: Sys = sys::split(t.ret[0]);
            let _ = sys::close(fd);
            done.map_err(|e| {
                format!(
                    "{file}: {e}; platform/trap_vector: {:?}",
                    sysfs::get("platform/trap_vector")
                )
            })?;
            samples.push(t.ticks);
        }
    }
    Ok((Figure::of(&mut on), Figure::of(&mut off)))
}

/// Uses the pipe until both its ends have a path.
fn wait_for_paths(bench: &mut Bench, me: i32) -> Result<(), String> {
    for _ in 0..200 {
        bench.warm(4);
        let has = |fd, call| sysfs::get(&sysfs::fd_file(me, fd, call, "size")).is_ok();
        if has(bench.pipe.w, Call::Write) && has(bench.pipe.r, Call::Read) {
            return Ok(());
        }
        crate::proc::nap(1);
    }
    Err(format!(
        "the pipe was not specialized; state: {:?}",
        sysfs::state(me)
    ))
}
