//! Cases that belong to the stock path because of what lies in the pipe: packets, foreign pages, several buffers at once.

use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, expect_of, noise, Lab, Res};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;

area!("buffers":
    packet_mode, packet_longer_than_read, packet_between_streams, read_over_two_buffers, spliced_from_file, spliced_from_pipe, vmspliced, teed,
    teed_then_emptied, file_page_is_never_merged_into, watch_queue, one_slot_pipe,
);

fn packet_mode(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(libc::O_DIRECT)?;
    for _ in 0..4 {
        for part in [&b"one"[..], b"two"] {
            lab.slow(q.w, Write, 0, || {
                same!(sys::write(q.w, part), Ok(3), "packet");
                Ok(())
            })?;
        }
        // Two packets do not merge, and a read takes one however much it asks for.
        lab.slow(q.r, Read, 0, || expect_of(q.r, 100, b"one"))?;
        lab.slow(q.r, Read, 0, || expect_of(q.r, 100, b"two"))?;
    }
    lab.fast_again(&rig.p)
}

fn packet_longer_than_read(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    sys::set_flag(rig.p.w, libc::O_DIRECT, true)?;
    lab.slow(rig.p.w, Write, 2, || {
        same!(sys::write(rig.p.w, b"packet"), Ok(6), "packet");
        same!(sys::write(rig.p.w, b"next"), Ok(4), "packet");
        Ok(())
    })?;
    // What a read does not take of a packet is lost.
    lab.slow(rig.p.r, Read, 2, || {
        expect(rig.p.r, b"pac")?;
        expect_of(rig.p.r, 4096, b"next")
    })?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes left");
    sys::set_flag(rig.p.w, libc::O_DIRECT, false)?;
    lab.fast_again(&rig.p)
}

fn packet_between_streams(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    same!(sys::write(rig.p.w, b"stream"), Ok(6), "stream");
    sys::set_flag(rig.p.w, libc::O_DIRECT, true)?;
    same!(sys::write(rig.p.w, b"packet"), Ok(6), "packet");
    sys::set_flag(rig.p.w, libc::O_DIRECT, false)?;
    // A packet that finds a stream's bytes last in the pipe merges into them like any other write: it is a packet no longer.
    same!(sys::write(rig.p.w, b"again"), Ok(5), "stream again");
    same!(sys::fionread(rig.p.r), Ok(17), "bytes");
    expect_of(rig.p.r, 100, b"streampacketagain")?;
    // A stream's bytes behind a packet do not merge into it.
    sys::set_flag(rig.p.w, libc::O_DIRECT, true)?;
    same!(sys::write(rig.p.w, b"packet"), Ok(6), "packet");
    sys::set_flag(rig.p.w, libc::O_DIRECT, false)?;
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write(rig.p.w, b"stream"),
            Ok(6),
            "stream behind a packet"
        );
        Ok(())
    })?;
    lab.slow(rig.p.r, Read, 1, || expect_of(rig.p.r, 100, b"packet"))?;
    expect_of(rig.p.r, 100, b"stream")?;
    lab.fast_again(&rig.p)
}

fn read_over_two_buffers(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (a, b) = (noise(1, 4096), noise(2, 100));
    for ask in [4097, 4100, 4196, 5000] {
        same!(sys::write(rig.p.w, &a), Ok(4096), "page");
        same!(sys::write(rig.p.w, &b), Ok(100), "rest");
        let both: Vec<u8> = a.iter().chain(&b).copied().collect();
        let n = ask.min(both.len());
        lab.slow(rig.p.r, Read, 1, || expect_of(rig.p.r, ask, &both[..n]))?;
        if n < both.len() {
            expect(rig.p.r, &both[n..])?;
        }
    }
    // A read that is smaller than a page, but larger than what is left of the first buffer.
    same!(sys::write(rig.p.w, &a), Ok(4096), "page");
    same!(sys::write(rig.p.w, &b), Ok(100), "rest");
    expect(rig.p.r, &a[..4090])?;
    let mixed: Vec<u8> = a[4090..].iter().chain(&b[..10]).copied().collect();
    lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &mixed))?;
    expect(rig.p.r, &b[10..])?;
    lab.fast_again(&rig.p)
}

/// A file in /tmp with the given bytes, already unlinked.
fn file_with(data: &[u8]) -> Res<i32> {
    let path = format!("/tmp/synthjit-guest-{}", sys::getpid());
    let fd = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC, 0o600)?;
    std::fs::remove_file(&path)?;
    same!(sys::pwrite(fd, data, 0), Ok(data.len()), "fill of the file");
    Ok(fd)
}

fn spliced_from_file(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(3, 4096);
    let fd = file_with(&data)?;
    for n in [1usize, 100, 4096] {
        same!(sys::splice(fd, rig.p.w, n, 0), Ok(n), "splice of {n} bytes");
        let at = sys::sys(libc::SYS_lseek, &[fd as usize, 0, libc::SEEK_SET as usize])?;
        same!(at, 0, "rewind");
        lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &data[..n]))?;
    }
    sys::close(fd)?;
    lab.fast_again(&rig.p)
}

fn file_page_is_never_merged_into(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(4, 4096);
    let fd = file_with(&data)?;
    // The page of the file lies last in the pipe with room behind its bytes; a write must not go into it.
    same!(sys::splice(fd, rig.p.w, 10, 0), Ok(10), "splice");
    lab.slow(rig.p.w, Write, 1, || {
        same!(
            sys::write(rig.p.w, b"MUST NOT REACH THE FILE"),
            Ok(23),
            "write behind it"
        );
        Ok(())
    })?;
    let mut back = vec![0; 4096];
    same!(sys::pread(fd, &mut back, 0), Ok(4096), "file");
    ensure!(back == data, "the file was changed through the pipe");
    let mut all = data[..10].to_vec();
    all.extend_from_slice(b"MUST NOT REACH THE FILE");
    expect_of(rig.p.r, 100, &all)?;
    sys::close(fd)?;
    lab.fast_again(&rig.p)
}

fn spliced_from_pipe(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    for whole in [true, false] {
        let data = noise(5, 200);
        same!(sys::write(q.w, &data), Ok(200), "source");
        let n = if whole { 200 } else { 150 };
        // A whole buffer moves with its flags, a part is shared between both pipes.
        same!(sys::splice(q.r, rig.p.w, n, 0), Ok(n), "splice");
        same!(sys::write(rig.p.w, b"behind"), Ok(6), "write behind it");
        expect(rig.p.r, &data[..n])?;
        expect(rig.p.r, b"behind")?;
        if !whole {
            expect(q.r, &data[150..])?;
        }
    }
    lab.fast_again(&rig.p)?;
    lab.warm(&q)
}

fn vmspliced(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let page = sys::map(4096, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    // SAFETY: our page.
    unsafe { std::ptr::write_bytes(page as *mut u8, b'v', 4096) };
    same!(sys::vmsplice(rig.p.w, page, 10, 0), Ok(10), "vmsplice");
    lab.slow(rig.p.w, Write, 1, || {
        same!(sys::write(rig.p.w, b"write"), Ok(5), "write behind it");
        Ok(())
    })?;
    // The page is still the user's: what is stored there now is what the reader gets.
    // SAFETY: our page.
    unsafe { std::ptr::write_bytes(page as *mut u8, b'w', 4) };
    lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, b"wwwwv"))?;
    lab.slow(rig.p.r, Read, 1, || expect_of(rig.p.r, 100, b"vvvvvwrite"))?;
    // SAFETY: our page, alive although the pipe has let it go.
    let intact = unsafe { std::slice::from_raw_parts(page as *const u8, 4096) };
    ensure!(
        intact[4..].iter().all(|b| *b == b'v'),
        "the user's page was changed through the pipe"
    );
    for i in 0..4 {
        lab.fast_again(&rig.p)?;
        ensure!(
            intact[4..].iter().all(|b| *b == b'v'),
            "the user's page was used by the pipe, round {i}"
        );
    }
    sys::unmap(page, 4096)?;
    Ok(())
}

fn teed(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    let data = noise(6, 64);
    same!(sys::write(rig.p.w, &data), Ok(64), "write");
    same!(sys::tee(rig.p.r, q.w, 64, 0), Ok(64), "tee");
    // The copy in the other pipe must not be merged into, and the page is shared: emptying it must not make it a spare page.
    same!(
        sys::write(q.w, b"more"),
        Ok(4),
        "write into the copy's pipe"
    );
    lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &data))?;
    for i in 0..4 {
        echo(rig.p.r, rig.p.w, &noise(i, 64))?;
    }
    expect(q.r, &data)?;
    expect(q.r, b"more")?;
    lab.fast_again(&rig.p)
}

fn teed_then_emptied(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    let data = noise(7, 64);
    same!(sys::write(q.w, &data), Ok(64), "write");
    same!(sys::tee(q.r, rig.p.w, 64, 0), Ok(64), "tee");
    // The specialized side holds the copy; the original gets longer meanwhile, which must not show here.
    same!(sys::write(q.w, b"tail"), Ok(4), "write behind the original");
    lab.slow(rig.p.w, Write, 1, || {
        same!(sys::write(rig.p.w, b"own"), Ok(3), "write behind the copy");
        Ok(())
    })?;
    expect(rig.p.r, &data[..32])?;
    lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &data[32..]))?;
    expect(rig.p.r, b"own")?;
    expect(q.r, &data)?;
    expect(q.r, b"tail")?;
    lab.fast_again(&rig.p)
}

fn watch_queue(lab: &Lab) -> Res {
    const IOC_WATCH_QUEUE_SET_SIZE: usize = 0x5760;
    let rig = lab.rig()?;
    // O_NOTIFICATION_PIPE has the value of O_EXCL.
    let q = match Pipe::new(libc::O_EXCL) {
        Ok(q) => q,
        Err(e @ (Errno::ENOPKG | Errno::EINVAL)) => skip!("this kernel has no watch queues: {e}"),
        Err(e) => return Err(e.into()),
    };
    sys::sys(
        libc::SYS_ioctl,
        &[q.r as usize, IOC_WATCH_QUEUE_SET_SIZE, 16],
    )?;
    sys::set_flag(q.r, libc::O_NONBLOCK, true)?;
    let mut b = [0; 64];
    for _ in 0..4 {
        lab.slow(q.w, Write, 0, || {
            same!(
                sys::write(q.w, b"x"),
                Err(Errno::EXDEV),
                "write to a watch queue"
            );
            Ok(())
        })?;
        lab.slow(q.r, Read, 0, || {
            same!(
                sys::read(q.r, &mut b),
                Err(Errno::EAGAIN),
                "read from an empty watch queue"
            );
            Ok(())
        })?;
    }
    lab.fast_again(&rig.p)
}

fn one_slot_pipe(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    same!(
        sys::fcntl(rig.p.w, libc::F_SETPIPE_SZ, 4096),
        Ok(4096),
        "one page"
    );
    // With one buffer in its ring a pipe that is not empty is full: merging still works, and the read must wake writers.
    for i in 0..10u8 {
        same!(sys::write(rig.p.w, &[i; 10]), Ok(10), "write");
        same!(sys::poll_now(rig.p.w, libc::POLLOUT), Ok(0), "not writable");
        same!(sys::write(rig.p.w, &[i; 5]), Ok(5), "merging write");
        same!(
            sys::write(rig.p.w, &noise(1, 4096)),
            Err(Errno::EAGAIN),
            "write of a page"
        );
        lab.slow(rig.p.r, Read, 1, || expect_of(rig.p.r, 100, &[i; 15]))?;
        same!(
            sys::poll_now(rig.p.w, libc::POLLOUT),
            Ok(libc::POLLOUT),
            "writable again"
        );
    }
    same!(
        sys::fcntl(rig.p.w, libc::F_SETPIPE_SZ, 65536),
        Ok(65536),
        "sixteen pages"
    );
    lab.fast_again(&rig.p)
}
