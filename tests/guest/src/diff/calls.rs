//! Makes the calls of a sequence, in whichever task: the executor, a child of it, a thread of it.

use super::channel::{Channel, PARTNER_ASKED};
use super::op::{Buf, Op, BUSY, EPOLL_FD, PLAIN_PAGES, READ_ONLY_PAGE};
use super::partner;
use crate::proc::futex_wake;
use crate::sys::{self, Sys};
use std::sync::atomic::{AtomicU32, Ordering};

pub const PAGE: usize = 4096;
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

/// Counts the signals of this process that belong to what calls do.
pub fn count_signals() {
    for signal in [libc::SIGPIPE, libc::SIGIO] {
        // SAFETY: the handler only touches atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = count as *const () as usize;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// How many SIGPIPE and SIGIO this process got; those that others sent are delivered now.
pub fn signals() -> [u32; 2] {
    // One more way through the kernel.
    let _ = sys::getpid();
    [PIPES.load(Ordering::SeqCst), IOS.load(Ordering::SeqCst)]
}

/// Begins to count signals anew.
pub fn forget_signals() {
    PIPES.store(0, Ordering::SeqCst);
    IOS.store(0, Ordering::SeqCst);
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

/// What a call did, as far as its own task can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Value, or minus the errno.
    pub ret: i64,
    /// Hash of the buffers' memory that is readable.
    pub memory: u64,
    /// The descriptor whose waiting bytes are worth a look.
    pub about: Option<i32>,
}

/// What a task needs to make calls.
#[derive(Clone, Copy)]
pub struct Caller {
    pub channel: &'static Channel,
    /// Address of the buffers' memory, the same in all executors.
    pub memory: usize,
    /// Address of the last page of user space.
    pub last: usize,
    /// The task's number.
    pub task: i32,
}

impl Caller {
    /// Puts bytes that depend on `salt` into memory; the caller knows that it may be written.
    pub fn stamp(&self, address: usize, n: usize, salt: u64) {
        let mut v = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // SAFETY: inside the mapped and writable pages, as the callers make sure.
        let bytes = unsafe { std::slice::from_raw_parts_mut(address as *mut u8, n) };
        for c in bytes.chunks_mut(8) {
            v = v.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            for (b, s) in c.iter_mut().zip(v.to_be_bytes()) {
                *b = s;
            }
        }
    }

    pub fn address(&self, buf: Buf) -> usize {
        match buf {
            Buf::At(at) => self.memory + at as usize,
            Buf::BeforeEnd(n) => self.last + PAGE - n as usize,
            Buf::Raw(at) => at as usize,
        }
    }

    /// New bytes to write, where the buffer lies in plain memory.
    pub fn fill(&self, i: usize, buf: Buf, n: u64) {
        let (at, end) = (
            self.address(buf),
            match buf {
                Buf::At(_) => self.memory + PLAIN_PAGES * PAGE,
                Buf::BeforeEnd(_) => self.last + PAGE,
                Buf::Raw(_) => return,
            },
        );
        if at < end {
            let n = (n.min(8192) as usize).min(end - at);
            self.stamp(at, n, i as u64 + 7);
        }
    }

    /// Hash of the memory around a buffer, as far as it may be read.
    pub fn memory_hash(&self, buf: Buf, n: u64) -> u64 {
        let (start, end) = match buf {
            Buf::At(_) => (self.memory, self.memory + (READ_ONLY_PAGE + 1) * PAGE),
            Buf::BeforeEnd(_) => (self.last, self.last + PAGE),
            Buf::Raw(_) => return 0,
        };
        let at = self.address(buf);
        let from = at.saturating_sub(64).clamp(start, end);
        let to = at.saturating_add(n.min(8192) as usize + 64).min(end);
        // SAFETY: plain pages, the read-only page and the last page of user space are mapped.
        hash(unsafe { std::slice::from_raw_parts(from as *const u8, to - from) })
    }

    /// Makes call `i` of a sequence. The tester sees that this task is in it, and interrupts it if it sleeps for good.
    pub fn perform(&self, i: usize, op: Op) -> Done {
        let (mut memory, mut about) = (0, None);
        self.channel.caller.store(self.task, Ordering::SeqCst);
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
            Op::Mixed(op) => self.mixed(i, op, &mut memory, &mut about),
            // These are for the executor itself.
            Op::Start { .. } | Op::Turn { .. } | Op::End => BUSY,
            Op::Getppid => i64::from(sys::sys(libc::SYS_getppid, &[]).is_ok()),
        };
        self.channel.call.fetch_add(1, Ordering::SeqCst);
        Done { ret, memory, about }
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
}
