//! Registers: a specialized call, and one that bails out, must leave them exactly as the stock call does.

use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect_of, Lab, Res};
use crate::{area, ensure, same};
use std::arch::global_asm;

area!("regs":
    kept_over_fast_write, kept_over_fast_read, kept_over_bail, kept_over_fault, kept_over_tail_wakeup, flags_kept, stack_below_is_untouched,
    odd_stack_pointers, segment_bases_kept,
);

/// Registers in the order that the assembly stores them, then the sixteen vector registers.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Regs {
    xmm: [[u64; 2]; 16],
    rax: u64,
    rbx: u64,
    rcx: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    rbp: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    /// Flags right before and right after `syscall`.
    flags: u64,
    /// Difference of the stack pointer before and after.
    rsp_moved: u64,
    /// Address of the instruction after `syscall`, written by the assembly.
    next_rip: u64,
}

extern "C" {
    /// Loads all registers from `r`, does `syscall`, stores all registers back.
    fn guest_call_with_regs(r: *mut Regs);
}

global_asm!(
    ".text",
    ".global guest_call_with_regs",
    "guest_call_with_regs:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "push rdi",
    "pushfq",
    // The flags wanted at the call; loaded last, since the loads in between must run without single-step or direction.
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movaps xmm\\n, [rdi + 16*\\n]",
    ".endr",
    "mov rax, [rdi + 256]",
    "mov rbx, [rdi + 264]",
    "mov rcx, [rdi + 272]",
    "mov rdx, [rdi + 280]",
    "mov rsi, [rdi + 288]",
    "mov rbp, [rdi + 304]",
    "mov r8, [rdi + 312]",
    "mov r9, [rdi + 320]",
    "mov r10, [rdi + 328]",
    "mov r11, [rdi + 336]",
    "mov r12, [rdi + 344]",
    "mov r13, [rdi + 352]",
    "mov r14, [rdi + 360]",
    "mov r15, [rdi + 368]",
    "push qword ptr [rdi + 376]",
    "mov rdi, [rdi + 296]",
    "mov [rip + guest_rsp_before], rsp",
    "popfq",
    "syscall",
    ".global guest_after_syscall",
    "guest_after_syscall:",
    // Only moves until the flags are saved.
    "mov [rip + guest_rsp_after], rsp",
    "mov rsp, [rip + guest_rsp_before]",
    "lea rsp, [rsp + 8]",
    "pushfq",
    "cld",
    "push rdi",
    "mov rdi, [rsp + 24]",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
    "movaps [rdi + 16*\\n], xmm\\n",
    ".endr",
    "mov [rdi + 256], rax",
    "mov [rdi + 264], rbx",
    "mov [rdi + 272], rcx",
    "mov [rdi + 280], rdx",
    "mov [rdi + 288], rsi",
    "mov [rdi + 304], rbp",
    "mov [rdi + 312], r8",
    "mov [rdi + 320], r9",
    "mov [rdi + 328], r10",
    "mov [rdi + 336], r11",
    "mov [rdi + 344], r12",
    "mov [rdi + 352], r13",
    "mov [rdi + 360], r14",
    "mov [rdi + 368], r15",
    "pop rax",
    "mov [rdi + 296], rax",
    "pop rax",
    "mov [rdi + 376], rax",
    // The stack pointer at `syscall` was eight above what was noted before `popfq`.
    "mov rax, [rip + guest_rsp_after]",
    "sub rax, [rip + guest_rsp_before]",
    "sub rax, 8",
    "mov [rdi + 384], rax",
    "lea rax, [rip + guest_after_syscall]",
    "mov [rdi + 392], rax",
    "popfq",
    "pop rdi",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    ".bss",
    ".balign 8",
    "guest_rsp_before: .quad 0",
    "guest_rsp_after: .quad 0",
    ".text",
);

/// Every register with a value of its own, the arguments set.
fn pattern(nr: i64, fd: i32, addr: usize, n: usize, flags: u64) -> Regs {
    let v = |i: u64| 0x0101_0101_0101_0101u64.wrapping_mul(i) ^ 0x8000_7fff_1234_5678;
    let mut xmm = [[0; 2]; 16];
    for (i, x) in xmm.iter_mut().enumerate() {
        *x = [v(100 + i as u64), v(200 + i as u64)];
    }
    Regs {
        xmm,
        rax: nr as u64,
        rbx: v(1),
        rcx: v(2),
        rdx: n as u64,
        rsi: addr as u64,
        rdi: fd as u64,
        rbp: v(6),
        r8: v(8),
        r9: v(9),
        r10: v(10),
        r11: v(11),
        r12: v(12),
        r13: v(13),
        r14: v(14),
        r15: v(15),
        flags,
        rsp_moved: 0,
        next_rip: 0,
    }
}

/// Interrupts enabled and the bit that is always one.
const PLAIN_FLAGS: u64 = 0x202;

/// Does the call with patterned registers; all but rax, rcx and r11 must come back, those with what the ABI says.
fn call_keeps(nr: i64, fd: i32, addr: usize, n: usize, flags: u64, ret: i64) -> Res {
    let before = pattern(nr, fd, addr, n, flags);
    let mut after = before;
    // SAFETY: the structure has the layout that the assembly expects and outlives the call.
    unsafe { guest_call_with_regs(&mut after) };
    same!(after.rax as i64, ret, "rax");
    same!(
        after.rcx,
        after.next_rip,
        "rcx must hold the return address"
    );
    same!(after.r11, after.flags, "r11 must hold the flags");
    same!(after.flags, flags, "flags");
    same!(after.rsp_moved, 0, "rsp");
    let mut want = before;
    (want.rax, want.rcx, want.r11, want.next_rip) =
        (after.rax, after.rcx, after.r11, after.next_rip);
    for (name, a, b) in [
        ("rbx", after.rbx, want.rbx),
        ("rdx", after.rdx, want.rdx),
        ("rsi", after.rsi, want.rsi),
        ("rdi", after.rdi, want.rdi),
        ("rbp", after.rbp, want.rbp),
        ("r8", after.r8, want.r8),
        ("r9", after.r9, want.r9),
        ("r10", after.r10, want.r10),
        ("r12", after.r12, want.r12),
        ("r13", after.r13, want.r13),
        ("r14", after.r14, want.r14),
        ("r15", after.r15, want.r15),
    ] {
        ensure!(a == b, "{name} is {a:#x}, was {b:#x}");
    }
    for (i, (a, b)) in after.xmm.iter().zip(&want.xmm).enumerate() {
        ensure!(a == b, "xmm{i} changed");
    }
    ensure!(after == want, "a register changed");
    Ok(())
}

fn kept_over_fast_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = [0x77u8; 4096];
    for n in [1, 2, 63, 64, 4096] {
        lab.fast(&[(rig.p.w, Write, 1)], || {
            call_keeps(
                libc::SYS_write,
                rig.p.w,
                data.as_ptr() as usize,
                n,
                PLAIN_FLAGS,
                n as i64,
            )?;
            expect_of(rig.p.r, 4096, &data[..n])
        })?;
    }
    lab.fast(&[(rig.p.w, Write, 2)], || {
        for _ in 0..2 {
            call_keeps(
                libc::SYS_write,
                rig.p.w,
                data.as_ptr() as usize,
                7,
                PLAIN_FLAGS,
                7,
            )?;
        }
        expect_of(rig.p.r, 4096, &data[..14])
    })
}

fn kept_over_fast_read(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut back = [0u8; 4096];
    for (there, ask) in [(1, 1), (10, 4), (10, 100), (4096, 4096), (64, 4096)] {
        let n = there.min(ask);
        lab.fast(&[(rig.p.r, Read, 1)], || {
            same!(
                sys::write(rig.p.w, &[0x66; 4096][..there]),
                Ok(there),
                "write"
            );
            call_keeps(
                libc::SYS_read,
                rig.p.r,
                back.as_mut_ptr() as usize,
                ask,
                PLAIN_FLAGS,
                n as i64,
            )?;
            ensure!(back[..n].iter().all(|b| *b == 0x66), "data");
            back.fill(0);
            sys::set_flag(rig.p.r, libc::O_NONBLOCK, true)?;
            let mut rest = vec![0; 4096];
            // The rest, if any: by another call than read, so that only one read is counted.
            if there > n {
                let iov = [rest.as_mut_ptr() as usize, 4096];
                sys::sys(
                    libc::SYS_readv,
                    &[rig.p.r as usize, iov.as_ptr() as usize, 1],
                )?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn kept_over_bail(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let mut back = [0u8; 8];
    let at = back.as_mut_ptr() as usize;
    lab.slow(rig.p.r, Read, 2, || {
        for _ in 0..2 {
            call_keeps(
                libc::SYS_read,
                rig.p.r,
                at,
                8,
                PLAIN_FLAGS,
                -i64::from(libc::EAGAIN),
            )?;
        }
        Ok(())
    })?;
    lab.slow(rig.p.w, Write, 2, || {
        call_keeps(libc::SYS_write, rig.p.w, at, 0, PLAIN_FLAGS, 0)?;
        let page = vec![1u8; 5000];
        call_keeps(
            libc::SYS_write,
            rig.p.w,
            page.as_ptr() as usize,
            5000,
            PLAIN_FLAGS,
            5000,
        )
    })?;
    expect_of(rig.p.r, 6000, &[1; 5000])
}

fn kept_over_fault(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let edge = sys::map(8192, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    sys::unmap(edge + 4096, 4096)?;
    let fault = -i64::from(libc::EFAULT);
    lab.slow(rig.p.w, Write, 2, || {
        for addr in [edge + 4093, 8] {
            call_keeps(libc::SYS_write, rig.p.w, addr, 8, PLAIN_FLAGS, fault)?;
        }
        Ok(())
    })?;
    same!(sys::write(rig.p.w, b"12345678"), Ok(8), "write");
    lab.slow(rig.p.r, Read, 2, || {
        for addr in [edge + 4093, usize::MAX - 100] {
            call_keeps(libc::SYS_read, rig.p.r, addr, 8, PLAIN_FLAGS, fault)?;
        }
        Ok(())
    })?;
    expect_of(rig.p.r, 100, b"12345678")?;
    sys::unmap(edge, 4096)?;
    Ok(())
}

fn kept_over_tail_wakeup(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let r = rig.p.r;
    for _ in 0..5 {
        let mut kid = crate::proc::Kid::spawn(|| -> Res {
            same!(sys::read(r, &mut [0; 4]), Ok(4), "read");
            Ok(())
        })?;
        ensure!(
            crate::proc::await_sleep(kid.pid),
            "the reader does not sleep"
        );
        call_keeps(
            libc::SYS_write,
            rig.p.w,
            b"wake".as_ptr() as usize,
            4,
            PLAIN_FLAGS,
            4,
        )?;
        same!(
            kid.wait(std::time::Duration::from_secs(10)),
            Some(crate::proc::Ended::Exit(0)),
            "the reader"
        );
    }
    Ok(())
}

/// Direction, alignment check, identification, carry, overflow and friends survive and disturb nothing.
fn flags_kept(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (data, mut back) = ([5u8; 33], [0u8; 33]);
    let arithmetic = 0x8d5; // CF PF AF ZF SF OF
    let direction = 1 << 10;
    let identification = 1 << 21;
    // With this one misaligned accesses of user code fault; the kernel's copy must not care.
    let alignment = 1 << 18;
    for extra in [
        0,
        arithmetic,
        direction,
        identification,
        alignment,
        arithmetic | direction | identification | alignment,
    ] {
        let flags = PLAIN_FLAGS | extra;
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            call_keeps(
                libc::SYS_write,
                rig.p.w,
                data.as_ptr() as usize,
                33,
                flags,
                33,
            )?;
            call_keeps(
                libc::SYS_read,
                rig.p.r,
                back.as_mut_ptr() as usize,
                33,
                flags,
                33,
            )?;
            same!(back[..], data[..], "data");
            back = [0; 33];
            Ok(())
        })?;
    }
    Ok(())
}

/// The red zone below the stack pointer belongs to the program.
fn stack_below_is_untouched(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let byte = [1u8];
    for _ in 0..50 {
        let (changed, ret): (u64, isize);
        // SAFETY: fills and checks the 128 bytes below the stack pointer around a write; no call in between uses the stack.
        unsafe {
            std::arch::asm!(
                "lea r8, [rsp - 128]", "mov r9, 0x5aa55aa55aa55aa5",
                "2: mov [r8], r9", "add r8, 8", "cmp r8, rsp", "jb 2b",
                "syscall",
                "lea r8, [rsp - 128]", "xor r10d, r10d",
                "2: cmp [r8], r9", "setne r10b", "jne 3f", "add r8, 8", "cmp r8, rsp", "jb 2b",
                "3:",
                inlateout("rax") 1usize => ret,
                in("rdi") rig.p.w as usize, in("rsi") byte.as_ptr() as usize, in("rdx") 1usize,
                lateout("r8") _, lateout("r9") _, lateout("r10") changed,
                lateout("rcx") _, lateout("r11") _,
            );
        }
        same!(ret, 1, "write");
        same!(changed, 0, "red zone changed");
        expect_of(rig.p.r, 8, &[1])?;
    }
    Ok(())
}

/// The stack pointer is any number to the kernel; nothing may be stored where it points.
fn odd_stack_pointers(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (out, mut back) = ([7u8; 16], [0u8; 16]);
    for odd in [
        0usize,
        8,
        0x1234_5678_9abc_def1,
        usize::MAX,
        0xffff_ffff_8100_0000,
        0x0000_8000_0000_0000,
    ] {
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            for (nr, fd, at) in [
                (1usize, rig.p.w, out.as_ptr() as usize),
                (0, rig.p.r, back.as_mut_ptr() as usize),
            ] {
                let (ret, same): (isize, usize);
                // SAFETY: the stack pointer is given back before anything uses the stack; this process handles no signals here.
                unsafe {
                    std::arch::asm!(
                        "mov r12, rsp", "mov rsp, r13", "syscall", "mov r13, rsp", "mov rsp, r12",
                        inlateout("rax") nr => ret,
                        in("rdi") fd as usize, in("rsi") at, in("rdx") 16usize,
                        out("r12") _, inlateout("r13") odd => same,
                        lateout("rcx") _, lateout("r11") _,
                    );
                }
                same!(ret, 16, "call {nr} with stack pointer {odd:#x}");
                same!(same, odd, "stack pointer after call {nr}");
            }
            same!(back, out, "data");
            back = [0; 16];
            Ok(())
        })?;
    }
    Ok(())
}

/// The bases of fs (used by every thread for its own data) and of gs (used by few).
fn segment_bases_kept(lab: &Lab) -> Res {
    const ARCH_SET_GS: usize = 0x1001;
    const ARCH_GET_FS: usize = 0x1003;
    const ARCH_GET_GS: usize = 0x1004;
    let rig = lab.rig()?;
    let get = |which: usize| -> Res<u64> {
        let mut base = 0u64;
        sys::sys(
            libc::SYS_arch_prctl,
            &[which, &mut base as *mut u64 as usize],
        )?;
        Ok(base)
    };
    let mine = [0x1122_3344_5566_7788u64, 0];
    let fs = get(ARCH_GET_FS)?;
    sys::sys(libc::SYS_arch_prctl, &[ARCH_SET_GS, mine.as_ptr() as usize])?;
    for _ in 0..50 {
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, b"gs")
        })?;
        // A bail-out, which swaps twice more.
        same!(sys::write_at(rig.p.w, 0, 0), Ok(0), "write of nothing");
        let seen: u64;
        // SAFETY: gs points at `mine`.
        unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) seen, options(nostack, readonly)) };
        same!(seen, mine[0], "what gs points at");
        same!(get(ARCH_GET_GS)?, mine.as_ptr() as u64, "base of gs");
        same!(get(ARCH_GET_FS)?, fs, "base of fs");
    }
    sys::sys(libc::SYS_arch_prctl, &[ARCH_SET_GS, 0])?;
    Ok(())
}
