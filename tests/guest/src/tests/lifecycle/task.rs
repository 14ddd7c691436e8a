//! The process changes: threads, shared descriptor tables, exec, fork, exit.

use crate::proc::{poll_until, Board};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call::Write};
use crate::tests::support::lab::{echo, expect, noise, Lab, Res, SOON};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;

area!("task":
    thread_in_mid_stream, thread_uses_the_same_pipe, many_threads_in_turn, thread_replaces_descriptor, clone_files, clone_files_replaces_descriptor,
    unshare_files, io_uring_write, io_uring_sqpoll, );

/// Echoes and demands that none of it runs specialized.
fn echo_slowly(lab: &Lab, p: &Pipe, rounds: u64) -> Res {
    lab.slow(p.w, Write, 0, || {
        for i in 0..rounds {
            echo(p.r, p.w, &noise(i, 30))?;
        }
        Ok(())
    })
}

fn thread_in_mid_stream(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for _ in 0..3 {
        let board = Board::new()?;
        let t = std::thread::spawn(move || board.await_flag(0, 1));
        echo_slowly(lab, &rig.p, 50)?;
        if !lab.stock {
            let state = sysfs::state(sys::getpid())?;
            ensure!(
                state.starts_with("stock: "),
                "state with two threads: {state:?}"
            );
        }
        board.raise(0, 1);
        ensure!(t.join().unwrap_or(false), "the thread");
        lab.fast_again(&rig.p)?;
    }
    Ok(())
}

fn thread_uses_the_same_pipe(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    lab.warm(&q)?;
    let (from, to) = (rig.p.r, q.w);
    // The thread copies from one pipe to the other while this one feeds and checks.
    let t = std::thread::spawn(move || {
        let mut b = [0; 64];
        for _ in 0..300 {
            let Ok(n) = sys::read(from, &mut b) else {
                return false;
            };
            if sys::write(to, b.get(..n).unwrap_or_default()) != Ok(n) {
                return false;
            }
        }
        true
    });
    for i in 0..300u64 {
        let data = noise(i, 1 + (i % 60) as usize);
        same!(sys::write(rig.p.w, &data), Ok(data.len()), "write");
        expect(q.r, &data)?;
    }
    ensure!(t.join().unwrap_or(false), "the thread");
    lab.fast_again(&rig.p)?;
    lab.fast_again(&q)
}

fn many_threads_in_turn(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // Each thread breaks the assumption, and the wait for the next try doubles.
    for i in 0..5 {
        let t = std::thread::spawn(move || i);
        echo(rig.p.r, rig.p.w, &noise(i, 20))?;
        ensure!(t.join().is_ok_and(|v| v == i), "the thread");
        echo(rig.p.r, rig.p.w, &noise(i, 21))?;
    }
    lab.fast_again(&rig.p)
}

fn thread_replaces_descriptor(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    let keep = sys::dup(rig.p.w)?;
    let (over, number) = (q.w, rig.p.w);
    let t = std::thread::spawn(move || sys::dup2(over, number).is_ok());
    ensure!(t.join().unwrap_or(false), "dup2 in the thread");
    same!(sys::write(rig.p.w, b"there"), Ok(5), "write");
    expect(q.r, b"there")?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes in the old pipe");
    sys::dup2(keep, rig.p.w)?;
    lab.fast_again(&rig.p)
}

/// A child that shares the descriptor table but not the memory.
#[track_caller]
fn clone_with_files(f: impl FnOnce() -> Res) -> Res<i32> {
    let born = std::panic::Location::caller();
    let flags = (libc::CLONE_FILES | libc::SIGCHLD) as usize;
    let pid = sys::sys(libc::SYS_clone, &[flags, 0, 0, 0, 0])?;
    if pid == 0 {
        let code = crate::proc::answered(f(), born);
        // SAFETY: ends the child without running anything of the parent's copy.
        unsafe { libc::_exit(code) };
    }
    Ok(pid as i32)
}

/// Lives until flag 0 is raised.
fn waits(board: &Board) -> Res {
    ensure!(board.await_flag(0, 1), "nobody tells it to go on");
    Ok(())
}

fn reap(pid: i32) -> Res<i32> {
    let mut status = -1;
    let got = poll_until(SOON, || {
        // SAFETY: `status` is ours.
        (unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid).then_some(())
    });
    ensure!(got.is_some(), "child {pid} does not end");
    Ok(status)
}

fn clone_files(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    for _ in 0..3 {
        board.raise(0, 0);
        let kid = clone_with_files(|| waits(board))?;
        echo_slowly(lab, &rig.p, 50)?;
        board.raise(0, 1);
        same!(reap(kid)?, 0, "child");
        lab.fast_again(&rig.p)?;
    }
    Ok(())
}

fn clone_files_replaces_descriptor(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (q, board) = (Pipe::new(0)?, Board::new()?);
    let keep = sys::dup(rig.p.w)?;
    let kid = clone_with_files(|| {
        let done = sys::dup2(q.w, rig.p.w);
        board.raise(0, 1);
        done?;
        ensure!(board.await_flag(1, 1), "nobody tells it to go on");
        Ok(())
    })?;
    ensure!(board.await_flag(0, 1), "the child");
    same!(sys::write(rig.p.w, b"elsewhere"), Ok(9), "write");
    expect(q.r, b"elsewhere")?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes in the old pipe");
    board.raise(1, 1);
    same!(reap(kid)?, 0, "child");
    sys::dup2(keep, rig.p.w)?;
    lab.fast_again(&rig.p)
}

fn unshare_files(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    let kid = clone_with_files(|| waits(board))?;
    // This process gets a table of its own: another address, the same descriptors.
    sys::sys(libc::SYS_unshare, &[libc::CLONE_FILES as usize])?;
    for i in 0..20 {
        echo(rig.p.r, rig.p.w, &noise(i, 20))?;
    }
    lab.fast_again(&rig.p)?;
    board.raise(0, 1);
    same!(reap(kid)?, 0, "child");
    lab.fast_again(&rig.p)
}

/// A ring with its mappings; dropped with the process.
struct Ring {
    fd: usize,
    sq: usize,
    sqes: usize,
    params: [u32; 30],
}

impl Ring {
    /// `io_uring_setup(2)` with eight entries.
    fn new(flags: u32) -> Result<Ring, Errno> {
        let mut params = [0u32; 30];
        params[2] = flags;
        params[4] = 50; // milliseconds after which the kernel's polling thread sleeps
        let fd = sys::sys(libc::SYS_io_uring_setup, &[8, params.as_mut_ptr() as usize])?;
        let at = |offset: usize, len: usize| {
            sys::sys(
                libc::SYS_mmap,
                &[0, len, 3, libc::MAP_SHARED as usize, fd, offset],
            )
        };
        Ok(Ring {
            fd,
            sq: at(0, 8192)?,
            sqes: at(0x1000_0000, 4096)?,
            params,
        })
    }

    /// Submits one write of `data` and waits until it is done.
    fn write(&self, fd: i32, data: &[u8]) -> Res {
        const IORING_OP_WRITE: u64 = 23;
        // Offsets of the submission ring: head, tail, mask, entries, flags, dropped, array.
        let (tail_at, mask_at, array_at) = (self.params[11], self.params[12], self.params[16]);
        let word = |off: u32| (self.sq + off as usize) as *mut u32;
        // SAFETY: the kernel gave these offsets for the mappings made in `new`; nobody else uses the ring.
        unsafe {
            let tail = *word(tail_at);
            let slot = tail & *word(mask_at);
            let sqe = (self.sqes + slot as usize * 64) as *mut u64;
            std::ptr::write_bytes(sqe, 0, 8);
            *sqe = IORING_OP_WRITE | (fd as u64) << 32;
            *sqe.add(1) = u64::MAX;
            *sqe.add(2) = data.as_ptr() as u64;
            *sqe.add(3) = data.len() as u64;
            *word(array_at).add(slot as usize) = slot;
            (*(word(tail_at) as *const std::sync::atomic::AtomicU32))
                .store(tail + 1, std::sync::atomic::Ordering::SeqCst);
        }
        // One to submit, wait for one, wake the polling thread.
        sys::sys(libc::SYS_io_uring_enter, &[self.fd, 1, 1, 1 | 2, 0, 0])?;
        Ok(())
    }
}

fn ring(flags: u32) -> Res<Ring> {
    match Ring::new(flags) {
        Ok(r) => Ok(r),
        Err(e @ (Errno::ENOSYS | Errno::EPERM)) => skip!("no io_uring here: {e}"),
        Err(e) => Err(e.into()),
    }
}

fn io_uring_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let ring = ring(0)?;
    for i in 0..20 {
        ring.write(rig.p.w, b"ring")?;
        same!(sys::write(rig.p.w, b"call"), Ok(4), "write");
        expect(rig.p.r, b"ringcall")?;
        echo(rig.p.r, rig.p.w, &noise(i, 20))?;
    }
    sys::close(ring.fd as i32)?;
    lab.fast_again(&rig.p)
}

fn io_uring_sqpoll(lab: &Lab) -> Res {
    const IORING_SETUP_SQPOLL: u32 = 2;
    let rig = lab.rig()?;
    let ring = ring(IORING_SETUP_SQPOLL)?;
    // The kernel's polling thread shares the descriptor table with this process.
    echo_slowly(lab, &rig.p, 20)?;
    for _ in 0..5 {
        ring.write(rig.p.w, b"poll")?;
        expect(rig.p.r, b"poll")?;
    }
    echo_slowly(lab, &rig.p, 20)?;
    sys::close(ring.fd as i32)?;
    // The mappings hold the ring; without them the thread goes.
    sys::unmap(ring.sq, 8192)?;
    sys::unmap(ring.sqes, 4096)?;
    lab.fast_again(&rig.p)
}
