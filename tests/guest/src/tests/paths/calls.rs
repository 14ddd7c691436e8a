//! The vector: calls and descriptors without a path, and call numbers and descriptors with dirt in their upper halves.

use crate::sys::{self, call, split};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, Lab, Res};
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("calls":
    unknown_numbers, number_with_dirty_upper_half, descriptor_with_dirty_upper_half, huge_descriptors, no_path_descriptors, many_descriptors_without_path,
    every_other_call, legacy_entry,
);

fn unknown_numbers(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for nr in [
        1000usize,
        9999,
        0x4000_0000,
        0x4000_0001,
        0x7fff_ffff,
        0x8000_0000,
        0x8000_0001,
        0xffff_ffff,
        usize::MAX,
    ] {
        let got = call(nr, [rig.p.w, 0, 0, 0, 0, 0].map(|v| v as usize));
        // The x32 numbers are calls only where the kernel has that ABI.
        ensure!(
            split(got) == Err(Errno::ENOSYS),
            "call {nr:#x} returned {got}"
        );
    }
    same!(sys::fionread(rig.p.r), Ok(0), "bytes in the pipe");
    lab.fast_again(&rig.p)
}

fn number_with_dirty_upper_half(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (out, mut back) = (*b"dirt", [0u8; 4]);
    for dirt in [1usize << 32, 0xffff_ffff << 32, 1 << 63, 0x8000_0000 << 32] {
        // The kernel looks at the lower half only.
        let w = call(
            dirt | 1,
            [rig.p.w as usize, out.as_ptr() as usize, 4, 0, 0, 0],
        );
        same!(w, 4, "write with number {:#x}", dirt | 1);
        let r = call(
            dirt,
            [rig.p.r as usize, back.as_mut_ptr() as usize, 4, 0, 0, 0],
        );
        same!(r, 4, "read with number {dirt:#x}");
        same!(back, out, "data");
    }
    lab.fast_again(&rig.p)
}

fn descriptor_with_dirty_upper_half(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (out, mut back) = (*b"dust", [0u8; 4]);
    for dirt in [1usize << 32, 0xffff_ffff << 32, 1 << 63] {
        let w = call(
            1,
            [dirt | rig.p.w as usize, out.as_ptr() as usize, 4, 0, 0, 0],
        );
        same!(w, 4, "write to descriptor {:#x}", dirt | rig.p.w as usize);
        let r = call(
            0,
            [
                dirt | rig.p.r as usize,
                back.as_mut_ptr() as usize,
                4,
                0,
                0,
                0,
            ],
        );
        same!(r, 4, "read from descriptor {:#x}", dirt | rig.p.r as usize);
        same!(back, out, "data");
    }
    lab.fast_again(&rig.p)
}

fn huge_descriptors(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let out = *b"x";
    for fd in [
        1_000_000usize,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        usize::MAX,
        usize::MAX - 99,
    ] {
        for nr in [0, 1] {
            for _ in 0..3 {
                let got = call(nr, [fd, out.as_ptr() as usize, 1, 0, 0, 0]);
                same!(
                    split(got),
                    Err(Errno::EBADF),
                    "call {nr} on descriptor {fd:#x}"
                );
            }
        }
    }
    lab.fast_again(&rig.p)
}

fn no_path_descriptors(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let null = sys::open("/dev/null", libc::O_RDWR, 0)?;
    let zero = sys::open("/dev/zero", libc::O_RDWR, 0)?;
    let mut b = [9u8; 3];
    for _ in 0..20 {
        same!(sys::write(null, b"gone"), Ok(4), "write to /dev/null");
        same!(sys::read(null, &mut b), Ok(0), "read from /dev/null");
        same!(sys::read(zero, &mut b), Ok(3), "read from /dev/zero");
        same!(b, [0; 3], "zeroes");
        b = [9; 3];
    }
    if !lab.stock {
        ensure!(
            crate::sysfs::hits(sys::getpid(), null, Write).is_none(),
            "/dev/null has a write path"
        );
        ensure!(
            crate::sysfs::hits(sys::getpid(), zero, Read).is_none(),
            "/dev/zero has a read path"
        );
    }
    lab.fast_again(&rig.p)
}

fn many_descriptors_without_path(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // More descriptors than a vector has room for: nothing may break, and what has a path keeps it.
    let mut b = [9u8; 2];
    for _ in 0..2 {
        for fd in 200..400 {
            sys::dup2(
                sys::open("/dev/zero", libc::O_RDWR | libc::O_CLOEXEC, 0)?,
                fd,
            )?;
            same!(sys::write(fd, b"zz"), Ok(2), "write to {fd}");
            same!(sys::read(fd, &mut b), Ok(2), "read from {fd}");
        }
        sys::sys(libc::SYS_close_range, &[200, 500, 0])?;
        for fd in 10..200 {
            if fd != rig.p.r && fd != rig.p.w {
                let _ = sys::close(fd);
            }
        }
    }
    for i in 0..100u8 {
        echo(rig.p.r, rig.p.w, &[i])?;
    }
    lab.warm(&rig.p)
}

fn every_other_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // Neighbours of read and write that take the same descriptor must not be mistaken for them.
    let mut b = [0u8; 8];
    same!(sys::pread(rig.p.r, &mut b, 0), Err(Errno::ESPIPE), "pread");
    same!(sys::pwrite(rig.p.w, b"x", 0), Err(Errno::ESPIPE), "pwrite");
    let iov = [b"vec".as_ptr() as usize, 3];
    same!(
        sys::sys(
            libc::SYS_writev,
            &[rig.p.w as usize, iov.as_ptr() as usize, 1]
        ),
        Ok(3),
        "writev"
    );
    let iov = [b.as_mut_ptr() as usize, 8];
    same!(
        sys::sys(
            libc::SYS_readv,
            &[rig.p.r as usize, iov.as_ptr() as usize, 1]
        ),
        Ok(3),
        "readv"
    );
    same!(&b[..3], b"vec", "data");
    same!(
        sys::sys(libc::SYS_lseek, &[rig.p.r as usize, 0, 0]),
        Err(Errno::ESPIPE),
        "lseek"
    );
    same!(
        sys::sys(libc::SYS_fsync, &[rig.p.w as usize]),
        Err(Errno::EINVAL),
        "fsync"
    );
    ensure!(sys::sys(libc::SYS_getppid, &[]).is_ok(), "getppid");
    lab.fast_again(&rig.p)
}

/// `int 0x80` does not pass the vector at all; its numbers 3 and 4 are read and write.
fn legacy_entry(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::sys(
        libc::SYS_mmap,
        &[
            0,
            4096,
            3,
            (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT) as usize,
            usize::MAX,
            0,
        ],
    )?;
    // SAFETY: our page; the string fits.
    unsafe { std::ptr::copy_nonoverlapping(b"old".as_ptr(), at as *mut u8, 3) };
    let ret: isize;
    // SAFETY: the legacy entry takes rax, rbx, rcx, rdx and clobbers r8 to r11 at most; rbx is exchanged back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {fd}", "int 0x80", "xchg rbx, {fd}",
            fd = inout(reg) rig.p.w as usize => _,
            inlateout("rax") 4usize => ret,
            in("rcx") at,
            in("rdx") 3usize,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    if ret as i32 == 3 {
        expect(rig.p.r, b"old")?;
    } else {
        ensure!(ret as i32 == -libc::ENOSYS, "int 0x80 returned {ret}");
    }
    sys::unmap(at, 4096)?;
    lab.fast_again(&rig.p)
}
