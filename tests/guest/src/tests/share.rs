//! Several processes on one pipe, attached or not.

use super::lab::{noise, Lab, Res};
use crate::proc::{await_sleep, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("share":
    both_attached_ping_pong, both_attached_stream, only_writer_attached, only_reader_attached, several_writers, writers_and_readers_compete,
    two_processes_same_numbers, ping_pong_with_poll, reader_falls_asleep_at_any_moment = 120,
    poller_falls_asleep_at_any_moment = 120, others_want_the_mutex = 120,
);

const SOON: Duration = Duration::from_secs(40);

/// Runs `f` in a child, attached if wanted; its exit code is 0 if `f` says true.
fn worker<'a>(lab: &'a Lab, attached: bool, f: impl FnOnce() -> bool + 'a) -> Res<Kid> {
    Ok(Kid::spawn(move || {
        let me = if attached {
            lab.attach().map(Some)
        } else {
            Ok(None)
        };
        match me {
            Ok(_me) => i32::from(!f()),
            Err(_) => 9,
        }
    })?)
}

fn ended_well(kids: &mut [Kid]) -> Res {
    for (i, kid) in kids.iter_mut().enumerate() {
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "worker {i}");
    }
    Ok(())
}

fn write_all(w: i32, mut data: &[u8]) -> bool {
    while !data.is_empty() {
        match sys::write(w, data) {
            Ok(n) => data = data.get(n..).unwrap_or_default(),
            Err(_) => return false,
        }
    }
    true
}

fn read_all(r: i32, data: &mut [u8]) -> bool {
    let mut at = 0;
    while at < data.len() {
        match sys::read(r, data.get_mut(at..).unwrap_or_default()) {
            Ok(0) | Err(_) => return false,
            Ok(n) => at += n,
        }
    }
    true
}

fn ping_pong(lab: &Lab, attached: [bool; 2], rounds: u64) -> Res {
    let (there, back) = (Pipe::new(0)?, Pipe::new(0)?);
    let a = worker(lab, attached[0], || {
        (0..rounds).all(|i| {
            let data = noise(i, 1 + (i % 100) as usize);
            let mut got = vec![0; data.len()];
            write_all(there.w, &data) && read_all(back.r, &mut got) && got == data
        })
    })?;
    let b = worker(lab, attached[1], || {
        (0..rounds).all(|i| {
            let mut got = vec![0; 1 + (i % 100) as usize];
            read_all(there.r, &mut got) && got == noise(i, got.len()) && write_all(back.w, &got)
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
            if !write_all(p.w, &data) {
                return false;
            }
            at += n;
            if at == TOTAL {
                break;
            }
        }
        sum == TOTAL as u64
    })?;
    let reader = worker(lab, attached[1], || {
        let mut at = 0;
        let mut b = vec![0; 4096];
        for n in sizes().skip(17) {
            let n = n.min(TOTAL - at);
            let Ok(k) = sys::read_at(p.r, b.as_mut_ptr() as usize, n).map(|k| k.min(n)) else {
                return false;
            };
            if k == 0
                || b.iter()
                    .take(k)
                    .enumerate()
                    .any(|(i, v)| *v != (((at + i) * 31) >> 3) as u8)
            {
                return false;
            }
            at += k;
            if at == TOTAL {
                break;
            }
        }
        true
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
            (0..RECORDS).all(|i| sys::write(w, &[k, i as u8, !(i as u8), k ^ 0x5a]) == Ok(4))
        })?);
    }
    let mut next = [0usize; 4];
    let mut record = [0u8; 4];
    let _me = lab.attach()?;
    for _ in 0..4 * RECORDS {
        ensure!(read_all(p.r, &mut record), "read");
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
            (0..WRITES).all(|i| {
                let v = (i * 7 + k) as u8;
                board.add(0, u64::from(v) * 2);
                sys::write(w, &[v, v]) == Ok(2)
            })
        })?);
        readers.push(worker(lab, true, move || loop {
            let mut b = [0u8; 33];
            match sys::read(r, &mut b) {
                Ok(0) => return true,
                Ok(n) => {
                    board.add(1, b.iter().take(n).map(|v| u64::from(*v)).sum());
                    board.add(2, n as u64);
                }
                Err(_) => return false,
            }
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
            let Ok(p) = Pipe::new(0) else { return false };
            (0..3000u64).all(|i| {
                let data = noise(k * 100_000 + i, 1 + (i % 64) as usize);
                let mut got = vec![0; data.len()];
                if i % 64 == 0 {
                    std::thread::yield_now();
                }
                write_all(p.w, &data) && read_all(p.r, &mut got) && got == data
            })
        })?);
    }
    ended_well(&mut kids)
}

fn ping_pong_with_poll(lab: &Lab) -> Res {
    let (there, back) = (Pipe::new(libc::O_NONBLOCK)?, Pipe::new(libc::O_NONBLOCK)?);
    let wait = |fd: i32| {
        let mut p = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        sys::sys(
            libc::SYS_poll,
            &[&mut p as *mut libc::pollfd as usize, 1, 10_000],
        ) == Ok(1)
    };
    let board = Board::new()?;
    let a = worker(lab, true, || {
        let mut b = [0u8; 1];
        let ok = (0..1000u64).all(|i| {
            sys::write(there.w, &[i as u8]) == Ok(1)
                && wait(back.r)
                && sys::read(back.r, &mut b) == Ok(1)
                && b[0] == !(i as u8)
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
        let mut b = [0u8; 1];
        (0..1000).all(|_| {
            wait(there.r)
                && sys::read(there.r, &mut b) == Ok(1)
                && sys::write(back.w, &[!b[0]]) == Ok(1)
        })
    })?;
    ended_well(&mut [a, b])?;
    if !lab.stock {
        ensure!(
            board.word(0) > 500,
            "only {} of 1000 reads ran specialised",
            board.word(0)
        );
    }
    Ok(())
}

/// Rounds of [`falls_asleep`]: enough that the writer meets every step of the reader's way to sleep many times.
const FALLS: u32 = 8000;

/// A reader on one CPU goes to sleep while the writer on the other one writes, a random moment after the reader has set out. If
/// ever the write does not see the reader and the reader does not see the byte, nobody wakes it.
fn falls_asleep(lab: &Lab, polls: bool) -> Res {
    if std::thread::available_parallelism()?.get() < 2 {
        crate::skip!("needs two CPUs");
    }
    let (p, board) = (Pipe::new(0)?, Board::new()?);
    let (r, w) = (p.r, p.w);
    let mut reader = worker(lab, false, move || {
        (1..=FALLS).all(|i| {
            let mut b = [0u8];
            board.raise(0, i);
            if polls {
                let mut p = libc::pollfd {
                    fd: r,
                    events: libc::POLLIN,
                    revents: 0,
                };
                let args = [&mut p as *mut libc::pollfd as usize, 1, usize::MAX];
                if sys::sys(libc::SYS_poll, &args) != Ok(1) {
                    return false;
                }
            }
            sys::read(r, &mut b) == Ok(1) && b[0] == i as u8
        })
    })?;
    let mut writer = worker(lab, true, move || {
        let mut x = 88_172_645_463_325_252u64;
        (1..=FALLS).all(|i| {
            let start = std::time::Instant::now();
            while board.flag(0) < i {
                std::hint::spin_loop();
                if start.elapsed() > Duration::from_secs(5) {
                    // Written long ago and still not read: it was not woken.
                    board.put(0, u64::from(i));
                    return false;
                }
            }
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            // Not with a pause instruction, which some machines take long for.
            for k in 0..x % 1200 {
                std::hint::black_box(k);
            }
            sys::write(w, &[i as u8]) == Ok(1)
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
            if sys::fionread(r).is_err() {
                return false;
            }
            board.add(0, 1);
        }
        true
    })?;
    let nothing = sys::map(4096, libc::PROT_NONE, libc::MAP_PRIVATE)?;
    let mut mover = worker(lab, true, move || {
        let mut got = vec![0; 4096];
        (0..2000).all(|i| {
            let data = noise(i, 4096);
            sys::write_at(w, nothing, 4096) == Err(Errno::EFAULT)
                && write_all(w, &data)
                && read_all(r, &mut got)
                && got == data
        })
    })?;
    let end = mover.wait(SOON);
    board.raise(0, 1);
    same!(end, Some(Ended::Exit(0)), "who moves pages");
    same!(asker.wait(SOON), Some(Ended::Exit(0)), "who asks");
    ensure!(board.word(0) > 100, "asked only {} times", board.word(0));
    Ok(())
}
