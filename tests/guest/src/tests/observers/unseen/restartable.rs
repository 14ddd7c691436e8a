//! The kernel's own check of restartable sequences, a static key: with it on, a process that makes a system call within one ends with
//! SIGSEGV (`rseq_debug_syscall_return()`, include/linux/rseq_entry.h).

use super::fast_again;
use crate::proc::{nap, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop, SOON};
use crate::{area, ensure, same, skip};
use std::arch::asm;

area!("unseen": call_within_a_restartable_sequence = 120, check_was_on_before_the_module = 120);

const SWITCH: &str = "/sys/kernel/debug/rseq/debug";

extern "C" {
    static __rseq_offset: isize;
    static __rseq_size: u32;
}

/// `struct rseq_cs` (include/uapi/linux/rseq.h).
#[repr(C, align(32))]
#[derive(Default)]
struct Sequence {
    version: u32,
    flags: u32,
    start: u64,
    length: u64,
    abort: u64,
}

/// Where the C library has registered this thread's `rseq_cs`.
fn registered() -> Option<*mut u64> {
    let thread: usize;
    // SAFETY: The C library sets both before main; fs:0 holds the thread's own address.
    let (offset, size) = unsafe {
        asm!("mov {}, fs:0", out(reg) thread, options(nostack, readonly));
        (__rseq_offset, __rseq_size)
    };
    (size != 0).then(|| thread.wrapping_add_signed(offset).wrapping_add(8) as *mut u64)
}

/// `write(2)` of one byte within a sequence; `None` if the kernel restarted it.
fn write_within(registered: *mut u64, fd: i32) -> Option<isize> {
    let mut sequence = Sequence::default();
    let byte = [7u8];
    let result: isize;
    // SAFETY: The sequence outlives its registration, which ends behind it; the abort handler has the signature that the C library
    // registers (RSEQ_SIG) before it.
    unsafe {
        asm!(
            "lea rax, [rip + 22f]",
            "mov [{seq} + 8], rax",
            "lea rcx, [rip + 23f]",
            "sub rcx, rax",
            "mov [{seq} + 16], rcx",
            "lea rax, [rip + 24f]",
            "mov [{seq} + 24], rax",
            "mov [{slot}], {seq}",
            "22: mov eax, 1",
            "syscall",
            "nop",
            "23: mov qword ptr [{slot}], 0",
            "jmp 25f",
            ".long 0x53053053",
            "24: mov rax, -9999",
            "25:",
            seq = in(reg) &mut sequence,
            slot = in(reg) registered,
            out("rax") result,
            in("rdi") fd as isize,
            in("rsi") byte.as_ptr(),
            in("rdx") 1,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    (result != -9999).then_some(result)
}

/// How a child ends that writes within sequences, attached and with warm paths, once `go` has been raised.
fn child(lab: &Lab, board: &'static Board, warm: bool) -> Res<Kid> {
    Ok(Kid::spawn(|| -> Res {
        let p = Pipe::new(0)?;
        let _me = lab.attach()?;
        if warm {
            lab.warm(&p)?;
        }
        // Outside of sequences the check finds nothing, and paths would be made.
        for i in 0..20 {
            echo(p.r, p.w, &[i])?;
            nap(2);
        }
        board.raise(0, 1);
        ensure!(board.await_flag(1, 1), "nobody says go");
        let Some(registered) = registered() else {
            skip!("the C library has registered no restartable sequences");
        };
        for _ in 0..200 {
            if let Some(result) = write_within(registered, p.w) {
                same!(result, 1, "write");
                same!(sys::read(p.r, &mut [0]), Ok(1), "read");
            }
        }
        Ok(())
    })?)
}

fn switch(on: &str) -> Res {
    match sys::write_text(SWITCH, on) {
        Ok(_) => Ok(()),
        Err(nix::errno::Errno::ENOENT) => skip!("this kernel has no {SWITCH}"),
        Err(e) => Err(Stop::Fail(format!("{SWITCH}: {e}"))),
    }
}

/// Switches the check off when a test ends, however it ends.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        let _ = sys::write_text(SWITCH, "0");
    }
}

fn call_within_a_restartable_sequence(lab: &Lab) -> Res {
    switch("0")?;
    let _off = Off;
    let rig = lab.rig()?;
    for round in 0..3 {
        let board = Board::new()?;
        let mut kid = child(lab, board, true)?;
        ensure!(board.await_flag(0, 1), "the child did not get ready");
        switch("1")?;
        board.raise(1, 1);
        same!(
            kid.wait(SOON),
            Some(Ended::Signal(libc::SIGSEGV)),
            "the child of round {round}"
        );
        switch("0")?;
        fast_again(lab, &rig.p)?;
    }
    // Without the check it lives.
    let board = Board::new()?;
    let mut kid = child(lab, board, true)?;
    board.raise(1, 1);
    same!(
        kid.wait(SOON),
        Some(Ended::Exit(0)),
        "the child without the check"
    );
    Ok(())
}

fn check_was_on_before_the_module(lab: &Lab) -> Res {
    needs_module(lab)?;
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    let _off = Off;
    switch("1")?;
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    let board = Board::new()?;
    let mut kid = child(lab, board, false)?;
    board.raise(1, 1);
    same!(
        kid.wait(SOON),
        Some(Ended::Signal(libc::SIGSEGV)),
        "the child"
    );
    switch("0")?;
    let p = Pipe::new(0)?;
    let _me = lab.attach()?;
    fast_again(lab, &p)
}
