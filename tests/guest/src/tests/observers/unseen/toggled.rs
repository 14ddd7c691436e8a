//! Kernel text is patched beside a process that makes one call after the other: with kprobes that come and go (`tests/kmod/synthjit_toggle`),
//! and by a live patch (`tests/kmod/synthjit_livepatch`).

use super::{changed, fast_again};
use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::Write;
use crate::tests::hosts::traffic::pin;
use crate::tests::support::lab::{echo, Lab, Res, Stop, SOON};
use crate::{area, ensure, same};
use std::time::Duration;

area!("toggled":
    probes_beside_a_writer = 900, probes_beside_a_realtime_writer = 300, live_patch_is_in_force = 240,
);

/// As `tests/kmod/synthjit_toggle` has it.
const MAGIC: usize = 0x5e9e17;

/// Flags of the board, and the word with the number of calls made.
const READY: usize = 0;
const STOP: usize = 1;
const CALLS: usize = 0;

fn parameter(module: &str, name: &str) -> String {
    format!("/sys/module/{module}/parameters/{name}")
}

/// A process on the last CPU that writes and reads without a pause.
struct Writer {
    kid: Kid,
    board: &'static Board,
    w: i32,
}

impl Writer {
    fn start(lab: &Lab, realtime: bool) -> Res<Writer> {
        let (p, board) = (Pipe::new(libc::O_NONBLOCK)?, Board::new()?);
        let w = p.w;
        let last = std::thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
        let kid = Kid::spawn(|| -> Res {
            pin(0, last)?;
            let _me = lab.attach()?;
            lab.warm(&p)?;
            if realtime {
                let parameters = libc::sched_param { sched_priority: 50 };
                // SAFETY: This process, and parameters of ours.
                let ret = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
                same!(ret, 0, "sched_setscheduler");
            }
            board.raise(READY, 1);
            let mut before = 0;
            let byte = [7u8];
            for number in 1.. {
                // SAFETY: The time stamp counter can be read anywhere.
                let began = unsafe { std::arch::x86_64::_rdtsc() } as usize;
                let args = [
                    p.w as usize,
                    byte.as_ptr() as usize,
                    1,
                    MAGIC,
                    number,
                    before,
                ];
                same!(sys::sys(libc::SYS_write, &args), Ok(1), "write");
                before = began;
                same!(sys::read(p.r, &mut [0]), Ok(1), "read");
                board.put(CALLS, number as u64);
                if board.flag(STOP) == 1 {
                    break;
                }
            }
            Ok(())
        })?;
        let writer = Writer { kid, board, w };
        ensure!(board.await_flag(READY, 1), "the writer did not get ready");
        Ok(writer)
    }

    fn finish(mut self) -> Res {
        self.board.raise(STOP, 1);
        same!(self.kid.wait(SOON), Some(Ended::Exit(0)), "the writer");
        Ok(())
    }
}

/// Where probes are put: a function, from which offset on, and how often. They are traced at their entry (0) or not at all, and lie at
/// the beginning, in the middle and at the end of a call.
const PLACES: &[(&str, u32, u64)] = &[
    ("fpregs_assert_state_consistent", 12, 1800),
    ("ksys_write", 0, 200),
    ("__wake_up_common", 20, 2500),
    ("_copy_from_iter", 0, 2500),
    ("vfs_write", 20, 3000),
];

fn number(text: &str, name: &str) -> Res<u64> {
    let mut words = text.split_whitespace().skip_while(|word| *word != name);
    let number = words.nth(1).and_then(|word| word.parse().ok());
    number.ok_or_else(|| Stop::Fail(format!("no {name} in {text:?}")))
}

/// Probes come and go at each place; the part of the rounds that is asked for.
fn probes(lab: &Lab, realtime: bool, part: u64) -> Res {
    const MODULE: &str = "synthjit_toggle";
    sys::insmod(&format!("/modules/{MODULE}.ko"), "")?;
    pin(0, 0)?;
    let writer = Writer::start(lab, realtime)?;
    let pid = writer.kid.pid;
    let mut all = 0;
    let mut wrong = Vec::new();
    for (function, offset, rounds) in PLACES {
        let rounds = rounds / part;
        let before = (lab.hits_of(pid, writer.w, Write), writer.board.word(CALLS));
        for (name, value) in [
            ("tgid", pid.to_string()),
            ("function", (*function).to_owned()),
            ("offset", offset.to_string()),
            ("rounds", rounds.to_string()),
            // More than a tick: a look comes one tick after the last change of text.
            ("pause", "6000".to_owned()),
        ] {
            sys::write_text(&parameter(MODULE, name), &value)?;
        }
        let told = sys::read_text(&parameter(MODULE, "run"))
            .map_err(|e| Stop::Fail(format!("{function}: {e}")))?;
        let after = (lab.hits_of(pid, writer.w, Write), writer.board.word(CALLS));
        let (hits, calls) = (after.0.wrapping_sub(before.0), after.1 - before.1);
        println!(
            "# {function}+{offset}: {}, {hits} of {calls} calls specialized",
            told.trim()
        );
        same!(number(&told, "rounds")?, rounds, "rounds at {function}");
        all += rounds;
        if number(&told, "unseen")? > 0 || number(&told, "silent")? > 0 {
            wrong.push(format!("{function}: {}", told.trim()));
        }
        // Otherwise there was nothing to be seen.
        ensure!(
            lab.stock || hits > 10 * rounds,
            "{function}: only {hits} of {calls} calls specialized; changed: {:?}",
            changed()
        );
    }
    writer.finish()?;
    same!(sys::rmmod(MODULE), Ok(0), "rmmod {MODULE}");
    ensure!(wrong.is_empty(), "unseen calls in {all} rounds: {wrong:#?}");
    Ok(())
}

fn probes_beside_a_writer(lab: &Lab) -> Res {
    probes(lab, false, 1)
}

/// Nobody else gets its CPU.
fn probes_beside_a_realtime_writer(lab: &Lab) -> Res {
    let limit = "/proc/sys/kernel/sched_rt_runtime_us";
    let before = sys::read_text(limit)?;
    sys::write_text(limit, "-1")?;
    let done = probes(lab, true, 50);
    sys::write_text(limit, before.trim())?;
    done
}

fn live_patch_is_in_force(lab: &Lab) -> Res {
    const MODULE: &str = "synthjit_livepatch";
    const PATCH: &str = "/sys/kernel/livepatch/synthjit_livepatch";
    let rig = lab.rig()?;
    fast_again(lab, &rig.p)?;
    sys::insmod(&format!("/modules/{MODULE}.ko"), "")?;
    let settled = || {
        let transition = sys::read_text(&format!("{PATCH}/transition")).unwrap_or_default();
        (transition.trim() != "1").then_some(())
    };
    let limit = Duration::from_secs(60);
    ensure!(
        poll_until(limit, settled).is_some(),
        "the patch never gets through"
    );
    sys::write_text(&parameter(MODULE, "tgid"), &sys::getpid().to_string())?;
    let count = || -> Res<u64> {
        let text = sys::read_text(&parameter(MODULE, "calls"))?;
        text.trim()
            .parse()
            .map_err(|_| Stop::Fail(format!("{text:?} calls")))
    };
    let before = count()?;
    for i in 0..100 {
        echo(rig.p.r, rig.p.w, &[i])?;
    }
    let calls = count()? - before;
    sys::write_text(&format!("{PATCH}/enabled"), "0")?;
    let gone = || (!std::path::Path::new(PATCH).exists()).then_some(());
    ensure!(poll_until(limit, gone).is_some(), "the patch never goes");
    same!(sys::rmmod(MODULE), Ok(0), "rmmod {MODULE}");
    ensure!(calls >= 200, "{calls} of 200 calls were counted");
    fast_again(lab, &rig.p)
}
