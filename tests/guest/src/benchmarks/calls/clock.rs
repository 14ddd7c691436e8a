//! The clock: `rdtsc` right before and right after `syscall`.
//!
//! Under an instruction-counting machine the counter ticks once per instruction, so the difference, less that of the same
//! instructions without `syscall`, is what the call cost from the `syscall` itself to the first instruction after it.
//! `lfence` keeps the pair in order on real processors; it is in both measurements and so cancels out.

use super::mark;
use crate::sys;
use std::arch::asm;

/// A call with up to three arguments.
#[derive(Clone, Copy)]
pub struct Req {
    pub nr: i64,
    pub a: [usize; 3],
}

impl Req {
    pub fn write(fd: i32, data: &[u8]) -> Req {
        Req {
            nr: libc::SYS_write,
            a: [fd as usize, data.as_ptr() as usize, data.len()],
        }
    }

    pub fn read(fd: i32, data: &mut [u8]) -> Req {
        Req {
            nr: libc::SYS_read,
            a: [fd as usize, data.as_mut_ptr() as usize, data.len()],
        }
    }
}

/// What one or two calls took and returned.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    pub ticks: u64,
    pub ret: [isize; 2],
}

macro_rules! single {
    ($call:literal, $r:expr $(, $name:ident = $mark:expr)*) => {{
        let (ticks, ret): (u64, isize);
        // SAFETY: the kernel checks the pointers; all clobbered registers are listed.
        unsafe {
            asm!(
                "lfence", "rdtsc", "shl rdx, 32", "or rdx, rax", "mov r8, rdx",
                "mov rdx, r9", "mov rax, r10",
                $call,
                "mov r9, rax",
                "lfence", "rdtsc", "shl rdx, 32", "or rax, rdx", "sub rax, r8",
                $($name = const $mark,)*
                in("rdi") $r.a[0],
                in("rsi") $r.a[1],
                inlateout("r9") $r.a[2] => ret,
                inlateout("r10") $r.nr => _,
                lateout("rax") ticks,
                lateout("rdx") _, lateout("rcx") _, lateout("r11") _, lateout("r8") _,
                options(nostack),
            );
        }
        (ticks, ret)
    }};
}

macro_rules! double {
    ($call:literal, $p:expr, $q:expr) => {{
        let (ticks, one, two): (u64, isize, isize);
        // SAFETY: as above.
        unsafe {
            asm!(
                "lfence", "rdtsc", "shl rdx, 32", "or rdx, rax", "mov r8, rdx",
                "mov rdx, r9", "mov rax, r10",
                $call,
                "mov r10, rax", "mov rdi, r12", "mov rsi, r13", "mov rdx, r14", "mov rax, r15",
                $call,
                "mov r9, rax",
                "lfence", "rdtsc", "shl rdx, 32", "or rax, rdx", "sub rax, r8",
                inlateout("rdi") $p.a[0] => _,
                inlateout("rsi") $p.a[1] => _,
                inlateout("r9") $p.a[2] => two,
                inlateout("r10") $p.nr => one,
                in("r12") $q.a[0],
                in("r13") $q.a[1],
                in("r14") $q.a[2],
                in("r15") $q.nr,
                lateout("rax") ticks,
                lateout("rdx") _, lateout("rcx") _, lateout("r11") _, lateout("r8") _,
                options(nostack),
            );
        }
        (ticks, one, two)
    }};
}

/// Ticks of the measuring itself, found once.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    single: u64,
    double: u64,
    marks: bool,
}

/// Instructions that the two marks are.
const MARKS: u64 = 2;

impl Clock {
    /// Measures the empty pairs; the least of many is the cost without an interrupt in between.
    pub fn new() -> Clock {
        let nothing = Req { nr: 0, a: [0; 3] };
        let single = (0..100).map(|_| single!("", nothing).0).min().unwrap_or(0);
        let double = (0..100)
            .map(|_| double!("", nothing, nothing).0)
            .min()
            .unwrap_or(0);
        Clock {
            single,
            double,
            marks: false,
        }
    }

    /// The same clock; [`Clock::one`] marks each call for the QEMU plugin that counts instructions.
    pub fn with_marks(self) -> Clock {
        Clock {
            marks: true,
            ..self
        }
    }

    /// Ticks of one call, `syscall` included.
    #[inline(never)]
    pub fn one(&self, r: Req) -> Timed {
        let (ticks, ret, own) = if self.marks {
            let (ticks, ret) = single!(
                ".quad {begin}\n syscall\n .quad {end}",
                r,
                begin = mark::BEGIN,
                end = mark::END
            );
            (ticks, ret, self.single + MARKS)
        } else {
            let (ticks, ret) = single!("syscall", r);
            (ticks, ret, self.single)
        };
        Timed {
            ticks: ticks.saturating_sub(own),
            ret: [ret, 0],
        }
    }

    /// Ticks of two calls in a row, both `syscall`s included.
    #[inline(never)]
    pub fn two(&self, p: Req, q: Req) -> Timed {
        let (ticks, one, two) = double!("syscall", p, q);
        Timed {
            ticks: ticks.saturating_sub(self.double),
            ret: [one, two],
        }
    }

    /// Whether a thousand instructions take a thousand ticks: only then are the figures instructions.
    pub fn counts_instructions(&self) -> bool {
        let nothing = Req { nr: 0, a: [0; 3] };
        (0..20).any(|_| {
            single!(".rept 1000\n nop\n .endr", nothing)
                .0
                .saturating_sub(self.single)
                == 1000
        })
    }
}

/// Raises the fault-in of a buffer before it is measured, so that no figure contains a page fault.
pub fn touch(data: &mut [u8]) {
    for page in data.chunks_mut(4096) {
        if let Some(b) = page.first_mut() {
            // SAFETY: a plain store through a valid reference, volatile so that it is not optimised away.
            unsafe { std::ptr::write_volatile(b, *b) };
        }
    }
    let _ = sys::getpid();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_do_the_calls() {
        let c = Clock::new();
        let p = sys::Pipe::new(0).unwrap();
        let mut got = [0u8; 4];
        assert_eq!(c.one(Req::write(p.w, b"ab")).ret[0], 2);
        assert_eq!(c.one(Req::read(p.r, &mut got)).ret[0], 2);
        assert_eq!(
            c.two(Req::write(p.w, b"xyz"), Req::read(p.r, &mut got)).ret,
            [3, 3]
        );
        assert_eq!(&std::mem::take(&mut got), b"xyz\0");
        // The marks are instructions that do nothing.
        let marked = c.with_marks();
        assert_eq!(marked.one(Req::write(p.w, b"ab")).ret[0], 2);
        assert_eq!(marked.one(Req::read(p.r, &mut got)).ret[0], 2);
        assert_eq!(&got, b"ab\0\0");
        assert!(
            c.one(Req {
                nr: 100_000,
                a: [0; 3]
            })
            .ret[0]
                == -38
        );
    }
}
