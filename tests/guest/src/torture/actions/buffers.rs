//! The memory that calls use is taken away, before them and under them. What is in it stays, since it is mapped twice.

use super::super::board::{PAGE, PAGES};
use super::super::counts::Count;
use super::super::worker::{Expect, Worker};
use crate::proc::poll_until;
use crate::sys;
use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::time::Duration;

const ALL: usize = PAGES * PAGE;

fn advise(at: usize, len: usize, advice: i32) -> sys::Sys {
    sys::sys(libc::SYS_madvise, &[at, len, advice as usize])
}

/// Drops the pages before each of some calls: these fault, and find their bytes again.
pub fn zap(w: &mut Worker) {
    let before = faults();
    for _ in 0..16 {
        if advise(w.at, ALL, libc::MADV_DONTNEED).is_ok() {
            w.board.did(Count::Zaps);
        }
        if w.steps(1).is_err() {
            return;
        }
    }
    w.board
        .did_many(Count::ZapFaults, faults().saturating_sub(before));
}

/// Page faults of this process so far.
fn faults() -> u64 {
    // SAFETY: zeroes are valid, and the place is ours.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        (usage.ru_minflt + usage.ru_majflt) as u64
    }
}

/// The bytes themselves go to swap, where there is one. Pages that are mapped twice stay, so one mapping is dropped first.
pub fn page_out(w: &mut Worker) {
    for _ in 0..4 {
        let _ = advise(w.at, ALL, libc::MADV_DONTNEED);
        let other = w.buffer().as_ptr() as usize;
        if advise(other, ALL, libc::MADV_PAGEOUT).is_ok() {
            w.board.did(Count::PageOuts);
        }
        if w.steps(2).is_err() {
            return;
        }
    }
}

/// Calls with a buffer that is not there must fail and neither take nor leave a byte.
pub fn unreadable(w: &mut Worker) {
    let state = w.state();
    let second = w.at + PAGE;
    if sys::protect(second, PAGE, libc::PROT_NONE).is_err() {
        return;
    }
    // From the first page into the one that is gone.
    let start = second - 8;
    let mut wrong = None;
    for _ in 0..4 {
        if state.to >= 0 {
            match sys::write_at(state.to, start, 64) {
                Err(Errno::EFAULT) => w.board.did(Count::Refused),
                // A full pipe; a signal; no memory for a page.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOMEM) => {}
                other => wrong = Some(format!("a write from an unreadable buffer: {other:?}")),
            }
        }
    }
    let _ = sys::protect(second, PAGE, libc::PROT_READ | libc::PROT_WRITE);
    if let Some(text) = wrong {
        let _ = w.surprise(text);
    }
}

/// A process that shares this one's memory, but not its descriptors, changes the rights of the buffer while calls use it.
pub fn protect(w: &mut Worker) {
    const STACK: usize = 16 * 1024;
    let Ok(stack) = sys::map(STACK, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE) else {
        return;
    };
    w.desk().meddle.store(1, Ordering::SeqCst);
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: a stack of its own; the function uses no thread-local data (it shares this thread's) and no allocator; `w`
    // outlives it, since its end is waited for below.
    let kid = unsafe {
        libc::clone(
            meddle,
            (stack + STACK) as *mut libc::c_void,
            flags,
            w as *mut Worker as *mut libc::c_void,
        )
    };
    if kid > 0 {
        w.expect = Expect { fault: true };
        // An end of the stream or a fault is seen by the next step as well.
        let _ = w.steps(48);
        w.desk().meddle.store(0, Ordering::SeqCst);
        wait(kid);
        let _ = sys::protect(w.at, ALL, libc::PROT_READ | libc::PROT_WRITE);
        w.expect = Expect::default();
    }
    let _ = sys::unmap(stack, STACK);
}

/// Body of the process that shares the memory. No call that touches `errno` may be made here.
extern "C" fn meddle(w: *mut libc::c_void) -> i32 {
    // SAFETY: the streaming process lends its `Worker` until this process has ended; only plain fields are read.
    let w = unsafe { &*(w as *const Worker) };
    let rights = [
        libc::PROT_NONE,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::PROT_READ,
        libc::PROT_READ | libc::PROT_WRITE,
    ];
    for right in rights.iter().cycle() {
        if w.desk().meddle.load(Ordering::SeqCst) == 0 || w.board.aborted() {
            break;
        }
        if sys::protect(w.at, ALL, *right).is_ok() {
            w.board.did(Count::Protects);
        }
        let nap = [0u64, 50_000];
        let _ = sys::sys(libc::SYS_nanosleep, &[nap.as_ptr() as usize, 0]);
    }
    sys::sys(libc::SYS_exit_group, &[0]).map_or(1, |_| 0)
}

/// Waits for a child that ends soon.
pub fn wait(pid: i32) {
    let mut status = 0;
    // SAFETY: `status` is ours.
    while unsafe { libc::waitpid(pid, &mut status, 0) } < 0 && Errno::last() == Errno::EINTR {}
}

const UFFDIO_API: usize = 0xc018_aa3f;
const UFFDIO_REGISTER: usize = 0xc020_aa00;
const UFFDIO_UNREGISTER: usize = 0x8010_aa01;
const FEATURE_MINOR_SHMEM: u64 = 1 << 10;
const REGISTER_MODE_MINOR: u64 = 4;

/// A userfaultfd for a range of shared memory: faults on pages that are there but not mapped wait for somebody to map them.
pub fn userfaultfd(at: usize, len: usize) -> sys::Sys<i32> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
    let fd = sys::sys(libc::SYS_userfaultfd, &[flags as usize])?;
    let mut api = [0xaau64, FEATURE_MINOR_SHMEM, 0];
    let mut range = [at as u64, len as u64, REGISTER_MODE_MINOR, 0];
    let requests = [
        (UFFDIO_API, api.as_mut_ptr() as usize),
        (UFFDIO_REGISTER, range.as_mut_ptr() as usize),
    ];
    for (request, arg) in requests {
        if let Err(e) = sys::sys(libc::SYS_ioctl, &[fd, request, arg]) {
            let _ = sys::close(fd as i32);
            return Err(e);
        }
    }
    Ok(fd as i32)
}

/// Faults under a call wait for another process, the pager.
pub fn user_fault(w: &mut Worker) {
    // A child of this process would not be served.
    let desk = w.desk();
    if !w.actions || w.board.leaving() {
        return;
    }
    let Ok(fd) = userfaultfd(w.at, ALL) else {
        return;
    };
    desk.uffd_served.store(0, Ordering::SeqCst);
    desk.uffd_at.store(w.at as u64, Ordering::SeqCst);
    desk.uffd.store(fd, Ordering::SeqCst);
    let served = poll_until(Duration::from_secs(10), || {
        let answer = desk.uffd_served.load(Ordering::SeqCst);
        (answer != 0 || w.board.leaving()).then_some(answer)
    });
    if served == Some(1) {
        for _ in 0..12 {
            let _ = advise(w.at, ALL, libc::MADV_DONTNEED);
            if w.steps(1).is_err() {
                break;
            }
        }
    }
    desk.uffd.store(-1, Ordering::SeqCst);
    let range = [w.at, ALL];
    let _ = sys::sys(
        libc::SYS_ioctl,
        &[fd as usize, UFFDIO_UNREGISTER, range.as_ptr() as usize],
    );
    let _ = sys::close(fd);
}
