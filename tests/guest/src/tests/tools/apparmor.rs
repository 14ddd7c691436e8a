//! AppArmor: a process that confines itself, and in mid-stream changes to a profile that allows less.

use super::tool::{named_pipe, run, wait_for, PATIENCE};
use crate::proc::{nap, Board, Ended, Kid};
use crate::sys::{self, Pipe, Sys};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same};
use std::fs;

area!("apparmor": changes_profile = 120);

const PROFILES: &str = "/tmp/synthjit.profiles";
/// What is in force before and after the change. Nothing is taken from a process whose profile is loaded anew: files that it has
/// open are looked at again only under another profile (`aa_file_perm` in `security/apparmor/file.c`).
const RULES: &str = "\
abi <abi/4.0>,
profile synthjit-before {
  signal,
  change_profile -> synthjit-after,
  /proc/*/attr/apparmor/current w,
  /dev/null w,
  /tmp/synthjit-fifo rw,
  /tmp/synthjit-file rw,
}
profile synthjit-after {
  signal,
  /dev/null w,
  /tmp/synthjit-fifo r,
}
";
const FIFO: &str = "/tmp/synthjit-fifo";
const FILE: &str = "/tmp/synthjit-file";
/// No profile allows this one.
const SECRET: &str = "/tmp/synthjit-secret";

/// Flags of the board.
const READY: usize = 0;
const STOP: usize = 1;
const WANTED: usize = 2;
const DONE: usize = 3;
/// Words of the board.
const READ_END: usize = 0;
const WRITE_END: usize = 1;
const RESULTS: usize = 16;

/// Calls of the process when it is asked.
const CALLS: usize = 7;
/// Calls that are denied before the change and after it.
const DENIED: [usize; 2] = [1, 3];

/// Puts this process under a profile.
fn change_to(profile: &str) -> Sys {
    sys::write_text(
        "/proc/self/attr/apparmor/current",
        &format!("changeprofile {profile}"),
    )
}

/// Confines itself, then streams through an anonymous and a named pipe until it is asked for the first time, and through the
/// anonymous one from then on. The second time it is asked it changes its profile first.
fn confined(board: &Board) -> Res {
    change_to("synthjit-before")?;
    let p = Pipe::new(0)?;
    let fifo = sys::open(FIFO, libc::O_RDWR | libc::O_NONBLOCK, 0)?;
    let file = sys::open(FILE, libc::O_RDWR, 0)?;
    board.put(READ_END, p.r as u64);
    board.put(WRITE_END, p.w as u64);
    let (mut done, mut bytes) = (0, [0u8; 8]);
    while board.flag(STOP) == 0 {
        if board.flag(WANTED) > done {
            if done == 1 {
                change_to("synthjit-after")?;
            }
            let results = [
                sys::write(fifo, b"by name."),
                sys::read(fifo, &mut bytes),
                sys::write(file, b"in file."),
                sys::open(SECRET, libc::O_RDONLY, 0).and_then(sys::close),
                sys::write(p.w, b"no name."),
                sys::read(p.r, &mut bytes),
                sys::open("/dev/null", libc::O_WRONLY, 0).and_then(sys::close),
            ];
            for (n, result) in results.into_iter().enumerate() {
                board.put(
                    RESULTS + n,
                    result.map_or_else(|e| -(e as i64) as u64, |n| n as u64),
                );
            }
            done += 1;
            board.raise(DONE, done);
        }
        let streams: &[(i32, i32)] = match done {
            0 => &[(p.w, p.r), (fifo, fifo)],
            _ => &[(p.w, p.r)],
        };
        for (w, r) in streams {
            sys::write(*w, b"a round.")?;
            sys::read(*r, &mut bytes)?;
            same!(&bytes, b"a round.", "what came back");
        }
        board.raise(READY, 1);
        nap(1);
    }
    Ok(())
}

/// Has the process do its calls: what they returned.
fn ask(board: &Board) -> Res<Vec<i64>> {
    let wanted = board.flag(DONE) + 1;
    board.raise(WANTED, wanted);
    let done = wait_for(|| (board.flag(DONE) >= wanted).then_some(()));
    ensure!(done.is_some(), "the calls do not end");
    Ok((0..CALLS).map(|n| board.word(RESULTS + n) as i64).collect())
}

/// What the kernel's log says about denials for a process, when it has all, without times and the process's number.
fn denials(pid: i32, count: usize) -> Res<Vec<String>> {
    let number = format!(" pid={pid} ");
    let look = || -> Res<Vec<String>> {
        let log = run("dmesg", &[])?;
        let its = log
            .lines()
            .filter(|line| line.contains("apparmor=\"DENIED\"") && line.contains(&number));
        let text = |line: &str| {
            let (_, text) = line.split_once("apparmor=")?;
            Some(text.replace(&number, " "))
        };
        Ok(its.filter_map(text).collect())
    };
    // The log is written by a thread of the kernel.
    wait_for(|| look().is_ok_and(|lines| lines.len() >= count).then_some(()));
    look()
}

/// What a process saw and what was logged: results before and after the change, denials.
type Seen = (Vec<i64>, Vec<i64>, Vec<String>);

fn look(lab: &Lab, attach: bool) -> Res<Seen> {
    let board = Board::new()?;
    let mut kid = Kid::spawn(|| confined(board))?;
    ensure!(board.await_flag(READY, 1), "the process does not begin");
    let attached = attach.then(|| lab.attach_other(kid.pid)).transpose()?;
    let (r, w) = (board.word(READ_END) as i32, board.word(WRITE_END) as i32);
    let fast = || -> Res {
        if lab.stock || !attach {
            return Ok(());
        }
        let hits = || {
            (
                lab.hits_of(kid.pid, w, Write),
                lab.hits_of(kid.pid, r, Read),
            )
        };
        let grown = wait_for(|| {
            let before = hits();
            nap(20);
            let after = hits();
            (after.0 > before.0 && after.1 > before.1).then_some(())
        });
        ensure!(
            grown.is_some(),
            "calls do not run specialized; state {:?}",
            lab.state_of(kid.pid)
        );
        Ok(())
    };
    fast()?;
    let first = ask(board)?;
    fast()?;
    // Of the descriptors that it has the named pipe may be read only from now on, and the file not be used at all.
    let second = ask(board)?;
    fast()?;
    let denials = denials(kid.pid, DENIED.iter().sum())?;
    drop(attached);
    board.raise(STOP, 1);
    same!(kid.wait(PATIENCE), Some(Ended::Exit(0)), "the process");
    Ok((first, second, denials))
}

fn changes_profile(lab: &Lab) -> Res {
    named_pipe(FIFO)?;
    fs::write(FILE, "")?;
    fs::write(SECRET, "")?;
    fs::write(PROFILES, RULES)?;
    run("apparmor_parser", &["--replace", "--skip-cache", PROFILES])?;
    let (stock, attached) = (look(lab, false)?, look(lab, true)?);
    same!(attached, stock, "results and denials");
    let denied = |results: &[i64]| {
        let no = -i64::from(libc::EACCES);
        results.iter().filter(|result| **result == no).count()
    };
    same!(
        [denied(&stock.0), denied(&stock.1)],
        DENIED,
        "denied calls {stock:?}"
    );
    same!(
        stock.2.len(),
        DENIED.iter().sum::<usize>(),
        "denials {stock:?}"
    );
    Ok(())
}
