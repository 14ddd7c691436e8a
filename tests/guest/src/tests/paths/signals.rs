//! Signals: delivery in the middle of a stream, at a high rate, and from inside handlers.

use crate::proc::{await_sleep, Board, Kid};
use crate::sys;
use crate::tests::support::lab::{echo, expect, noise, Lab, Res};
use crate::tests::support::signals::{count_signals, SIGNALS};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

area!("signals":
    high_rate_timer, from_another_process, handler_uses_the_pipe, handler_on_its_own_stack, interrupts_blocking_read, restarts_blocking_read,
    stop_and_continue, pending_signal_is_delivered,
);

fn timer(microseconds: i64) {
    let t = libc::timeval {
        tv_sec: 0,
        tv_usec: microseconds,
    };
    let every = libc::itimerval {
        it_interval: t,
        it_value: t,
    };
    // SAFETY: a valid timer value.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &every, std::ptr::null_mut()) };
}

/// Streams until `enough` and verifies every byte; gives up after twenty seconds.
fn stream(r: i32, w: i32, enough: impl Fn() -> bool) -> Res {
    let (start, mut rounds) = (Instant::now(), 0u64);
    while !enough() {
        ensure!(
            start.elapsed() < crate::proc::patient(Duration::from_secs(20)),
            "too few signals came in {rounds} rounds"
        );
        for _ in 0..50 {
            rounds += 1;
            echo(r, w, &noise(rounds, 1 + (rounds % 200) as usize))?;
        }
    }
    Ok(())
}

fn high_rate_timer(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    count_signals(libc::SIGALRM, libc::SA_RESTART);
    timer(300);
    let done = stream(rig.p.r, rig.p.w, || SIGNALS.load(Ordering::SeqCst) > 500);
    timer(0);
    done?;
    lab.fast_again(&rig.p)
}

const SOON: Duration = Duration::from_secs(30);

fn from_another_process(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    count_signals(libc::SIGUSR1, libc::SA_RESTART);
    let me = sys::getpid();
    let mut kid = Kid::spawn(|| {
        loop {
            // SAFETY: signals the parent, which waits for this process.
            unsafe { libc::kill(me, libc::SIGUSR1) };
            if board.flag(0) == 1 {
                break;
            }
        }
        0
    })?;
    let done = stream(rig.p.r, rig.p.w, || SIGNALS.load(Ordering::SeqCst) > 100);
    board.raise(0, 1);
    done?;
    ensure!(
        kid.wait(Duration::from_secs(20)).is_some(),
        "the sender does not end"
    );
    lab.fast_again(&rig.p)
}

static HANDLER_R: AtomicI32 = AtomicI32::new(-1);
static HANDLER_W: AtomicI32 = AtomicI32::new(-1);
static HANDLER_RUNS: AtomicU64 = AtomicU64::new(0);
static HANDLER_WRONG: AtomicU64 = AtomicU64::new(0);

extern "C" fn echo_in_handler(_: i32) {
    let n = HANDLER_RUNS.fetch_add(1, Ordering::SeqCst) as u8;
    let mut b = [0u8; 2];
    let w = sys::write(HANDLER_W.load(Ordering::SeqCst), &[n, !n]);
    let r = sys::read(HANDLER_R.load(Ordering::SeqCst), &mut b);
    if w != Ok(2) || r != Ok(2) || b != [n, !n] {
        HANDLER_WRONG.fetch_add(1, Ordering::SeqCst);
    }
}

fn with_handler(lab: &Lab, flags: i32) -> Res {
    let rig = lab.rig()?;
    let q = sys::Pipe::new(0)?;
    lab.warm(&q)?;
    HANDLER_R.store(q.r, Ordering::SeqCst);
    HANDLER_W.store(q.w, Ordering::SeqCst);
    // SAFETY: the handler only does system calls and touches atomics.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = echo_in_handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART | flags;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
    }
    timer(400);
    let done = stream(rig.p.r, rig.p.w, || {
        HANDLER_RUNS.load(Ordering::SeqCst) > 300
    });
    timer(0);
    done?;
    same!(
        HANDLER_WRONG.load(Ordering::SeqCst),
        0,
        "wrong bytes in the handler"
    );
    lab.fast_again(&rig.p)?;
    lab.fast_again(&q)
}

fn handler_uses_the_pipe(lab: &Lab) -> Res {
    with_handler(lab, 0)
}

fn handler_on_its_own_stack(lab: &Lab) -> Res {
    let len = 64 * 1024;
    let at = sys::map(len, 3, libc::MAP_PRIVATE)?;
    let stack = libc::stack_t {
        ss_sp: at as *mut libc::c_void,
        ss_flags: 0,
        ss_size: len,
    };
    // SAFETY: the stack is mapped and stays so.
    unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) };
    with_handler(lab, libc::SA_ONSTACK)
}

/// Whether a signal waits for a process (proc_pid_status(5)).
fn is_pending(pid: i32) -> bool {
    let status = sys::read_text(&format!("/proc/{pid}/status")).unwrap_or_default();
    let mut sets = status.lines().filter_map(|line| {
        line.strip_prefix("SigPnd:")
            .or(line.strip_prefix("ShdPnd:"))
    });
    sets.any(|set| u64::from_str_radix(set.trim(), 16) != Ok(0))
}

fn blocking_read_under_signal(lab: &Lab, flags: i32) -> Res<Result<usize, Errno>> {
    let rig = lab.rig()?;
    count_signals(libc::SIGUSR1, flags);
    let (me, w) = (sys::getpid(), rig.p.w);
    let mut kid = Kid::spawn(|| -> Res {
        ensure!(await_sleep(me), "the reader does not sleep");
        // SAFETY: signals the parent, which waits for this process.
        unsafe { libc::kill(me, libc::SIGUSR1) };
        // The reader has left the pipe when it has taken the signal, and sleeps there again if it is to restart.
        let taken = crate::proc::poll_until(SOON, || (!is_pending(me)).then_some(()));
        ensure!(taken.is_some(), "the signal is not taken");
        if flags == libc::SA_RESTART {
            ensure!(await_sleep(me), "the reader does not sleep again");
        }
        same!(sys::write(w, b"data"), Ok(4), "write");
        Ok(())
    })?;
    let mut b = [0; 10];
    let got = sys::read(rig.p.r, &mut b);
    same!(SIGNALS.load(Ordering::SeqCst), 1, "signals");
    if got.is_err() {
        expect(rig.p.r, b"data")?;
    }
    same!(
        kid.wait(SOON),
        Some(crate::proc::Ended::Exit(0)),
        "the sender"
    );
    lab.fast_again(&rig.p)?;
    Ok(got)
}

fn interrupts_blocking_read(lab: &Lab) -> Res {
    same!(
        blocking_read_under_signal(lab, 0)?,
        Err(Errno::EINTR),
        "read without SA_RESTART"
    );
    Ok(())
}

fn restarts_blocking_read(lab: &Lab) -> Res {
    same!(
        blocking_read_under_signal(lab, libc::SA_RESTART)?,
        Ok(4),
        "read with SA_RESTART"
    );
    Ok(())
}

fn stop_and_continue(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (me, board) = (sys::getpid(), Board::new()?);
    let mut kid = Kid::spawn(|| -> Res {
        for _ in 0..20 {
            // SAFETY: signals the parent, which waits for this process.
            unsafe { libc::kill(me, libc::SIGSTOP) };
            let stopped = || (crate::proc::state(me) == Some('T')).then_some(());
            ensure!(
                crate::proc::poll_until(SOON, stopped).is_some(),
                "it does not stop: state {:?}",
                crate::proc::state(me)
            );
            let before = board.word(0);
            crate::proc::nap(3);
            same!(board.word(0), before, "rounds of a stopped process");
            // SAFETY: as above.
            unsafe { libc::kill(me, libc::SIGCONT) };
            crate::proc::nap(3);
        }
        board.raise(0, 1);
        Ok(())
    })?;
    let mut i = 0u64;
    while board.flag(0) == 0 && kid.ended().is_none() {
        for _ in 0..100 {
            i += 1;
            echo(rig.p.r, rig.p.w, &noise(i, 9))?;
            board.put(0, i);
        }
    }
    same!(
        kid.wait(Duration::from_secs(10)),
        Some(crate::proc::Ended::Exit(0)),
        "the stopper"
    );
    lab.fast_again(&rig.p)
}

/// A signal that the process sends itself is delivered before the next user instruction, also right after specialized calls.
fn pending_signal_is_delivered(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    count_signals(libc::SIGUSR2, 0);
    for i in 1..=50 {
        echo(rig.p.r, rig.p.w, b"before")?;
        // SAFETY: signals this process.
        unsafe { libc::kill(sys::getpid(), libc::SIGUSR2) };
        same!(SIGNALS.load(Ordering::SeqCst), i, "signals");
        echo(rig.p.r, rig.p.w, b"after")?;
    }
    lab.fast_again(&rig.p)
}
