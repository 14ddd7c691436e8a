//! Single-stepping: by the trap flag a process sets itself, and by a tracer.

use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, Lab, Res};
use crate::tests::support::looper::Looper;
use crate::tests::support::tracer::{registers, Tracer};
use crate::{area, ensure, same};
use std::arch::global_asm;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

area!("step": own_trap_flag_write, own_trap_flag_read, resume_flag, stepped_by_tracer);

extern "C" {
    /// One system call with the trap flag set; returns what the call returned.
    fn guest_stepped_call(nr: usize, fd: usize, addr: usize, n: usize) -> isize;
}

global_asm!(
    ".text",
    ".global guest_stepped_call",
    "guest_stepped_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "pushfq",
    "or qword ptr [rsp], 0x100",
    "popfq",
    "nop",
    "syscall",
    "mov r8, rax",
    "nop",
    "pushfq",
    "and qword ptr [rsp], -257",
    "popfq",
    "mov rax, r8",
    "ret",
);

const TRAPS: usize = 32;
static SEEN: AtomicUsize = AtomicUsize::new(0);
static WHERE: [AtomicU64; TRAPS] = [const { AtomicU64::new(0) }; TRAPS];

extern "C" fn on_trap(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context to a handler that asked for it.
    let rip = unsafe {
        (*(context as *const libc::ucontext_t)).uc_mcontext.gregs[libc::REG_RIP as usize]
    };
    if let Some(w) = WHERE.get(SEEN.fetch_add(1, Ordering::SeqCst)) {
        w.store(rip as u64, Ordering::SeqCst);
    }
}

/// Does the call step by step; returns its result and the addresses at which it trapped.
fn stepped(nr: usize, fd: i32, addr: usize, n: usize) -> (isize, Vec<u64>) {
    // SAFETY: installs a handler that only touches atomics.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut());
    }
    SEEN.store(0, Ordering::SeqCst);
    // SAFETY: the assembly does one system call and clobbers only what the ABI allows.
    let ret = unsafe { guest_stepped_call(nr, fd as usize, addr, n) };
    let seen = SEEN.load(Ordering::SeqCst);
    (
        ret,
        WHERE
            .iter()
            .take(seen)
            .map(|w| w.load(Ordering::SeqCst))
            .collect(),
    )
}

fn own_trap_flag_write(lab: &Lab) -> Res {
    let byte = [0x42u8];
    // What it looks like without the module in the way.
    let p = sys::Pipe::new(0)?;
    let (ret, stock) = stepped(1, p.w, byte.as_ptr() as usize, 1);
    same!(ret, 1, "stepped write on the stock path");
    ensure!(
        stock.len() >= 6,
        "only {} traps: stepping does not work here",
        stock.len()
    );
    let rig = lab.rig()?;
    lab.slow(rig.p.w, Write, 10, || {
        for _ in 0..10 {
            let (ret, traps) = stepped(1, rig.p.w, byte.as_ptr() as usize, 1);
            same!(ret, 1, "stepped write");
            same!(traps, stock, "addresses of the traps");
            expect(rig.p.r, &byte)?;
        }
        Ok(())
    })?;
    lab.fast_again(&rig.p)
}

fn own_trap_flag_read(lab: &Lab) -> Res {
    let mut byte = [0u8];
    let p = sys::Pipe::new(0)?;
    sys::write(p.w, b"s")?;
    let (ret, stock) = stepped(0, p.r, byte.as_mut_ptr() as usize, 1);
    same!(ret, 1, "stepped read on the stock path");
    let rig = lab.rig()?;
    lab.slow(rig.p.r, Read, 10, || {
        for i in 0..10u8 {
            same!(sys::write(rig.p.w, &[i]), Ok(1), "write");
            let (ret, traps) = stepped(0, rig.p.r, byte.as_mut_ptr() as usize, 1);
            same!(ret, 1, "stepped read");
            same!(byte, [i], "data");
            same!(traps, stock, "addresses of the traps");
        }
        Ok(())
    })?;
    lab.fast_again(&rig.p)
}

/// Alignment-check flag on and off around calls; RF cannot be set by `popf`, only by a handler's return.
fn resume_flag(lab: &Lab) -> Res {
    extern "C" fn set_rf(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: as in `on_trap`; bit 16 is RF.
        unsafe {
            (*(context as *mut libc::ucontext_t)).uc_mcontext.gregs[libc::REG_EFL as usize] |=
                1 << 16
        };
    }
    let rig = lab.rig()?;
    // SAFETY: installs the handler above.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = set_rf as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    for i in 0..20u8 {
        // SAFETY: signals this process.
        unsafe { libc::kill(sys::getpid(), libc::SIGUSR1) };
        echo(rig.p.r, rig.p.w, &[i])?;
    }
    lab.fast_again(&rig.p)
}

fn stepped_by_tracer(lab: &Lab) -> Res {
    let looper = Looper::start(lab)?;
    {
        let tracer = Tracer::stop(looper.kid.pid)?;
        let hits = lab.hits_of(looper.kid.pid, looper.w, Write);
        let done = looper.board.word(0);
        let (mut calls, mut before) = (0u64, registers(looper.kid.pid)?);
        let mut budget = 200_000;
        while calls < 20 && budget > 0 {
            budget -= 1;
            let text = tracer.peek(before.rip)?;
            tracer.step()?;
            let after = registers(looper.kid.pid)?;
            if text & 0xffff == 0x050f {
                // The step over `syscall` ends right behind it, the call done, all registers but three as before.
                same!(after.rip, before.rip + 2, "address after a stepped syscall");
                same!(after.rax, 1, "result of a stepped call");
                same!(after.rcx, after.rip, "rcx after a stepped call");
                same!(
                    (after.rdi, after.rsi, after.rdx, after.rsp),
                    (before.rdi, before.rsi, before.rdx, before.rsp),
                    "registers"
                );
                calls += 1;
            }
            before = after;
        }
        same!(calls, 20, "calls stepped over");
        let went = looper.board.word(0) - done;
        ensure!(
            (9..=11).contains(&went),
            "the process did {went} rounds in 20 stepped calls"
        );
        let hits2 = lab.hits_of(looper.kid.pid, looper.w, Write);
        ensure!(hits2 <= hits, "stepped calls ran specialized");
    }
    looper.fast_again(lab)?;
    looper.finish()
}
