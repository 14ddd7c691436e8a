//! ptrace and seccomp switched on in the middle of a stream: every call is seen from that moment on.

use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, Lab, Res};
use crate::{area, ensure, same};
use std::time::Duration;

area!("trace":
    ptrace_sees_every_call, ptrace_changes_a_call, ptrace_attach_storm, tsc_and_personality,
);

const SOON: Duration = Duration::from_secs(10);

/// A child that attaches itself and sends single bytes through its own pipe until it is told to stop.
///
/// Board: flag 0 ready, flag 1 stop; word 0 rounds done, word 1 set if a byte was wrong.
pub struct Looper {
    pub kid: Kid,
    pub board: &'static Board,
    pub r: i32,
    pub w: i32,
    _pipe: Pipe,
}

impl Looper {
    pub fn start(lab: &Lab) -> Res<Looper> {
        let (p, board) = (Pipe::new(0)?, Board::new()?);
        let (r, w) = (p.r, p.w);
        let kid = Kid::spawn(|| -> Res {
            let _me = lab.attach()?;
            lab.warm(&p)?;
            board.raise(0, 1);
            let mut i = 0u64;
            while board.flag(1) == 0 {
                echo(r, w, &[i as u8]).inspect_err(|_| board.put(1, 1))?;
                i += 1;
                board.put(0, i);
            }
            Ok(())
        })?;
        let l = Looper {
            kid,
            board,
            r,
            w,
            _pipe: p,
        };
        ensure!(
            l.board.await_flag(0, 1),
            "the looping process did not get ready"
        );
        Ok(l)
    }

    /// Waits until its calls run specialised, ten seconds at most.
    pub fn fast_again(&self, lab: &Lab) -> Res {
        if lab.stock {
            return Ok(());
        }
        let pid = self.kid.pid;
        let again = poll_until(SOON, || {
            let before = (
                lab.hits_of(pid, self.w, Write),
                lab.hits_of(pid, self.r, Read),
            );
            crate::proc::nap(2);
            let after = (
                lab.hits_of(pid, self.w, Write),
                lab.hits_of(pid, self.r, Read),
            );
            (after.0 > before.0 && after.1 > before.1).then_some(())
        });
        ensure!(
            again.is_some(),
            "does not become specialised again; state {:?}",
            lab.state_of(pid)
        );
        Ok(())
    }

    /// Demands that for a while its calls go on, but none of them specialised.
    pub fn slow_now(&self, lab: &Lab) -> Res {
        let pid = self.kid.pid;
        let before = (
            lab.hits_of(pid, self.w, Write),
            lab.hits_of(pid, self.r, Read),
            self.board.word(0),
        );
        let moved = poll_until(SOON, || (self.board.word(0) > before.2 + 200).then_some(()));
        ensure!(moved.is_some(), "the looping process stands still");
        let after = (
            lab.hits_of(pid, self.w, Write),
            lab.hits_of(pid, self.r, Read),
        );
        ensure!(
            after.0 <= before.0 && after.1 <= before.1,
            "calls ran specialised: {before:?} {after:?}"
        );
        Ok(())
    }

    /// Stops it; every byte must have been right.
    pub fn finish(mut self) -> Res {
        self.board.raise(1, 1);
        same!(
            self.kid.wait(SOON),
            Some(Ended::Exit(0)),
            "the looping process"
        );
        Ok(())
    }
}

/// This process as the tracer of another; lets it go when dropped.
pub struct Tracer {
    pid: i32,
}

impl Tracer {
    /// Seizes the process and stops it.
    pub fn stop(pid: i32) -> Res<Tracer> {
        request(
            libc::PTRACE_SEIZE,
            pid,
            0,
            libc::PTRACE_O_TRACESYSGOOD as usize,
        )?;
        let t = Tracer { pid };
        request(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
        t.wait()?;
        Ok(t)
    }

    /// Waits for the next stop: its signal number.
    fn wait(&self) -> Res<i32> {
        let mut status = 0;
        let got = poll_until(SOON, || {
            // SAFETY: `status` is ours.
            (unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL | libc::WNOHANG) }
                == self.pid)
                .then_some(())
        });
        ensure!(got.is_some(), "the traced process does not stop");
        ensure!(
            libc::WIFSTOPPED(status),
            "the traced process ended: {status:#x}"
        );
        Ok(libc::WSTOPSIG(status))
    }

    /// Runs to the next system call's entry or exit.
    fn to_call(&self) -> Res<libc::user_regs_struct> {
        request(libc::PTRACE_SYSCALL, self.pid, 0, 0)?;
        same!(self.wait()?, libc::SIGTRAP | 0x80, "kind of stop");
        registers(self.pid)
    }

    /// Runs one instruction.
    pub fn step(&self) -> Res {
        request(libc::PTRACE_SINGLESTEP, self.pid, 0, 0)?;
        same!(self.wait()?, libc::SIGTRAP, "kind of stop");
        Ok(())
    }

    /// Eight bytes of its memory.
    pub fn peek(&self, addr: u64) -> Res<u64> {
        let mut word = 0u64;
        let (mine, its) = ([&mut word as *mut u64 as usize, 8], [addr as usize, 8]);
        let args = [
            self.pid as usize,
            mine.as_ptr() as usize,
            1,
            its.as_ptr() as usize,
            1,
            0,
        ];
        sys::sys(libc::SYS_process_vm_readv, &args)?;
        Ok(word)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = request(libc::PTRACE_DETACH, self.pid, 0, 0);
    }
}

fn request(what: u32, pid: i32, addr: usize, data: usize) -> Res<usize> {
    Ok(sys::sys(
        libc::SYS_ptrace,
        &[what as usize, pid as usize, addr, data],
    )?)
}

/// Registers of a stopped process.
pub fn registers(pid: i32) -> Res<libc::user_regs_struct> {
    // SAFETY: zeroes are a valid value, and the kernel fills it.
    let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request(
        libc::PTRACE_GETREGS,
        pid,
        0,
        &mut regs as *mut libc::user_regs_struct as usize,
    )?;
    Ok(regs)
}

fn ptrace_sees_every_call(lab: &Lab) -> Res {
    let looper = Looper::start(lab)?;
    for _ in 0..3 {
        {
            let t = Tracer::stop(looper.kid.pid)?;
            // The next entries alternate strictly; find a write to begin with.
            let mut entry = t.to_call()?;
            if entry.orig_rax == 0 {
                t.to_call()?;
                entry = t.to_call()?;
            }
            let rounds = looper.board.word(0);
            let hits = lab.hits_of(looper.kid.pid, looper.w, Write);
            for i in 0..50 {
                same!(
                    (entry.orig_rax, entry.rdi as i32, entry.rdx),
                    (1, looper.w, 1),
                    "entry {i} must be the write"
                );
                same!(
                    t.peek(entry.rsi)? as u8,
                    (rounds + i) as u8,
                    "byte of write {i}"
                );
                same!(t.to_call()?.rax, 1, "result of write {i}");
                let read = t.to_call()?;
                same!(
                    (read.orig_rax, read.rdi as i32),
                    (0, looper.r),
                    "entry {i} must be the read"
                );
                same!(t.to_call()?.rax, 1, "result of read {i}");
                entry = t.to_call()?;
                same!(
                    looper.board.word(0),
                    rounds + i + 1,
                    "rounds of the process"
                );
            }
            let hits2 = lab.hits_of(looper.kid.pid, looper.w, Write);
            ensure!(hits2 <= hits, "traced calls ran specialised");
            t.to_call()?;
        }
        looper.fast_again(lab)?;
    }
    looper.finish()
}

/// A tracer replaces the result: the process must get the tracer's.
fn ptrace_changes_a_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    let kid = Kid::spawn(|| -> Res {
        let _me = lab.attach()?;
        let p = Pipe::new(0)?;
        lab.warm(&p)?;
        board.raise(0, 1);
        loop {
            let got = sys::write(p.w, b"four");
            board.put(0, got.map_or_else(|e| 1000 + e as u64, |n| n as u64));
            board.add(1, 1);
            let mut b = [0; 4];
            let _ = sys::read(p.r, &mut b);
            if board.flag(1) == 1 {
                return Ok(());
            }
        }
    })?;
    ensure!(board.await_flag(0, 1), "the child did not get ready");
    {
        let t = Tracer::stop(kid.pid)?;
        let mut regs = t.to_call()?;
        while regs.orig_rax != 1 {
            regs = t.to_call()?;
        }
        let mut exit = t.to_call()?;
        exit.rax = (-(libc::EDQUOT as i64)) as u64;
        request(
            libc::PTRACE_SETREGS,
            kid.pid,
            0,
            &exit as *const libc::user_regs_struct as usize,
        )?;
        t.to_call()?;
        same!(
            board.word(0),
            1000 + libc::EDQUOT as u64,
            "result as the tracer set it"
        );
    }
    board.raise(1, 1);
    lab.warm(&rig.p)
}

fn ptrace_attach_storm(lab: &Lab) -> Res {
    let looper = Looper::start(lab)?;
    for _ in 0..60 {
        let t = Tracer::stop(looper.kid.pid)?;
        t.to_call()?;
        drop(t);
    }
    looper.fast_again(lab)?;
    looper.finish()
}

/// Other per-task settings of the processor that are switched together with the vector.
fn tsc_and_personality(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // ADDR_NO_RANDOMIZE, to no effect on what is mapped already.
    sys::sys(libc::SYS_personality, &[0x0040000])?;
    lab.fast_again(&rig.p)?;
    sys::sys(
        libc::SYS_sched_setaffinity,
        &[0, 8, [1u64].as_ptr() as usize],
    )?;
    lab.fast_again(&rig.p)?;
    let all = [u64::MAX];
    sys::sys(libc::SYS_sched_setaffinity, &[0, 8, all.as_ptr() as usize])?;
    // From CPU to CPU: the vector must come along.
    for cpu in [0u64, 1, 0, 1, 0] {
        let mask = [1u64 << cpu];
        if sys::sys(libc::SYS_sched_setaffinity, &[0, 8, mask.as_ptr() as usize]).is_ok() {
            lab.fast_again(&rig.p)?;
        }
    }
    Ok(())
}
