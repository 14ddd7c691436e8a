//! Serves the page faults of streaming processes that asked for it by userfaultfd.

use super::super::actions::userfaultfd;
use super::super::board::{Board, PAGE, PAGES};
use super::super::counts::{Count, Missing};
use super::{Context, Stressor};
use crate::sys;
use nix::errno::Errno;
use std::sync::atomic::Ordering;

pub const STRESSOR: Stressor = Stressor {
    name: "pager",
    run,
    missing,
    module: false,
    goals: &[],
};

const UFFDIO_CONTINUE: usize = 0xc020_aa07;
const UFFDIO_WAKE: usize = 0x8010_aa02;
const EVENT_PAGEFAULT: u8 = 0x12;

fn missing() -> Missing {
    let works = Board::create().and_then(|(board, fd)| {
        let made = userfaultfd(board as *const Board as usize, PAGES * PAGE);
        let _ = sys::close(fd);
        made
    });
    match works {
        Ok(fd) => {
            let _ = sys::close(fd);
            Vec::new()
        }
        Err(e) => vec![(
            Count::UserFaults,
            format!("no userfaultfd for shared memory: {e}"),
        )],
    }
}

/// A userfaultfd that was taken over: the desk it belongs to, its number there and here.
struct Taken {
    desk: usize,
    theirs: i32,
    mine: i32,
}

fn run(g: &mut Context) {
    let mut taken: Vec<Taken> = Vec::new();
    while g.on_to_the_last() {
        taken.retain(|t| {
            let wanted = g.board.desks.get(t.desk).is_some_and(|d| {
                d.uffd.load(Ordering::SeqCst) == t.theirs
                    && d.uffd_served.load(Ordering::SeqCst) == 1
            });
            if !wanted {
                let _ = sys::close(t.mine);
            }
            wanted
        });
        for (desk, d) in g.board.desks.iter().enumerate() {
            let theirs = d.uffd.load(Ordering::SeqCst);
            if theirs < 0 || d.uffd_served.load(Ordering::SeqCst) != 0 {
                continue;
            }
            let answer = match take(d.carrier.load(Ordering::SeqCst), theirs) {
                Ok(mine) => {
                    taken.push(Taken { desk, theirs, mine });
                    1
                }
                Err(_) => 2,
            };
            d.uffd_served.store(answer, Ordering::SeqCst);
        }
        let mut fds: Vec<libc::pollfd> = taken
            .iter()
            .map(|t| libc::pollfd {
                fd: t.mine,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let _ = sys::sys(libc::SYS_poll, &[fds.as_mut_ptr() as usize, fds.len(), 2]);
        for t in &taken {
            serve(g, t.mine);
        }
    }
}

/// Another process's descriptor.
fn take(pid: i32, fd: i32) -> sys::Sys<i32> {
    let pidfd = sys::sys(libc::SYS_pidfd_open, &[pid as usize, 0])?;
    let mine = sys::sys(libc::SYS_pidfd_getfd, &[pidfd, fd as usize, 0]);
    let _ = sys::close(pidfd as i32);
    mine.map(|fd| fd as i32)
}

/// Answers all faults that wait: the page is there, it only has to be mapped.
fn serve(g: &Context, fd: i32) {
    let mut message = [0u8; 32];
    while sys::read(fd, &mut message) == Ok(32) {
        if message[0] != EVENT_PAGEFAULT {
            continue;
        }
        let address = message
            .get(16..24)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u64::from_le_bytes(*b));
        let page = address & !(PAGE as u64 - 1);
        loop {
            let mut go_on = [page, PAGE as u64, 0, 0];
            let arg = go_on.as_mut_ptr() as usize;
            match sys::sys(libc::SYS_ioctl, &[fd as usize, UFFDIO_CONTINUE, arg]) {
                Ok(_) => g.did(Count::UserFaults),
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOMEM) if g.on_to_the_last() => continue,
                // Somebody else mapped it.
                Err(_) => {
                    let range = [page, PAGE as u64];
                    let _ = sys::sys(
                        libc::SYS_ioctl,
                        &[fd as usize, UFFDIO_WAKE, range.as_ptr() as usize],
                    );
                }
            }
            break;
        }
    }
}
