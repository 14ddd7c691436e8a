//! One call of a sequence, as data: it can be generated, executed by two processes, printed and made simpler.

use super::mixed::Mixed;

/// Most calls in one sequence.
pub const MAX_OPS: usize = 48;

/// First descriptor number that sequences make; those below are fixed in every executor.
pub const FIRST_FD: i32 = 10;
/// Descriptors that exist in every executor: /dev/null, /dev/zero, both ends of a non-blocking socket pair.
pub const NULL_FD: i32 = 3;
pub const ZERO_FD: i32 = 4;
pub const SOCKET_FDS: [i32; 2] = [5, 6];
/// Counters of the executor, where its partner sleeps, the epoll instance.
pub const IO_FD: i32 = 7;
pub const WCHAN_FD: i32 = 8;
pub const EPOLL_FD: i32 = 9;

/// The memory that buffers lie in, page by page.
pub const PLAIN_PAGES: usize = 3;
/// Page that may be read only; the one after it is not mapped, the last one is mapped without any access.
pub const READ_ONLY_PAGE: usize = 3;
pub const HOLE_PAGE: usize = 4;
pub const NO_ACCESS_PAGE: usize = 5;
pub const PAGES: usize = 6;

/// Where a buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buf {
    /// At this byte of the memory for buffers.
    At(u32),
    /// So many bytes before the end of user space, whose last page is mapped.
    BeforeEnd(u32),
    /// At a fixed address that no process owns.
    Raw(u64),
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Pipe {
        flags: i32,
    },
    Write {
        fd: i32,
        buf: Buf,
        n: u64,
    },
    Read {
        fd: i32,
        buf: Buf,
        n: u64,
    },
    Close {
        fd: i32,
    },
    Dup {
        fd: i32,
    },
    Dup2 {
        from: i32,
        to: i32,
    },
    SetFlags {
        fd: i32,
        flags: i32,
    },
    SetOwner {
        fd: i32,
    },
    SetSize {
        fd: i32,
        size: u32,
    },
    Splice {
        from: i32,
        to: i32,
        n: u32,
    },
    Tee {
        from: i32,
        to: i32,
        n: u32,
    },
    Vmsplice {
        fd: i32,
        buf: Buf,
        n: u32,
    },
    Poll {
        fd: i32,
        events: i16,
    },
    EpollAdd {
        fd: i32,
        events: u32,
    },
    EpollWait,
    /// The partner process calls read or write on the same open file, and may sleep in it.
    PartnerRead {
        fd: i32,
        n: u32,
    },
    PartnerWrite {
        fd: i32,
        n: u32,
    },
    /// A page of the buffers' memory is given back and comes again, zeroed, when it is touched.
    Discard {
        page: u8,
    },
    /// A call that has nothing to do with descriptors.
    Getppid,
    Mixed(Mixed),
    /// Starts a helper.
    Start {
        how: Helping,
    },
    /// Whether the calls that follow are made by the helper, if there is one.
    Turn {
        helper: bool,
    },
    /// Ends the helper.
    End,
}

/// What a helper is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helping {
    /// A child process with a descriptor table of its own.
    Child,
    /// A child process that shares the descriptor table.
    Sharing,
    Thread,
}

impl Op {
    /// Simpler calls to try in place of this one while a failing sequence is made smaller.
    pub fn simpler(self) -> Vec<Op> {
        let sizes = |n: u64| -> Vec<u64> {
            let mut s = vec![1, n / 2, n.saturating_sub(1)];
            s.retain(|v| *v < n && *v > 0);
            s.dedup();
            s
        };
        let plain = |b: Buf| (b != Buf::At(0)).then_some(Buf::At(0));
        match self {
            Op::Write { fd, buf, n } => {
                let mut all: Vec<Op> = plain(buf)
                    .into_iter()
                    .map(|buf| Op::Write { fd, buf, n })
                    .collect();
                all.extend(sizes(n).into_iter().map(|n| Op::Write { fd, buf, n }));
                all
            }
            Op::Read { fd, buf, n } => {
                let mut all: Vec<Op> = plain(buf)
                    .into_iter()
                    .map(|buf| Op::Read { fd, buf, n })
                    .collect();
                all.extend(sizes(n).into_iter().map(|n| Op::Read { fd, buf, n }));
                all
            }
            Op::Pipe { flags } if flags != libc::O_NONBLOCK => vec![Op::Pipe {
                flags: libc::O_NONBLOCK,
            }],
            Op::Splice { from, to, n } => sizes(n.into())
                .into_iter()
                .map(|n| Op::Splice {
                    from,
                    to,
                    n: n as u32,
                })
                .collect(),
            Op::Tee { from, to, n } => sizes(n.into())
                .into_iter()
                .map(|n| Op::Tee {
                    from,
                    to,
                    n: n as u32,
                })
                .collect(),
            Op::PartnerRead { fd, n } => sizes(n.into())
                .into_iter()
                .map(|n| Op::PartnerRead { fd, n: n as u32 })
                .collect(),
            Op::PartnerWrite { fd, n } => sizes(n.into())
                .into_iter()
                .map(|n| Op::PartnerWrite { fd, n: n as u32 })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What a call did, as far as anybody can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Value, or minus the errno.
    pub ret: i64,
    /// Hash of the buffers' memory that is readable.
    pub memory: u64,
    /// rchar, wchar, syscr, syscw since the sequence began.
    pub io: [u64; 4],
    /// `FIONREAD` of the descriptor afterwards, or minus the errno.
    pub waiting: i64,
    /// Signals so far: SIGPIPE, SIGIO; of the child when it made the call.
    pub signals: [u32; 2],
    /// What the partner's call returned, if it ended by now; [`STILL`] or [`IDLE`] otherwise.
    pub partner: i64,
    /// Hash of what the partner read.
    pub partner_data: u64,
}

impl Outcome {
    /// Name and both values of the first field in which two outcomes differ.
    pub fn difference(&self, other: &Outcome) -> Option<String> {
        let all = |o: &Outcome| {
            [
                ("ret", o.ret.to_string()),
                ("memory", format!("{:x}", o.memory)),
                ("io", format!("{:?}", o.io)),
                ("waiting", o.waiting.to_string()),
                ("signals", format!("{:?}", o.signals)),
                ("partner", o.partner.to_string()),
                ("partner_data", format!("{:x}", o.partner_data)),
            ]
        };
        all(self)
            .into_iter()
            .zip(all(other))
            .find(|((_, x), (_, y))| x != y)
            .map(|((name, x), (_, y))| format!("{name} {x} and {y}"))
    }
}

/// The first call after which two runs of a sequence differ, and in what; `None` when they agree.
pub fn first_difference(ops: &[Op], [a, b]: [&[Outcome]; 2]) -> Option<String> {
    let (at, what) = a
        .iter()
        .zip(b)
        .enumerate()
        .find_map(|(i, (x, y))| Some((i, x.difference(y)?)))?;
    let call = ops
        .get(at)
        .map_or("the end of the sequence".into(), |op| format!("{op:?}"));
    Some(format!("call {at}, {call}: {what}"))
}

/// The partner still sleeps in its call.
pub const STILL: i64 = i64::MIN;
/// The partner has nothing to do.
pub const IDLE: i64 = i64::MIN + 1;
/// The call was not made because the partner was busy.
pub const BUSY: i64 = i64::MIN + 2;

/// A sequence as text, one call a line, with both outcomes where they differ.
pub fn print(ops: &[Op], outcomes: Option<[&[Outcome]; 2]>) -> String {
    let mut text = String::new();
    for (i, op) in ops.iter().enumerate() {
        text += &format!("# {i:2} {op:?}\n");
        let Some([a, b]) = outcomes else { continue };
        match (a.get(i), b.get(i)) {
            (Some(x), Some(y)) if x == y => text += &format!("#      -> {}\n", x.ret),
            (x, y) => text += &format!("#      stock    {x:?}\n#      attached {y:?}\n"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simpler_calls_get_smaller_until_nothing_is_left_to_try() {
        let mut op = Op::Write {
            fd: 11,
            buf: Buf::Raw(8),
            n: 4096,
        };
        for _ in 0..100 {
            match op.simpler().first() {
                Some(next) => op = *next,
                None => break,
            }
        }
        assert_eq!(
            op,
            Op::Write {
                fd: 11,
                buf: Buf::At(0),
                n: 1
            }
        );
    }

    #[test]
    fn the_first_difference_is_named() {
        let one = Outcome {
            ret: 1,
            waiting: 5,
            ..Outcome::default()
        };
        let two = Outcome { waiting: 6, ..one };
        let ops = [Op::Getppid, Op::EpollWait];
        assert_eq!(
            first_difference(&ops, [&[one, one, two], &[one, two, one]]).as_deref(),
            Some("call 1, EpollWait: waiting 5 and 6")
        );
        assert_eq!(
            first_difference(&ops, [&[one, one, one], &[one, one, two]]).as_deref(),
            Some("call 2, the end of the sequence: waiting 5 and 6")
        );
        assert_eq!(first_difference(&ops, [&[one], &[one]]), None);
    }

    #[test]
    fn every_field_can_be_the_difference() {
        let o = Outcome::default();
        let others = [
            Outcome { ret: 1, ..o },
            Outcome { memory: 1, ..o },
            Outcome {
                io: [0, 0, 0, 1],
                ..o
            },
            Outcome { waiting: 1, ..o },
            Outcome {
                signals: [0, 1],
                ..o
            },
            Outcome { partner: 1, ..o },
            Outcome {
                partner_data: 1,
                ..o
            },
        ];
        for other in others {
            assert!(o.difference(&other).is_some(), "{other:?}");
        }
    }

    #[test]
    fn only_differing_outcomes_are_shown_twice() {
        let same = Outcome {
            ret: 1,
            ..Outcome::default()
        };
        let other = Outcome { ret: 2, ..same };
        let text = print(
            &[Op::Getppid, Op::EpollWait],
            Some([&[same, same], &[same, other]]),
        );
        assert_eq!(text.matches("attached").count(), 1);
    }
}
