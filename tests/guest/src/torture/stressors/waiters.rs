//! Waits on the pipes by poll and epoll, and has signals sent about them.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::sys;
use std::sync::atomic::{AtomicU64, Ordering};

pub const STRESSOR: Stressor = Stressor {
    name: "waiters",
    run,
    missing: nothing,
    module: false,
    goals: &[Count::Polls, Count::Fasyncs, Count::Sigios],
};

fn run(g: &mut Context) {
    let count = count_sigio as *const () as libc::sighandler_t;
    // SAFETY: the handler changes one number. Without it the signal would end this process.
    unsafe { libc::signal(libc::SIGIO, count) };
    while g.on() {
        let Some((r, w)) = g.pipe() else { return };
        match g.round(3) {
            0 => poll(g, r, w),
            1 => epoll(g, r, w),
            _ => fasync(g, r, w),
        }
        g.nap(25);
    }
}

static SIGIOS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_sigio(_: i32) {
    SIGIOS.fetch_add(1, Ordering::Relaxed);
}

fn poll(g: &mut Context, r: i32, w: i32) {
    let mut fds = [
        libc::pollfd {
            fd: r,
            events: libc::POLLIN,
            revents: 0,
        },
        libc::pollfd {
            fd: w,
            events: libc::POLLOUT,
            revents: 0,
        },
    ];
    // Both ends at once come back soon; one end may wait.
    let n = 1 + g.rng.below(2);
    for _ in 0..8 {
        if sys::sys(libc::SYS_poll, &[fds.as_mut_ptr() as usize, n, 3]).is_ok() {
            g.did(Count::Polls);
        }
    }
}

fn epoll(g: &mut Context, r: i32, w: i32) {
    let Ok(ep) = sys::sys(libc::SYS_epoll_create1, &[libc::O_CLOEXEC as usize]) else {
        return;
    };
    for (fd, events) in [(r, libc::EPOLLIN), (w, libc::EPOLLOUT)] {
        let mut event = libc::epoll_event {
            events: (events | libc::EPOLLET) as u32,
            u64: fd as u64,
        };
        let at = &mut event as *mut libc::epoll_event as usize;
        let _ = sys::sys(
            libc::SYS_epoll_ctl,
            &[ep, libc::EPOLL_CTL_ADD as usize, fd as usize, at],
        );
    }
    let mut got = [libc::epoll_event { events: 0, u64: 0 }; 4];
    for _ in 0..8 {
        let at = got.as_mut_ptr() as usize;
        if sys::sys(libc::SYS_epoll_wait, &[ep, at, got.len(), 3]).is_ok() {
            g.did(Count::Polls);
        }
    }
    let _ = sys::close(ep as i32);
}

fn fasync(g: &mut Context, r: i32, w: i32) {
    let me = sys::getpid() as usize;
    for fd in [r, w] {
        let _ = sys::fcntl(fd, libc::F_SETOWN, me);
        if sys::set_flag(fd, libc::O_ASYNC, true).is_ok() {
            g.did(Count::Fasyncs);
        }
    }
    g.nap(8);
    for fd in [r, w] {
        if sys::set_flag(fd, libc::O_ASYNC, false).is_ok() {
            g.did(Count::Fasyncs);
        }
    }
    g.board
        .did_many(Count::Sigios, SIGIOS.swap(0, Ordering::Relaxed));
}
