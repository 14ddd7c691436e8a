//! The figures: what is set up, what is timed, what is verified.

use super::clock::{touch, Clock, Req};
use super::stats::Figure;
use crate::sys::{self, Pipe};

/// Repetitions of a figure. Odd, so that the median is one of them.
pub const REPETITIONS: usize = 201;

/// A call number that no kernel has.
const UNKNOWN_NR: i64 = 1000;

/// Every figure that is measured in every mode, in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    WriteEmpty(usize),
    ReadEmptying(usize),
    Pair,
    WriteMerging,
    ReadPartial,
    UnknownNumber,
    Getppid,
    NoPathWrite,
    NoPathRead,
}

pub const KINDS: [Kind; 13] = [
    Kind::WriteEmpty(1),
    Kind::ReadEmptying(1),
    Kind::Pair,
    Kind::WriteMerging,
    Kind::ReadPartial,
    Kind::WriteEmpty(64),
    Kind::ReadEmptying(64),
    Kind::WriteEmpty(4096),
    Kind::ReadEmptying(4096),
    Kind::UnknownNumber,
    Kind::Getppid,
    Kind::NoPathWrite,
    Kind::NoPathRead,
];

impl Kind {
    /// Name in machine-readable lines.
    pub fn name(self) -> String {
        match self {
            Kind::WriteEmpty(n) => format!("pipe_write_{n}"),
            Kind::ReadEmptying(n) => format!("pipe_read_{n}"),
            Kind::Pair => "pipe_pair_1".into(),
            Kind::WriteMerging => "pipe_write_1_merge".into(),
            Kind::ReadPartial => "pipe_read_1_partial".into(),
            Kind::UnknownNumber => "unknown_number".into(),
            Kind::Getppid => "getppid".into(),
            Kind::NoPathWrite => "no_path_write".into(),
            Kind::NoPathRead => "no_path_read".into(),
        }
    }

    /// Words for the table.
    pub fn title(self) -> String {
        match self {
            Kind::WriteEmpty(n) => format!("pipe write {n} B"),
            Kind::ReadEmptying(n) => format!("pipe read {n} B"),
            Kind::Pair => "pipe write 1 B + read 1 B".into(),
            Kind::WriteMerging => "pipe write 1 B, merging".into(),
            Kind::ReadPartial => "pipe read 1 B, partial".into(),
            Kind::UnknownNumber => "unknown call number".into(),
            Kind::Getppid => "getppid".into(),
            Kind::NoPathWrite => "/dev/null write 1 B (no path)".into(),
            Kind::NoPathRead => "/dev/zero read 1 B (no path)".into(),
        }
    }

    /// What the attached figure may be at most, `stock` being the same call before the module was loaded.
    pub fn bar(self, stock: u64) -> Option<u64> {
        match self {
            Kind::Pair => Some(197),
            Kind::WriteEmpty(1)
            | Kind::ReadEmptying(1)
            | Kind::WriteMerging
            | Kind::ReadPartial => Some(105),
            Kind::WriteEmpty(64) | Kind::ReadEmptying(64) => Some(170),
            Kind::WriteEmpty(_) | Kind::ReadEmptying(_) => Some(4200),
            Kind::UnknownNumber | Kind::Getppid => Some(stock + 6),
            Kind::NoPathWrite | Kind::NoPathRead => Some(stock + 12),
        }
    }
}

/// Objects that the figures use; made once so that every mode uses the same descriptor numbers.
pub struct Bench {
    clock: Clock,
    pub pipe: Pipe,
    null: i32,
    zero: i32,
    out: Vec<u8>,
    back: Vec<u8>,
    noise: u64,
    /// Bytes or results that were not what they had to be.
    pub wrong: u64,
}

impl Bench {
    pub fn new(clock: Clock) -> sys::Sys<Bench> {
        Bench::with_room(clock, 4096)
    }

    /// For figures of at most `room` bytes.
    pub fn with_room(clock: Clock, room: usize) -> sys::Sys<Bench> {
        let mut b = Bench {
            clock,
            pipe: Pipe::new(0)?,
            null: sys::open("/dev/null", libc::O_WRONLY, 0)?,
            zero: sys::open("/dev/zero", libc::O_RDONLY, 0)?,
            out: vec![0; room],
            back: vec![0; room],
            noise: 0x9e37_79b9_7f4a_7c15,
            wrong: 0,
        };
        touch(&mut b.out);
        touch(&mut b.back);
        Ok(b)
    }

    /// Measures one figure in the state that the process is in now.
    pub fn measure(&mut self, kind: Kind) -> Figure {
        self.warm_up(kind);
        Figure::of(&mut self.samples(kind, REPETITIONS))
    }

    /// The first rounds of a figure, which make the page of the pipe, the path, the entry of the vector.
    pub fn warm_up(&mut self, kind: Kind) {
        self.samples(kind, 8);
    }

    /// Ticks of so many rounds of a figure, in order.
    pub fn samples(&mut self, kind: Kind, rounds: usize) -> Vec<u64> {
        (0..rounds).map(|_| self.round(kind)).collect()
    }

    /// Times with another clock from here on.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Sends `n` bytes there and back `rounds` times without a clock.
    pub fn warm(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.fill(1);
            let _ = sys::write(self.pipe.w, self.out.get(..1).unwrap_or_default());
            let got = sys::read(self.pipe.r, self.back.get_mut(..1).unwrap_or_default());
            self.check(got.map_or(-1, |n| n as isize), 1);
        }
    }

    fn round(&mut self, kind: Kind) -> u64 {
        match kind {
            Kind::WriteEmpty(n) => {
                self.fill(n);
                let t = self.timed_write(n);
                self.drain(n);
                t
            }
            Kind::ReadEmptying(n) => {
                self.fill(n);
                self.put(n);
                let t = self.timed_read(n);
                self.verify(n);
                t
            }
            Kind::Pair => {
                self.fill(1);
                let w = Req {
                    nr: libc::SYS_write,
                    a: [self.pipe.w as usize, self.out.as_ptr() as usize, 1],
                };
                let r = Req {
                    nr: libc::SYS_read,
                    a: [self.pipe.r as usize, self.back.as_mut_ptr() as usize, 1],
                };
                let t = self.clock.two(w, r);
                self.wrong += u64::from(t.ret != [1, 1]);
                self.verify(1);
                t.ticks
            }
            Kind::WriteMerging => {
                self.fill(2);
                self.put(1);
                let second = Req {
                    nr: libc::SYS_write,
                    a: [self.pipe.w as usize, self.out.as_ptr() as usize + 1, 1],
                };
                let t = self.clock.one(second);
                self.check(t.ret[0], 1);
                self.drain(2);
                t.ticks
            }
            Kind::ReadPartial => {
                self.fill(2);
                self.put(2);
                let t = self.timed_read(1);
                let rest = sys::read_at(self.pipe.r, self.back.as_mut_ptr() as usize + 1, 1);
                self.check(rest.map_or(-1, |n| n as isize), 1);
                self.verify(2);
                t
            }
            Kind::UnknownNumber => self.plain(
                Req {
                    nr: UNKNOWN_NR,
                    a: [0; 3],
                },
                -(libc::ENOSYS as isize),
            ),
            Kind::Getppid => {
                // SAFETY: takes nothing, cannot fail.
                let parent = unsafe { libc::getppid() };
                self.plain(
                    Req {
                        nr: libc::SYS_getppid,
                        a: [0; 3],
                    },
                    parent as isize,
                )
            }
            Kind::NoPathWrite => {
                let r = Req {
                    nr: libc::SYS_write,
                    a: [self.null as usize, self.out.as_ptr() as usize, 1],
                };
                self.plain(r, 1)
            }
            Kind::NoPathRead => {
                if let Some(b) = self.back.first_mut() {
                    *b = 0xff;
                }
                let r = Req {
                    nr: libc::SYS_read,
                    a: [self.zero as usize, self.back.as_mut_ptr() as usize, 1],
                };
                let t = self.plain(r, 1);
                self.wrong += u64::from(self.back.first() != Some(&0));
                t
            }
        }
    }

    fn plain(&mut self, r: Req, want: isize) -> u64 {
        let t = self.clock.one(r);
        self.check(t.ret[0], want);
        t.ticks
    }

    /// New random bytes to send, and something else where they shall arrive.
    fn fill(&mut self, n: usize) {
        for (o, b) in self.out.iter_mut().zip(self.back.iter_mut()).take(n) {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            *o = self.noise as u8;
            *b = !*o;
        }
    }

    fn put(&mut self, n: usize) {
        let done = sys::write_at(self.pipe.w, self.out.as_ptr() as usize, n);
        self.check(done.map_or(-1, |n| n as isize), n as isize);
    }

    fn drain(&mut self, n: usize) {
        let done = sys::read_at(self.pipe.r, self.back.as_mut_ptr() as usize, n);
        self.check(done.map_or(-1, |n| n as isize), n as isize);
        self.verify(n);
    }

    fn timed_write(&mut self, n: usize) -> u64 {
        let r = Req {
            nr: libc::SYS_write,
            a: [self.pipe.w as usize, self.out.as_ptr() as usize, n],
        };
        self.plain(r, n as isize)
    }

    fn timed_read(&mut self, n: usize) -> u64 {
        let r = Req {
            nr: libc::SYS_read,
            a: [self.pipe.r as usize, self.back.as_mut_ptr() as usize, n],
        };
        self.plain(r, n as isize)
    }

    fn verify(&mut self, n: usize) {
        self.wrong += self
            .out
            .iter()
            .zip(&self.back)
            .take(n)
            .filter(|(a, b)| a != b)
            .count() as u64;
    }

    fn check(&mut self, got: isize, want: isize) {
        self.wrong += u64::from(got != want);
    }
}

/// Ticks of the first `write` and of the first `read` on pipes whose descriptor numbers were never used before.
///
/// Returns the figures of both calls; taken with and without the process attached, their difference is the synthesis.
pub fn first_calls(clock: &Clock, from_fd: i32, wrong: &mut u64) -> sys::Sys<(Vec<u64>, Vec<u64>)> {
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for i in 0..8 {
        let (r, w) = (from_fd + 2 * i, from_fd + 2 * i + 1);
        let p = Pipe::new(0)?;
        sys::dup2(p.r, r)?;
        sys::dup2(p.w, w)?;
        let mut got = [0u8];
        let sent = [i as u8 ^ 0x5a];
        let a = clock.one(Req::write(w, &sent));
        let b = clock.one(Req::read(r, &mut got));
        *wrong += u64::from(a.ret[0] != 1 || b.ret[0] != 1 || got != sent);
        writes.push(a.ticks);
        reads.push(b.ticks);
        sys::close(r)?;
        sys::close(w)?;
    }
    Ok((writes, reads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_moves_its_bytes() {
        let mut b = Bench::new(Clock::new()).unwrap();
        for k in KINDS {
            let f = b.measure(k);
            assert!(f.min <= f.median);
        }
        assert_eq!(b.wrong, 0);
    }

    #[test]
    fn a_wrong_byte_is_seen() {
        let mut b = Bench::new(Clock::new()).unwrap();
        b.fill(4);
        b.put(4);
        b.out[2] ^= 1;
        b.drain(4);
        assert_eq!(b.wrong, 1);
    }

    #[test]
    fn bars_are_those_of_the_promise() {
        assert_eq!(Kind::Pair.bar(1975), Some(197));
        assert_eq!(Kind::UnknownNumber.bar(233), Some(239));
        assert_eq!(Kind::NoPathRead.bar(647), Some(659));
    }
}
