//! Cases that belong to the stock path because of the ends of the pipe, the count, signals on readiness or the mutex.

use crate::proc::{await_sleep, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, expect_of, noise, Lab, Res, SOON};
use crate::tests::support::signals::{count_signals, SIGNALS};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::sync::atomic::Ordering;

area!("bail":
    no_readers_sigpipe, no_readers_epipe, no_writers_end_of_file, last_bytes_after_writers_left, count_zero, count_above_a_page, count_huge, wrong_direction, fasync_on_read_end, fasync_on_write_end, contended_mutex, closed_descriptor,
);

fn no_readers_sigpipe(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    count_signals(libc::SIGPIPE, 0);
    rig.p.close_read();
    lab.slow(rig.p.w, Write, 5, || {
        for i in 1..=5 {
            same!(
                sys::write(rig.p.w, b"x"),
                Err(Errno::EPIPE),
                "write without readers"
            );
            same!(SIGNALS.load(Ordering::SeqCst), i, "SIGPIPEs");
        }
        Ok(())
    })?;
    // With the default action the process must die of it.
    let mut kid = Kid::spawn(|| -> Res {
        // SAFETY: sets a default action.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let _me = lab.attach()?;
        let mut p = Pipe::new(0)?;
        lab.warm(&p)?;
        p.close_read();
        let _ = sys::write(p.w, b"x");
        Ok(())
    })?;
    same!(
        kid.wait(SOON),
        Some(Ended::Signal(libc::SIGPIPE)),
        "default action"
    );
    Ok(())
}

fn no_readers_epipe(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    // SAFETY: sets a disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    same!(
        sys::write(rig.p.w, b"left behind"),
        Ok(11),
        "write while there is a reader"
    );
    rig.p.close_read();
    lab.slow(rig.p.w, Write, 2, || {
        // The page in the pipe has room, but nobody will ever read it.
        same!(
            sys::write(rig.p.w, b"x"),
            Err(Errno::EPIPE),
            "merging write without readers"
        );
        same!(
            sys::write(rig.p.w, &noise(1, 4096)),
            Err(Errno::EPIPE),
            "page without readers"
        );
        Ok(())
    })
}

fn no_writers_end_of_file(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    rig.p.close_write();
    lab.slow(rig.p.r, Read, 5, || {
        for _ in 0..5 {
            expect_of(rig.p.r, 10, b"")?;
        }
        Ok(())
    })
}

fn last_bytes_after_writers_left(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    same!(sys::write(rig.p.w, b"testament"), Ok(9), "write");
    rig.p.close_write();
    expect(rig.p.r, b"test")?;
    expect_of(rig.p.r, 100, b"ament")?;
    expect_of(rig.p.r, 100, b"")
}

fn count_zero(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let bytes = noise(1, 8);
    let at = bytes.as_ptr() as usize;
    lab.slow(rig.p.w, Write, 2, || {
        same!(sys::write_at(rig.p.w, at, 0), Ok(0), "write of nothing");
        same!(
            sys::write_at(rig.p.w, 0, 0),
            Ok(0),
            "write of nothing from nowhere"
        );
        Ok(())
    })?;
    lab.slow(rig.p.r, Read, 1, || {
        same!(
            sys::read_at(rig.p.r, at, 0),
            Ok(0),
            "read of nothing from an empty pipe"
        );
        Ok(())
    })?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes in the pipe");
    lab.fast_again(&rig.p)
}

fn count_above_a_page(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for n in [4097, 5000, 8192, 12_345, 65_536] {
        let data = noise(n as u64, n);
        lab.slow(rig.p.w, Write, 1, || {
            same!(sys::write(rig.p.w, &data), Ok(n), "write of {n}");
            Ok(())
        })?;
        lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &data))?;
    }
    lab.fast_again(&rig.p)
}

fn count_huge(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let byte = [1u8; 4];
    for n in [
        1usize << 31,
        1 << 32,
        (1 << 32) + 1,
        1 << 47,
        1 << 62,
        1 << 63,
        usize::MAX,
        usize::MAX - 4095,
    ] {
        lab.slow(rig.p.w, Write, 1, || {
            let got = sys::write_at(rig.p.w, byte.as_ptr() as usize, n);
            // Above the address space it is a fault or an invalid argument; below, what could be copied went in.
            ensure!(
                got.map_or(true, |k| k <= 65_536),
                "write of {n:#x} bytes: {got:?}"
            );
            Ok(())
        })?;
        let mut sink = vec![0u8; 65_536];
        while sys::read(rig.p.r, &mut sink).is_ok() {}
    }
    lab.fast_again(&rig.p)
}

fn wrong_direction(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut b = [0];
    same!(
        sys::write(rig.p.r, b"x"),
        Err(Errno::EBADF),
        "write to the read end"
    );
    same!(
        sys::read(rig.p.w, &mut b),
        Err(Errno::EBADF),
        "read from the write end"
    );
    // Also when the path for the right direction is there and the descriptor becomes the other end.
    let keep = (sys::dup(rig.p.r)?, sys::dup(rig.p.w)?);
    sys::dup2(keep.0, rig.p.w)?;
    lab.slow(rig.p.w, Write, 0, || {
        same!(
            sys::write(rig.p.w, b"x"),
            Err(Errno::EBADF),
            "write to what is a read end now"
        );
        Ok(())
    })?;
    sys::dup2(keep.1, rig.p.w)?;
    lab.fast_again(&rig.p)
}

fn fasync(lab: &Lab, on_read_end: bool) -> Res {
    let rig = lab.rig()?;
    let (fd, slow_fd, call) = if on_read_end {
        (rig.p.r, rig.p.w, Write)
    } else {
        (rig.p.w, rig.p.r, Read)
    };
    count_signals(libc::SIGIO, libc::SA_RESTART);
    sys::fcntl(fd, libc::F_SETOWN, sys::getpid() as usize)?;
    sys::set_flag(fd, libc::O_ASYNC, true)?;
    for i in 1..=10u64 {
        if on_read_end {
            lab.slow(slow_fd, call, 1, || {
                same!(sys::write(rig.p.w, b"sig"), Ok(3), "write");
                Ok(())
            })?;
            expect(rig.p.r, b"sig")?;
        } else {
            same!(sys::write(rig.p.w, b"sig"), Ok(3), "write");
            lab.slow(slow_fd, call, 1, || expect(rig.p.r, b"sig"))?;
        }
        same!(SIGNALS.load(Ordering::SeqCst), i, "SIGIOs");
    }
    sys::set_flag(fd, libc::O_ASYNC, false)?;
    lab.fast_again(&rig.p)
}

fn fasync_on_read_end(lab: &Lab) -> Res {
    fasync(lab, true)
}

fn fasync_on_write_end(lab: &Lab) -> Res {
    fasync(lab, false)
}

/// A process holds the pipe's mutex: its write faults on a page that userfaultfd keeps it waiting for.
fn contended_mutex(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    let w = rig.p.w;
    let holder = Kid::spawn(|| hold_mutex(w, board))?;
    if !board.await_flag(0, 1) {
        skip!("no userfaultfd (errno {})", board.word(0));
    }
    board.put(1, sys::getpid() as u64);
    let mut releaser = Kid::spawn(|| -> Res {
        // The tested process sleeps on the mutex now; let the holder go on.
        let me = board.word(1) as i32;
        let asleep = await_sleep(me);
        board.raise(1, 1);
        ensure!(asleep, "{me} does not sleep");
        Ok(())
    })?;
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write(rig.p.w, b"second"),
            Ok(6),
            "write while another one holds the mutex"
        );
        Ok(())
    })?;
    same!(
        releaser.wait(SOON),
        Some(Ended::Exit(0)),
        "the tested process slept on the mutex"
    );
    expect_of(rig.p.r, 100, b"first!second")?;
    drop(holder);
    lab.fast_again(&rig.p)
}

/// Child of [`contended_mutex`]: one process writes from a missing page, its own child fills the page when told.
fn hold_mutex(w: i32, board: &'static Board) -> i32 {
    const UFFDIO_API: usize = 0xc018_aa3f;
    const UFFDIO_REGISTER: usize = 0xc020_aa00;
    const UFFDIO_COPY: usize = 0xc028_aa03;
    let fail = |e: Errno| {
        board.put(0, e as u64);
        1
    };
    let uffd = match sys::sys(libc::SYS_userfaultfd, &[libc::O_CLOEXEC as usize]) {
        Ok(fd) => fd,
        Err(e) => return fail(e),
    };
    let Ok(page) = sys::map(4096, 3, libc::MAP_PRIVATE) else {
        return 1;
    };
    let mut api = [0xaau64, 0, 0];
    let mut register = [page as u64, 4096, 1, 0];
    for (request, arg) in [
        (UFFDIO_API, api.as_mut_ptr()),
        (UFFDIO_REGISTER, register.as_mut_ptr()),
    ] {
        if let Err(e) = sys::sys(libc::SYS_ioctl, &[uffd, request, arg as usize]) {
            return fail(e);
        }
    }
    // The writer is a thread of this process, so that the other one can fill the page in the same memory.
    let writer = std::thread::spawn(move || sys::write_at(w, page, 6));
    let mut message = [0u8; 32];
    if sys::read(uffd as i32, &mut message) != Ok(32) {
        return 1;
    }
    board.raise(0, 1);
    if !board.await_flag(1, 1) {
        return 1;
    }
    let mut source = vec![0u8; 8192];
    let at = (source.as_ptr() as usize).next_multiple_of(4096);
    let start = at - source.as_ptr() as usize;
    if let Some(s) = source.get_mut(start..start + 6) {
        s.copy_from_slice(b"first!");
    }
    let mut copy = [page as u64, at as u64, 4096, 0, 0];
    if let Err(e) = sys::sys(
        libc::SYS_ioctl,
        &[uffd, UFFDIO_COPY, copy.as_mut_ptr() as usize],
    ) {
        return fail(e);
    }
    i32::from(!matches!(writer.join(), Ok(Ok(6))))
}

fn closed_descriptor(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (r2, w2) = (sys::dup(rig.p.r)?, sys::dup(rig.p.w)?);
    lab.warm_with(r2, w2)?;
    sys::close(r2)?;
    sys::close(w2)?;
    let mut b = [0];
    lab.slow(w2, Write, 0, || {
        same!(
            sys::write(w2, b"x"),
            Err(Errno::EBADF),
            "write to a closed descriptor"
        );
        Ok(())
    })?;
    lab.slow(r2, Read, 0, || {
        same!(
            sys::read(r2, &mut b),
            Err(Errno::EBADF),
            "read from a closed descriptor"
        );
        Ok(())
    })?;
    echo(rig.p.r, rig.p.w, b"still")?;
    lab.fast_again(&rig.p)
}
