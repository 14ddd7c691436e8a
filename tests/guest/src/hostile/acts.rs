//! The acts. Each is a few calls that leave everything as it was.

use super::world::{World, ROOM, SPOT};
use crate::sys::{self, Pipe};

/// One thing to do again and again.
pub struct Act {
    pub name: &'static str,
    pub step: fn(&mut World),
}

macro_rules! acts {
    ($($name:literal: |$w:ident| $step:expr;)+) => {
        &[$(Act { name: $name, step: |$w| { let _ = $step; } }),+]
    };
}

/// A bit above the 32 that the kernel looks at.
const HIGH: usize = 1 << 32;
const EFAULT: usize = 8;
const KERNEL: usize = 0xffff_8880_0000_0000;

fn raw(nr: i64, a: usize, b: usize, c: usize) -> isize {
    sys::call(nr as usize, [a, b, c, 0, 0, 0])
}

fn raw_write(fd: i32, at: usize, n: usize) -> isize {
    raw(libc::SYS_write, fd as usize, at, n)
}

fn raw_read(fd: i32, at: usize, n: usize) -> isize {
    raw(libc::SYS_read, fd as usize, at, n)
}

fn toggled(w: &mut World, flag: i32) {
    let (r, end) = (w.p.r, w.p.w);
    let _ = sys::set_flag(end, flag, true);
    w.echo(r, end, 1);
    let _ = sys::set_flag(end, flag, false);
    w.echo(r, end, 1);
}

/// Another object on one number, then a call.
fn on_spot(w: &mut World, from: i32, read: bool) {
    let _ = sys::dup2(from, SPOT);
    match read {
        true => w.read(SPOT as usize, 1),
        false => w.write(SPOT as usize, 1),
    }
}

fn fresh_pipe(w: &mut World, rounds: usize) {
    if let Ok(p) = Pipe::new(libc::O_NONBLOCK) {
        for _ in 0..rounds {
            w.echo(p.r, p.w, 1);
        }
    }
}

fn many_numbers(w: &mut World, from: i32, count: i32) {
    let fd = SPOT + 1 + w.below(count as usize) as i32;
    let _ = sys::dup2(from, fd);
    w.write(fd as usize, 1);
}

fn signal(handler: usize) {
    // SAFETY: the handler does nothing.
    unsafe {
        libc::signal(libc::SIGUSR1, handler);
        libc::kill(libc::getpid(), libc::SIGUSR1);
    }
}

extern "C" fn on_signal(_: i32) {}

fn forked(shares: i32) {
    // SAFETY: the child has a copy of all that it uses, and ends at once.
    unsafe {
        let flags = shares | libc::SIGCHLD;
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if pid == 0 {
            libc::syscall(libc::SYS_exit, 0);
        }
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
}

fn timer(w: &mut World, micros: i64) {
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: micros,
    };
    let timer = libc::itimerval {
        it_interval: time,
        it_value: time,
    };
    let off = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
    };
    // SAFETY: the structures are ours; the handler does nothing.
    unsafe {
        libc::signal(libc::SIGALRM, on_signal as *const () as usize);
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
        for _ in 0..200 {
            w.echo(w.p.r, w.p.w, 1);
        }
        libc::setitimer(libc::ITIMER_REAL, &off, std::ptr::null_mut());
    }
}

fn cold_page(w: &mut World, read: bool) {
    if let Ok(at) = sys::map(4096, 3, libc::MAP_PRIVATE) {
        if read {
            w.write(w.p.w as usize, 1);
            raw_read(w.p.r, at, 1);
        } else {
            raw_write(w.p.w, at, 1);
            w.read(w.p.r as usize, 1);
        }
        let _ = sys::unmap(at, 4096);
    }
}

fn drain(w: &mut World, fd: i32) {
    w.read(fd as usize, ROOM);
    w.read(fd as usize, ROOM);
}

fn resize(w: &mut World) {
    for size in [4096, 65536] {
        let _ = sys::fcntl(w.p.w, libc::F_SETPIPE_SZ, size);
        w.echo(w.p.r, w.p.w, 1);
    }
}

fn threads(w: &mut World) {
    let _ = std::thread::spawn(|| {}).join();
    w.echo(w.p.r, w.p.w, 1);
}

fn uring(w: &mut World) {
    drop(io_uring::IoUring::new(2));
    w.echo(w.p.r, w.p.w, 1);
}

fn teed(w: &mut World) {
    w.write(w.p.w as usize, 100);
    let _ = sys::tee(w.p.r, w.q.w, 100, 0);
    w.read(w.q.r as usize, 1);
    w.read(w.p.r as usize, 1);
    w.write(w.p.w as usize, 1);
    drain(w, w.q.r);
    drain(w, w.p.r);
}

pub const ACTS: &[Act] = acts! {
    "getppid": |w| { let _ = &w; raw(libc::SYS_getppid, 0, 0, 0) };
    "a number that is no call": |w| { let _ = &w; raw(1000, 0, 0, 0) };
    "a byte through a pipe": |w| w.echo(w.p.r, w.p.w, 1);
    "high half, write to a pipe": |w| { w.write(HIGH | w.p.w as usize, 1); w.read(w.p.r as usize, 1) };
    "high half, read of an empty pipe": |w| w.read(HIGH | w.p.r as usize, 1);
    "high half, write to /dev/null": |w| w.write(HIGH | w.null as usize, 1);
    "high halves by turns": |w| { let high = (1 + w.below(1000)) << 32; w.write(high | w.null as usize, 1) };
    "write to -1": |w| w.write(usize::MAX, 1);
    "read of a number above all": |w| w.read(i32::MAX as usize, 1);
    "read of 2^30": |w| w.read(1 << 30, 1);
    "read of a closed number": |w| w.read(999, 1);
    "reads of closed numbers by turns": |w| { let fd = 1000 + w.below(5000); w.read(fd, 1) };
    "write to the read end": |w| w.write(w.p.r as usize, 1);
    "read of the write end": |w| w.read(w.p.w as usize, 1);
    "read of an empty pipe": |w| w.read(w.p.r as usize, 1);
    "write to a full pipe": |w| w.write(w.full.w as usize, 1);
    "write to a pipe that is polled": |w| { w.write(w.polled.w as usize, 1); w.read(w.polled.r as usize, 1) };
    "write to /dev/null": |w| w.write(w.null as usize, 1);
    "read of /dev/zero": |w| w.read(w.zero as usize, 1);
    "eventfd": |w| { w.write(w.event as usize, 8); w.read(w.event as usize, 8) };
    "socket": |w| { w.write(w.socket[0] as usize, 1); w.read(w.socket[1] as usize, 1) };
    "file": |w| { let _ = sys::pwrite(w.file, b"x", 0); w.read(w.file as usize, 1) };
    "write of nothing": |w| w.write(w.p.w as usize, 0);
    "read of nothing": |w| w.read(w.p.r as usize, 0);
    "4096 bytes": |w| w.echo(w.p.r, w.p.w, 4096);
    "4097 bytes": |w| { w.write(w.p.w as usize, 4097); w.read(w.p.r as usize, 4097) };
    "write of what is not there": |w| raw_write(w.p.w, EFAULT, 1);
    "write of a page of which the end is not there": |w| raw_write(w.p.w, w.edge + 1, 4096);
    "read to what is not there": |w| { w.write(w.p.w as usize, 1); raw_read(w.p.r, EFAULT, 1); w.read(w.p.r as usize, 1) };
    "read of a page to where the end is not there": |w| { w.write(w.p.w as usize, 4096); raw_read(w.p.r, w.edge + 1, 4096); drain(w, w.p.r) };
    "write of kernel memory": |w| raw_write(w.p.w, KERNEL, 1);
    "write of a cold page": |w| cold_page(w, false);
    "read to a cold page": |w| cold_page(w, true);
    "ends by turns on one number": |w| { on_spot(w, w.p.r, false); on_spot(w, w.p.w, false); w.read(w.p.r as usize, 1) };
    "ends by turns, each used as it may be": |w| { on_spot(w, w.p.w, false); on_spot(w, w.p.r, true) };
    "ends by turns, read": |w| { on_spot(w, w.p.w, true); on_spot(w, w.p.r, true) };
    "pipe and /dev/null by turns on one number": |w| { on_spot(w, w.null, false); on_spot(w, w.p.w, false); w.read(w.p.r as usize, 1) };
    "ends by turns, after calls in vain": |w| { on_spot(w, w.p.r, true); for _ in 0..400 { w.read(SPOT as usize, 1) } on_spot(w, w.p.w, true) };
    "ends by turns, after faults": |w| { on_spot(w, w.p.w, false); for _ in 0..200 { raw_write(SPOT, w.edge + 1, 4096); } on_spot(w, w.p.r, false); drain(w, w.p.r) };
    "write after close": |w| { on_spot(w, w.p.w, false); let _ = sys::close(SPOT); w.write(SPOT as usize, 1); w.read(w.p.r as usize, 1) };
    "a pipe for one byte": |w| fresh_pipe(w, 1);
    "a pipe for ten bytes": |w| fresh_pipe(w, 10);
    "a dozen numbers": |w| many_numbers(w, w.null, 12);
    "400 numbers": |w| many_numbers(w, w.null, 400);
    "a dozen numbers of one pipe": |w| { many_numbers(w, w.p.w, 12); w.read(w.p.r as usize, 1) };
    "O_NONBLOCK by turns": |w| toggled(w, libc::O_NONBLOCK);
    "O_DIRECT by turns": |w| toggled(w, libc::O_DIRECT);
    "O_ASYNC by turns": |w| { let _ = sys::set_flag(w.p.r, libc::O_ASYNC, true); w.echo(w.p.r, w.p.w, 1); let _ = sys::set_flag(w.p.r, libc::O_ASYNC, false); w.echo(w.p.r, w.p.w, 1) };
    "sizes by turns": |w| resize(w);
    "teed": |w| teed(w);
    "two buffers": |w| { w.write(w.p.w as usize, 3000); w.write(w.p.w as usize, 3000); w.read(w.p.r as usize, 4096); drain(w, w.p.r) };
    "signal with a handler": |w| { signal(on_signal as *const () as usize); w.echo(w.p.r, w.p.w, 1) };
    "signal that is ignored": |w| { signal(libc::SIG_IGN); w.echo(w.p.r, w.p.w, 1) };
    "timer of 50 microseconds": |w| timer(w, 50);
    "timer of a millisecond": |w| timer(w, 1000);
    "yield": |w| { w.echo(w.p.r, w.p.w, 1); raw(libc::SYS_sched_yield, 0, 0, 0) };
    "nap": |w| { crate::proc::nap(0); std::thread::sleep(std::time::Duration::from_micros(60)); w.echo(w.p.r, w.p.w, 1) };
    "thread": |w| threads(w);
    "child": |w| { forked(0); w.echo(w.p.r, w.p.w, 1) };
    "child that shares the descriptors": |w| { forked(libc::CLONE_FILES); w.echo(w.p.r, w.p.w, 1) };
    "vfork": |w| { forked(libc::CLONE_VFORK); w.echo(w.p.r, w.p.w, 1) };
    "io_uring": |w| uring(w);
};
