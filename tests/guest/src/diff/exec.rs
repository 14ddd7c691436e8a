//! The executor: a long-lived process that runs sequences and reports what each call did.

use super::calls::{count_signals, flat, forget_signals, signals, Caller, Done, PAGE};
use super::channel::{Channel, PARTNER_DONE, PARTNER_IDLE};
use super::helper::Helper;
use super::op::{
    Op, Outcome, BUSY, EPOLL_FD, FIRST_FD, HOLE_PAGE, IDLE, IO_FD, NO_ACCESS_PAGE, NULL_FD, PAGES,
    READ_ONLY_PAGE, SOCKET_FDS, STILL, WCHAN_FD, ZERO_FD,
};
use super::{asleep, partner};
use crate::proc::{futex_wait, futex_wake, Io, IoMeter, Kid};
use crate::sys::{self, Sys};
use crate::sysfs;
use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// State of one executor process.
struct Executor {
    channel: &'static Channel,
    caller: Caller,
    /// The task that makes some of the calls, and whether it is its turn.
    helper: Option<Helper>,
    helper_turn: bool,
    meter: IoMeter,
    start: Io,
}

/// Runs an executor until it is killed; returns only if it cannot be set up.
pub fn main(channel: &'static Channel, memory: usize, attached: bool) -> i32 {
    match set_up(channel, memory, attached) {
        Ok((mut executor, _partner)) => executor.serve(),
        Err(e) => {
            channel.ready.store(-(e as i32), Ordering::SeqCst);
            1
        }
    }
}

fn set_up(channel: &'static Channel, memory: usize, attached: bool) -> Sys<(Executor, Kid)> {
    sys::sys(libc::SYS_close_range, &[3, u32::MAX as usize, 0])?;
    count_signals();
    partner::interrupt_by(libc::SIGALRM);
    let partner = partner::spawn(channel)?;
    let fixed = |got: i32, want: i32| {
        if got == want {
            Ok(())
        } else {
            Err(Errno::EBADFD)
        }
    };
    fixed(sys::open("/dev/null", libc::O_RDWR, 0)?, NULL_FD)?;
    fixed(sys::open("/dev/zero", libc::O_RDWR, 0)?, ZERO_FD)?;
    sockets()?;
    let meter = IoMeter::open()?;
    fixed(meter.descriptor(), IO_FD)?;
    fixed(
        sys::open(&format!("/proc/{}/wchan", partner.pid), libc::O_RDONLY, 0)?,
        WCHAN_FD,
    )?;
    epoll()?;
    let last = sys::map_last_page()?;
    channel.partner_pid.store(partner.pid, Ordering::SeqCst);
    if attached {
        sysfs::attach(sys::getpid())?;
    }
    channel.ready.store(sys::getpid(), Ordering::SeqCst);
    Ok((
        Executor {
            channel,
            caller: Caller {
                channel,
                memory,
                last,
                task: sys::getpid(),
            },
            helper: None,
            helper_turn: false,
            meter,
            start: Io::default(),
        },
        partner,
    ))
}

/// The socket pair at its fixed numbers, which must be free.
fn sockets() -> Sys {
    let mut s = [0i32; 2];
    let kind = (libc::SOCK_STREAM | libc::SOCK_NONBLOCK) as usize;
    sys::sys(
        libc::SYS_socketpair,
        &[libc::AF_UNIX as usize, kind, 0, s.as_mut_ptr() as usize],
    )?;
    if s == SOCKET_FDS {
        Ok(0)
    } else {
        Err(Errno::EBADFD)
    }
}

/// The epoll instance at its fixed number, which must be free.
fn epoll() -> Sys {
    let fd = sys::sys(libc::SYS_epoll_create1, &[0])?;
    if fd as i32 == EPOLL_FD {
        Ok(0)
    } else {
        Err(Errno::EBADFD)
    }
}

impl Executor {
    fn serve(&mut self) -> i32 {
        let mut seen = 0;
        loop {
            let command = self.channel.command.load(Ordering::SeqCst);
            if command == seen {
                futex_wait(&self.channel.command, seen, Duration::from_secs(1));
                continue;
            }
            seen = command;
            if self.sequence().is_err() {
                return 2;
            }
            self.channel.answer.store(command, Ordering::SeqCst);
            futex_wake(&self.channel.answer);
        }
    }

    fn sequence(&mut self) -> Sys<()> {
        self.reset()?;
        let planted = self.channel.planted.load(Ordering::SeqCst) != 0;
        let ops = self.channel.sequence();
        for (i, op) in ops.iter().enumerate() {
            let mut outcome = self.run(i, *op)?;
            if planted && matches!(op, Op::Read { .. }) && outcome.ret > 1 {
                outcome.ret -= 1;
            }
            self.channel.report(i, outcome);
        }
        self.end_helper()?;
        self.end_partner();
        let last = self.look(Done::default(), None);
        self.channel.report(ops.len(), last);
        Ok(())
    }

    /// Everything as at the beginning of every sequence.
    fn reset(&mut self) -> Sys<()> {
        sys::sys(
            libc::SYS_close_range,
            &[FIRST_FD as usize, u32::MAX as usize, 0],
        )?;
        for fd in [SOCKET_FDS[0], SOCKET_FDS[1], EPOLL_FD] {
            sys::close(fd)?;
        }
        sockets()?;
        epoll()?;
        let memory = self.caller.memory;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_POPULATE)
            as usize;
        for (at, pages) in [(memory, PAGES), (self.caller.last, 1)] {
            sys::sys(libc::SYS_mmap, &[at, pages * PAGE, 3, flags, usize::MAX, 0])?;
        }
        self.caller.stamp(memory + READ_ONLY_PAGE * PAGE, PAGE, 1);
        sys::protect(memory + READ_ONLY_PAGE * PAGE, PAGE, libc::PROT_READ)?;
        sys::unmap(memory + HOLE_PAGE * PAGE, PAGE)?;
        sys::protect(memory + NO_ACCESS_PAGE * PAGE, PAGE, libc::PROT_NONE)?;
        forget_signals();
        self.channel.phase.store(PARTNER_IDLE, Ordering::SeqCst);
        self.start = self.meter.now()?;
        Ok(())
    }

    /// One call, by whoever's turn it is, and what can be seen of it.
    fn run(&mut self, i: usize, op: Op) -> Sys<Outcome> {
        let mut theirs = None;
        let done = match (op, &self.helper) {
            (Op::Start { .. }, Some(_)) | (Op::End, None) => Done {
                ret: BUSY,
                ..Done::default()
            },
            (Op::Start { how }, None) => {
                let helper = Helper::start(self.caller, how);
                let ret = flat(helper.as_ref().map(|_| 0).map_err(|e| *e));
                self.helper = helper.ok();
                Done {
                    ret,
                    ..Done::default()
                }
            }
            (Op::End, Some(_)) => {
                self.end_helper()?;
                Done::default()
            }
            (Op::Turn { helper }, _) => {
                self.helper_turn = helper;
                Done::default()
            }
            (_, Some(helper)) if self.helper_turn => {
                let (done, signals) = helper.call(i)?;
                theirs = signals;
                done
            }
            _ => self.caller.perform(i, op),
        };
        self.settle();
        Ok(self.look(done, theirs))
    }

    fn end_helper(&mut self) -> Sys<()> {
        self.helper_turn = false;
        self.helper.take().map_or(Ok(()), Helper::end)
    }

    /// Waits until the partner has ended its call or sleeps in it.
    fn settle(&mut self) {
        while partner::busy(self.channel) {
            let in_call =
                self.channel.phase.load(Ordering::SeqCst) == super::channel::PARTNER_IN_CALL;
            let mut text = [0u8; asleep::WCHAN_MAX];
            let n = sys::pread(WCHAN_FD, &mut text, 0).unwrap_or(0);
            self.meter.leave_out(n);
            let sleeps = asleep::by_wchan(text.get(..n).unwrap_or_default());
            if in_call && sleeps && partner::busy(self.channel) {
                return;
            }
            std::thread::sleep(Duration::from_micros(30));
        }
    }

    /// Ends the partner's call if it still sleeps.
    fn end_partner(&mut self) {
        let pid = self.channel.partner_pid.load(Ordering::SeqCst);
        while partner::busy(self.channel) {
            // SAFETY: signals our own child.
            unsafe { libc::kill(pid, libc::SIGUSR1) };
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Everything that can be seen after a call; `theirs` are the signals of a helper that is another process.
    fn look(&mut self, done: Done, theirs: Option<[u32; 2]>) -> Outcome {
        let c = self.channel;
        let own = signals();
        let waiting = done.about.map_or(0, |fd| {
            sys::fionread(fd).map_or_else(|e| -(e as i64), i64::from)
        });
        let io = self.meter.now().unwrap_or_default().minus(self.start);
        let (partner, partner_data) = match c.phase.load(Ordering::SeqCst) {
            PARTNER_DONE => (c.ret.load(Ordering::SeqCst), c.data.load(Ordering::SeqCst)),
            PARTNER_IDLE => (IDLE, 0),
            _ => (STILL, 0),
        };
        Outcome {
            ret: done.ret,
            memory: done.memory,
            io: [io.rchar, io.wchar, io.syscr, io.syscw],
            waiting,
            signals: theirs.unwrap_or(own),
            partner,
            partner_data,
        }
    }
}
