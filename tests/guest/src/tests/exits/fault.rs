//! Buffers that fault: the error, the state of the pipe and what was copied must be those of the stock call.

use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, expect_of, noise, Lab, Res, Rig};
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("fault":
    write_from_unmapped, read_to_unmapped, write_from_no_access, read_to_read_only, straddling_write, straddling_merge, straddling_read,
    kernel_addresses, non_canonical_addresses, null, end_of_user_space, count_beyond_user_space, wrapping_address, first_touch_write, first_touch_read,
    copy_on_write, beyond_end_of_file, huge_page_buffer, nothing_faults_on_demand,
);

/// Two pages of which the second is not mapped.
struct Edge(usize);

impl Edge {
    fn new() -> Res<Edge> {
        let at = sys::map(8192, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
        sys::unmap(at + 4096, 4096)?;
        Ok(Edge(at))
    }

    /// First address that is not mapped.
    fn end(&self) -> usize {
        self.0 + 4096
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the first page stays mapped as long as this lives.
        unsafe { std::slice::from_raw_parts_mut(self.0 as *mut u8, 4096) }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = sys::unmap(self.0, 4096);
    }
}

/// A write from `addr` must fault, into an empty pipe and into one that holds bytes, and change nothing.
fn write_faults(lab: &Lab, rig: &Rig, addr: usize, n: usize) -> Res {
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write_at(rig.p.w, addr, n),
            Err(Errno::EFAULT),
            "write of {n} from {addr:#x} into an empty pipe"
        );
        Ok(())
    })?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes in the pipe");
    same!(sys::write(rig.p.w, b"kept"), Ok(4), "write");
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write_at(rig.p.w, addr, n),
            Err(Errno::EFAULT),
            "write of {n} from {addr:#x}, merging"
        );
        Ok(())
    })?;
    same!(sys::fionread(rig.p.r), Ok(4), "bytes in the pipe");
    same!(sys::write(rig.p.w, b"!"), Ok(1), "write after the fault");
    expect_of(rig.p.r, 100, b"kept!")?;
    lab.fast_again(&rig.p)
}

/// A read to `addr` must fault, a partial one and one that would empty the buffer, and take nothing.
fn read_faults(lab: &Lab, rig: &Rig, addr: usize, n: usize) -> Res {
    for filled in [n, n + 5] {
        let data = noise(addr as u64, filled.min(4096));
        same!(sys::write(rig.p.w, &data), Ok(data.len()), "write");
        lab.slow(rig.p.r, Read, 1, || {
            same!(
                sys::read_at(rig.p.r, addr, n),
                Err(Errno::EFAULT),
                "read of {n} to {addr:#x}"
            );
            Ok(())
        })?;
        same!(
            sys::fionread(rig.p.r),
            Ok(data.len() as i32),
            "bytes in the pipe"
        );
        expect(rig.p.r, &data)?;
    }
    lab.fast_again(&rig.p)
}

fn write_from_unmapped(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let edge = Edge::new()?;
    for n in [1, 8, 100, 4096] {
        write_faults(lab, &rig, edge.end(), n)?;
    }
    Ok(())
}

fn read_to_unmapped(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let edge = Edge::new()?;
    for n in [1, 8, 100, 4096] {
        read_faults(lab, &rig, edge.end(), n)?;
    }
    Ok(())
}

fn write_from_no_access(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::map(4096, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    sys::protect(at, 4096, libc::PROT_NONE)?;
    write_faults(lab, &rig, at, 16)?;
    // Readable again: the same address, the same path.
    sys::protect(at, 4096, libc::PROT_READ)?;
    lab.fast(&[(rig.p.w, Write, 1)], || {
        same!(sys::write_at(rig.p.w, at, 16), Ok(16), "write");
        expect(rig.p.r, &[0; 16])
    })?;
    sys::unmap(at, 4096)?;
    Ok(())
}

fn read_to_read_only(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::map(4096, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    sys::protect(at, 4096, libc::PROT_READ)?;
    for n in [1, 16, 4096] {
        read_faults(lab, &rig, at, n)?;
    }
    // SAFETY: mapped readable.
    let page = unsafe { std::slice::from_raw_parts(at as *const u8, 4096) };
    ensure!(page.iter().all(|b| *b == 0), "a read-only page was written");
    sys::unmap(at, 4096)?;
    Ok(())
}

fn straddling_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut edge = Edge::new()?;
    edge.bytes().fill(b's');
    for (inside, n) in [(1, 2), (3, 8), (8, 16), (100, 200), (4000, 4096)] {
        write_faults(lab, &rig, edge.end() - inside, n)?;
    }
    // Up to the very edge is fine.
    lab.fast(&[(rig.p.w, Write, 1)], || {
        same!(
            sys::write_at(rig.p.w, edge.end() - 64, 64),
            Ok(64),
            "write up to the edge"
        );
        expect(rig.p.r, &[b's'; 64])
    })
}

fn straddling_merge(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut edge = Edge::new()?;
    edge.bytes().fill(b'm');
    same!(sys::write(rig.p.w, b"before"), Ok(6), "write");
    for _ in 0..5 {
        same!(
            sys::write_at(rig.p.w, edge.end() - 5, 10),
            Err(Errno::EFAULT),
            "merging write"
        );
        same!(sys::fionread(rig.p.r), Ok(6), "bytes");
    }
    same!(
        sys::write_at(rig.p.w, edge.end() - 5, 5),
        Ok(5),
        "merging write inside"
    );
    expect_of(rig.p.r, 50, b"beforemmmmm")
}

fn straddling_read(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut edge = Edge::new()?;
    for (inside, n) in [(1, 2), (3, 8), (8, 16), (100, 200), (4000, 4096)] {
        read_faults(lab, &rig, edge.end() - inside, n)?;
    }
    // Asking for more than there is, the end of the request unmapped but not the bytes that come: the whole range is checked by
    // neither, so it succeeds.
    same!(sys::write(rig.p.w, b"fits"), Ok(4), "write");
    same!(sys::read_at(rig.p.r, edge.end() - 10, 100), Ok(4), "read");
    same!(edge.bytes()[4086..4090], *b"fits", "data");
    lab.fast_again(&rig.p)
}

fn kernel_addresses(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for addr in [
        0xffff_8880_0000_0000,
        0xffff_ffff_8100_0000,
        0xffff_c900_0000_0000,
        0xffff_ffff_ff60_0000usize,
    ] {
        write_faults(lab, &rig, addr, 8)?;
        read_faults(lab, &rig, addr, 8)?;
    }
    Ok(())
}

fn non_canonical_addresses(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for addr in [
        0x0000_8000_0000_0000,
        0x1234_5678_9abc_def0,
        0x7fff_ffff_ffff_0000,
        0x8000_0000_0000_0000usize,
        0xfffe_0000_0000_0000,
    ] {
        write_faults(lab, &rig, addr, 8)?;
        read_faults(lab, &rig, addr, 8)?;
    }
    Ok(())
}

fn null(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for addr in [0, 1, 4095] {
        write_faults(lab, &rig, addr, 1)?;
        read_faults(lab, &rig, addr, 1)?;
    }
    Ok(())
}

fn end_of_user_space(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let end = 0x7fff_ffff_f000usize;
    for addr in [end - 1, end, end + 1, end + 4095, end - 4096] {
        write_faults(lab, &rig, addr, 4)?;
        read_faults(lab, &rig, addr, 4)?;
    }
    Ok(())
}

/// What counts is where the buffer ends, not what is copied: `vfs_read` and `vfs_write` (`fs/read_write.c`) ask `access_ok` before all
/// else. Whether it allows a buffer tells `/dev/null`, which copies nothing.
fn count_beyond_user_space(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let null = sys::open("/dev/null", libc::O_RDWR, 0)?;
    let page = sys::map_last_page()?;
    let end = page + 4096;
    let (mut inside, mut beyond) = (0, 0);
    for (room, n) in [
        (10, 9),
        (10, 10),
        (10, 11),
        (10, 100),
        (10, 4096),
        (200, 256),
        (4096, 4096),
        (4095, 4096),
        (1, 1),
        (1, 2),
        (0, 1),
    ] {
        let at = end - room;
        let data = noise(n as u64, room.clamp(1, 5).min(n));
        let allowed = sys::read_at(null, at, n);
        same!(
            sys::write_at(null, at, n),
            allowed.map(|_| n),
            "{n} bytes, {room} before the end, from and to /dev/null"
        );
        match allowed {
            Ok(_) => inside += 1,
            Err(e) => {
                beyond += 1;
                same!(e, Errno::EFAULT, "{n} bytes, {room} before the end");
                same!(
                    sys::read_at(rig.p.r, at, n),
                    Err(Errno::EFAULT),
                    "read of {n}, {room} before the end, from an empty pipe"
                );
                // Less is there than there is room for.
                same!(sys::write(rig.p.w, &data), Ok(data.len()), "write");
                lab.slow(rig.p.r, Read, 1, || {
                    same!(
                        sys::read_at(rig.p.r, at, n),
                        Err(Errno::EFAULT),
                        "read of {n}, {room} before the end"
                    );
                    Ok(())
                })?;
                expect_of(rig.p.r, 100, &data)?;
                write_faults(lab, &rig, at, n)?;
                continue;
            }
        }
        lab.fast(&[(rig.p.w, Write, 2), (rig.p.r, Read, 2)], || {
            same!(sys::write(rig.p.w, &data), Ok(data.len()), "write");
            same!(sys::read_at(rig.p.r, at, n), Ok(data.len()), "read");
            recheck(at, &data)?;
            same!(sys::write_at(rig.p.w, at, n), Ok(n), "write");
            same!(sys::read_at(rig.p.r, at, n), Ok(n), "read");
            recheck(at, &data)
        })?;
    }
    ensure!(
        inside >= 4 && beyond >= 4,
        "{inside} buffers inside of user space, {beyond} beyond it"
    );
    sys::unmap(page, 4096)?;
    sys::close(null)?;
    lab.fast_again(&rig.p)
}

fn wrapping_address(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for addr in [usize::MAX, usize::MAX - 7, usize::MAX - 4094] {
        write_faults(lab, &rig, addr, 16)?;
        read_faults(lab, &rig, addr, 16)?;
    }
    Ok(())
}

fn first_touch_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // Pages that exist only once they are touched: the fault is resolved and the call succeeds, on the stock path.
    let at = sys::map(16 * 4096, 3, libc::MAP_PRIVATE)?;
    for i in 0..16 {
        lab.slow(rig.p.w, Write, 1, || {
            same!(sys::write_at(rig.p.w, at + i * 4096, 32), Ok(32), "write");
            Ok(())
        })?;
        expect(rig.p.r, &[0; 32])?;
    }
    sys::unmap(at, 16 * 4096)?;
    lab.fast_again(&rig.p)
}

fn first_touch_read(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::map(32 * 4096, 3, libc::MAP_PRIVATE)?;
    for i in 0..16 {
        let data = noise(i as u64, 32);
        let page = at + i * 2 * 4096;
        // Every other buffer begins in a page that is there and runs into one that is not yet.
        let to = if i % 2 == 1 {
            // SAFETY: inside the mapping.
            unsafe { std::ptr::write_volatile(page as *mut u8, 1) };
            page + 4080
        } else {
            page
        };
        same!(sys::write(rig.p.w, &data), Ok(32), "write");
        lab.slow(rig.p.r, Read, 1, || {
            same!(sys::read_at(rig.p.r, to, 32), Ok(32), "read");
            Ok(())
        })?;
        recheck(to, &data)?;
    }
    sys::unmap(at, 32 * 4096)?;
    lab.fast_again(&rig.p)
}

fn recheck(at: usize, want: &[u8]) -> Res {
    // SAFETY: the caller has mapped it and the kernel has filled it.
    let got = unsafe { std::slice::from_raw_parts(at as *const u8, want.len()) };
    ensure!(got == want, "data at {at:#x} differ");
    Ok(())
}

fn copy_on_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::map(4096, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    // SAFETY: our page.
    unsafe { std::ptr::write_bytes(at as *mut u8, b'o', 4096) };
    let board = crate::proc::Board::new()?;
    let mut kid = crate::proc::Kid::spawn(|| -> Res {
        ensure!(board.await_flag(0, 1), "the parent does not read");
        // SAFETY: our copy of the page.
        let page = unsafe { std::slice::from_raw_parts(at as *const u8, 4096) };
        let wrong = page.iter().position(|b| *b != b'o');
        same!(
            wrong,
            None,
            "a byte of the child's page that is the parent's"
        );
        Ok(())
    })?;
    // Shared with the child now: the first read into it must make a copy.
    echo_to(&rig, at, b"parent only")?;
    board.raise(0, 1);
    same!(
        kid.wait(std::time::Duration::from_secs(10)),
        Some(crate::proc::Ended::Exit(0)),
        "the child's page"
    );
    sys::unmap(at, 4096)?;
    lab.fast_again(&rig.p)
}

fn echo_to(rig: &Rig, at: usize, data: &[u8]) -> Res {
    same!(sys::write(rig.p.w, data), Ok(data.len()), "write");
    same!(
        sys::read_at(rig.p.r, at, data.len()),
        Ok(data.len()),
        "read"
    );
    recheck(at, data)
}

fn beyond_end_of_file(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let path = format!("/tmp/synthjit-guest-eof-{}", sys::getpid());
    let fd = sys::open(&path, libc::O_RDWR | libc::O_CREAT, 0o600)?;
    std::fs::remove_file(&path)?;
    same!(sys::pwrite(fd, &[b'f'; 100], 0), Ok(100), "file");
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let at = sys::sys(
        libc::SYS_mmap,
        &[0, 8192, prot, libc::MAP_SHARED as usize, fd as usize, 0],
    )?;
    write_faults(lab, &rig, at + 4096, 8)?;
    read_faults(lab, &rig, at + 4096, 8)?;
    echo_to(&rig, at + 200, b"in the first page")?;
    sys::unmap(at, 8192)?;
    sys::close(fd)?;
    echo(rig.p.r, rig.p.w, b"end")
}

/// The counts that fault in the module of the tests `recover` are counts like others here.
fn nothing_faults_on_demand(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for count in crate::tests::faults::recover::COUNTS {
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, &noise(7, count))
        })?;
    }
    Ok(())
}

fn huge_page_buffer(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let len = 4 << 20;
    let at = sys::map(len, 3, libc::MAP_PRIVATE)?;
    // Advice only; on a machine without huge pages these are small ones and the test is as good.
    let _ = sys::sys(libc::SYS_madvise, &[at, len, libc::MADV_HUGEPAGE as usize]);
    // SAFETY: our mapping.
    unsafe { std::ptr::write_bytes(at as *mut u8, b'h', len) };
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
        same!(
            sys::write_at(rig.p.w, at + (2 << 20) - 100, 200),
            Ok(200),
            "write"
        );
        same!(sys::read_at(rig.p.r, at + (1 << 20), 200), Ok(200), "read");
        recheck(at + (1 << 20), &[b'h'; 200])
    })?;
    sys::unmap(at, len)?;
    Ok(())
}
