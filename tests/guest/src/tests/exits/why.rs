//! Why paths bail out: each reason that a process can bring about by itself is counted under its own name, alone.

use crate::proc::{poll_until, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::epoll::{epoll_on, epoll_ready};
use crate::tests::support::lab::{
    expect, expect_of, needs_module, noise, Lab, Res, Rig, Stop, SOON,
};
use crate::tests::support::reasons::once;
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("why":
    full, reader_polls, packets, counts_and_addresses, empty, two_buffers, pages, sigio, spliced, closed, each_exit_has_a_count, );

fn wrote(got: sys::Sys, want: usize) -> Res {
    same!(got, Ok(want), "write");
    Ok(())
}

/// Takes what is in the pipe out by a call that has no path.
fn empty_it(rig: &Rig) -> Res {
    let mut b = [0u8; 4096];
    let iov = [b.as_mut_ptr() as usize, b.len()];
    while sys::fionread(rig.p.r)? > 0 {
        sys::sys(
            libc::SYS_readv,
            &[rig.p.r as usize, iov.as_ptr() as usize, 1],
        )?;
    }
    Ok(())
}

fn full(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let page = noise(1, 4096);
    once(rig.p.w, Write, "no_room", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, &page), 4096)?;
        wrote(sys::write(rig.p.w, b"x"), 1)
    })?;
    while sys::write(rig.p.w, &page).is_ok() {}
    once(rig.p.w, Write, "no_room", || {
        same!(sys::write(rig.p.w, &page), Err(Errno::EAGAIN), "full pipe");
        Ok(())
    })?;
    once(rig.p.r, Read, "pipe_full", || {
        while sys::write(rig.p.w, &page).is_ok() {}
        let mut b = [0; 4096];
        same!(sys::read(rig.p.r, &mut b), Ok(4096), "first page");
        Ok(())
    })?;
    empty_it(&rig)?;
    lab.fast_again(&rig.p)
}

fn reader_polls(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let ep = epoll_on(rig.p.r, libc::EPOLLIN as u32)?;
    once(rig.p.w, Write, "reader_waits", || {
        same!(epoll_ready(ep)?, [], "before the write");
        wrote(sys::write(rig.p.w, b"x"), 1)?;
        expect(rig.p.r, b"x")
    })?;
    sys::close(ep)?;
    lab.fast_again(&rig.p)
}

fn packets(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let packets = |on| sys::set_flag(rig.p.w, libc::O_DIRECT, on);
    packets(true)?;
    once(rig.p.w, Write, "packet_mode", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, b"packet"), 6)
    })?;
    once(rig.p.r, Read, "packet", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, b"packet"), 6)?;
        expect(rig.p.r, b"pac")
    })?;
    once(rig.p.w, Write, "not_mergeable", || {
        empty_it(&rig)?;
        packets(true)?;
        let iov = [b"packet".as_ptr() as usize, 6];
        sys::sys(
            libc::SYS_writev,
            &[rig.p.w as usize, iov.as_ptr() as usize, 1],
        )?;
        packets(false)?;
        wrote(sys::write(rig.p.w, b"stream"), 6)
    })?;
    empty_it(&rig)?;
    lab.fast_again(&rig.p)
}

fn counts_and_addresses(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let (w, r) = (rig.p.w, rig.p.r);
    let nothing = noise(1, 0);
    once(w, Write, "count", || wrote(sys::write(w, &nothing), 0))?;
    once(r, Read, "count", || {
        wrote(sys::read_at(r, nothing.as_ptr() as usize, 0), 0)
    })?;
    let high = 0xffff_8880_0000_0000_usize;
    for (address, reason) in [(high, "kernel_address"), (8, "page_missing")] {
        once(w, Write, reason, || {
            same!(sys::write_at(w, address, 8), Err(Errno::EFAULT), "{reason}");
            Ok(())
        })?;
        once(r, Read, reason, || {
            empty_it(&rig)?;
            wrote(sys::write(w, b"12345678"), 8)?;
            same!(sys::read_at(r, address, 8), Err(Errno::EFAULT), "{reason}");
            Ok(())
        })?;
        empty_it(&rig)?;
    }
    lab.fast_again(&rig.p)
}

fn empty(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    once(rig.p.r, Read, "pipe_empty", || {
        let mut b = [0];
        same!(sys::read(rig.p.r, &mut b), Err(Errno::EAGAIN), "empty pipe");
        Ok(())
    })?;
    // With its only page gone elsewhere, the pipe has none to write into.
    let q = Pipe::new(0)?;
    once(rig.p.w, Write, "no_spare_page", || {
        empty_it(&rig)?;
        while sys::fionread(q.r)? > 0 {
            let mut b = [0; 64];
            sys::read(q.r, &mut b)?;
        }
        for _ in 0..2 {
            let iov = [b"moved".as_ptr() as usize, 5];
            sys::sys(
                libc::SYS_writev,
                &[rig.p.w as usize, iov.as_ptr() as usize, 1],
            )?;
            same!(sys::splice(rig.p.r, q.w, 5, 0), Ok(5), "splice");
        }
        wrote(sys::write(rig.p.w, b"x"), 1)
    })?;
    empty_it(&rig)?;
    lab.fast_again(&rig.p)
}

fn two_buffers(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let page = noise(1, 4096);
    once(rig.p.r, Read, "more_buffers", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, &page), 4096)?;
        wrote(sys::write(rig.p.w, b"rest"), 4)?;
        expect(rig.p.r, &page[..96])?;
        expect(rig.p.r, &[&page[96..], b"re"].concat())
    })?;
    empty_it(&rig)?;
    lab.fast_again(&rig.p)
}

fn pages(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let (page, q) = (noise(1, 4096), Pipe::new(0)?);
    once(rig.p.r, Read, "page_shared", || {
        empty_it(&rig)?;
        while sys::fionread(q.r)? > 0 {
            let mut b = [0; 64];
            sys::read(q.r, &mut b)?;
        }
        wrote(sys::write(rig.p.w, b"teed"), 4)?;
        same!(sys::tee(rig.p.r, q.w, 4, 0), Ok(4), "tee");
        expect(rig.p.r, b"teed")
    })?;
    // Three pages in, of which the pipe keeps two: the third read finds no place.
    once(rig.p.r, Read, "spare_pages", || {
        empty_it(&rig)?;
        for _ in 0..3 {
            wrote(sys::write(rig.p.w, &page), 4096)?;
        }
        let mut b = [0u8; 4096];
        let iov = [b.as_mut_ptr() as usize, b.len()];
        for _ in 0..2 {
            sys::sys(
                libc::SYS_readv,
                &[rig.p.r as usize, iov.as_ptr() as usize, 1],
            )?;
        }
        expect(rig.p.r, &page)
    })?;
    lab.fast_again(&rig.p)
}

/// Nobody owns the descriptors, so that no signal is sent.
fn sigio(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    sys::set_flag(rig.p.r, libc::O_ASYNC, true)?;
    once(rig.p.w, Write, "sigio", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, b"x"), 1)
    })?;
    sys::set_flag(rig.p.r, libc::O_ASYNC, false)?;
    sys::set_flag(rig.p.w, libc::O_ASYNC, true)?;
    once(rig.p.r, Read, "sigio", || {
        empty_it(&rig)?;
        wrote(sys::write(rig.p.w, b"x"), 1)?;
        expect(rig.p.r, b"x")
    })?;
    sys::set_flag(rig.p.w, libc::O_ASYNC, false)?;
    lab.fast_again(&rig.p)
}

fn spliced(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let data = noise(2, 100);
    let put = || {
        empty_it(&rig)?;
        let n = sys::vmsplice(rig.p.w, data.as_ptr() as usize, 100, 0);
        same!(n, Ok(100), "vmsplice");
        Ok(())
    };
    once(rig.p.r, Read, "foreign_buffer", || {
        put()?;
        expect_of(rig.p.r, 100, &data)
    })?;
    once(rig.p.w, Write, "foreign_buffer", || {
        put()?;
        wrote(sys::write(rig.p.w, b"x"), 1)
    })?;
    empty_it(&rig)?;
    lab.fast_again(&rig.p)
}

/// A descriptor that is used after it was closed has no path any more; why it had gone is remembered with the process.
fn closed(lab: &Lab) -> Res {
    needs_module(lab)?;
    let mut kid = Kid::spawn(|| -> Res {
        let rig = lab.rig()?;
        let closed = sys::close(rig.p.r).and_then(|_| sys::read(rig.p.r, &mut [0]));
        // It ends attached.
        std::mem::forget(rig);
        same!(closed, Err(Errno::EBADF), "read after close");
        Ok(())
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    let line = poll_until(SOON, || {
        let text = sysfs::listing("exited").ok()?;
        let of_kid = format!("{} ", kid.pid);
        let line = text.lines().find(|line| line.starts_with(&of_kid));
        line.map(str::to_owned)
    });
    let line = line.ok_or(Stop::Fail("it is not remembered".into()))?;
    ensure!(line.contains(" read.replaced 1"), "{line:?}");
    Ok(())
}

fn each_exit_has_a_count(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    // Two paths and a vector (specs/arena.toml): counting takes no code of its own.
    same!(lab.stat("arena_bytes_used")?, 2 * 896 + 256, "bytes");
    let lines = sysfs::listed("bailouts", sys::getpid(), rig.p.w, Write)?;
    let line = |l: &String| {
        let (name, count) = l.split_once(' ')?;
        Some((name.to_owned(), count.parse::<u64>().ok()?))
    };
    let counts: Vec<(String, u64)> = lines.iter().filter_map(line).collect();
    same!(counts.len(), lines.len(), "lines that are no count");
    let has = |name: &str| counts.iter().any(|(known, _)| known == name);
    for name in [
        "mutex_taken",
        "page_missing",
        "no_room",
        "replaced",
        "device_memory",
    ] {
        ensure!(has(name), "no {name} in {lines:?}");
    }
    let file = sysfs::fd_file(sys::getpid(), rig.p.w, Write, "bailouts");
    same!(
        sysfs::number(&file)?,
        counts.iter().map(|(_, count)| count).sum::<u64>(),
        "the sum of them"
    );
    lab.fast_again(&rig.p)
}
