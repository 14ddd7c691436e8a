//! This process as a tracer, by `ptrace(2)`.

use super::lab::{Res, SOON};
use crate::proc::poll_until;
use crate::sys;
use crate::{ensure, same};

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
    pub fn to_call(&self) -> Res<libc::user_regs_struct> {
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

/// A `ptrace(2)` request.
pub fn request(what: u32, pid: i32, addr: usize, data: usize) -> Res<usize> {
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
