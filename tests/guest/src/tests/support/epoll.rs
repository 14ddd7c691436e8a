//! `epoll(7)`: as much of it as tests need.

use super::lab::Res;
use nix::errno::Errno;

/// An epoll instance watching one descriptor.
pub fn epoll_on(fd: i32, events: u32) -> Res<i32> {
    // SAFETY: plain calls with a valid event.
    unsafe {
        let ep = libc::epoll_create1(0);
        let mut ev = libc::epoll_event {
            events,
            u64: fd as u64,
        };
        if ep < 0 || libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut ev) != 0 {
            return Err(Errno::last().into());
        }
        Ok(ep)
    }
}

/// Events that are ready now.
pub fn epoll_ready(ep: i32) -> Res<Vec<u32>> {
    let mut got = [libc::epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: room for four events is given.
    let n = unsafe { libc::epoll_wait(ep, got.as_mut_ptr(), 4, 0) };
    if n < 0 {
        return Err(Errno::last().into());
    }
    Ok(got.iter().take(n as usize).map(|e| e.events).collect())
}
