//! The executor: a long-lived process that runs sequences and reports what each call did.

use super::channel::{Channel, PARTNER_ASKED, PARTNER_DONE, PARTNER_IDLE};
use super::op::{
    Buf, Op, Outcome, BUSY, EPOLL_FD, FIRST_FD, HOLE_PAGE, IDLE, IO_FD, NO_ACCESS_PAGE, NULL_FD,
    PAGES, PLAIN_PAGES, READ_ONLY_PAGE, SOCKET_FDS, STILL, WCHAN_FD, ZERO_FD,
};
use super::{asleep, partner};
use crate::proc::{futex_wait, futex_wake, Io, IoMeter, Kid};
use crate::sys::{self, Sys};
use crate::sysfs;
use nix::errno::Errno;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PAGE: usize = 4096;
/// Splice calls never wait.
const SPLICE_NONBLOCK: u32 = 2;

static PIPES: AtomicU32 = AtomicU32::new(0);
static IOS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(signal: i32) {
    let which = if signal == libc::SIGPIPE {
        &PIPES
    } else {
        &IOS
    };
    which.fetch_add(1, Ordering::SeqCst);
}

/// Value or minus errno in one number.
pub fn flat(r: Sys) -> i64 {
    r.map_or_else(|e| -(e as i64), |v| v as i64)
}

/// Eight bytes at a time; order and length count.
pub fn hash(data: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64 ^ data.len() as u64;
    for c in data.chunks(8) {
        let mut word = [0u8; 8];
        for (w, b) in word.iter_mut().zip(c) {
            *w = *b;
        }
        h = (h ^ u64::from_le_bytes(word))
            .wrapping_mul(0x1000_0000_01b3)
            .rotate_left(23);
    }
    h
}

/// State of one executor process.
struct Executor {
    channel: &'static Channel,
    /// Address of the buffers' memory, the same in all executors.
    memory: usize,
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
    for signal in [libc::SIGPIPE, libc::SIGIO] {
        // SAFETY: the handler only touches atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
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
    channel.partner_pid.store(partner.pid, Ordering::SeqCst);
    if attached {
        sysfs::attach(sys::getpid())?;
    }
    channel.ready.store(sys::getpid(), Ordering::SeqCst);
    Ok((
        Executor {
            channel,
            memory,
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
            let mut outcome = self.run(i, *op);
            if planted && matches!(op, Op::Read { .. }) && outcome.ret > 1 {
                outcome.ret -= 1;
            }
            self.channel.report(i, outcome);
        }
        self.end_partner();
        let last = self.look(0, None, 0);
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
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_POPULATE)
            as usize;
        sys::sys(
            libc::SYS_mmap,
            &[self.memory, PAGES * PAGE, 3, flags, usize::MAX, 0],
        )?;
        self.stamp(READ_ONLY_PAGE * PAGE, PAGE, 1);
        sys::protect(self.memory + READ_ONLY_PAGE * PAGE, PAGE, libc::PROT_READ)?;
        sys::unmap(self.memory + HOLE_PAGE * PAGE, PAGE)?;
        sys::protect(self.memory + NO_ACCESS_PAGE * PAGE, PAGE, libc::PROT_NONE)?;
        PIPES.store(0, Ordering::SeqCst);
        IOS.store(0, Ordering::SeqCst);
        self.channel.phase.store(PARTNER_IDLE, Ordering::SeqCst);
        self.start = self.meter.now()?;
        Ok(())
    }

    /// Puts bytes that depend on `salt` into the memory; the caller knows that it may be written.
    fn stamp(&self, from: usize, n: usize, salt: u64) {
        let mut v = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: inside the mapped and writable pages, as the callers make sure.
        let bytes = unsafe { std::slice::from_raw_parts_mut((self.memory + from) as *mut u8, n) };
        for c in bytes.chunks_mut(8) {
            v = v.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            for (b, s) in c.iter_mut().zip(v.to_be_bytes()) {
                *b = s;
            }
        }
    }

    fn address(&self, buf: Buf) -> usize {
        match buf {
            Buf::At(at) => self.memory + at as usize,
            Buf::Raw(at) => at as usize,
        }
    }

    /// New bytes to write, where the buffer lies in plain memory.
    fn fill(&self, i: usize, buf: Buf, n: u64) {
        let Buf::At(at) = buf else { return };
        let end = PLAIN_PAGES * PAGE;
        if (at as usize) < end {
            let n = (n.min(8192) as usize).min(end - at as usize);
            self.stamp(at as usize, n, i as u64 + 7);
        }
    }

    /// Hash of the memory around a buffer, as far as it may be read.
    fn memory_hash(&self, buf: Buf, n: u64) -> u64 {
        let Buf::At(at) = buf else { return 0 };
        let end = (READ_ONLY_PAGE + 1) * PAGE;
        let from = (at as usize).saturating_sub(64).min(end);
        let to = (at as usize)
            .saturating_add(n.min(8192) as usize + 64)
            .min(end);
        // SAFETY: plain pages and the read-only page are mapped.
        hash(unsafe { std::slice::from_raw_parts((self.memory + from) as *const u8, to - from) })
    }

    fn run(&mut self, i: usize, op: Op) -> Outcome {
        let (mut memory, mut about) = (0, None);
        self.channel.call.fetch_add(1, Ordering::SeqCst);
        let ret = match op {
            Op::Pipe { flags } => {
                flat(sys::pipe2(flags).map(|(r, w)| (r as usize) << 16 | w as usize))
            }
            Op::Write { fd, buf, n } => {
                self.fill(i, buf, n);
                about = Some(fd);
                flat(sys::write_at(fd, self.address(buf), n as usize))
            }
            Op::Read { fd, buf, n } => {
                about = Some(fd);
                let r = flat(sys::read_at(fd, self.address(buf), n as usize));
                memory = self.memory_hash(buf, n);
                r
            }
            Op::Close { fd } => flat(sys::close(fd)),
            Op::Dup { fd } => flat(sys::dup(fd).map(|v| v as usize)),
            Op::Dup2 { from, to } => flat(sys::dup2(from, to)),
            Op::SetFlags { fd, flags } => flat(sys::fcntl(fd, libc::F_SETFL, flags as usize)),
            Op::SetOwner { fd } => {
                // The owner is this process, which has another number in each executor: only success is told.
                flat(sys::fcntl(fd, libc::F_SETOWN, sys::getpid() as usize))
            }
            Op::SetSize { fd, size } => {
                about = Some(fd);
                flat(sys::fcntl(fd, libc::F_SETPIPE_SZ, size as usize))
            }
            Op::Splice { from, to, n } => {
                about = Some(to);
                flat(sys::splice(from, to, n as usize, SPLICE_NONBLOCK))
            }
            Op::Tee { from, to, n } => {
                about = Some(to);
                flat(sys::tee(from, to, n as usize, SPLICE_NONBLOCK))
            }
            Op::Vmsplice { fd, buf, n } => {
                about = Some(fd);
                flat(sys::vmsplice(
                    fd,
                    self.address(buf),
                    n as usize,
                    SPLICE_NONBLOCK,
                ))
            }
            Op::Poll { fd, events } => flat(sys::poll_now(fd, events).map(|v| v as u16 as usize)),
            Op::EpollAdd { fd, events } => {
                let event = [u64::from(events) | (fd as u64) << 32, 0];
                let args = [
                    EPOLL_FD as usize,
                    libc::EPOLL_CTL_ADD as usize,
                    fd as usize,
                    event.as_ptr() as usize,
                ];
                flat(sys::sys(libc::SYS_epoll_ctl, &args))
            }
            Op::EpollWait => self.epoll_wait(&mut memory),
            Op::PartnerRead { fd, n } => self.ask_partner(fd, n, false),
            Op::PartnerWrite { fd, n } => self.ask_partner(fd, n, true),
            Op::Discard { page } => flat(sys::sys(
                libc::SYS_madvise,
                &[
                    self.memory + usize::from(page) * PAGE,
                    PAGE,
                    libc::MADV_DONTNEED as usize,
                ],
            )),
            Op::Getppid => i64::from(sys::sys(libc::SYS_getppid, &[]).is_ok()),
        };
        self.channel.call.fetch_add(1, Ordering::SeqCst);
        self.settle();
        self.look(ret, about, memory)
    }

    fn epoll_wait(&self, events_hash: &mut u64) -> i64 {
        let mut events = [0u32; 8 * 3];
        let args = [EPOLL_FD as usize, events.as_mut_ptr() as usize, 8, 0];
        let r = sys::sys(libc::SYS_epoll_wait, &args);
        let n = r.unwrap_or(0).min(8);
        // Order of readiness is not promised: compare as a set.
        let mut seen: Vec<[u32; 3]> = events
            .chunks(3)
            .take(n)
            .map(|c| [c[0], c[1], c[2]])
            .collect();
        seen.sort_unstable();
        *events_hash = seen.iter().flatten().fold(n as u64, |h, v| {
            (h ^ u64::from(*v))
                .wrapping_mul(0x1000_0000_01b3)
                .rotate_left(9)
        });
        flat(r)
    }

    fn ask_partner(&self, fd: i32, n: u32, writes: bool) -> i64 {
        let c = self.channel;
        if partner::busy(c) {
            return BUSY;
        }
        c.fd.store(fd, Ordering::SeqCst);
        c.count.store(n, Ordering::SeqCst);
        c.writes.store(u32::from(writes), Ordering::SeqCst);
        c.phase.store(PARTNER_ASKED, Ordering::SeqCst);
        c.asked.fetch_add(1, Ordering::SeqCst);
        futex_wake(&c.asked);
        0
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

    /// Everything else that can be seen after a call.
    fn look(&mut self, ret: i64, about: Option<i32>, memory: u64) -> Outcome {
        let c = self.channel;
        // One more way through the kernel: signals that others sent are delivered now.
        let _ = sys::getpid();
        let waiting = about.map_or(0, |fd| {
            sys::fionread(fd).map_or_else(|e| -(e as i64), i64::from)
        });
        let io = self.meter.now().unwrap_or_default().minus(self.start);
        let (partner, partner_data) = match c.phase.load(Ordering::SeqCst) {
            PARTNER_DONE => (c.ret.load(Ordering::SeqCst), c.data.load(Ordering::SeqCst)),
            PARTNER_IDLE => (IDLE, 0),
            _ => (STILL, 0),
        };
        Outcome {
            ret,
            memory,
            io: [io.rchar, io.wchar, io.syscr, io.syscw],
            waiting,
            signals: [PIPES.load(Ordering::SeqCst), IOS.load(Ordering::SeqCst)],
            partner,
            partner_data,
        }
    }
}
