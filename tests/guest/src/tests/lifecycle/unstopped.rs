//! Processes come and go, and are told apart by their numbers, without anybody else's having to wait.

use crate::proc::{await_sleep, nap, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::exec_probe;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop, SOON};
use crate::tests::support::looper::Looper;
use crate::tests::support::tracefs::{self, Clean};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::time::Duration;

area!("unstopped":
    nothing_stops_the_machine = 120, sleeper_is_attached_again_and_again, detached_sleepers_are_unlinked_at_unload, retries_meet_detach = 120,
    exec_from_thread_while_switched = 120, number_of_a_namespace, same_number_in_two_namespaces, most_processes = 120,
);

/// A child that sleeps until it is told to go on, attached to nothing.
struct Sleeper {
    kid: Kid,
    p: Pipe,
}

impl Sleeper {
    fn start() -> Res<Sleeper> {
        let p = Pipe::new(0)?;
        let r = p.r;
        let kid = Kid::spawn(|| {
            let mut b = [0];
            i32::from(sys::read(r, &mut b) != Ok(1))
        })?;
        ensure!(await_sleep(kid.pid), "the child does not sleep");
        Ok(Sleeper { kid, p })
    }

    fn finish(mut self) -> Res {
        same!(sys::write(self.p.w, b"x"), Ok(1), "the write that wakes it");
        same!(self.kid.wait(SOON), Some(Ended::Exit(0)), "the child");
        Ok(())
    }
}

/// How often stop_machine() was entered, as a kprobe counts it.
fn stops() -> Res<u64> {
    let profile = sys::read_text("/sys/kernel/tracing/kprobe_profile")?;
    let line = profile.lines().find(|l| l.contains("sj_stop"));
    let hits = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    hits.ok_or_else(|| Stop::Fail(format!("no count of the kprobe: {profile:?}")))
}

/// Attach, detach, exit, exec and the switches, of processes that run, sleep, are just born or are the caller.
fn nothing_stops_the_machine(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    let _clean = Clean;
    tracefs::put("kprobe_events", "p:sj_stop stop_machine_cpuslocked")?;
    tracefs::put("events/kprobes/sj_stop/enable", "1")?;
    // Patching kernel text for the kprobe has taken the processes off their paths.
    let rig = lab.rig()?;
    lab.fast_again(&rig.p)?;
    let before = stops()?;

    let looper = Looper::start(lab)?;
    sysfs::detach(looper.kid.pid)?;
    sysfs::attach(looper.kid.pid)?;
    looper.fast_again(lab)?;
    let sleeper = Sleeper::start()?;
    for _ in 0..3 {
        sysfs::attach(sleeper.kid.pid)?;
        sysfs::detach(sleeper.kid.pid)?;
    }
    sysfs::attach(sleeper.kid.pid)?;
    sleeper.finish()?;
    for _ in 0..3 {
        let mut kid = Kid::spawn(|| i32::from(sysfs::attach(sys::getpid()).is_err()))?;
        same!(
            kid.wait(SOON),
            Some(Ended::Exit(0)),
            "a child that attaches itself"
        );
        let newborn = Kid::spawn(|| {
            // SAFETY: Sleeps until it is killed.
            unsafe { libc::pause() };
            0
        })?;
        sysfs::attach(newborn.pid)?;
    }
    for (file, value) in [("enabled", "0"), ("enabled", "1")] {
        sysfs::set(file, value)?;
    }
    lab.fast_again(&rig.p)?;
    looper.fast_again(lab)?;
    looper.finish()?;
    drop(rig);
    same!(stops()?, before, "passes of stop_machine()");

    // The probe does count them: unloading is one.
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    let unloading = stops()?;
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    ensure!(unloading > before, "the kprobe counts nothing");
    Ok(())
}

/// The process never leaves the kernel in between, so what was begun for it is taken up again each time.
fn sleeper_is_attached_again_and_again(lab: &Lab) -> Res {
    needs_module(lab)?;
    let p = Pipe::new(0)?;
    let (r, w) = (p.r, p.w);
    let gate = Pipe::new(0)?;
    let board = Board::new()?;
    let mut kid = Kid::spawn(|| {
        let Ok(me) = lab.attach() else { return 90 };
        if lab.warm(&p).is_err() {
            return 91;
        }
        std::mem::forget(me);
        let mut b = [0];
        for round in 0..3 {
            board.raise(round, 1);
            if sys::read(gate.r, &mut b) != Ok(1) {
                return 92;
            }
            if lab.fast_again(&p).is_err() {
                return 93;
            }
        }
        i32::from((0..50u8).any(|i| echo(r, w, &[i]).is_err()))
    })?;
    for round in 0..3 {
        ensure!(
            board.await_flag(round, 1) && await_sleep(kid.pid),
            "the child does not sleep"
        );
        for i in 0..40 {
            same!(sysfs::detach(kid.pid).map(|_| ()), Ok(()), "detach {i}");
            same!(sysfs::attach(kid.pid).map(|_| ()), Ok(()), "attach {i}");
        }
        same!(sys::write(gate.w, b"x"), Ok(1), "the write that wakes it");
    }
    same!(
        kid.wait(SOON),
        Some(Ended::Exit(0)),
        "the child (its exit code says where)"
    );
    Ok(())
}

/// Sleepers that were detached still have the module's notifier or work when it goes.
fn detached_sleepers_are_unlinked_at_unload(lab: &Lab) -> Res {
    needs_module(lab)?;
    // One was attached while it ran, so it has a notifier; one slept all the time, so it has a work.
    let p = Pipe::new(0)?;
    let (gate, board) = (Pipe::new(0)?, Board::new()?);
    let mut linked = Kid::spawn(|| {
        let Ok(me) = lab.attach() else { return 90 };
        if lab.warm(&p).is_err() {
            return 91;
        }
        std::mem::forget(me);
        board.raise(0, 1);
        let mut b = [0];
        i32::from(sys::read(gate.r, &mut b) != Ok(1))
            + i32::from((0..50u8).any(|i| echo(p.r, p.w, &[i]).is_err())) * 2
    })?;
    ensure!(
        board.await_flag(0, 1) && await_sleep(linked.pid),
        "the child does not sleep"
    );
    let queued = Sleeper::start()?;
    sysfs::attach(queued.kid.pid)?;
    for pid in [linked.pid, queued.kid.pid] {
        sysfs::detach(pid)?;
    }
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    same!(sys::write(gate.w, b"x"), Ok(1), "the write that wakes it");
    same!(
        linked.wait(SOON),
        Some(Ended::Exit(0)),
        "the child that had a notifier"
    );
    queued.finish()?;
    crate::tests::load_if_missing().map_err(Stop::Fail)
}

/// Processes with a thread are looked at again and again; all of them sleep, so a look that comes after the detaching would wait for ever,
/// and unloading for it.
fn retries_meet_detach(lab: &Lab) -> Res {
    needs_module(lab)?;
    let (board, gate) = (Board::new()?, Pipe::new(0)?);
    let from = gate.r;
    let mut kids = Vec::new();
    for i in 0..6 {
        kids.push(Kid::spawn(|| {
            let t = std::thread::spawn(move || sys::read(from, &mut [0]) == Ok(1));
            let Ok(me) = lab.attach() else { return 90 };
            std::mem::forget(me);
            board.raise(i, 1);
            i32::from(!t.join().unwrap_or(false))
        })?);
    }
    for (i, kid) in kids.iter().enumerate() {
        ensure!(
            board.await_flag(i, 1) && await_sleep(kid.pid),
            "child {i} does not sleep"
        );
    }
    for round in 0..60u64 {
        for kid in &kids {
            let _ = sysfs::detach(kid.pid);
            same!(sysfs::attach(kid.pid).map(|_| ()), Ok(()), "attach");
        }
        nap(round % 7);
    }
    for kid in &kids {
        same!(sysfs::detach(kid.pid).map(|_| ()), Ok(()), "detach");
    }
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    same!(
        sys::write(gate.w, &[0; 6]),
        Ok(6),
        "the write that wakes them"
    );
    for kid in &mut kids {
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "a child");
    }
    crate::tests::load_if_missing().map_err(Stop::Fail)
}

/// Somebody switches the process on and off at the moment in which a thread of it takes over by exec.
fn exec_from_thread_while_switched(lab: &Lab) -> Res {
    needs_module(lab)?;
    const READY: usize = 0;
    const GO: usize = 1;
    const LEAVE: usize = 2;
    for round in 0..12 {
        let (p, board) = (Pipe::new(0)?, Board::new()?);
        let mut kid = Kid::spawn(|| -> Res {
            let me = lab.attach()?;
            lab.warm(&p)?;
            same!(sys::write(p.w, b"heirloom"), Ok(8), "what is left");
            std::mem::forget(me);
            board.raise(READY, 1);
            ensure!(board.await_flag(GO, 1), "nobody says go");
            let (r, w) = (p.r, p.w);
            let t = std::thread::spawn(move || exec_probe::exec(false, r, w));
            Err(Stop::Fail(format!("exec returned {:?}", t.join().ok())))
        })?;
        // Before it is switched: one that is switched off all the time does not get warm.
        ensure!(board.await_flag(READY, 1), "the child did not get ready");
        let pid = kid.pid;
        let switcher = Kid::spawn(|| {
            while board.flag(LEAVE) == 0 {
                let file = format!("processes/{pid}/enabled");
                let _ = sysfs::set(&file, "0");
                let _ = sysfs::set(&file, "1");
                board.raise(GO, 1);
            }
            0
        })?;
        ensure!(board.await_flag(GO, 1), "nobody switches the child");
        // The new program wants to be left alone.
        nap(4 + round);
        board.raise(LEAVE, 1);
        same!(
            kid.wait(Duration::from_secs(30)),
            Some(Ended::Exit(0)),
            "the program after exec (its exit code says where)"
        );
        drop(switcher);
    }
    Ok(())
}

/// A child that is the first process of a PID namespace of its own and runs `f`.
fn in_namespace(f: impl FnOnce() -> i32) -> Res<Kid> {
    // SAFETY: Only children that are born from now on are concerned; this process goes back below.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        skip!("no PID namespaces: {}", Errno::last());
    }
    let kid = Kid::spawn(f)?;
    let own = sys::open("/proc/self/ns/pid", libc::O_RDONLY, 0)?;
    // SAFETY: A descriptor of this process's own namespace.
    let back = unsafe { libc::setns(own, libc::CLONE_NEWPID) };
    sys::close(own)?;
    same!(back, 0, "setns");
    Ok(kid)
}

/// Each writes numbers as its own namespace has them; sysfs tells those of the first one.
fn number_of_a_namespace(lab: &Lab) -> Res {
    needs_module(lab)?;
    let (p, board) = (Pipe::new(0)?, Board::new()?);
    let mut kid = in_namespace(|| {
        if sys::getpid() != 1 {
            return 89;
        }
        // Attaches itself, not the first process of the machine.
        if sysfs::attach(1).is_err() {
            return 90;
        }
        if (0..200u8).any(|i| echo(p.r, p.w, &[i]).is_err()) {
            return 91;
        }
        board.raise(0, 1);
        let mut b = [0];
        if sys::read(p.r, &mut b) != Ok(1) || sysfs::detach(1) != Err(Errno::ENOENT) {
            return 92;
        }
        if sysfs::attach(1).is_err() {
            return 93;
        }
        // Exec by a thread finds the process by its number too.
        if sys::write(p.w, b"heirloom") != Ok(8) {
            return 94;
        }
        let t = std::thread::spawn(move || exec_probe::exec(true, p.r, p.w));
        t.join().unwrap_or(95)
    })?;
    ensure!(board.await_flag(0, 1), "the child did not get ready");
    let served = poll_until(SOON, || {
        let call = sysfs::Call::Write;
        sysfs::hits(kid.pid, p.w, call).filter(|n| *n > 0)
    });
    ensure!(served.is_some(), "no hits below processes/{}", kid.pid);
    same!(
        sysfs::attach(kid.pid),
        Err(Errno::EEXIST),
        "attach by the number here"
    );
    same!(
        sysfs::detach(kid.pid).map(|_| ()),
        Ok(()),
        "detach by the number here"
    );
    same!(sys::write(p.w, b"x"), Ok(1), "the write that wakes it");
    same!(
        kid.wait(Duration::from_secs(30)),
        Some(Ended::Exit(0)),
        "the child (its exit code says where)"
    );
    let gone = poll_until(SOON, || sysfs::state(kid.pid).is_err().then_some(()));
    ensure!(gone.is_some(), "processes/{} stays after the exit", kid.pid);
    Ok(())
}

/// Two processes are number 1 to themselves, and both are attached.
fn same_number_in_two_namespaces(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = Board::new()?;
    let mut kids = Vec::new();
    for i in 0..2 {
        kids.push(in_namespace(|| {
            if sysfs::attach(1).is_err() {
                return 90;
            }
            board.raise(i, 1);
            i32::from(!board.await_flag(9, 1))
        })?);
        ensure!(board.await_flag(i, 1), "child {i} was not attached");
    }
    for kid in &kids {
        ensure!(sysfs::state(kid.pid).is_ok(), "no processes/{}", kid.pid);
    }
    board.raise(9, 1);
    for kid in &mut kids {
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "a child");
    }
    Ok(())
}

/// Whoever writes the rules by which processes are attached, their number has an end, with a reason.
fn most_processes(lab: &Lab) -> Res {
    needs_module(lab)?;
    const MOST: usize = 1024;
    let board = Board::new()?;
    let mut makers = Vec::new();

    let mut attached = sysfs::list("processes").len();
    let mut refused = None;
    while attached <= MOST && refused.is_none() {
        let kid = Kid::spawn(|| {
            // SAFETY: Sleeps until the parent kills it.
            unsafe { libc::pause() };
            0
        })?;
        match sysfs::attach(kid.pid) {
            Ok(_) => attached += 1,
            Err(e) => refused = Some(e),
        }
        makers.push(kid);
    }
    same!(
        (attached, refused),
        (MOST, Some(Errno::ENOSPC)),
        "processes attached, then"
    );
    // The next one is welcome when one has gone.
    let last = makers.pop();
    drop(makers.pop());
    let pid = last.as_ref().map_or(0, |k| k.pid);
    let again = poll_until(SOON, || sysfs::attach(pid).ok());
    ensure!(again.is_some(), "no place came free");
    drop((board, makers, last));
    let gone = poll_until(SOON, || (sysfs::list("processes").len() < 8).then_some(()));
    ensure!(gone.is_some(), "processes stay attached after their end");
    Ok(())
}
