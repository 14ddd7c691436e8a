//! The fast cases: each must do what the stock call does, and must really have run specialized.

use crate::proc::nap;
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{
    echo, expect, expect_of, noise, string_copies, Lab, Res, LONGEST_SLOW_COPY,
};
use crate::{area, ensure, same};

area!("fast":
    write_into_empty, read_that_empties, write_merging, read_partial, read_asking_for_more, every_size, merge_to_the_page_end,
    one_more_than_the_page_end, two_buffers_first_is_read, second_spare_page, third_page_is_freed, no_page_is_lost, buffer_across_pages, high_descriptor, both_ends_of_four_pipes, forty_pipes,
    duplicated_descriptors, reopened_read_write, nonblocking_pipe, longest_copy, long_stream, head_and_tail_wrap_around, repeated_after_idle,
);

fn write_into_empty(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut byte = 0u8;
    lab.fast(&[(rig.p.w, Write, 64)], || {
        for _ in 0..64 {
            byte = byte.wrapping_add(7);
            echo(rig.p.r, rig.p.w, &[byte])?;
        }
        Ok(())
    })
}

fn read_that_empties(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    lab.fast(&[(rig.p.r, Read, 64)], || {
        for i in 0..64 {
            echo(rig.p.r, rig.p.w, &noise(i, 1 + i as usize))?;
        }
        same!(sys::fionread(rig.p.r), Ok(0), "bytes left");
        Ok(())
    })
}

fn write_merging(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    lab.fast(&[(rig.p.w, Write, 4), (rig.p.r, Read, 1)], || {
        for part in [&b"one"[..], b"t", b"three", b"fourteen"] {
            same!(sys::write(rig.p.w, part), Ok(part.len()), "merging write");
        }
        expect(rig.p.r, b"onetthreefourteen")
    })
}

fn read_partial(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 3)], || {
        same!(sys::write(rig.p.w, b"abcdefgh"), Ok(8), "write");
        expect(rig.p.r, b"a")?;
        same!(sys::fionread(rig.p.r), Ok(7), "bytes left");
        expect(rig.p.r, b"bcd")?;
        expect(rig.p.r, b"efgh")
    })
}

fn read_asking_for_more(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
        same!(sys::write(rig.p.w, b"short"), Ok(5), "write");
        expect_of(rig.p.r, 4096, b"short")
    })
}

fn every_size(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let sizes = (1..=130).chain([
        255, 256, 257, 511, 512, 1000, 1023, 1024, 2047, 2048, 3000, 4094, 4095, 4096,
    ]);
    for n in sizes {
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, &noise(n as u64, n))
        })?;
    }
    Ok(())
}

fn merge_to_the_page_end(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(1, 4096);
    lab.fast(&[(rig.p.w, Write, 3), (rig.p.r, Read, 1)], || {
        for part in [&data[..4000], &data[4000..4095], &data[4095..]] {
            same!(sys::write(rig.p.w, part), Ok(part.len()), "write");
        }
        expect(rig.p.r, &data)
    })
}

fn one_more_than_the_page_end(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(2, 4097);
    // The second write does not fit behind the first: it starts a page of its own, on the stock path. The reads give their pages
    // back to the two places for spare pages.
    lab.exact(&[(rig.p.w, Write, 1), (rig.p.r, Read, 2)], 1, || {
        same!(sys::write(rig.p.w, &data[..4000]), Ok(4000), "first write");
        same!(sys::write(rig.p.w, &data[4000..]), Ok(97), "second write");
        expect(rig.p.r, &data[..4000])?;
        expect(rig.p.r, &data[4000..])
    })
}

fn two_buffers_first_is_read(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (a, b) = (noise(3, 4096), noise(4, 4096));
    // Two buffers in the pipe, each read asks for no more than one holds: both are fast.
    lab.exact(&[(rig.p.w, Write, 1), (rig.p.r, Read, 2)], 1, || {
        same!(sys::write(rig.p.w, &a), Ok(4096), "first page");
        same!(sys::write(rig.p.w, &b), Ok(4096), "second page");
        expect(rig.p.r, &a)?;
        expect(rig.p.r, &b)
    })
}

fn second_spare_page(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (a, b) = (noise(5, 4096), noise(6, 4096));
    // A pipe keeps two spare pages. Emptying two buffers fills both places; then one page is taken and comes back while the other
    // place is occupied; then again two.
    lab.exact(&[(rig.p.w, Write, 3), (rig.p.r, Read, 4)], 1, || {
        same!(sys::write(rig.p.w, &a), Ok(4096), "first page");
        same!(sys::write(rig.p.w, &b), Ok(4096), "second page");
        expect(rig.p.r, &a)?;
        expect(rig.p.r, &b)?;
        echo(rig.p.r, rig.p.w, &b)?;
        echo(rig.p.r, rig.p.w, &a)
    })
}

fn third_page_is_freed(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let page = noise(9, 4096);
    // Both places for spare pages are taken when the third buffer is emptied: its page has to be freed, on the stock path.
    lab.exact(&[(rig.p.w, Write, 1), (rig.p.r, Read, 2)], 3, || {
        for _ in 0..3 {
            same!(sys::write(rig.p.w, &page), Ok(4096), "page");
        }
        for _ in 0..3 {
            expect(rig.p.r, &page)?;
        }
        Ok(())
    })
}

/// Thousands of pages go through the pipe by all ways; the machine must have them all back.
fn no_page_is_lost(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let free = || -> Res<i64> {
        let text = sys::read_text("/proc/meminfo")?;
        let line = text.lines().find(|l| l.starts_with("MemFree:"));
        let number = line.and_then(|l| l.split_whitespace().nth(1));
        Ok(number.and_then(|n| n.parse().ok()).unwrap_or(0))
    };
    let page = noise(10, 4096);
    let go = |rounds: usize| -> Res {
        for i in 0..rounds {
            for _ in 0..1 + i % 4 {
                same!(sys::write(rig.p.w, &page), Ok(4096), "page");
            }
            for _ in 0..1 + i % 4 {
                expect(rig.p.r, &page)?;
            }
        }
        Ok(())
    };
    go(200)?;
    let before = free()?;
    go(4000)?;
    let lost = before - free()?;
    // One page lost in each round with more than two would be 8000 KiB.
    ensure!(lab.stock || lost < 3000, "{lost} KiB less are free");
    Ok(())
}

fn buffer_across_pages(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let at = sys::map(3 * 4096, 3, libc::MAP_PRIVATE | libc::MAP_POPULATE)?;
    let data = noise(7, 300);
    for start in [
        at + 4096 - 1,
        at + 4096 - 299,
        at + 4096 - 150,
        at + 4096,
        at + 8192 - 300,
    ] {
        // SAFETY: inside the mapping of three pages.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), start as *mut u8, data.len()) };
        let back = at + 2 * 4096 + 4096 - 600;
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            same!(
                sys::write_at(rig.p.w, start, 300),
                Ok(300),
                "write from {:#x}",
                start & 0xfff
            );
            same!(sys::read_at(rig.p.r, back, 300), Ok(300), "read");
            // SAFETY: inside the mapping, and the kernel has just filled it.
            let got = unsafe { std::slice::from_raw_parts(back as *const u8, 300) };
            ensure!(got == data, "data differs");
            Ok(())
        })?;
    }
    sys::unmap(at, 3 * 4096)?;
    Ok(())
}

fn high_descriptor(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for base in [63, 64, 100, 255, 256, 1000] {
        let (r, w) = (base, base + 2);
        sys::dup2(rig.p.r, r)?;
        sys::dup2(rig.p.w, w)?;
        lab.warm_with(r, w)?;
        lab.fast(&[(w, Write, 1), (r, Read, 1)], || echo(r, w, b"high"))?;
        // Closed again: a vector has room for some descriptors only.
        sys::close(r)?;
        sys::close(w)?;
    }
    // The table has grown meanwhile; the low ones still work.
    lab.fast_again(&rig.p)
}

fn both_ends_of_four_pipes(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut pipes = vec![rig.p];
    for _ in 0..3 {
        let p = Pipe::new(0)?;
        lab.warm(&p)?;
        pipes.push(p);
    }
    for (i, p) in pipes.iter().enumerate() {
        lab.fast(&[(p.w, Write, 1), (p.r, Read, 1)], || {
            echo(p.r, p.w, &noise(i as u64, 20))
        })?;
    }
    not_mixed_up(&pipes)
}

/// More pipes than a vector has room for: those that were there first stay fast, all are right.
fn forty_pipes(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut pipes = Vec::new();
    for i in 0..40 {
        let p = Pipe::new(0)?;
        for k in 0..6 {
            echo(p.r, p.w, &noise(i * 10 + k, 30))?;
        }
        pipes.push(p);
    }
    not_mixed_up(&pipes)?;
    not_mixed_up(&pipes)?;
    lab.fast_again(&rig.p)
}

/// What goes into one pipe must not come out of another.
fn not_mixed_up(pipes: &[Pipe]) -> Res {
    for (i, p) in pipes.iter().enumerate() {
        same!(sys::write(p.w, &[i as u8; 3]), Ok(3), "write to pipe {i}");
    }
    for (i, p) in pipes.iter().enumerate().rev() {
        expect(p.r, &[i as u8; 3])?;
    }
    Ok(())
}

fn duplicated_descriptors(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let (r2, w2) = (sys::dup(rig.p.r)?, sys::dup(rig.p.w)?);
    lab.warm_with(r2, w2)?;
    lab.fast(&[(rig.p.w, Write, 1), (r2, Read, 1)], || {
        echo(r2, rig.p.w, b"crossed")
    })?;
    lab.fast(&[(w2, Write, 1), (rig.p.r, Read, 1)], || {
        echo(rig.p.r, w2, b"over")
    })
}

fn reopened_read_write(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let both = sys::open(&format!("/proc/self/fd/{}", rig.p.w), libc::O_RDWR, 0)?;
    for i in 0..20u8 {
        echo(both, both, &[i, 1, 2])?;
        echo(rig.p.r, both, &[i, 3])?;
        echo(both, rig.p.w, &[i])?;
    }
    sys::close(both)?;
    lab.fast_again(&rig.p)
}

fn nonblocking_pipe(lab: &Lab) -> Res {
    let rig = lab.rig_with(libc::O_NONBLOCK | libc::O_CLOEXEC)?;
    lab.fast(&[(rig.p.w, Write, 2), (rig.p.r, Read, 1)], || {
        same!(sys::write(rig.p.w, b"no"), Ok(2), "write");
        same!(sys::write(rig.p.w, b"wait"), Ok(4), "write");
        expect(rig.p.r, b"nowait")
    })
}

/// A path copies a page, or little on a CPU on which long string copies would be slow; one byte more is for the stock path.
fn longest_copy(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let longest = if string_copies() {
        4096
    } else {
        LONGEST_SLOW_COPY
    };
    let data = noise(7, longest + 1);
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
        echo(rig.p.r, rig.p.w, &data[..longest])
    })?;
    lab.slow(rig.p.w, Write, 1, || {
        same!(sys::write(rig.p.w, &data), Ok(longest + 1), "write");
        Ok(())
    })?;
    lab.slow(rig.p.r, Read, 1, || expect(rig.p.r, &data))
}

fn long_stream(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let data = noise(8, 300_000);
    let before = lab.hits(rig.p.w, Write);
    let (mut sent, mut got, mut writes) = (0, 0, 0u64);
    let mut dice = noise(9, 4096).into_iter().cycle();
    while got < data.len() {
        let n = (usize::from(dice.next().unwrap_or(1)) * 16 + 1).min(data.len() - sent);
        if sent - got + n < 32_768 && n > 0 {
            same!(
                sys::write(rig.p.w, &data[sent..sent + n]),
                Ok(n),
                "write at {sent}"
            );
            sent += n;
            writes += 1;
        }
        let m = (usize::from(dice.next().unwrap_or(1)) * 16 + 1).min(sent - got);
        if m > 0 {
            let mut part = vec![0; m];
            let k = sys::read(rig.p.r, &mut part)?;
            ensure!(
                part.get(..k) == data.get(got..got + k),
                "bytes at {got} differ"
            );
            got += k;
        }
    }
    same!(sys::fionread(rig.p.r), Ok(0), "bytes left");
    if !lab.stock && !lab.uncounted {
        let fast = lab.hits(rig.p.w, Write).wrapping_sub(before);
        ensure!(
            fast * 4 > writes,
            "only {fast} of {writes} writes ran specialized"
        );
    }
    Ok(())
}

fn head_and_tail_wrap_around(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // Sixteen buffers in the ring: go round it some times at each fill level.
    for level in 0..4usize {
        for i in 0..level {
            same!(
                sys::write(rig.p.w, &noise(i as u64, 4096)),
                Ok(4096),
                "fill"
            );
        }
        for i in level..level + 70 {
            same!(
                sys::write(rig.p.w, &noise(i as u64, 4096)),
                Ok(4096),
                "write {i}"
            );
            expect(rig.p.r, &noise((i - level) as u64, 4096))?;
        }
        for i in 70..70 + level {
            expect(rig.p.r, &noise(i as u64, 4096))?;
        }
    }
    lab.fast_again(&rig.p)
}

fn repeated_after_idle(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for ms in [1, 5, 20, 50] {
        nap(ms);
        lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
            echo(rig.p.r, rig.p.w, b"again")
        })?;
    }
    Ok(())
}
