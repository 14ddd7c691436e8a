//! Cases that belong to the stock path, seen from the pipe's state: the call must do what it always did, and not run specialized.

use crate::proc::{await_sleep, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::epoll::{epoll_on, epoll_ready};
use crate::tests::support::lab::{expect, expect_of, noise, Lab, Res, SOON};
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("bail":
    each_counts_once, full_nonblocking, full_blocking, read_from_full_wakes_writer, empty_nonblocking, empty_blocking, blocked_reader_is_woken, epoll_waiter,
    epoll_edge_triggered, );

/// Fills a pipe until a non-blocking write is refused; returns the bytes in it.
fn fill(p: &Pipe) -> Res<usize> {
    sys::set_flag(p.w, libc::O_NONBLOCK, true)?;
    let page = noise(77, 4096);
    let mut n = 0;
    while let Ok(k) = sys::write(p.w, &page) {
        n += k;
    }
    sys::set_flag(p.w, libc::O_NONBLOCK, false)?;
    Ok(n)
}

fn drain(p: &Pipe, mut n: usize) -> Res {
    let mut buf = vec![0; 65536];
    while n > 0 {
        n -= sys::read(p.r, &mut buf)?.min(n);
    }
    same!(sys::fionread(p.r), Ok(0), "bytes left");
    Ok(())
}

fn each_counts_once(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let (page, mut b) = (noise(1, 4096), [0u8; 4096]);
    lab.exact(&[(rig.p.r, Read, 0)], 1, || {
        same!(
            sys::read(rig.p.r, &mut b),
            Err(Errno::EAGAIN),
            "read of an empty pipe"
        );
        Ok(())
    })?;
    lab.exact(&[(rig.p.w, Write, 0)], 1, || {
        same!(
            sys::write_at(rig.p.w, b.as_ptr() as usize, 0),
            Ok(0),
            "write of nothing"
        );
        Ok(())
    })?;
    lab.exact(&[(rig.p.w, Write, 0)], 1, || {
        same!(
            sys::write_at(rig.p.w, 8, 8),
            Err(Errno::EFAULT),
            "write that faults"
        );
        Ok(())
    })?;
    // A page that does not merge: one bail-out; its read finds the place for spare pages taken: another one.
    lab.exact(&[(rig.p.w, Write, 1)], 1, || {
        same!(sys::write(rig.p.w, &page), Ok(4096), "first page");
        same!(sys::write(rig.p.w, &page), Ok(4096), "second page");
        let iov = [b.as_mut_ptr() as usize, 4096];
        for _ in 0..2 {
            same!(
                sys::sys(
                    libc::SYS_readv,
                    &[rig.p.r as usize, iov.as_ptr() as usize, 1]
                ),
                Ok(4096),
                "readv"
            );
        }
        Ok(())
    })?;
    lab.fast_again(&rig.p)
}

fn full_nonblocking(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let n = fill(&rig.p)?;
    same!(n, 65536, "capacity");
    sys::set_flag(rig.p.w, libc::O_NONBLOCK, true)?;
    lab.slow(rig.p.w, Write, 2, || {
        same!(
            sys::write(rig.p.w, b"x"),
            Err(Errno::EAGAIN),
            "write of 1 byte to a full pipe"
        );
        same!(
            sys::write(rig.p.w, &noise(1, 4096)),
            Err(Errno::EAGAIN),
            "write of a page to a full pipe"
        );
        Ok(())
    })?;
    drain(&rig.p, n)?;
    lab.fast_again(&rig.p)
}

/// A write of all of it.
fn writes(w: i32, data: &[u8]) -> Res {
    same!(sys::write(w, data), Ok(data.len()), "write");
    Ok(())
}

fn full_blocking(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let n = fill(&rig.p)?;
    let (r, me) = (rig.p.r, sys::getpid());
    let mut kid = Kid::spawn(|| -> Res {
        ensure!(await_sleep(me), "the writer does not sleep");
        same!(sys::read(r, &mut [0; 4096]), Ok(4096), "read");
        Ok(())
    })?;
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write(rig.p.w, b"after the reader"),
            Ok(16),
            "blocking write"
        );
        Ok(())
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the reader");
    drain(&rig.p, n - 4096 + 16)?;
    lab.fast_again(&rig.p)
}

fn read_from_full_wakes_writer(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let n = fill(&rig.p)?;
    let w = rig.p.w;
    let mut kid = Kid::spawn(|| writes(w, b"waited"))?;
    ensure!(await_sleep(kid.pid), "the writer does not sleep");
    lab.slow(rig.p.r, Read, 1, || {
        let mut page = [0; 4096];
        same!(
            sys::read(rig.p.r, &mut page),
            Ok(4096),
            "read of the first page"
        );
        Ok(())
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the writer");
    drain(&rig.p, n - 4096 + 6)?;
    lab.fast_again(&rig.p)
}

fn empty_nonblocking(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    lab.slow(rig.p.r, Read, 50, || {
        for _ in 0..50 {
            let mut b = [7];
            same!(
                sys::read(rig.p.r, &mut b),
                Err(Errno::EAGAIN),
                "read of an empty pipe"
            );
            same!(b, [7], "buffer");
        }
        Ok(())
    })?;
    lab.fast_again(&rig.p)
}

fn empty_blocking(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (w, me) = (rig.p.w, sys::getpid());
    let mut kid = Kid::spawn(|| -> Res {
        ensure!(await_sleep(me), "the reader does not sleep");
        writes(w, b"late")
    })?;
    lab.slow(rig.p.r, Read, 1, || expect_of(rig.p.r, 100, b"late"))?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the writer");
    lab.fast_again(&rig.p)
}

fn blocked_reader_is_woken(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let r = rig.p.r;
    for round in 0..20u8 {
        let mut kid = Kid::spawn(|| expect_of(r, 8, &[round, 9]))?;
        ensure!(await_sleep(kid.pid), "the reader does not sleep");
        lab.slow(rig.p.w, Write, 1, || {
            same!(sys::write(rig.p.w, &[round, 9]), Ok(2), "write");
            Ok(())
        })?;
        same!(
            kid.wait(SOON),
            Some(Ended::Exit(0)),
            "the reader of round {round}"
        );
    }
    lab.fast_again(&rig.p)
}

fn epoll_waiter(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let ep = epoll_on(rig.p.r, libc::EPOLLIN as u32)?;
    for i in 0..10u8 {
        same!(epoll_ready(ep)?, [], "before the write");
        lab.slow(rig.p.w, Write, 1, || {
            same!(sys::write(rig.p.w, &[i]), Ok(1), "write");
            Ok(())
        })?;
        same!(epoll_ready(ep)?, [libc::EPOLLIN as u32], "after the write");
        expect(rig.p.r, &[i])?;
    }
    sys::close(ep)?;
    lab.fast_again(&rig.p)
}

fn epoll_edge_triggered(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let et = (libc::EPOLLIN | libc::EPOLLET) as u32;
    let ep = epoll_on(rig.p.r, et)?;
    // Every write is an edge, also one that merges into what is there.
    for i in 0..10u8 {
        same!(sys::write(rig.p.w, &[i]), Ok(1), "write");
        same!(
            epoll_ready(ep)?,
            [libc::EPOLLIN as u32],
            "edge of write {i}"
        );
        same!(epoll_ready(ep)?, [], "no second time");
    }
    expect(rig.p.r, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])?;
    sys::close(ep)?;
    lab.fast_again(&rig.p)
}
