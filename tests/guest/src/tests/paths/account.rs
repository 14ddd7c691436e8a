//! What others can see of specialized calls: accounting, readiness, contents of /proc.

use crate::proc::{Io, IoMeter, Kid};
use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::epoll::{epoll_on, epoll_ready};
use crate::tests::support::lab::{echo, expect, expect_of, noise, Lab, Res};
use crate::{area, ensure, same};
use std::time::Duration;

area!("account":
    proc_io_of_fast_calls, proc_io_of_failed_calls, proc_io_seen_by_others, fionread_after_each_call, poll_after_each_call, select_after_each_call,
    epoll_level_triggered_after_drain, fdinfo_and_stat, splice_sees_written_bytes, times_are_charged,
);

fn proc_io_of_fast_calls(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut meter = IoMeter::open()?;
    lab.fast(&[(rig.p.w, Write, 3), (rig.p.r, Read, 4)], || {
        let before = meter.now()?;
        same!(sys::write(rig.p.w, &noise(1, 1)), Ok(1), "write");
        same!(sys::write(rig.p.w, &noise(2, 999)), Ok(999), "write");
        let mut b = [0; 600];
        same!(sys::read(rig.p.r, &mut b), Ok(600), "read");
        same!(sys::read(rig.p.r, &mut b), Ok(400), "read");
        same!(sys::write(rig.p.w, &noise(3, 4096)), Ok(4096), "write");
        same!(sys::read(rig.p.r, &mut b), Ok(600), "read");
        let mut rest = vec![0; 4096];
        same!(sys::read(rig.p.r, &mut rest), Ok(3496), "read");
        let used = meter.now()?.minus(before);
        same!(
            used,
            Io {
                rchar: 5096,
                wchar: 5096,
                syscr: 4,
                syscw: 3
            },
            "accounting"
        );
        Ok(())
    })
}

fn proc_io_of_failed_calls(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let mut meter = IoMeter::open()?;
    let before = meter.now()?;
    let mut b = [0; 8];
    // A call on an open descriptor counts also when it fails; bytes count only when they move.
    let _ = sys::read(rig.p.r, &mut b);
    let _ = sys::write_at(rig.p.w, 8, 4);
    let _ = sys::read(9999, &mut b);
    let _ = sys::write_at(rig.p.w, b.as_ptr() as usize, 0);
    let used = meter.now()?.minus(before);
    same!((used.rchar, used.wchar), (0, 0), "bytes");
    same!((used.syscr, used.syscw), (1, 2), "calls");
    Ok(())
}

fn proc_io_seen_by_others(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let read_io = || sys::read_text(&format!("/proc/{}/io", sys::getpid())).map(|t| Io::parse(&t));
    let before = read_io()?;
    for i in 0..100 {
        echo(rig.p.r, rig.p.w, &noise(i, 10))?;
    }
    let used = read_io()?.minus(before);
    same!((used.wchar, used.syscw), (1000, 100), "written");
    ensure!(used.rchar >= 1000 && used.syscr >= 100, "read: {used:?}");
    Ok(())
}

fn fionread_after_each_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    lab.fast(&[(rig.p.w, Write, 3), (rig.p.r, Read, 3)], || {
        let mut there = 0;
        for n in [1, 500, 3000] {
            same!(sys::write(rig.p.w, &noise(1, n)), Ok(n), "write");
            there += n as i32;
            same!(sys::fionread(rig.p.r), Ok(there), "after write of {n}");
            same!(sys::fionread(rig.p.w), Ok(there), "on the write end");
        }
        for n in [2, 1499, 2000] {
            let mut b = vec![0; n];
            same!(sys::read(rig.p.r, &mut b), Ok(n), "read");
            there -= n as i32;
            same!(sys::fionread(rig.p.r), Ok(there), "after read of {n}");
        }
        Ok(())
    })
}

fn poll_after_each_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let ready = |what: &str, in_: bool| -> Res {
        let want = if in_ {
            libc::POLLIN | libc::POLLRDNORM
        } else {
            0
        };
        same!(
            sys::poll_now(rig.p.r, libc::POLLIN | libc::POLLRDNORM | libc::POLLHUP),
            Ok(want),
            "read end {what}"
        );
        same!(
            sys::poll_now(rig.p.w, libc::POLLOUT),
            Ok(libc::POLLOUT),
            "write end {what}"
        );
        Ok(())
    };
    lab.fast(&[(rig.p.w, Write, 2), (rig.p.r, Read, 2)], || {
        ready("empty", false)?;
        same!(sys::write(rig.p.w, b"a"), Ok(1), "write");
        ready("after the first write", true)?;
        same!(sys::write(rig.p.w, b"b"), Ok(1), "write");
        ready("after the merging write", true)?;
        expect(rig.p.r, b"a")?;
        ready("after the partial read", true)?;
        expect(rig.p.r, b"b")?;
        ready("after the emptying read", false)
    })
}

fn select_after_each_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let readable = || -> Res<bool> {
        let mut set = [0u64; 16];
        set[rig.p.r as usize / 64] = 1 << (rig.p.r % 64);
        let zero = [0i64; 2];
        let args = [
            rig.p.r as usize + 1,
            set.as_mut_ptr() as usize,
            0,
            0,
            zero.as_ptr() as usize,
        ];
        Ok(sys::sys(libc::SYS_select, &args)? == 1)
    };
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
        ensure!(!readable()?, "readable while empty");
        same!(sys::write(rig.p.w, b"sel"), Ok(3), "write");
        ensure!(readable()?, "not readable after the write");
        expect(rig.p.r, b"sel")?;
        ensure!(!readable()?, "readable after the read");
        Ok(())
    })
}

fn epoll_level_triggered_after_drain(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // The waiter sits on the write end, so writes wait for no one on the read side and stay specialized.
    let ep = epoll_on(rig.p.w, libc::EPOLLOUT as u32)?;
    for _ in 0..5 {
        same!(epoll_ready(ep)?, [libc::EPOLLOUT as u32], "writable");
        echo(rig.p.r, rig.p.w, b"level")?;
    }
    sys::close(ep)?;
    lab.fast_again(&rig.p)
}

fn fdinfo_and_stat(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let info = |fd: i32| sys::read_text(&format!("/proc/self/fdinfo/{fd}"));
    let stat = |fd: i32| -> Res<Vec<i64>> {
        // SAFETY: a zeroed stat is valid, and the kernel fills it.
        let mut s: libc::stat = unsafe { std::mem::zeroed() };
        sys::sys(
            libc::SYS_fstat,
            &[fd as usize, &mut s as *mut libc::stat as usize],
        )?;
        Ok(vec![
            s.st_size,
            s.st_blocks,
            s.st_mtime,
            s.st_mtime_nsec,
            s.st_atime,
            s.st_atime_nsec,
            s.st_ctime,
        ])
    };
    let before = (
        info(rig.p.r)?,
        info(rig.p.w)?,
        stat(rig.p.r)?,
        stat(rig.p.w)?,
    );
    for i in 0..20 {
        echo(rig.p.r, rig.p.w, &noise(i, 50))?;
    }
    // An anonymous pipe has no position, no size, and keeps the times of its creation.
    let after = (
        info(rig.p.r)?,
        info(rig.p.w)?,
        stat(rig.p.r)?,
        stat(rig.p.w)?,
    );
    same!(after, before, "fdinfo and stat");
    Ok(())
}

fn splice_sees_written_bytes(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(4, 777);
    lab.fast(&[(rig.p.w, Write, 2)], || {
        // Each time another pipe: splice brings it a page, and a path leaves a page behind only while there is room for one more.
        let q = sys::Pipe::new(0)?;
        same!(sys::write(rig.p.w, &data[..700]), Ok(700), "write");
        same!(sys::write(rig.p.w, &data[700..]), Ok(77), "merging write");
        same!(sys::splice(rig.p.r, q.w, 777, 0), Ok(777), "splice");
        expect_of(q.r, 1000, &data)?;
        // Fetch a page back into the pipe, which splice has taken away with the bytes.
        let iov = [data.as_ptr() as usize, 1];
        same!(
            sys::sys(
                libc::SYS_writev,
                &[rig.p.w as usize, iov.as_ptr() as usize, 1]
            ),
            Ok(1),
            "writev"
        );
        expect(rig.p.r, &data[..1])
    })
}

/// Time spent in specialized calls is still somebody's time.
fn times_are_charged(lab: &Lab) -> Res {
    let p = sys::Pipe::new(0)?;
    let mut kid = Kid::spawn(|| -> Res {
        let _me = lab.attach()?;
        let used = || {
            // SAFETY: a zeroed usage is valid, and the kernel fills it.
            let u = unsafe {
                let mut u: libc::rusage = std::mem::zeroed();
                libc::getrusage(libc::RUSAGE_SELF, &mut u);
                u
            };
            let times = [u.ru_utime, u.ru_stime];
            times
                .iter()
                .map(|t| t.tv_sec * 1_000_000 + t.tv_usec)
                .sum::<i64>()
        };
        let (start, before) = (std::time::Instant::now(), used());
        // Some ticks' worth, which must come in time even on a busy machine.
        while used() - before < 40_000 {
            (0..2000).try_for_each(|_| echo(p.r, p.w, b"t"))?;
            ensure!(
                start.elapsed() < crate::proc::patient(Duration::from_secs(40)),
                "{} us were charged",
                used() - before
            );
        }
        Ok(())
    })?;
    same!(
        kid.wait(Duration::from_secs(50)),
        Some(crate::proc::Ended::Exit(0)),
        "the measured process"
    );
    Ok(())
}
