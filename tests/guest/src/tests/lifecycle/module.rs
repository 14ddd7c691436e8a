//! The module comes and goes while attached processes do whatever they do.

use crate::proc::{await_sleep, nap, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, expect_of, needs_module, Lab, Res, Stop, SOON};
use crate::tests::support::looper::Looper;
use crate::{area, ensure, same, skip};
use std::time::{Duration, Instant};

area!("module":
    rmmod_while_running = 120, rmmod_while_sleeping = 120, rmmod_while_exiting = 120, rmmod_with_open_file, rmmod_by_attached_process,
    insmod_rmmod_fifty_times = 300, insmod_twice, attach_detach_storm = 120, enabled_storm = 120, attach_while_forking, detach_while_threads_are_born = 120, cpu_offline_and_online = 120,
);

fn load() -> Res {
    crate::tests::load_if_missing().map_err(Stop::Fail)
}

fn unload() -> Res {
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    ensure!(
        !sysfs::present(),
        "the sysfs directory is still there after rmmod"
    );
    Ok(())
}

/// A CPU goes and comes back while attached processes run: they move, and the CPU that comes is a stock one.
fn cpu_offline_and_online(lab: &Lab) -> Res {
    needs_module(lab)?;
    let switch = "/sys/devices/system/cpu/cpu1/online";
    if sys::read_text(switch).as_deref() != Ok("1") {
        skip!("there is no second CPU that can go");
    }
    let loopers = [
        Looper::start(lab)?,
        Looper::start(lab)?,
        Looper::start(lab)?,
    ];
    for _ in 0..5 {
        sys::write_text(switch, "0")?;
        for l in &loopers {
            goes_on(l)?;
            l.fast_again(lab)?;
        }
        sys::write_text(switch, "1")?;
        nap(20);
        for l in &loopers {
            goes_on(l)?;
            l.fast_again(lab)?;
        }
        // A process that is not attached, on the CPU that has come back.
        let p = Pipe::new(0)?;
        let mask = [2u64];
        sys::sys(libc::SYS_sched_setaffinity, &[0, 8, mask.as_ptr() as usize])?;
        for i in 0..50u8 {
            echo(p.r, p.w, &[i])?;
        }
        let all = [u64::MAX];
        sys::sys(libc::SYS_sched_setaffinity, &[0, 8, all.as_ptr() as usize])?;
    }
    for l in loopers {
        l.finish()?;
    }
    Ok(())
}

/// The looping process must get on, whatever has happened to the module.
fn goes_on(l: &Looper) -> Res {
    let before = l.board.word(0);
    let moved = poll_until(SOON, || (l.board.word(0) > before + 100).then_some(()));
    ensure!(moved.is_some(), "the looping process stands still");
    same!(l.board.word(1), 0, "wrong bytes");
    Ok(())
}

fn rmmod_while_running(lab: &Lab) -> Res {
    needs_module(lab)?;
    let loopers = [
        Looper::start(lab)?,
        Looper::start(lab)?,
        Looper::start(lab)?,
    ];
    for _ in 0..5 {
        for l in &loopers {
            l.fast_again(lab)?;
        }
        unload()?;
        for l in &loopers {
            goes_on(l)?;
        }
        load()?;
        ensure!(
            sysfs::list("processes").is_empty(),
            "processes are attached to a new module"
        );
        for l in &loopers {
            sysfs::attach(l.kid.pid)?;
        }
    }
    for l in loopers {
        l.finish()?;
    }
    Ok(())
}

fn rmmod_while_sleeping(lab: &Lab) -> Res {
    needs_module(lab)?;
    for round in 0..5u8 {
        load()?;
        let board = Board::new()?;
        let p = Pipe::new(0)?;
        let (r, w) = (p.r, p.w);
        let mut kid = Kid::spawn(|| -> Res {
            std::mem::forget(lab.attach()?);
            lab.warm(&p)?;
            board.raise(0, 1);
            expect_of(r, 10, &[round])?;
            (0..50u8).try_for_each(|i| echo(r, w, &[i]))
        })?;
        ensure!(
            board.await_flag(0, 1) && await_sleep(kid.pid),
            "the child does not sleep in read"
        );
        unload()?;
        nap(5);
        same!(sys::write(w, &[round]), Ok(1), "write that wakes it");
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    }
    Ok(())
}

fn rmmod_while_exiting(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = Board::new()?;
    // Two processes that make processes that attach themselves, work and end, all the time.
    let mut makers = Vec::new();
    for _ in 0..2 {
        makers.push(Kid::spawn(|| -> Res {
            while board.flag(0) == 0 {
                let mut kid = Kid::spawn(|| -> Res {
                    let _ = sysfs::attach(sys::getpid());
                    let p = Pipe::new(0)?;
                    (0..10u8).try_for_each(|i| echo(p.r, p.w, &[i, 9]))
                })?;
                same!(kid.wait(SOON), Some(Ended::Exit(0)), "a process");
                board.add(0, 1);
            }
            Ok(())
        })?);
    }
    for _ in (0..).take_while(|round| *round < 15 || board.word(0) <= 10) {
        load()?;
        nap(4);
        // Somebody may have a file of the module open at this very moment, but not for long.
        let gone = poll_until(SOON, || sys::rmmod(sysfs::MODULE).ok());
        ensure!(
            gone.is_some(),
            "rmmod does not succeed: {:?}",
            sys::rmmod(sysfs::MODULE)
        );
        nap(1);
    }
    board.raise(0, 1);
    for m in &mut makers {
        same!(m.wait(SOON), Some(Ended::Exit(0)), "a maker of processes");
    }
    Ok(())
}

fn rmmod_with_open_file(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let fd = sys::open(&sysfs::path("platform/trap_vector"), libc::O_RDONLY, 0)?;
    let state = sys::open(
        &sysfs::path(&format!("processes/{}/state", sys::getpid())),
        libc::O_RDONLY,
        0,
    )?;
    let mut b = [0; 64];
    ensure!(sys::pread(fd, &mut b, 0).is_ok(), "read before rmmod");
    unload()?;
    ensure!(
        sys::pread(fd, &mut b, 0).is_err(),
        "a file of a module that is gone can be read"
    );
    ensure!(
        sys::pread(state, &mut b, 0).is_err(),
        "a process's file of a module that is gone can be read"
    );
    echo(rig.p.r, rig.p.w, b"without the module")?;
    sys::close(fd)?;
    sys::close(state)?;
    load()
}

/// The process that removes the module is attached itself and returns from the call to code that is no more.
fn rmmod_by_attached_process(lab: &Lab) -> Res {
    needs_module(lab)?;
    for _ in 0..5 {
        load()?;
        let rig = lab.rig()?;
        unload()?;
        for i in 0..20u8 {
            echo(rig.p.r, rig.p.w, &[i])?;
        }
    }
    Ok(())
}

fn insmod_rmmod_fifty_times(lab: &Lab) -> Res {
    needs_module(lab)?;
    let _ = sys::rmmod(sysfs::MODULE);
    let p = Pipe::new(0)?;
    for i in 0..50u8 {
        load()?;
        same!(
            sysfs::get("platform/trap_vector")?,
            "available",
            "platform after insmod {i}"
        );
        sysfs::attach(sys::getpid())?;
        for _ in 0..20 {
            echo(p.r, p.w, &[i, !i])?;
        }
        if i % 2 == 0 {
            sysfs::detach(sys::getpid())?;
        }
        unload()?;
        echo(p.r, p.w, &[i])?;
    }
    Ok(())
}

fn insmod_twice(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let file = std::env::var(crate::tests::MODULE_VAR)
        .unwrap_or_else(|_| crate::tests::MODULE_FILE.into());
    same!(
        sys::insmod(&file, ""),
        Err(nix::errno::Errno::EEXIST),
        "second insmod"
    );
    lab.fast_again(&rig.p)
}

fn attach_detach_storm(lab: &Lab) -> Res {
    needs_module(lab)?;
    let loopers = [Looper::start(lab)?, Looper::start(lab)?];
    for i in 0..200usize {
        let pid = loopers[i % 2].kid.pid;
        same!(sysfs::detach(pid), Ok(pid.to_string().len()), "detach {i}");
        if i % 7 == 0 {
            nap(1);
        }
        same!(sysfs::attach(pid), Ok(pid.to_string().len()), "attach {i}");
    }
    for l in loopers {
        goes_on(&l)?;
        l.fast_again(lab)?;
        l.finish()?;
    }
    Ok(())
}

fn enabled_storm(lab: &Lab) -> Res {
    needs_module(lab)?;
    let loopers = [Looper::start(lab)?, Looper::start(lab)?];
    for i in 0..200 {
        sysfs::set("enabled", if i % 2 == 0 { "0" } else { "1" })?;
        if i % 5 == 0 {
            nap(1);
        }
    }
    sysfs::set("enabled", "1")?;
    for l in loopers {
        goes_on(&l)?;
        l.fast_again(lab)?;
        l.finish()?;
    }
    Ok(())
}

/// Attaching a process from outside in the middle of its forks, threads and exits.
/// Attaching and detaching go through all CPUs while the process is inside the event that says that a thread is born.
fn detach_while_threads_are_born(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = Board::new()?;
    let mut kid = Kid::spawn(|| -> Res {
        while board.flag(0) == 0 {
            for _ in 0..50 {
                ensure!(std::thread::spawn(|| ()).join().is_ok(), "a thread");
            }
        }
        Ok(())
    })?;
    let until = Instant::now() + Duration::from_secs(4);
    let mut rounds = 0;
    while Instant::now() < until || rounds <= 50 {
        same!(
            sysfs::attach(kid.pid).map(|_| ()),
            Ok(()),
            "attach {rounds}"
        );
        std::thread::yield_now();
        same!(
            sysfs::detach(kid.pid).map(|_| ()),
            Ok(()),
            "detach {rounds}"
        );
        rounds += 1;
    }
    board.raise(0, 1);
    same!(
        kid.wait(SOON),
        Some(Ended::Exit(0)),
        "the process with threads"
    );
    Ok(())
}

fn attach_while_forking(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = Board::new()?;
    let mut kid = Kid::spawn(|| -> Res {
        let p = Pipe::new(0)?;
        let mut i = 0u8;
        while board.flag(0) == 0 {
            i = i.wrapping_add(1);
            let mut child = Kid::spawn(|| echo(p.r, p.w, &[i, 1]))?;
            same!(child.wait(SOON), Some(Ended::Exit(0)), "its child");
            ensure!(std::thread::spawn(move || i).join().is_ok(), "a thread");
            echo(p.r, p.w, &[i, 2])?;
        }
        Ok(())
    })?;
    for i in 0..100 {
        same!(sysfs::attach(kid.pid).map(|_| ()), Ok(()), "attach {i}");
        nap(u64::from(i % 3 == 0));
        same!(sysfs::detach(kid.pid).map(|_| ()), Ok(()), "detach {i}");
    }
    board.raise(0, 1);
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the forking process");
    Ok(())
}
