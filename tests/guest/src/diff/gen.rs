//! The generator: random sequences that mostly do something, because it keeps a model of the descriptors.

use super::op::{
    Buf, Helping, Op, FIRST_FD, HOLE_PAGE, MAX_OPS, NO_ACCESS_PAGE, NULL_FD, PLAIN_PAGES,
    READ_ONLY_PAGE, SOCKET_FDS, ZERO_FD,
};
use super::rng::Rng;

/// Highest descriptor number of the model.
pub const LAST_FD: i32 = 90;

/// What the model knows of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Free,
    ReadEnd(u8),
    WriteEnd(u8),
    Other,
}

/// Generates one sequence.
pub struct Gen<'a> {
    pub rng: &'a mut Rng,
    fds: Vec<Kind>,
    pipes: u8,
    /// Longest count of this sequence's usual writes; sequences differ in taste.
    usual: usize,
    partner: bool,
    /// Mostly reads and writes that succeed, by the counts of bytes in each pipe.
    calm: bool,
    bytes: Vec<u64>,
    /// Other objects than pipes come to the same numbers.
    mixed: bool,
    /// Somebody else makes some of the calls.
    company: Option<Helping>,
}

/// The sequence of a seed and a number.
pub fn sequence(seed: u64, number: u64) -> Vec<Op> {
    let mut rng = Rng::new(seed, number);
    Gen::new(&mut rng).run()
}

impl<'a> Gen<'a> {
    fn new(rng: &'a mut Rng) -> Self {
        let usual = rng.pick(&[1, 8, 64, 300, 2000, 4096]).unwrap_or(64);
        let partner = rng.chance(1, 6);
        let calm = rng.chance(3, 5);
        let fds = vec![Kind::Free; (LAST_FD - FIRST_FD + 1) as usize];
        let mixed = rng.chance(1, 2);
        let mut gen = Gen {
            rng,
            fds,
            pipes: 0,
            usual,
            partner,
            calm,
            bytes: vec![0; 256],
            mixed,
            company: None,
        };
        gen.company = gen.company();
        gen
    }

    fn run(mut self) -> Vec<Op> {
        let mut ops = vec![self.pipe()];
        // The path of a descriptor is made at its first use, and a pipe has no spare page before its first read: begin with both.
        if self.rng.chance(5, 6) {
            for _ in 0..2 {
                ops.push(Op::Write {
                    fd: FIRST_FD + 1,
                    buf: Buf::At(64),
                    n: 8,
                });
                ops.push(Op::Read {
                    fd: FIRST_FD,
                    buf: Buf::At(128),
                    n: 8,
                });
            }
        }
        let length = ops.len() + 4 + self.rng.below(MAX_OPS - ops.len() - 4);
        while ops.len() < length {
            let op = self.op();
            ops.push(op);
        }
        ops
    }

    fn op(&mut self) -> Op {
        if let Some(turn) = self.company.and_then(|how| self.turn(how)) {
            return turn;
        }
        if self.mixed && self.rng.chance(1, if self.calm { 12 } else { 4 }) {
            return self.mixed_op();
        }
        if self.calm && self.rng.chance(9, 10) {
            return self.calm_op();
        }
        match self.rng.below(100) {
            0..=33 => self.write(),
            34..=67 => self.read(),
            68..=70 => self.pipe(),
            71..=73 => self.close(),
            74..=75 => self.dup(),
            76..=78 => self.dup2(),
            79..=82 => self.set_flags(),
            83..=84 => Op::SetSize {
                fd: self.any_end(),
                size: self
                    .rng
                    .pick(&[0, 1, 4096, 5000, 8192, 16384, 65536, 131_072, 1 << 20])
                    .unwrap_or(0),
            },
            85..=86 => Op::Splice {
                from: self.read_end(),
                to: self.write_end(),
                n: self.count() as u32,
            },
            87 => Op::Tee {
                from: self.read_end(),
                to: self.write_end(),
                n: self.count() as u32,
            },
            88 => Op::Vmsplice {
                fd: self.write_end(),
                buf: self.buf(),
                n: self.count() as u32,
            },
            89..=91 => Op::Poll {
                fd: self.any_end(),
                events: self.rng.pick(&[1, 4, 5, 0x41]).unwrap_or(5),
            },
            92 => Op::EpollAdd {
                fd: self.any_end(),
                events: self
                    .rng
                    .pick(&[1u32, 5, 1 | 1 << 31, 4 | 1 << 31])
                    .unwrap_or(1),
            },
            93 => Op::EpollWait,
            94 => Op::Discard {
                page: self.rng.below(PLAIN_PAGES) as u8,
            },
            95 => Op::Getppid,
            96 => Op::SetOwner { fd: self.any_end() },
            _ if self.partner && self.rng.chance(1, 2) => Op::PartnerRead {
                fd: self.read_end(),
                n: self.count() as u32,
            },
            _ if self.partner => Op::PartnerWrite {
                fd: self.write_end(),
                n: self.count() as u32,
            },
            _ => self.write(),
        }
    }

    /// A write or read that will probably find what it needs.
    fn calm_op(&mut self) -> Op {
        let (r, w) = (self.read_end(), self.write_end());
        let inside = |k: Kind| match k {
            Kind::ReadEnd(id) | Kind::WriteEnd(id) => usize::from(id),
            _ => 255,
        };
        let (from, to) = (inside(self.kind(r)), inside(self.kind(w)));
        let buf = Buf::At(self.rng.below(4000) as u32);
        let there = self.bytes.get(from).copied().unwrap_or(0);
        if there > 0
            && self.rng.chance(
                if there > 4096 { 3 } else { 1 },
                if there > 4096 { 4 } else { 2 },
            )
        {
            let n = match self.rng.below(4) {
                0 => there.min(4096),
                1 => 4096,
                _ => 1 + self.rng.below(there.min(4096) as usize) as u64,
            };
            if let Some(b) = self.bytes.get_mut(from) {
                *b = there.saturating_sub(n);
            }
            return Op::Read { fd: r, buf, n };
        }
        let n = 1 + self.rng.below(self.usual) as u64;
        if let Some(b) = self.bytes.get_mut(to) {
            *b += n;
        }
        Op::Write { fd: w, buf, n }
    }

    fn write(&mut self) -> Op {
        let fd = if self.rng.chance(1, 40) {
            self.odd_fd()
        } else {
            self.write_end()
        };
        Op::Write {
            fd,
            buf: self.buf(),
            n: self.count(),
        }
    }

    fn read(&mut self) -> Op {
        let fd = if self.rng.chance(1, 40) {
            self.odd_fd()
        } else {
            self.read_end()
        };
        Op::Read {
            fd,
            buf: self.buf(),
            n: self.count(),
        }
    }

    fn pipe(&mut self) -> Op {
        let flags = match self.rng.below(10) {
            // A partner that is to sleep needs a pipe that blocks.
            0..=4 if self.partner => 0,
            0..=6 => libc::O_NONBLOCK,
            7 | 8 => 0,
            _ => libc::O_NONBLOCK | libc::O_DIRECT,
        };
        let id = self.new_pipe();
        if let Some(r) = self.lowest() {
            self.set(r, Kind::ReadEnd(id));
            if let Some(w) = self.lowest() {
                self.set(w, Kind::WriteEnd(id));
            }
        }
        Op::Pipe { flags }
    }

    /// Another pipe or fifo of the model.
    pub fn new_pipe(&mut self) -> u8 {
        self.pipes += 1;
        self.pipes - 1
    }

    fn close(&mut self) -> Op {
        let fd = self.any_end();
        self.set(fd, Kind::Free);
        Op::Close { fd }
    }

    fn dup(&mut self) -> Op {
        let fd = self.any_end();
        let kind = self.kind(fd);
        if kind != Kind::Free {
            if let Some(to) = self.lowest() {
                self.set(to, kind);
            }
        }
        Op::Dup { fd }
    }

    fn dup2(&mut self) -> Op {
        let from = if self.rng.chance(1, 3) {
            self.rng
                .pick(&[NULL_FD, ZERO_FD, SOCKET_FDS[0], SOCKET_FDS[1]])
                .unwrap_or(NULL_FD)
        } else {
            self.any_end()
        };
        let to = match self.rng.below(8) {
            0 => FIRST_FD + self.rng.below(12) as i32,
            1 => self.rng.pick(&[40, 63, 64, 65, 80]).unwrap_or(40),
            _ => self.any_end(),
        };
        let kind = if from < FIRST_FD {
            Kind::Other
        } else {
            self.kind(from)
        };
        if kind != Kind::Free {
            self.set(to, kind);
        }
        Op::Dup2 { from, to }
    }

    fn set_flags(&mut self) -> Op {
        let nonblock = if self.rng.chance(3, 4) {
            libc::O_NONBLOCK
        } else {
            0
        };
        // Signals that one process sends another while both run may be merged or not.
        let sigio = if self.company.is_some() {
            0
        } else {
            libc::O_ASYNC
        };
        let extra = self
            .rng
            .pick(&[0, 0, 0, libc::O_DIRECT, sigio, libc::O_APPEND])
            .unwrap_or(0);
        Op::SetFlags {
            fd: self.any_end(),
            flags: nonblock | extra,
        }
    }

    /// A count: mostly what fits a page, now and then a border or something absurd.
    pub fn count(&mut self) -> u64 {
        match self.rng.below(20) {
            0 => self
                .rng
                .pick(&[0u64, 4095, 4096, 4097, 8192, 65536, 70_000])
                .unwrap_or(0),
            1 => 1 + self.rng.below(4096) as u64,
            2 if self.rng.chance(1, 4) => self
                .rng
                .pick(&[1 << 31, 1 << 32, (1 << 32) + 1, 1 << 63, u64::MAX])
                .unwrap_or(0),
            // What an eventfd wants.
            3..=6 if self.mixed => 8,
            _ => 1 + self.rng.below(self.usual) as u64,
        }
    }

    pub fn buf(&mut self) -> Buf {
        let page = 4096u32;
        match self.rng.below(40) {
            0 => Buf::At(READ_ONLY_PAGE as u32 * page + self.rng.below(4096) as u32),
            1 => Buf::At(HOLE_PAGE as u32 * page + self.rng.below(4096) as u32),
            2 => Buf::At(NO_ACCESS_PAGE as u32 * page),
            // Just before the read-only page and just before the hole: straddling.
            3 => Buf::At(READ_ONLY_PAGE as u32 * page - 1 - self.rng.below(100) as u32),
            4 => Buf::At(HOLE_PAGE as u32 * page - 1 - self.rng.below(100) as u32),
            5 => Buf::Raw(
                self.rng
                    .pick(&[
                        0,
                        1,
                        4095,
                        0xffff_8880_0000_1000,
                        0xffff_ffff_8100_0000,
                        0x0000_8000_0000_0000,
                        0x7fff_ffff_efff,
                        0x7fff_ffff_f000,
                        0x4141_4141_4141_4141,
                        u64::MAX,
                        u64::MAX - 4095,
                    ])
                    .unwrap_or(0),
            ),
            6 => Buf::At(page - 1 - self.rng.below(64) as u32),
            // Up to the end of user space, and beyond it: the count decides.
            7 => Buf::BeforeEnd(1 + self.rng.below(16) as u32),
            8 => Buf::BeforeEnd(1 + self.rng.below(4096) as u32),
            _ => Buf::At(self.rng.below(4000) as u32),
        }
    }

    fn ends(&self, want: impl Fn(Kind) -> bool) -> Vec<i32> {
        self.fds
            .iter()
            .enumerate()
            .filter(|(_, k)| want(**k))
            .map(|(i, _)| FIRST_FD + i as i32)
            .collect()
    }

    pub fn read_end(&mut self) -> i32 {
        if self.mixed && !self.calm && self.rng.chance(1, 4) {
            return self.any_end();
        }
        let all = self.ends(|k| matches!(k, Kind::ReadEnd(_)));
        self.rng.pick(&all).unwrap_or(FIRST_FD)
    }

    pub fn write_end(&mut self) -> i32 {
        if self.mixed && !self.calm && self.rng.chance(1, 4) {
            return self.any_end();
        }
        let all = self.ends(|k| matches!(k, Kind::WriteEnd(_)));
        self.rng.pick(&all).unwrap_or(FIRST_FD + 1)
    }

    pub fn any_end(&mut self) -> i32 {
        let all = self.ends(|k| k != Kind::Free);
        self.rng.pick(&all).unwrap_or(FIRST_FD)
    }

    fn odd_fd(&mut self) -> i32 {
        let any = self.any_end();
        self.rng
            .pick(&[
                any,
                NULL_FD,
                ZERO_FD,
                SOCKET_FDS[0],
                SOCKET_FDS[1],
                FIRST_FD + 20,
                -1,
                i32::MAX,
            ])
            .unwrap_or(any)
    }

    pub fn kind(&self, fd: i32) -> Kind {
        usize::try_from(fd - FIRST_FD)
            .ok()
            .and_then(|i| self.fds.get(i))
            .copied()
            .unwrap_or(Kind::Free)
    }

    pub fn set(&mut self, fd: i32, kind: Kind) {
        if let Some(k) = usize::try_from(fd - FIRST_FD)
            .ok()
            .and_then(|i| self.fds.get_mut(i))
        {
            *k = kind;
        }
    }

    /// The number that the kernel gives next.
    fn lowest(&self) -> Option<i32> {
        self.fds
            .iter()
            .position(|k| *k == Kind::Free)
            .map(|i| FIRST_FD + i as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_sequences() {
        assert_eq!(sequence(7, 3), sequence(7, 3));
        assert_ne!(sequence(7, 3), sequence(7, 4));
        assert_ne!(sequence(7, 3), sequence(8, 3));
    }

    #[test]
    fn sequences_fit() {
        for i in 0..2000 {
            let s = sequence(1, i);
            assert!(s.len() > 4 && s.len() <= MAX_OPS, "{}", s.len());
        }
    }

    #[test]
    fn every_kind_of_call_comes_up() {
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..1500 {
            for op in sequence(2, i) {
                seen.insert(super::super::tally::name(&op));
            }
        }
        assert_eq!(seen.len(), 19 + 15 + 2 + 3, "{seen:?}");
    }

    #[test]
    fn most_reads_and_writes_are_small_and_well() {
        let (mut well, mut all) = (0, 0);
        for i in 0..500 {
            for op in sequence(3, i) {
                if let Op::Write { buf, n, .. } | Op::Read { buf, n, .. } = op {
                    all += 1;
                    well +=
                        usize::from(n > 0 && n <= 4096 && matches!(buf, Buf::At(a) if a < 4096));
                }
            }
        }
        assert!(well * 10 > all * 7, "{well} of {all}");
    }
}
