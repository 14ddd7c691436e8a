//! Several processes on one pipe, attached or not.

use crate::proc::{await_sleep, patient, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{noise, Lab, Res};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("share":
    both_attached_ping_pong, both_attached_stream, only_writer_attached, only_reader_attached, several_writers, writers_and_readers_compete,
    two_processes_same_numbers, ping_pong_with_poll, reader_falls_asleep_at_any_moment = 120,
    poller_falls_asleep_at_any_moment = 120, others_want_the_mutex = 120,
);

const SOON: Duration = Duration::from_secs(40);

/// Runs `f` in a child, attached if wanted.
#[track_caller]
fn worker<'a>(lab: &'a Lab, attached: bool, f: impl FnOnce() -> Res + 'a) -> Res<Kid> {
    Ok(Kid::spawn(move || -> Res {
        let _me = attached.then(|| lab.attach()).transpose()?;
        f()
    })?)
}

fn ended_well(kids: &mut [Kid]) -> Res {
    for (i, kid) in kids.iter_mut().enumerate() {
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "worker {i}");
    }
    Ok(())
}

fn write_all(w: i32, mut data: &[u8]) -> Res {
    while !data.is_empty() {
        let n = sys::write(w, data)?;
        data = data.get(n..).unwrap_or_default();
    }
    Ok(())
}

fn read_all(r: i32, data: &mut [u8]) -> Res {
    let mut at = 0;
    while at < data.len() {
        let n = sys::read(r, data.get_mut(at..).unwrap_or_default())?;
        ensure!(n > 0, "end of file after {at} bytes");
        at += n;
    }
    Ok(())
}

/// Reads as many bytes as `want` has, which they must be; `round` is for the message.
fn read_these(r: i32, want: &[u8], round: u64) -> Res {
    let mut got = vec![0; want.len()];
    read_all(r, &mut got)?;
    let wrong = got.iter().zip(want).position(|(a, b)| a != b);
    same!(wrong, None, "a wrong byte in round {round}");
    Ok(())
}

/// A write of all of it by one call.
fn writes(w: i32, data: &[u8]) -> Res {
    same!(sys::write(w, data), Ok(data.len()), "write");
    Ok(())
}

fn ping_pong(lab: &Lab, attached: [bool; 2], rounds: u64) -> Res {
    let (there, back) = (Pipe::new(0)?, Pipe::new(0)?);
    let a = worker(lab, attached[0], || {
        (0..rounds).try_for_each(|i| {
            let data = noise(i, 1 + (i % 100) as usize);
            write_all(there.w, &data)?;
            read_these(back.r, &data, i)
        })
    })?;
    let b = worker(lab, attached[1], || {
        (0..rounds).try_for_each(|i| {
            let data = noise(i, 1 + (i % 100) as usize);
            read_these(there.r, &data, i)?;
            write_all(back.w, &data)
        })
    })?;
    ended_well(&mut [a, b])
}

fn both_attached_ping_pong(lab: &Lab) -> Res {
    ping_pong(lab, [true, true], 3000)
}

/// A checksummed stream of pieces of many sizes, reader and writer going as fast as they can.
fn stream(lab: &Lab, attached: [bool; 2]) -> Res {
    const TOTAL: usize = 2_000_000;
    let p = Pipe::new(0)?;
    let sizes = || {
        noise(5, 5000)
            .into_iter()
            .cycle()
            .map(|b| 1 + usize::from(b) * 7)
    };
    let writer = worker(lab, attached[0], || {
        let (mut at, mut sum) = (0, 0u64);
        for n in sizes() {
            let n = n.min(TOTAL - at);
            let data: Vec<u8> = (at..at + n).map(|i| ((i * 31) >> 3) as u8).collect();
            sum += n as u64;
            write_all(p.w, &data)?;
            at += n;
            if at == TOTAL {
                break;
            }
        }
        same!(sum, TOTAL as u64, "bytes");
        Ok(())
    })?;
    let reader = worker(lab, attached[1], || {
        let mut at = 0;
        let mut b = vec![0; 4096];
        for n in sizes().skip(17) {
            let n = n.min(TOTAL - at);
            let k = sys::read_at(p.r, b.as_mut_ptr() as usize, n)?;
            ensure!((1..=n).contains(&k), "read of {n} bytes at {at}: {k}");
            let mut bytes = b.iter().take(k).enumerate();
            let wrong = bytes.find(|(i, v)| **v != (((at + i) * 31) >> 3) as u8);
            same!(wrong, None, "a wrong byte behind {at}");
            at += k;
            if at == TOTAL {
                break;
            }
        }
        Ok(())
    })?;
    ended_well(&mut [writer, reader])?;
    same!(sys::fionread(p.r), Ok(0), "bytes left");
    Ok(())
}

fn both_attached_stream(lab: &Lab) -> Res {
    stream(lab, [true, true])
}

fn only_writer_attached(lab: &Lab) -> Res {
    stream(lab, [true, false])?;
    ping_pong(lab, [true, false], 1000)
}

fn only_reader_attached(lab: &Lab) -> Res {
    stream(lab, [false, true])?;
    ping_pong(lab, [false, true], 1000)
}

/// Writes of at most a page are atomic: records of four writers must arrive whole.
fn several_writers(lab: &Lab) -> Res {
    const RECORDS: usize = 1500;
    let p = Pipe::new(0)?;
    let mut kids = Vec::new();
    for k in 0..4u8 {
        let w = p.w;
        kids.push(worker(lab, k != 3, move || {
            (0..RECORDS).try_for_each(|i| writes(w, &[k, i as u8, !(i as u8), k ^ 0x5a]))
        })?);
    }
    let mut next = [0usize; 4];
    let mut record = [0u8; 4];
    let _me = lab.attach()?;
    for _ in 0..4 * RECORDS {
        read_all(p.r, &mut record)?;
        let k = usize::from(record[0]);
        ensure!(
            k < 4 && record[3] == record[0] ^ 0x5a && record[2] == !record[1],
            "torn record {record:?}"
        );
        same!(record[1], next[k] as u8, "order of writer {k}");
        next[k] += 1;
    }
    ended_well(&mut kids)?;
    same!(sys::fionread(p.r), Ok(0), "bytes left");
    Ok(())
}

/// Two writers and two readers on one pipe: every byte is delivered once, whoever gets it. This is where the mutex is fought for.
fn writers_and_readers_compete(lab: &Lab) -> Res {
    const WRITES: u64 = 6000;
    let (p, board) = (Pipe::new(0)?, Board::new()?);
    let (r, w) = (p.r, p.w);
    let mut writers = Vec::new();
    let mut readers = Vec::new();
    for k in 0..2u64 {
        writers.push(worker(lab, true, move || {
            (0..WRITES).try_for_each(|i| {
                let v = (i * 7 + k) as u8;
                board.add(0, u64::from(v) * 2);
                writes(w, &[v, v])
            })
        })?);
        readers.push(worker(lab, true, move || loop {
            let mut b = [0u8; 33];
            let n = sys::read(r, &mut b)?;
            if n == 0 {
                return Ok(());
            }
            board.add(1, b.iter().take(n).map(|v| u64::from(*v)).sum());
            board.add(2, n as u64);
        })?);
    }
    ended_well(&mut writers)?;
    // The readers hold copies of the write end themselves, so no end of file ends them: they are stopped when all has arrived.
    let done = crate::proc::poll_until(Duration::from_secs(20), || {
        (board.word(2) == 4 * WRITES).then_some(())
    });
    ensure!(
        done.is_some(),
        "{} of {} bytes arrived",
        board.word(2),
        4 * WRITES
    );
    same!(board.word(1), board.word(0), "sum of all bytes");
    for kid in &mut readers {
        ensure!(kid.ended().is_none(), "a reader ended early");
    }
    Ok(())
}

fn two_processes_same_numbers(lab: &Lab) -> Res {
    // Both use the same descriptor numbers for different pipes and are switched between all the time.
    let mut kids = Vec::new();
    for k in 0..3u64 {
        kids.push(worker(lab, true, move || {
            let p = Pipe::new(0)?;
            (0..3000u64).try_for_each(|i| {
                let data = noise(k * 100_000 + i, 1 + (i % 64) as usize);
                if i % 64 == 0 {
                    std::thread::yield_now();
                }
                write_all(p.w, &data)?;
                read_these(p.r, &data, i)
            })
        })?);
    }
    ended_well(&mut kids)
}

/// Waits until there is something to read, for ever.
fn readable(fd: i32) -> Res {
    let mut p = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let args = [&mut p as *mut libc::pollfd as usize, 1, usize::MAX];
    same!(sys::sys(libc::SYS_poll, &args), Ok(1), "poll");
    Ok(())
}

fn ping_pong_with_poll(lab: &Lab) -> Res {
    let (there, back) = (Pipe::new(libc::O_NONBLOCK)?, Pipe::new(libc::O_NONBLOCK)?);
    let board = Board::new()?;
    let a = worker(lab, true, || {
        let ok = (0..1000u64).try_for_each(|i| {
            writes(there.w, &[i as u8])?;
            readable(back.r)?;
            read_these(back.r, &[!(i as u8)], i)
        });
        if !lab.stock {
            let me = sys::getpid();
            board.put(0, sysfs::hits(me, back.r, Call::Read).unwrap_or(0));
        }
        ok
    })?;
    ensure!(
        lab.stock || await_sleep(a.pid),
        "the first process does not wait"
    );
    let b = worker(lab, true, || {
        (0..1000).try_for_each(|i| {
            readable(there.r)?;
            read_these(there.r, &[i as u8], i)?;
            writes(back.w, &[!(i as u8)])
        })
    })?;
    ended_well(&mut [a, b])?;
    if !lab.stock {
        ensure!(
            board.word(0) > 500,
            "only {} of 1000 reads ran specialized",
            board.word(0)
        );
    }
    Ok(())
}

/// Rounds of [`falls_asleep`]: enough that the writer meets every step of the reader's way to sleep many times.
const FALLS: u32 = 8000;
/// Nobody who was woken takes so long to run.
const NOT_WOKEN: Duration = Duration::from_secs(5);

/// A reader on one CPU goes to sleep while the writer on the other one writes, a random moment after the reader has set out. If
/// ever the write does not see the reader and the reader does not see the byte, nobody wakes it.
fn falls_asleep(lab: &Lab, polls: bool) -> Res {
    if std::thread::available_parallelism()?.get() < 2 {
        crate::skip!("needs two CPUs");
    }
    let (p, board) = (Pipe::new(0)?, Board::new()?);
    let (r, w) = (p.r, p.w);
    let mut reader = worker(lab, false, move || {
        (1..=FALLS).try_for_each(|i| {
            board.raise(0, i);
            if polls {
                readable(r)?;
            }
            read_these(r, &[i as u8], i.into())
        })
    })?;
    let mut writer = worker(lab, true, move || {
        let mut x = 88_172_645_463_325_252u64;
        (1..=FALLS).try_for_each(|i| {
            let start = std::time::Instant::now();
            while board.flag(0) < i {
                std::hint::spin_loop();
                if start.elapsed() > patient(NOT_WOKEN) {
                    // Written long ago and still not read: it was not woken.
                    board.put(0, u64::from(i));
                    ensure!(false, "round {i} is not read");
                }
            }
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            // Not with a pause instruction, which some machines take long for.
            for k in 0..x % 1200 {
                std::hint::black_box(k);
            }
            writes(w, &[i as u8])
        })
    })?;
    let end = writer.wait(SOON);
    ensure!(
        board.word(0) == 0,
        "the sleeper was not woken in round {}",
        board.word(0)
    );
    same!(end, Some(Ended::Exit(0)), "the writer");
    same!(reader.wait(SOON), Some(Ended::Exit(0)), "the reader");
    Ok(())
}

fn reader_falls_asleep_at_any_moment(lab: &Lab) -> Res {
    falls_asleep(lab, false)
}

fn poller_falls_asleep_at_any_moment(lab: &Lab) -> Res {
    falls_asleep(lab, true)
}

/// Another process asks for the pipe's mutex without a break while whole pages are copied under it, and while copies
/// fault: whoever came to wait in between has to be let in by the path's tail.
fn others_want_the_mutex(lab: &Lab) -> Res {
    if std::thread::available_parallelism()?.get() < 2 {
        crate::skip!("needs two CPUs");
    }
    let (p, board) = (Pipe::new(0)?, Board::new()?);
    let (r, w) = (p.r, p.w);
    let mut asker = worker(lab, false, move || {
        while board.flag(0) == 0 {
            sys::fionread(r)?;
            board.add(0, 1);
        }
        Ok(())
    })?;
    let nothing = sys::map(4096, libc::PROT_NONE, libc::MAP_PRIVATE)?;
    let mut mover = worker(lab, true, move || {
        // The other CPU may stand still for a while.
        for i in (0..).take_while(|i| *i < 2000 || board.word(0) <= 100) {
            let data = noise(i, 4096);
            let fault = sys::write_at(w, nothing, 4096);
            same!(fault, Err(Errno::EFAULT), "write from no memory");
            write_all(w, &data)?;
            read_these(r, &data, i)?;
        }
        Ok(())
    })?;
    let end = mover.wait(SOON);
    board.raise(0, 1);
    same!(end, Some(Ended::Exit(0)), "who moves pages");
    same!(asker.wait(SOON), Some(Ended::Exit(0)), "who asks");
    ensure!(board.word(0) > 100, "asked only {} times", board.word(0));
    Ok(())
}
