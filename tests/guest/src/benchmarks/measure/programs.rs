//! The seven test programs of Massalin's thesis (1992, appendix A, table 7.1), each timed as a whole.

use crate::proc::{Board, Ended, Kid};
use crate::sys::{self, Pipe, Sys};
use crate::sysfs;
use std::arch::x86_64::_rdtsc;

/// Elements of the chaotic sequence, and how often it is made.
const ELEMENTS: usize = 500_000;
const SEQUENCES: u64 = 5;
/// Rounds of the programs on pipes and of those that open.
const ROUNDS: u64 = 10_000;
/// Rounds of the program on a file; in each so many chunks are written, then read.
const FILE_ROUNDS: u64 = 1000;
const CHUNKS: usize = 10;
const CHUNK: usize = 1024;

/// A terminal that nobody uses.
const TERMINAL: &str = "/dev/tty1";

/// Words on the board between a program's process and its parent.
const TICKS: usize = 0;
const WRONG: usize = 1;

/// A program returns how many of its results were wrong.
struct Program {
    run: fn() -> Sys<u64>,
    rounds: u64,
}

/// In the order of the table.
const PROGRAMS: [Program; 7] = [
    program(compute, SEQUENCES),
    program(|| pipe(1), ROUNDS),
    program(|| pipe(1024), ROUNDS),
    program(|| pipe(4096), ROUNDS),
    program(file, FILE_ROUNDS),
    program(|| open("/dev/null"), ROUNDS),
    program(|| open("/dev/tty"), ROUNDS),
];

const fn program(run: fn() -> Sys<u64>, rounds: u64) -> Program {
    Program { run, rounds }
}

/// Runs each in a process of its own, which attaches itself if the mode is `attached`. Returns how many results were wrong.
pub fn all(mode: &str) -> Result<u64, String> {
    let board = Board::new().map_err(|e| format!("no shared memory: {e}"))?;
    let mut wrong = 0;
    for (number, program) in (1..).zip(&PROGRAMS) {
        let mut kid = Kid::spawn(|| match timed(program, mode == "attached", board) {
            Ok(()) => 0,
            Err(why) => {
                println!("# measure: program {number}: {why}");
                1
            }
        })
        .map_err(|e| format!("fork: {e}"))?;
        match kid.join() {
            Some(Ended::Exit(0)) => {}
            other => return Err(format!("program {number} ended with {other:?}")),
        }
        let (ticks, rounds) = (board.word(TICKS), program.rounds);
        println!("PROGRAM {number} {mode} {ticks} {rounds}");
        wrong += board.word(WRONG);
    }
    Ok(wrong)
}

fn timed(program: &Program, attached: bool, board: &Board) -> Result<(), String> {
    let e = |what: &'static str| move |err| format!("{what}: {err}");
    // Who leads a session without a terminal gets the one that it opens first, and /dev/tty is that one.
    sys::sys(libc::SYS_setsid, &[]).map_err(e("setsid"))?;
    sys::open(TERMINAL, libc::O_RDWR, 0).map_err(e(TERMINAL))?;
    if attached {
        sysfs::attach(sys::getpid()).map_err(e("attach"))?;
    }
    // SAFETY: reads a counter.
    let begin = unsafe { _rdtsc() };
    let wrong = (program.run)().map_err(e("run"))?;
    // SAFETY: as above.
    let end = unsafe { _rdtsc() };
    board.put(TICKS, end - begin);
    board.put(WRONG, wrong);
    Ok(())
}

/// Hofstadter's chaotic sequence, which touches memory far apart and calls nothing.
fn compute() -> Sys<u64> {
    let mut x = vec![0i32; ELEMENTS];
    for _ in 0..SEQUENCES {
        sequence(std::hint::black_box(&mut x));
    }
    Ok(u64::from(!x.starts_with(&FIRST)))
}

/// How the sequence begins (Hofstadter, 1979, "chaotic sequence" of the Gödel, Escher, Bach).
const FIRST: [i32; 17] = [1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 6, 8, 8, 8, 10, 9, 10];

fn sequence(x: &mut [i32]) {
    x[0] = 1;
    x[1] = 1;
    for i in 2..x.len() {
        x[i] = x[i - x[i - 1] as usize] + x[i - x[i - 2] as usize];
    }
}

fn pipe(chunk: usize) -> Sys<u64> {
    let pipe = Pipe::new(0)?;
    let mut x = vec![0x5a; chunk];
    let mut wrong = 0;
    for _ in 0..ROUNDS {
        wrong += u64::from(sys::write(pipe.w, &x)? as usize != chunk);
        wrong += u64::from(sys::read(pipe.r, &mut x)? as usize != chunk);
    }
    Ok(wrong + x.iter().filter(|byte| **byte != 0x5a).count() as u64)
}

fn file() -> Sys<u64> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
    let fd = sys::open("/tmp/file", flags, 0o666)?;
    let mut x = vec![0x5a; CHUNK];
    let mut wrong = 0;
    for _ in 0..FILE_ROUNDS {
        rewind(fd)?;
        for _ in 0..CHUNKS {
            wrong += u64::from(sys::write(fd, &x)? as usize != CHUNK);
        }
        rewind(fd)?;
        for _ in 0..CHUNKS {
            wrong += u64::from(sys::read(fd, &mut x)? as usize != CHUNK);
        }
    }
    sys::close(fd)?;
    Ok(wrong + x.iter().filter(|byte| **byte != 0x5a).count() as u64)
}

fn rewind(fd: i32) -> Sys {
    sys::sys(libc::SYS_lseek, &[fd as usize, 0, libc::SEEK_SET as usize])
}

fn open(path: &str) -> Sys<u64> {
    for _ in 0..ROUNDS {
        sys::close(sys::open(path, libc::O_RDONLY, 0)?)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_do_what_they_say() {
        for run in [
            compute as fn() -> Sys<u64>,
            || pipe(4096),
            || open("/dev/null"),
        ] {
            assert_eq!(run(), Ok(0));
        }
    }

    #[test]
    fn the_sequence_is_hofstadter_s() {
        let mut x = [0; 17];
        sequence(&mut x);
        assert_eq!(x, FIRST);
    }
}
