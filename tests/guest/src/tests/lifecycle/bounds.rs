//! What an attached process can make grow, and make dear: lists, paths, compiling.

use crate::proc::{nap, poll_until};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, needs_module, Lab, Res};
use crate::{area, ensure, same};
use std::collections::BTreeSet;
use std::time::Duration;

area!("bounds":
    high_halves_get_no_path = 120, each_descriptor_is_known_once, many_numbers_stay_few, ends_by_turns_are_limited = 120, a_path_in_vain_goes = 120,
    a_vector_in_vain_goes = 120, what_is_worth_it_stays = 120,
);

/// Most descriptors of a process that are known to have no path (rust/engine/negative.rs).
const KNOWN: usize = 32;

/// The listing `without` for this process: `FD.CALL`, one for each line.
fn known() -> Res<Vec<String>> {
    let me = format!("{} ", sys::getpid());
    let text = sys::read_text("/sys/kernel/debug/synthjit/without")?;
    let mine = text.lines().filter_map(|line| line.strip_prefix(&me));
    Ok(mine
        .filter_map(|l| Some(l.split_once(':')?.0.to_owned()))
        .collect())
}

/// None is there twice, and they are not too many.
fn bounded() -> Res {
    let all = known()?;
    let different: BTreeSet<&String> = all.iter().collect();
    same!(
        different.len(),
        all.len(),
        "a descriptor is known twice: {all:?}"
    );
    ensure!(all.len() <= KNOWN, "{} are known: {all:?}", all.len());
    Ok(())
}

fn raw(nr: i64, fd: usize, at: usize, n: usize) -> isize {
    sys::call(nr as usize, [fd, at, n, 0, 0, 0])
}

/// The kernel looks at 32 bits of a descriptor: with any others it is the same one. Nothing is made or kept for such a call.
fn high_halves_get_no_path(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    sys::write(null, b"x")?;
    lab.warm(&rig.p)?;
    let (made, refused) = (lab.stat("synthesized")?, lab.stat("refused")?);
    let mut b = [0u8; 1];
    for i in 1..=3000usize {
        let high = i << 32;
        let sent = [i as u8];
        same!(
            raw(
                libc::SYS_write,
                high | rig.p.w as usize,
                sent.as_ptr() as usize,
                1
            ),
            1,
            "write"
        );
        same!(
            raw(
                libc::SYS_read,
                high | rig.p.r as usize,
                b.as_mut_ptr() as usize,
                1
            ),
            1,
            "read"
        );
        same!(b, sent, "what was read");
        same!(
            raw(
                libc::SYS_write,
                high | null as usize,
                sent.as_ptr() as usize,
                1
            ),
            1,
            "null"
        );
    }
    bounded()?;
    same!(lab.stat("synthesized")?, made, "paths made");
    same!(lab.stat("refused")?, refused, "descriptors looked at");
    lab.fast_again(&rig.p)
}

fn each_descriptor_is_known_once(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    for round in 0..200 {
        let _ = sys::write(null, b"x");
        let _ = sys::read(rig.p.w, &mut [0]);
        let _ = sys::write(-1 - round, b"x");
        let _ = sys::read(i32::MAX - round, &mut [0]);
        bounded()?;
    }
    ensure!(known()?.len() >= 2, "too few are known: {:?}", known()?);
    Ok(())
}

/// A thousand descriptors without a path, again and again.
fn many_numbers_stay_few(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    for fd in 100..900 {
        sys::dup2(null, fd)?;
    }
    for _ in 0..5 {
        for fd in 100..900 {
            same!(sys::write(fd, b"x"), Ok(1), "write to {fd}");
        }
        bounded()?;
        nap(5);
    }
    echo(rig.p.r, rig.p.w, b"still")
}

/// The two ends of a pipe by turns on one number: each change wants another path. There are few, and the state says why.
fn ends_by_turns_are_limited(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let spot = 70;
    let (made, began) = (lab.stat("synthesized")?, ran_ns()?);
    let mut limited = false;
    for _ in 0..4000 {
        sys::dup2(rig.p.w, spot)?;
        same!(sys::write(spot, b"x"), Ok(1), "write");
        sys::dup2(rig.p.r, spot)?;
        same!(sys::read(spot, &mut [0]), Ok(1), "read");
        if lab.state_of(sys::getpid()).contains("used up the time") {
            limited = true;
            break;
        }
    }
    let more = lab.stat("synthesized")?.wrapping_sub(made);
    ensure!(
        limited,
        "{more} paths were made, and the process was not limited"
    );
    // What it may do in a burst, and what it may do while it runs, which is long on a slow machine.
    let while_it_runs = ran_ns()?.wrapping_sub(began) / SHARE / CHARGE_NS;
    ensure!(
        more < 1000 + while_it_runs,
        "{more} paths were made, {while_it_runs} of them while it ran"
    );
    Ok(())
}

/// Of so many nanoseconds that a process runs, one may be spent on it (rust/engine/tunables.rs, SHARE).
const SHARE: u64 = 128;
/// What a path costs at least that is compiled, in nanoseconds.
const CHARGE_NS: u64 = 60_000;

/// For how long this process has run.
fn ran_ns() -> Res<u64> {
    let mut ran = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid place for the result.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut ran) };
    same!(failed, 0, "clock_gettime");
    let ns = ran.tv_sec * 1_000_000_000 + ran.tv_nsec;
    Ok(u64::try_from(ns).unwrap_or(0))
}

/// A path that bails out of all calls is retired, and not recompiled soon; the pipe's other end keeps its own.
fn a_path_in_vain_goes(lab: &Lab) -> Res {
    needs_module(lab)?;
    let p = Pipe::new(libc::O_NONBLOCK)?;
    let _me = lab.attach()?;
    lab.warm(&p)?;
    let me = sys::getpid();
    let about = format!(
        "{me} {}.read: what the generated code serves does not make up",
        p.r
    );
    // It is tried again after a while, which is short at first.
    let mut text = String::new();
    let gone = poll_until(Duration::from_secs(30), || {
        for _ in 0..200 {
            let _ = sys::read(p.r, &mut [0]);
        }
        text = sys::read_text("/sys/kernel/debug/synthjit/without").unwrap_or_default();
        text.contains(&about).then_some(())
    });
    ensure!(
        gone.is_some(),
        "after reads in vain the path is still there: {text:?}"
    );
    ensure!(
        sysfs::hits(me, p.w, Call::Write).is_some(),
        "the other end has lost its path too"
    );
    // With calls that it serves it comes back.
    lab.warm(&p)
}

/// Without a call that a path serves, a vector goes, and calls cost what they cost on the stock kernel.
fn a_vector_in_vain_goes(lab: &Lab) -> Res {
    needs_module(lab)?;
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    let _me = lab.attach()?;
    let gone = poll_until(Duration::from_secs(10), || {
        for _ in 0..2000 {
            let _ = sys::write(null, b"x");
        }
        lab.state_of(sys::getpid())
            .contains("does not make up")
            .then_some(())
    });
    ensure!(gone.is_some(), "state: {:?}", lab.state_of(sys::getpid()));
    // It is tried again.
    let p = Pipe::new(0)?;
    lab.warm(&p)
}

/// One served call in ten is worth the rest.
fn what_is_worth_it_stays(lab: &Lab) -> Res {
    needs_module(lab)?;
    let p = Pipe::new(libc::O_NONBLOCK)?;
    let _me = lab.attach()?;
    lab.warm(&p)?;
    let (me, retired) = (sys::getpid(), lab.stat("retired")?);
    for i in 0..5000u32 {
        echo(p.r, p.w, &[i as u8])?;
        for _ in 0..3 {
            let _ = sys::read(p.r, &mut [0]);
        }
    }
    same!(lab.stat("retired")?, retired, "paths retired");
    ensure!(
        sysfs::hits(me, p.r, Call::Read).is_some(),
        "no path for read"
    );
    Ok(())
}
