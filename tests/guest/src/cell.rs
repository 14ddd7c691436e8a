//! One cell of the matrix (qemu/matrix.toml): what this machine answers to the module, proven, and facts about the machine.
//!
//! Lines `CELL key: text` are for tools/vm, which holds them against what the cell is to say. One of them is the answer, and
//! each answer is proven before it is given:
//!
//! - `works`: calls of an attached process ran specialized, nearly all of them, and the tests of the fast cases, of
//!   bail-outs and of faults pass.
//! - `refuses: TEXT`: the tests of the group `refused` pass with that text.
//! - `stock: TEXT`: the platform is available, but the process is on the stock path and its `state` says so.
//! - `rejected: ERROR`: the kernel does not load the module.
//! - `neither: TEXT`: none of these. Never right.

mod thunk;

use crate::proc::{self, poll_until};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests;
use std::time::{Duration, Instant};

/// Writes and as many reads that are counted for the proof.
const ROUNDS: u64 = 1000;
/// So many percent of them must have run specialized. A tick can send single ones to the stock path.
const ENOUGH: u64 = 90;
/// Time in which a process that is used must get its paths, or a reason why not.
const SOON: Duration = Duration::from_secs(10);
/// After this long on the stock path a process counts as one that stays there. Back-off delays are shorter.
const SURE: Duration = Duration::from_secs(10);
/// Every time limit is multiplied by this: cells are booted side by side, on machines that have other work to do. All of them are
/// for what hangs; none is for what is slow.
const PATIENCE: u32 = 10;
/// What a working machine is tested with, by parts of the tests' names.
const SUBSET: &[&str] = &["fast.", "bail.", "fault."];

#[derive(clap::Args)]
pub struct Args {
    /// Tell the facts, load the module, give the answer, but run no tests
    #[arg(long)]
    quick: bool,
    /// Load this module of /modules before the facts are told (may be given more than once)
    #[arg(long, value_name = "NAME")]
    load: Vec<String>,
}

/// What the machine answers.
enum Answer {
    Works,
    Refuses(String),
    Stock(String),
    Rejected(String),
    Neither(String),
}

/// Runs the cell; the exit code of the program.
///
/// The facts are told first, so that they are there whatever comes after.
pub fn main(args: &Args) -> i32 {
    proc::set_patience(PATIENCE);
    for name in &args.load {
        if let Err(error) = sys::insmod(&format!("/modules/{name}.ko"), "") {
            println!("# {name}: {error}");
        }
    }
    if let Err(text) = keep_to_a_tick() {
        println!("# {text}");
        return 1;
    }
    machine();
    let (answer, code) = answer();
    if let Answer::Works = answer {
        // What cannot be told is no fact: it must not pass for a thunk that lacks something.
        match thunk::calls() {
            Ok(names) => tell("thunk", &names),
            Err(text) => println!("# thunk: {text}"),
        }
    }
    let tests = match &answer {
        _ if args.quick => None,
        Answer::Works => Some(tests::Args::subset(SUBSET, PATIENCE)),
        Answer::Refuses(text) => Some(tests::Args::refusing(text, PATIENCE)),
        Answer::Stock(_) | Answer::Rejected(_) | Answer::Neither(_) => None,
    };
    tell("code", &code);
    match &answer {
        Answer::Works => tell("answer", "works"),
        Answer::Refuses(text) => tell("answer", &format!("refuses: {text}")),
        Answer::Stock(text) => tell("answer", &format!("stock: {text}")),
        Answer::Rejected(text) => tell("answer", &format!("rejected: {text}")),
        Answer::Neither(text) => tell("answer", &format!("neither: {text}")),
    }
    let tested = tests.map_or(0, |args| tests::main(&args));
    tested.max(i32::from(matches!(answer, Answer::Neither(_))))
}

/// Binds this process, and those that it starts, to a CPU with a tick if some have none: there no call runs specialized.
fn keep_to_a_tick() -> Result<(), String> {
    let without = sys::read_text("/sys/devices/system/cpu/nohz_full").unwrap_or_default();
    if !without.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    let cpu = (0..u64::BITS).find(|cpu| !lists(&without, *cpu));
    let mask = [1u64 << cpu.unwrap_or_default()];
    match sys::sys(libc::SYS_sched_setaffinity, &[0, 8, mask.as_ptr() as usize]) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("sched_setaffinity: {error}")),
    }
}

/// Whether a list of CPUs as the kernel prints it, such as `1-3,5`, has this one.
fn lists(list: &str, cpu: u32) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&cpu))
    })
}

fn tell(key: &str, text: &str) {
    println!("CELL {key}: {text}");
}

/// Files that say what the kernel found on this machine, and where what they say is told.
const FACTS: &[(&str, &str)] = &[
    ("kernel", "/proc/sys/kernel/osrelease"),
    ("cpus", "/sys/devices/system/cpu/online"),
    ("smt", "/sys/devices/system/cpu/smt/control"),
    ("nohz_full", "/sys/devices/system/cpu/nohz_full"),
    ("lsm", "/sys/kernel/security/lsm"),
    ("lockdown", "/sys/kernel/security/lockdown"),
    ("preempt", "/sys/kernel/debug/sched/preempt"),
    ("modules", "/proc/modules"),
];

const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// Tells what may decide the answer.
fn machine() {
    for (key, file) in FACTS {
        if let Ok(text) = sys::read_text(file) {
            // One line each, of what may be a table.
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            tell(key, &lines.join("; "));
        }
    }
    let cpu = sys::read_text("/proc/cpuinfo").unwrap_or_default();
    for key in ["model name", "flags", "bugs"] {
        let line = cpu.lines().find_map(|line| {
            let (name, text) = line.split_once(':')?;
            (name.trim() == key).then_some(text.trim())
        });
        tell(key, &as_words(line.unwrap_or_default()));
    }
    let mut files: Vec<_> = std::fs::read_dir(VULNERABILITIES)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    for name in files {
        if let Ok(text) = sys::read_text(&format!("{VULNERABILITIES}/{name}")) {
            tell(&name, text.trim());
        }
    }
}

/// A list with a space around each word, so that a word can be looked for as a text.
fn as_words(list: &str) -> String {
    format!(" {list} ")
}

/// Loads the module and finds the answer. Also names what the path of a write contains, if one was made.
fn answer() -> (Answer, String) {
    let none = String::new();
    if !sysfs::present() {
        if let Err(error) = sys::insmod(tests::MODULE_FILE, "") {
            return (Answer::Rejected(error.to_string()), none);
        }
    }
    match sysfs::get("platform/trap_vector").as_deref() {
        Ok("available") => match attached() {
            Ok(found) => found,
            Err(text) => (Answer::Neither(text), none),
        },
        Ok(text) => match text.strip_prefix("refused: ") {
            Some(reason) => (Answer::Refuses(reason.to_owned()), none),
            None => (Answer::Neither(format!("trap_vector says {text:?}")), none),
        },
        Err(error) => (Answer::Neither(format!("no trap_vector: {error}")), none),
    }
}

/// Attaches this process and sees what becomes of it.
fn attached() -> Result<(Answer, String), String> {
    let told = |what: &'static str| move |error| format!("{what}: {error}");
    let (me, pipe) = (sys::getpid(), Pipe::new(0).map_err(told("pipe"))?);
    sysfs::attach(me).map_err(told("attach"))?;
    let hits = |call, fd| sysfs::hits(me, fd, call).unwrap_or(0);
    let mut wrong = None;
    let start = Instant::now();
    let warm = poll_until(SOON, || {
        wrong = rounds(&pipe, 4).err();
        let warm = hits(Call::Write, pipe.w) > 0 && hits(Call::Read, pipe.r) > 0;
        let stays = start.elapsed() > SURE && state_is_stock(me);
        (warm || stays || wrong.is_some()).then_some(warm)
    });
    if let Some(text) = wrong {
        return Err(text);
    }
    let state = sysfs::state(me).map_err(told("state"))?;
    if warm != Some(true) {
        return match state.strip_prefix("stock: ") {
            Some(reason) => Ok((Answer::Stock(reason.to_owned()), String::new())),
            None => Err(format!("state is {state:?}, but no call runs specialized")),
        };
    }
    let before = (hits(Call::Write, pipe.w), hits(Call::Read, pipe.r));
    rounds(&pipe, ROUNDS)?;
    let writes = hits(Call::Write, pipe.w).saturating_sub(before.0);
    let reads = hits(Call::Read, pipe.r).saturating_sub(before.1);
    tell(
        "specialized",
        &format!("{writes} of {ROUNDS} writes, {reads} of {ROUNDS} reads"),
    );
    let file = sysfs::path(&sysfs::fd_file(me, pipe.w, Call::Write, "code"));
    let code = sys::read_file(&file).map_err(told("code"))?;
    let state = sysfs::state(me).map_err(told("state"))?;
    sysfs::detach(me).map_err(told("detach"))?;
    rounds(&pipe, 4)?;
    if writes.min(reads) * 100 < ROUNDS * ENOUGH {
        return Err(format!(
            "of {ROUNDS} calls {writes} writes and {reads} reads ran specialized, state {state:?}"
        ));
    }
    if state != "specialized" {
        return Err(format!("calls run specialized, but state is {state:?}"));
    }
    Ok((Answer::Works, constructs(&code)))
}

fn state_is_stock(tgid: i32) -> bool {
    sysfs::state(tgid).is_ok_and(|state| state.starts_with("stock: "))
}

/// Sends single bytes there and back.
fn rounds(pipe: &Pipe, count: u64) -> Result<(), String> {
    for i in 0..count {
        let (out, mut back) = ([i as u8], [!(i as u8)]);
        let (written, read) = (sys::write(pipe.w, &out), sys::read(pipe.r, &mut back));
        if (written, read, back) != (Ok(1), Ok(1), out) {
            return Err(format!("round {i}: write {written:?}, read {read:?}"));
        }
    }
    Ok(())
}

/// Instructions that are there or not depending on the CPU, with their encodings (Intel SDM, volume 2). Of `verw` these are the
/// bytes before the operand, which is relative to the instruction.
const CONSTRUCTS: &[(&str, &[u8])] = &[
    ("stac", &[0x0f, 0x01, 0xcb]),
    ("clac", &[0x0f, 0x01, 0xca]),
    ("verw", &[0x0f, 0x00, 0x2d]),
    ("rep-movsb", &[0xf3, 0xa4]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("sysretq", &[0x48, 0x0f, 0x07]),
];

/// Which of [`CONSTRUCTS`] some code contains, as words with spaces around them.
fn constructs(code: &[u8]) -> String {
    let there = |bytes: &[u8]| code.windows(bytes.len()).any(|window| window == bytes);
    let names: Vec<&str> = CONSTRUCTS
        .iter()
        .filter(|(_, bytes)| there(bytes))
        .map(|(name, _)| *name)
        .collect();
    as_words(&names.join(" "))
}

#[cfg(test)]
mod tests_of_texts {
    use super::{constructs, lists};

    #[test]
    fn a_list_of_cpus() {
        let has: Vec<u32> = (0..8).filter(|cpu| lists("1-3,5", *cpu)).collect();
        assert_eq!(has, [1, 2, 3, 5]);
        assert!(!lists("", 0) && lists("0", 0));
    }

    #[test]
    fn names_what_is_there() {
        assert_eq!(constructs(&[0x90, 0x0f, 0x01, 0xcb]), " stac ");
        assert_eq!(
            constructs(&[0xf3, 0xa4, 0x0f, 0x01, 0xcb]),
            " stac rep-movsb "
        );
        assert_eq!(constructs(&[0x0f, 0x01]), "  ");
    }
}
