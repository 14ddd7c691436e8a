//! The part of the generator that mixes objects on the same descriptor numbers and has helpers make calls.

use super::gen::{Gen, Kind, LAST_FD};
use super::mixed::Mixed;
use super::op::{Helping, Op, FIRST_FD};

/// How many of a hundred sequences have which helper. The module leaves a process with threads, or with another user of its
/// descriptor table, alone for a while, so most have none.
const HELPERS: [(usize, Helping); 3] = [
    (9, Helping::Child),
    (3, Helping::Sharing),
    (3, Helping::Thread),
];

impl Gen<'_> {
    /// The helper of this sequence, if it is to have one.
    pub fn company(&mut self) -> Option<Helping> {
        let mut n = self.rng.below(100);
        for (share, how) in HELPERS {
            if n < share {
                return Some(how);
            }
            n -= share;
        }
        None
    }

    /// Who makes the next calls, now and then.
    pub fn turn(&mut self, how: Helping) -> Option<Op> {
        match self.rng.below(20) {
            0 => Some(Op::Start { how }),
            1..=4 => Some(Op::Turn { helper: true }),
            5 | 6 => Some(Op::Turn { helper: false }),
            7 if self.rng.chance(1, 3) => Some(Op::End),
            _ => None,
        }
    }

    pub fn mixed_op(&mut self) -> Op {
        Op::Mixed(match self.rng.below(30) {
            0 | 1 => self.fifo(),
            2..=4 => self.sockets(),
            5 | 6 => self.event(),
            7 => {
                self.take(0, Kind::Other);
                Mixed::File
            }
            8..=10 => self.dup3(),
            11..=13 => self.dup_from(),
            14..=16 => self.close_range(),
            17..=19 => {
                let fd = self.any_end();
                // Behind the two sockets that it comes through.
                self.take(2, self.kind(fd));
                Mixed::Pass { fd }
            }
            20..=22 => {
                let fd = self.any_end();
                // Behind the descriptor that stands for the process.
                self.take(1, self.kind(fd));
                Mixed::GetFd { fd }
            }
            23 | 24 => self.reopen(),
            25 => Mixed::Writev {
                fd: self.write_end(),
                buf: self.buf(),
                n: self.count() as u32,
            },
            26 => Mixed::Readv {
                fd: self.read_end(),
                buf: self.buf(),
                n: self.count() as u32,
            },
            27 => Mixed::Pwrite {
                fd: self.any_end(),
                buf: self.buf(),
                n: self.count() as u32,
            },
            28 => Mixed::Pread {
                fd: self.any_end(),
                buf: self.buf(),
                n: self.count() as u32,
            },
            _ => Mixed::Seek {
                fd: self.any_end(),
                at: self.rng.below(300) as u32,
            },
        })
    }

    fn nonblock(&mut self, flag: i32) -> i32 {
        if self.rng.chance(3, 4) {
            flag
        } else {
            0
        }
    }

    fn fifo(&mut self) -> Mixed {
        let flags = self.nonblock(libc::O_NONBLOCK);
        let id = self.new_pipe();
        self.take(0, Kind::ReadEnd(id));
        self.take(0, Kind::WriteEnd(id));
        Mixed::Fifo { flags }
    }

    fn sockets(&mut self) -> Mixed {
        let kind = self
            .rng
            .pick(&[libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET])
            .unwrap_or(libc::SOCK_STREAM);
        let flags = self.nonblock(libc::SOCK_NONBLOCK);
        self.take(0, Kind::Other);
        self.take(0, Kind::Other);
        Mixed::Sockets { kind, flags }
    }

    fn event(&mut self) -> Mixed {
        let semaphore = if self.rng.chance(1, 3) {
            libc::EFD_SEMAPHORE
        } else {
            0
        };
        self.take(0, Kind::Other);
        Mixed::Event {
            value: self.rng.pick(&[0, 1, 3, u32::MAX]).unwrap_or(0),
            flags: semaphore | self.nonblock(libc::EFD_NONBLOCK),
        }
    }

    fn dup3(&mut self) -> Mixed {
        let (from, to) = (self.any_end(), self.some_number());
        let flags = self
            .rng
            .pick(&[0, libc::O_CLOEXEC, libc::O_CLOEXEC, libc::O_NONBLOCK])
            .unwrap_or(0);
        let kind = self.kind(from);
        if from != to && kind != Kind::Free && flags & libc::O_NONBLOCK == 0 {
            self.set(to, kind);
        }
        Mixed::Dup3 { from, to, flags }
    }

    fn dup_from(&mut self) -> Mixed {
        let (fd, least) = (self.any_end(), self.some_number());
        let kind = self.kind(fd);
        let free = (least..=LAST_FD).find(|n| self.kind(*n) == Kind::Free);
        if let (Some(to), true) = (free, kind != Kind::Free) {
            self.set(to, kind);
        }
        Mixed::DupFrom {
            fd,
            least,
            cloexec: self.rng.chance(1, 2),
        }
    }

    fn close_range(&mut self) -> Mixed {
        let first = self.some_number();
        let last = first + self.rng.below(3) as i32;
        let (unshare, cloexec) = (2, 4);
        let flags = self
            .rng
            .pick(&[0, 0, unshare, cloexec, unshare | cloexec])
            .unwrap_or(0);
        if flags & cloexec == 0 {
            (first..=last).for_each(|fd| self.set(fd, Kind::Free));
        }
        Mixed::CloseRange { first, last, flags }
    }

    fn reopen(&mut self) -> Mixed {
        let fd = self.any_end();
        let access = self
            .rng
            .pick(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR])
            .unwrap_or(0);
        let kind = match (self.kind(fd), access) {
            (Kind::ReadEnd(id) | Kind::WriteEnd(id), libc::O_RDONLY) => Kind::ReadEnd(id),
            (Kind::ReadEnd(id) | Kind::WriteEnd(id), _) => Kind::WriteEnd(id),
            (kind, _) => kind,
        };
        self.take(0, kind);
        Mixed::Reopen {
            fd,
            flags: access | self.nonblock(libc::O_NONBLOCK),
        }
    }

    /// A number that is used already, or one near by.
    fn some_number(&mut self) -> i32 {
        if self.rng.chance(2, 3) {
            self.any_end()
        } else {
            FIRST_FD + self.rng.below(12) as i32
        }
    }

    /// The kernel's next free number, or the one that is free after `skip` others, becomes this.
    fn take(&mut self, skip: usize, kind: Kind) {
        let free = (FIRST_FD..=LAST_FD)
            .filter(|n| self.kind(*n) == Kind::Free)
            .nth(skip);
        if let (Some(fd), true) = (free, kind != Kind::Free) {
            self.set(fd, kind);
        }
    }
}
