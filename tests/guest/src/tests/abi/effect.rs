//! The sysfs files: what their switches do and what they say of attached processes.

use crate::proc::{await_sleep, nap, poll_until, Ended, Kid};
use crate::sys;
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, needs_module, Lab, Res};
use crate::tests::support::looper::Looper;
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("abi":
    enabled_global, enabled_per_process, detach_running, attach_sleeping, state_texts, path_files, hits_are_counted, stats_are_numbers, stats_move, many_processes, without_says_why,
    exited_remembers,
);

fn enabled_global(lab: &Lab) -> Res {
    needs_module(lab)?;
    let looper = Looper::start(lab)?;
    let rig = lab.rig()?;
    for _ in 0..5 {
        sysfs::set("enabled", "0")?;
        same!(sysfs::get("enabled")?, "0", "enabled");
        looper.slow_now(lab)?;
        lab.slow(rig.p.w, Call::Write, 0, || {
            echo(rig.p.r, rig.p.w, b"stock now")
        })?;
        let state = sysfs::state(looper.kid.pid)?;
        ensure!(
            state.starts_with("stock: "),
            "state while switched off: {state:?}"
        );
        sysfs::set("enabled", "1")?;
        looper.fast_again(lab)?;
        lab.fast_again(&rig.p)?;
    }
    looper.finish()
}

fn enabled_per_process(lab: &Lab) -> Res {
    needs_module(lab)?;
    let looper = Looper::start(lab)?;
    let rig = lab.rig()?;
    let its = format!("processes/{}/enabled", looper.kid.pid);
    for _ in 0..5 {
        sysfs::set(&its, "0")?;
        looper.slow_now(lab)?;
        let state = sysfs::state(looper.kid.pid)?;
        ensure!(
            state.starts_with("stock: "),
            "state while switched off: {state:?}"
        );
        // The other one goes on.
        lab.fast_again(&rig.p)?;
        sysfs::set(&its, "1")?;
        looper.fast_again(lab)?;
    }
    looper.finish()
}

fn detach_running(lab: &Lab) -> Res {
    needs_module(lab)?;
    let looper = Looper::start(lab)?;
    let pid = looper.kid.pid;
    for _ in 0..10 {
        sysfs::detach(pid)?;
        ensure!(sysfs::state(pid).is_err(), "processes/{pid} is still there");
        let before = looper.board.word(0);
        nap(3);
        ensure!(
            poll_until(Duration::from_secs(5), || (looper.board.word(0) > before)
                .then_some(()))
            .is_some(),
            "it stands still"
        );
        sysfs::attach(pid)?;
        looper.fast_again(lab)?;
    }
    looper.finish()
}

fn attach_sleeping(lab: &Lab) -> Res {
    needs_module(lab)?;
    let (p, board) = (sys::Pipe::new(0)?, crate::proc::Board::new()?);
    let mut kid = Kid::spawn(|| -> Res {
        same!(sys::read(p.r, &mut [0]), Ok(1), "read");
        lab.fast_again(&p)?;
        board.raise(0, 1);
        ensure!(board.await_flag(1, 1), "nobody looks");
        Ok(())
    })?;
    ensure!(await_sleep(kid.pid), "the child does not sleep");
    sysfs::attach(kid.pid)?;
    let state = sysfs::state(kid.pid)?;
    ensure!(
        state == "pending" || state == "specialized",
        "state of a sleeping process: {state:?}"
    );
    same!(sys::write(p.w, b"!"), Ok(1), "write");
    ensure!(
        board.await_flag(0, 1),
        "the child does not become specialized; state {:?}",
        sysfs::state(kid.pid)
    );
    same!(sysfs::state(kid.pid)?, "specialized", "state");
    board.raise(1, 1);
    same!(
        kid.wait(Duration::from_secs(10)),
        Some(Ended::Exit(0)),
        "the child"
    );
    // And let one go that sleeps.
    let mut kid = Kid::spawn(|| -> Res {
        same!(sys::read(p.r, &mut [0]), Ok(1), "read");
        Ok(())
    })?;
    ensure!(await_sleep(kid.pid), "the child does not sleep");
    sysfs::attach(kid.pid)?;
    sysfs::detach(kid.pid)?;
    same!(sys::write(p.w, b"!"), Ok(1), "write");
    same!(
        kid.wait(Duration::from_secs(10)),
        Some(Ended::Exit(0)),
        "the child"
    );
    Ok(())
}

fn state_texts(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    same!(sysfs::state(me)?, "specialized", "state");
    sysfs::set(&format!("processes/{me}/enabled"), "0")?;
    let off = sysfs::state(me)?;
    ensure!(
        off.starts_with("stock: ") && off.len() > 10,
        "state while switched off: {off:?}"
    );
    sysfs::set(&format!("processes/{me}/enabled"), "1")?;
    lab.fast_again(&rig.p)?;
    same!(sysfs::state(me)?, "specialized", "state");
    Ok(())
}

fn path_files(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    let names = sysfs::list(&format!("processes/{me}/fds"));
    for (fd, call) in [(rig.p.w, Call::Write), (rig.p.r, Call::Read)] {
        let name = format!("{fd}.{}", call.name());
        ensure!(names.contains(&name), "{name} is not in {names:?}");
        let file = |f: &str| sysfs::fd_file(me, fd, call, f);
        let spec = sysfs::get(&file("spec"))?;
        ensure!(
            spec.contains("pipe") && spec.contains(call.name()),
            "spec of {name}: {spec:?}"
        );
        let size = sysfs::number(&file("size"))?;
        let code = sys::read_file(&sysfs::path(&file("code")))?;
        same!(code.len() as u64, size, "bytes of code of {name}");
        ensure!((100..=1024).contains(&code.len()), "size of {name}: {size}");
        // It must leave by a 64-bit sysret somewhere.
        ensure!(
            code.windows(3).any(|b| b == [0x48, 0x0f, 0x07]),
            "no sysret in the code of {name}"
        );
        let assumptions = sysfs::listing("assumptions")?;
        let about = format!("{spec} ");
        ensure!(
            assumptions
                .lines()
                .filter(|l| l.starts_with(&about))
                .count()
                >= 3,
            "assumptions of {name}: {assumptions:?}"
        );
    }
    Ok(())
}

fn hits_are_counted(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    lab.fast(
        &[(rig.p.w, Call::Write, 20), (rig.p.r, Call::Read, 20)],
        || (0..20u8).try_for_each(|i| echo(rig.p.r, rig.p.w, &[i])),
    )
}

fn stats_are_numbers(lab: &Lab) -> Res {
    needs_module(lab)?;
    let _rig = lab.rig()?;
    for name in sysfs::list("stats") {
        ensure!(
            sysfs::counter(&name).is_ok(),
            "stats/{name}: {:?}",
            sysfs::get(&format!("stats/{name}"))
        );
    }
    Ok(())
}

fn stats_move(lab: &Lab) -> Res {
    needs_module(lab)?;
    let stats = || -> Res<[u64; 5]> {
        Ok([
            lab.stat("attached")?,
            lab.stat("synthesized")?,
            lab.stat("retired")?,
            lab.stat("bailouts")?,
            lab.stat("arena_bytes_used")?,
        ])
    };
    let idle = stats()?;
    same!(idle[0], 0, "attached while nobody is");
    same!(idle[4], 0, "arena_bytes_used while nobody is attached");
    {
        let rig = lab.rig()?;
        let busy = stats()?;
        same!(busy[0], 1, "attached");
        ensure!(
            busy[1] >= idle[1] + 2,
            "synthesized: {} -> {}",
            idle[1],
            busy[1]
        );
        ensure!(busy[4] > 0, "arena_bytes_used is 0 while there is code");
        let mut b = [0];
        sys::set_flag(rig.p.r, libc::O_NONBLOCK, true)?;
        let _ = sys::read(rig.p.r, &mut b);
        ensure!(stats()?[3] > busy[3], "bailouts does not count");
    }
    let after = stats()?;
    same!(
        (after[0], after[4]),
        (0, 0),
        "attached and arena_bytes_used after detach"
    );
    ensure!(after[2] > idle[2], "retired does not count");
    Ok(())
}

/// More processes than the arena has vectors for: the surplus runs on the stock path, nobody gets an error from a call.
fn many_processes(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = crate::proc::Board::new()?;
    let mut kids = Vec::new();
    for _ in 0..150 {
        kids.push(Kid::spawn(|| -> Res {
            lab.attach().map(std::mem::forget)?;
            let p = sys::Pipe::new(0)?;
            (0..40u8).try_for_each(|i| echo(p.r, p.w, &[i, 1, 2]))?;
            board.add(0, 1);
            // Seldom looked at: so many processes that poll leave no time for others.
            while board.flag(0) == 0 {
                nap(100);
            }
            (0..40u8).try_for_each(|i| echo(p.r, p.w, &[i]))
        })?);
    }
    let all = poll_until(Duration::from_secs(40), || {
        (board.word(0) == 150).then_some(())
    });
    ensure!(
        all.is_some(),
        "only {} of 150 processes got ready",
        board.word(0)
    );
    let attached = lab.stat("attached")?;
    board.raise(0, 1);
    for kid in &mut kids {
        same!(
            kid.wait(Duration::from_secs(20)),
            Some(Ended::Exit(0)),
            "one of many"
        );
    }
    same!(attached, 150, "attached");
    let gone = poll_until(Duration::from_secs(10), || {
        (lab.stat("attached").ok() == Some(0)).then_some(())
    });
    ensure!(
        gone.is_some(),
        "attached stays at {}",
        lab.stat("attached")?
    );
    same!(
        lab.stat("arena_bytes_used")?,
        0,
        "arena_bytes_used afterwards"
    );
    let rig = lab.rig()?;
    lab.fast_again(&rig.p)
}

/// A descriptor that has no path is listed with the reason, until it is forgotten.
fn without_says_why(lab: &Lab) -> Res {
    needs_module(lab)?;
    let _me = lab.attach()?;
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    let me = sys::getpid();
    let want = format!("{me} {null}.write: there is no path for this kind of file");
    let told = poll_until(Duration::from_secs(10), || {
        sys::write(null, b"x").ok()?;
        let text = sysfs::listing("without").ok()?;
        text.lines().any(|line| line == want).then_some(())
    });
    ensure!(told.is_some(), "without: {:?}", sysfs::listing("without"));
    sys::close(null)?;
    Ok(())
}

/// Hits and bail-outs are remembered after the end, those of paths that were recompiled meanwhile included.
fn exited_remembers(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = crate::proc::Board::new()?;
    let mut kid = Kid::spawn(|| -> Res {
        let rig = lab.rig()?;
        let sum = |s: (u64, u64)| {
            (
                s.0 + lab.hits(rig.p.r, Call::Read),
                s.1 + lab.hits(rig.p.w, Call::Write),
            )
        };
        let mut empty = 0;
        let mut ask = |times| -> Res {
            sys::set_flag(rig.p.r, libc::O_NONBLOCK, true)?;
            for _ in 0..times {
                same!(sys::read(rig.p.r, &mut [0]), Err(Errno::EAGAIN), "empty");
            }
            sys::set_flag(rig.p.r, libc::O_NONBLOCK, false)?;
            let lines = sysfs::listed("bailouts", sys::getpid(), rig.p.r, Call::Read)?;
            let count = lines.iter().find_map(|l| l.strip_prefix("pipe_empty "));
            empty += count.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
            Ok(())
        };
        ask(20)?;
        let first = sum((0, 0));
        // On as before: everybody recompiles.
        sysfs::set("enabled", "1")?;
        lab.warm(&rig.p)?;
        (0..200u8).try_for_each(|i| echo(rig.p.r, rig.p.w, &[i]))?;
        ask(30)?;
        let (read, write) = sum(first);
        board.put(0, read);
        board.put(1, write);
        board.put(2, empty);
        // It ends attached.
        std::mem::forget(rig);
        Ok(())
    })?;
    same!(
        kid.wait(Duration::from_secs(20)),
        Some(Ended::Exit(0)),
        "the child"
    );
    let pid = kid.pid;
    let gone = poll_until(Duration::from_secs(5), || {
        sysfs::state(pid).is_err().then_some(())
    });
    ensure!(gone.is_some(), "processes/{pid} is still there");
    let want = format!("{pid} read {} write {}", board.word(0), board.word(1));
    let text = sysfs::listing("exited")?;
    let line = text.lines().next().unwrap_or_default();
    ensure!(line.starts_with(&want), "{line:?}, not {want:?}");
    let empty = format!(" read.pipe_empty {}", board.word(2));
    ensure!(
        board.word(2) > 40 && format!("{line} ").contains(&format!("{empty} ")),
        "{line:?}, not {empty:?}"
    );
    ensure!(board.word(0) > 200 && board.word(1) > 200, "{want}");
    Ok(())
}
