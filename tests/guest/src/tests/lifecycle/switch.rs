//! The descriptor changes under the code made for it: flags, size, what it refers to.

use crate::proc::Kid;
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, expect_of, noise, Lab, Res};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("switch":
    nonblock_toggled, direct_toggled, pipe_size_changed, pipe_size_changed_with_data, dup2_socket, dup2_file, dup2_dev_null,
    dup2_fifo, dup2_other_pipe,
    dup2_other_end, close_and_reopen_as_file, close_and_reopen_as_pipe, close_range_and_back, table_grows, cloexec_toggled, lease_and_owner,
    swapped_ends, renamed_by_dup3, received_over_socket,
);

fn nonblock_toggled(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut b = [0];
    for _ in 0..5 {
        sys::set_flag(rig.p.r, libc::O_NONBLOCK, true)?;
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, b"non-blocking")
        })?;
        same!(
            sys::read(rig.p.r, &mut b),
            Err(Errno::EAGAIN),
            "read of an empty pipe"
        );
        sys::set_flag(rig.p.r, libc::O_NONBLOCK, false)?;
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, b"blocking")
        })?;
        let (w, me) = (rig.p.w, sys::getpid());
        let mut kid = Kid::spawn(|| -> Res {
            ensure!(crate::proc::await_sleep(me), "the reader does not sleep");
            same!(sys::write(w, b"!"), Ok(1), "write");
            Ok(())
        })?;
        same!(sys::read(rig.p.r, &mut b), Ok(1), "read that must block");
        same!(
            kid.wait(Duration::from_secs(10)),
            Some(crate::proc::Ended::Exit(0)),
            "the writer"
        );
    }
    Ok(())
}

fn direct_toggled(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for _ in 0..5 {
        sys::set_flag(rig.p.w, libc::O_DIRECT, true)?;
        lab.slow(rig.p.w, Write, 2, || {
            same!(sys::write(rig.p.w, b"ab"), Ok(2), "packet");
            same!(sys::write(rig.p.w, b"cd"), Ok(2), "packet");
            Ok(())
        })?;
        expect_of(rig.p.r, 10, b"ab")?;
        expect_of(rig.p.r, 10, b"cd")?;
        sys::set_flag(rig.p.w, libc::O_DIRECT, false)?;
        lab.fast(&[(rig.p.w, Write, 2), (rig.p.r, Read, 1)], || {
            same!(sys::write(rig.p.w, b"ab"), Ok(2), "stream");
            same!(sys::write(rig.p.w, b"cd"), Ok(2), "stream");
            expect_of(rig.p.r, 10, b"abcd")
        })?;
    }
    Ok(())
}

fn pipe_size_changed(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for size in [8192, 1 << 20, 16384, 65536, 131_072, 8192] {
        same!(
            sys::fcntl(rig.p.r, libc::F_SETPIPE_SZ, size),
            Ok(size),
            "F_SETPIPE_SZ"
        );
        same!(
            sys::fcntl(rig.p.w, libc::F_GETPIPE_SZ, 0),
            Ok(size),
            "F_GETPIPE_SZ"
        );
        lab.fast_again(&rig.p)?;
        // As full as the new size allows, and no fuller.
        sys::set_flag(rig.p.w, libc::O_NONBLOCK, true)?;
        let mut n = 0;
        while let Ok(k) = sys::write(rig.p.w, &noise(n as u64, 4096)) {
            n += k;
        }
        same!(n, size, "bytes that fit");
        for i in (0..size).step_by(4096) {
            expect(rig.p.r, &noise(i as u64, 4096))?;
        }
        sys::set_flag(rig.p.w, libc::O_NONBLOCK, false)?;
    }
    lab.fast_again(&rig.p)
}

fn pipe_size_changed_with_data(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (a, b) = (noise(1, 4096), noise(2, 3000));
    for size in [16384, 1 << 18, 8192, 65536] {
        same!(sys::write(rig.p.w, &a), Ok(4096), "page");
        same!(sys::write(rig.p.w, &b), Ok(3000), "more");
        same!(
            sys::fcntl(rig.p.r, libc::F_SETPIPE_SZ, size),
            Ok(size),
            "F_SETPIPE_SZ"
        );
        same!(
            sys::write(rig.p.w, b"merged"),
            Ok(6),
            "merging write into the moved ring"
        );
        expect(rig.p.r, &a)?;
        expect(rig.p.r, &b)?;
        expect(rig.p.r, b"merged")?;
    }
    same!(sys::write(rig.p.w, &a), Ok(4096), "page");
    same!(sys::write(rig.p.w, &b), Ok(3000), "more");
    same!(
        sys::fcntl(rig.p.r, libc::F_SETPIPE_SZ, 4096),
        Err(Errno::EBUSY),
        "smaller than what is in it"
    );
    expect(rig.p.r, &a)?;
    expect(rig.p.r, &b)?;
    lab.fast_again(&rig.p)
}

/// Puts `other` over the write end; `seen` must find what is written then. Afterwards the pipe comes back.
fn over_write_end(lab: &Lab, other: i32, mut seen: impl FnMut(&[u8]) -> Res) -> Res {
    let rig = lab.rig()?;
    let keep = sys::dup(rig.p.w)?;
    for round in 0..4u8 {
        sys::dup2(other, rig.p.w)?;
        lab.slow(rig.p.w, Write, 0, || {
            for i in 0..3 {
                same!(
                    sys::write(rig.p.w, &[round, i, 7]),
                    Ok(3),
                    "write to what is there now"
                );
                seen(&[round, i, 7])?;
            }
            Ok(())
        })?;
        same!(
            sys::fionread(rig.p.r),
            Ok(0),
            "bytes that went into the old pipe"
        );
        sys::dup2(keep, rig.p.w)?;
        echo(rig.p.r, rig.p.w, b"back")?;
        lab.fast_again(&rig.p)?;
    }
    Ok(())
}

fn dup2_socket(lab: &Lab) -> Res {
    let mut s = [0i32; 2];
    let kind = [
        libc::AF_UNIX as usize,
        libc::SOCK_STREAM as usize,
        0,
        s.as_mut_ptr() as usize,
    ];
    sys::sys(libc::SYS_socketpair, &kind)?;
    over_write_end(lab, s[0], |data| expect_of(s[1], 10, data))?;
    // And the same over a read end.
    let rig = lab.rig()?;
    let keep = sys::dup(rig.p.r)?;
    sys::dup2(s[1], rig.p.r)?;
    same!(sys::write(rig.p.w, b"in the pipe"), Ok(11), "write");
    same!(sys::write(s[0], b"in the socket"), Ok(13), "write");
    lab.slow(rig.p.r, Read, 0, || {
        expect_of(rig.p.r, 100, b"in the socket")
    })?;
    sys::dup2(keep, rig.p.r)?;
    expect_of(rig.p.r, 100, b"in the pipe")?;
    lab.fast_again(&rig.p)
}

fn dup2_file(lab: &Lab) -> Res {
    let path = format!("/tmp/synthjit-guest-dup-{}", sys::getpid());
    let fd = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC, 0o600)?;
    let mut at = 0;
    let done = over_write_end(lab, fd, |data| {
        let mut b = [0; 8];
        same!(
            sys::pread(fd, &mut b, at),
            Ok(3),
            "bytes in the file at {at}"
        );
        same!(&b[..3], data, "bytes in the file");
        at += 3;
        Ok(())
    });
    std::fs::remove_file(&path)?;
    done
}

fn dup2_dev_null(lab: &Lab) -> Res {
    let fd = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    over_write_end(lab, fd, |_| Ok(()))
}

/// A named pipe does all that a pipe does, and keeps its file's times besides.
fn dup2_fifo(lab: &Lab) -> Res {
    let path = format!("/tmp/synthjit-guest-fifo-{}", sys::getpid());
    let name = std::ffi::CString::new(path.as_str()).unwrap_or_default();
    // SAFETY: the name ends with a null.
    ensure!(
        unsafe { libc::mkfifo(name.as_ptr(), 0o600) } == 0,
        "mkfifo: {}",
        Errno::last()
    );
    let r = sys::open(&path, libc::O_RDONLY | libc::O_NONBLOCK, 0)?;
    let w = sys::open(&path, libc::O_WRONLY, 0)?;
    let rig = lab.rig()?;
    let keep = sys::dup(rig.p.w)?;
    for round in 0..6u8 {
        if round == 3 {
            // A page of the user's in the pipe takes a bit of the end's mode away, and the mode is that of a FIFO's end then.
            same!(
                sys::vmsplice(keep, path.as_ptr() as usize, 4, 0),
                Ok(4),
                "vmsplice"
            );
            expect_of(rig.p.r, 10, b"/tmp")?;
            lab.fast_again(&rig.p)?;
        }
        sys::dup2(w, rig.p.w)?;
        let before = modified_of(w)?;
        // Times have the resolution of a tick.
        crate::proc::nap(12);
        lab.slow(rig.p.w, Write, 0, || {
            same!(sys::write(rig.p.w, &[round]), Ok(1), "write to the FIFO");
            Ok(())
        })?;
        ensure!(
            modified_of(w)? > before,
            "the FIFO's time of modification stands still"
        );
        expect_of(r, 10, &[round])?;
        same!(
            sys::fionread(rig.p.r),
            Ok(0),
            "bytes that went into the pipe"
        );
        sys::dup2(keep, rig.p.w)?;
        lab.fast_again(&rig.p)?;
    }
    std::fs::remove_file(&path)?;
    // By its own numbers, from the first call on: never specialized.
    for i in 0..20u8 {
        let before = modified_of(w)?;
        echo(r, w, &[i, 1])?;
        crate::proc::nap(if i % 4 == 0 { 12 } else { 0 });
        echo(r, w, &[i, 2])?;
        ensure!(
            i % 4 != 0 || modified_of(w)? > before,
            "the FIFO's time of modification stands still"
        );
    }
    if !lab.stock {
        ensure!(
            crate::sysfs::hits(sys::getpid(), w, Write).is_none(),
            "a FIFO has a path"
        );
    }
    Ok(())
}

fn modified_of(fd: i32) -> Res<(i64, i64)> {
    // SAFETY: a zeroed stat is valid, and the kernel fills it.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    sys::sys(
        libc::SYS_fstat,
        &[fd as usize, &mut s as *mut libc::stat as usize],
    )?;
    Ok((s.st_mtime, s.st_mtime_nsec))
}

fn dup2_other_pipe(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    let (keep_r, keep_w) = (sys::dup(rig.p.r)?, sys::dup(rig.p.w)?);
    for i in 0..10u8 {
        sys::dup2(q.w, rig.p.w)?;
        same!(
            sys::write(rig.p.w, &[i, 1]),
            Ok(2),
            "write into the other pipe"
        );
        same!(sys::fionread(keep_r), Ok(0), "bytes in the first pipe");
        sys::dup2(q.r, rig.p.r)?;
        expect_of(rig.p.r, 10, &[i, 1])?;
        sys::dup2(keep_w, rig.p.w)?;
        same!(
            sys::write(rig.p.w, &[i, 2]),
            Ok(2),
            "write into the first pipe"
        );
        same!(sys::fionread(rig.p.r), Ok(0), "bytes in the other pipe");
        sys::dup2(keep_r, rig.p.r)?;
        expect_of(rig.p.r, 10, &[i, 2])?;
    }
    lab.fast_again(&rig.p)
}

fn dup2_other_end(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let keep_w = sys::dup(rig.p.w)?;
    sys::dup2(rig.p.r, rig.p.w)?;
    let mut b = [0; 4];
    lab.slow(rig.p.w, Write, 0, || {
        same!(
            sys::write(rig.p.w, b"x"),
            Err(Errno::EBADF),
            "write to what is a read end now"
        );
        Ok(())
    })?;
    same!(sys::write(keep_w, b"end"), Ok(3), "write");
    same!(
        sys::read(rig.p.w, &mut b),
        Ok(3),
        "read through the number of the write end"
    );
    sys::dup2(keep_w, rig.p.w)?;
    lab.fast_again(&rig.p)
}

fn close_and_reopen_as_file(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    let number = rig.p.w;
    let path = format!("/tmp/synthjit-guest-reopen-{}", sys::getpid());
    rig.p.close_write();
    let mut b = [0; 8];
    lab.slow(number, Write, 0, || {
        same!(
            sys::write(number, b"x"),
            Err(Errno::EBADF),
            "write to a closed descriptor"
        );
        let fd = sys::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600)?;
        sys::dup2(fd, number)?;
        same!(sys::write(number, b"to file"), Ok(7), "write to the file");
        same!(sys::pread(fd, &mut b, 0), Ok(7), "file");
        same!(&b[..7], b"to file", "file");
        Ok(())
    })?;
    std::fs::remove_file(&path)?;
    expect_of(rig.p.r, 10, b"")
}

fn close_and_reopen_as_pipe(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (r, w) = (rig.p.r, rig.p.w);
    for i in 0..20u8 {
        same!(sys::write(w, b"lost"), Ok(4), "write");
        sys::close(r)?;
        sys::close(w)?;
        let (r2, w2) = sys::pipe2(0)?;
        // The lowest free numbers are the ones just closed.
        same!(
            (r2.min(w2), r2.max(w2)),
            (r.min(w), r.max(w)),
            "numbers of the new pipe"
        );
        expect_nothing(r2)?;
        echo(r2, w2, &[i, 5])?;
    }
    lab.fast_again(&rig.p)
}

fn expect_nothing(r: i32) -> Res {
    same!(sys::fionread(r), Ok(0), "bytes in a new pipe");
    Ok(())
}

fn close_range_and_back(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (r, w) = (
        sys::fcntl(rig.p.r, libc::F_DUPFD, 300)? as i32,
        sys::fcntl(rig.p.w, libc::F_DUPFD, 310)? as i32,
    );
    for _ in 0..3 {
        lab.warm_with(r, w)?;
        sys::sys(libc::SYS_close_range, &[300, 400, 0])?;
        let mut b = [0];
        same!(sys::write(w, b"x"), Err(Errno::EBADF), "write");
        same!(sys::read(r, &mut b), Err(Errno::EBADF), "read");
        sys::dup2(rig.p.r, r)?;
        sys::dup2(rig.p.w, w)?;
        echo(r, w, b"back")?;
    }
    lab.fast_again(&rig.p)
}

fn table_grows(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // The table of 64 descriptors is replaced by larger ones while the low numbers are in use.
    for target in [64usize, 128, 256, 512, 1023] {
        let w = sys::fcntl(rig.p.w, libc::F_DUPFD, target)? as i32;
        ensure!(w as usize >= target, "F_DUPFD gave {w}");
        echo(rig.p.r, w, b"far")?;
        echo(rig.p.r, rig.p.w, b"near")?;
        // What the old table said must not be believed any longer.
        let keep = sys::dup(rig.p.w)?;
        let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
        sys::dup2(null, rig.p.w)?;
        same!(sys::write(rig.p.w, b"null"), Ok(4), "write to /dev/null");
        same!(
            sys::fionread(rig.p.r),
            Ok(0),
            "bytes that went into the pipe"
        );
        sys::dup2(keep, rig.p.w)?;
        sys::close(keep)?;
        sys::close(null)?;
        sys::close(w)?;
        lab.fast_again(&rig.p)?;
    }
    Ok(())
}

fn cloexec_toggled(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for on in [1, 0, 1] {
        sys::fcntl(rig.p.w, libc::F_SETFD, on)?;
        lab.fast_again(&rig.p)?;
    }
    Ok(())
}

fn lease_and_owner(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    const F_SETSIG: i32 = 10;
    // Settings of the descriptor that do not concern read and write.
    sys::fcntl(rig.p.w, libc::F_SETOWN, sys::getpid() as usize)?;
    sys::fcntl(rig.p.w, F_SETSIG, libc::SIGUSR1 as usize)?;
    lab.fast_again(&rig.p)?;
    sys::fcntl(rig.p.w, libc::F_SETOWN, 0)?;
    lab.fast_again(&rig.p)
}

fn swapped_ends(lab: &Lab) -> Res {
    let mut rig = lab.rig()?;
    for i in 0..6u8 {
        let tmp = sys::dup(rig.p.r)?;
        sys::dup2(rig.p.w, rig.p.r)?;
        sys::dup2(tmp, rig.p.w)?;
        sys::close(tmp)?;
        std::mem::swap(&mut rig.p.r, &mut rig.p.w);
        echo(rig.p.r, rig.p.w, &[i])?;
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
    }
    lab.warm(&rig.p)
}

fn renamed_by_dup3(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    sys::sys(
        libc::SYS_dup3,
        &[rig.p.w as usize, 50, libc::O_CLOEXEC as usize],
    )?;
    lab.warm_with(rig.p.r, 50)?;
    sys::close(50)?;
    same!(sys::write(50, b"x"), Err(Errno::EBADF), "write");
    sys::sys(libc::SYS_dup3, &[rig.p.w as usize, 50, 0])?;
    echo(rig.p.r, 50, b"dup3")?;
    lab.fast_again(&rig.p)
}

/// A pipe end that arrives in this process through another process's descriptor table.
fn received_over_socket(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let p = Pipe::new(0)?;
    let w = p.w;
    // It is there until it is ended.
    let mut kid = Kid::spawn::<()>(|| loop {
        crate::proc::nap(1000);
    })?;
    let pidfd = sys::sys(libc::SYS_pidfd_open, &[kid.pid as usize, 0])?;
    let got = sys::sys(libc::SYS_pidfd_getfd, &[pidfd, w as usize, 0])? as i32;
    echo(p.r, got, b"through another table")?;
    lab.warm_with(p.r, got)?;
    kid.signal(libc::SIGKILL);
    ensure!(
        kid.wait(Duration::from_secs(10)).is_some(),
        "the child does not end"
    );
    echo(p.r, got, b"alone")?;
    lab.fast_again(&rig.p)
}
