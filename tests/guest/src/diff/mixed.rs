//! Calls that put other objects on descriptor numbers where pipes were, and bring descriptors in by other ways than `dup`.

use super::calls::{flat, Caller};
use super::op::Buf;
use crate::sys::{self, Sys};

/// One such call, or a few that make one step together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixed {
    /// Makes a fifo, opens its read end and its write end, removes its name.
    Fifo {
        flags: i32,
    },
    /// A pair of AF_UNIX sockets; `kind` is `SOCK_STREAM`, `SOCK_DGRAM` or `SOCK_SEQPACKET`.
    Sockets {
        kind: i32,
        flags: i32,
    },
    Event {
        value: u32,
        flags: i32,
    },
    /// A file in memory.
    File,
    Dup3 {
        from: i32,
        to: i32,
        flags: i32,
    },
    /// `F_DUPFD` or `F_DUPFD_CLOEXEC`.
    DupFrom {
        fd: i32,
        least: i32,
        cloexec: bool,
    },
    CloseRange {
        first: i32,
        last: i32,
        flags: u32,
    },
    /// Sends the descriptor through a pair of sockets of its own and receives it; nothing stays in flight.
    Pass {
        fd: i32,
    },
    /// `pidfd_getfd` of the calling process itself.
    GetFd {
        fd: i32,
    },
    /// Opens `/proc/self/fd/FD` again: another file for the same pipe, fifo or file.
    Reopen {
        fd: i32,
        flags: i32,
    },
    /// Both in two parts, the second right behind the first.
    Writev {
        fd: i32,
        buf: Buf,
        n: u32,
    },
    Readv {
        fd: i32,
        buf: Buf,
        n: u32,
    },
    Pwrite {
        fd: i32,
        buf: Buf,
        n: u32,
    },
    Pread {
        fd: i32,
        buf: Buf,
        n: u32,
    },
    Seek {
        fd: i32,
        at: u32,
    },
}

/// Two descriptors in one number.
fn both(a: i32, b: i32) -> usize {
    (a as usize) << 16 | b as usize
}

impl Caller {
    /// Makes the call; says in `memory` what was read and in `about` which descriptor to look at afterwards.
    pub fn mixed(&self, i: usize, op: Mixed, memory: &mut u64, about: &mut Option<i32>) -> i64 {
        let at = |buf| self.address(buf);
        match op {
            Mixed::Fifo { flags } => flat(self.fifo(flags)),
            Mixed::Sockets { kind, flags } => {
                flat(socket_pair(kind | flags).map(|[a, b]| both(a, b)))
            }
            Mixed::Event { value, flags } => flat(sys::sys(
                libc::SYS_eventfd2,
                &[value as usize, flags as usize],
            )),
            Mixed::File => flat(sys::sys(
                libc::SYS_memfd_create,
                &[c"diff".as_ptr() as usize, 0],
            )),
            Mixed::Dup3 { from, to, flags } => flat(sys::sys(
                libc::SYS_dup3,
                &[from as usize, to as usize, flags as usize],
            )),
            Mixed::DupFrom { fd, least, cloexec } => {
                let command = if cloexec {
                    libc::F_DUPFD_CLOEXEC
                } else {
                    libc::F_DUPFD
                };
                flat(sys::fcntl(fd, command, least as usize))
            }
            Mixed::CloseRange { first, last, flags } => flat(sys::sys(
                libc::SYS_close_range,
                &[first as usize, last as usize, flags as usize],
            )),
            Mixed::Pass { fd } => flat(pass(fd)),
            Mixed::GetFd { fd } => flat(get_fd(fd)),
            Mixed::Reopen { fd, flags } => {
                flat(sys::open(&format!("/proc/self/fd/{fd}"), flags, 0).map(|fd| fd as usize))
            }
            Mixed::Writev { fd, buf, n } => {
                self.fill(i, buf, n.into());
                *about = Some(fd);
                flat(vector(libc::SYS_writev, fd, at(buf), n as usize))
            }
            Mixed::Readv { fd, buf, n } => {
                *about = Some(fd);
                let r = vector(libc::SYS_readv, fd, at(buf), n as usize);
                *memory = self.memory_hash(buf, n.into());
                flat(r)
            }
            Mixed::Pwrite { fd, buf, n } => {
                self.fill(i, buf, n.into());
                *about = Some(fd);
                let args = [fd as usize, at(buf), n as usize, 100];
                flat(sys::sys(libc::SYS_pwrite64, &args))
            }
            Mixed::Pread { fd, buf, n } => {
                *about = Some(fd);
                let args = [fd as usize, at(buf), n as usize, 50];
                let r = sys::sys(libc::SYS_pread64, &args);
                *memory = self.memory_hash(buf, n.into());
                flat(r)
            }
            Mixed::Seek { fd, at } => flat(sys::sys(
                libc::SYS_lseek,
                &[fd as usize, at as usize, libc::SEEK_SET as usize],
            )),
        }
    }

    /// Both ends of a new fifo. Opening the write end finds a reader, so nothing waits.
    fn fifo(&self, flags: i32) -> Sys {
        let path = format!("/tmp/diff-{}\0", self.task);
        let name = path.trim_end_matches('\0');
        let at = libc::AT_FDCWD as usize;
        let mode = (libc::S_IFIFO | 0o600) as usize;
        sys::sys(libc::SYS_mknodat, &[at, path.as_ptr() as usize, mode, 0])?;
        let ends = sys::open(name, libc::O_RDONLY | libc::O_NONBLOCK, 0)
            .and_then(|r| Ok((r, sys::open(name, libc::O_WRONLY | flags, 0)?)));
        sys::sys(libc::SYS_unlinkat, &[at, path.as_ptr() as usize, 0])?;
        let (r, w) = ends?;
        sys::fcntl(r, libc::F_SETFL, flags as usize)?;
        Ok(both(r, w))
    }
}

/// A pair of AF_UNIX sockets.
fn socket_pair(kind: i32) -> Sys<[i32; 2]> {
    let mut s = [0i32; 2];
    let args = [
        libc::AF_UNIX as usize,
        kind as usize,
        0,
        s.as_mut_ptr() as usize,
    ];
    sys::sys(libc::SYS_socketpair, &args)?;
    Ok(s)
}

/// `readv` or `writev` in two parts.
fn vector(nr: i64, fd: i32, at: usize, n: usize) -> Sys {
    let first = n / 3;
    let parts = [at, first, at.wrapping_add(first), n - first];
    sys::sys(nr, &[fd as usize, parts.as_ptr() as usize, 2])
}

/// The number under which the descriptor came out of the sockets.
fn pass(fd: i32) -> Sys {
    let [a, b] = socket_pair(libc::SOCK_STREAM)?;
    let got = send(a, fd).and_then(|()| receive(b));
    for s in [a, b] {
        sys::close(s)?;
    }
    got
}

/// Room for one descriptor in a control message: header of 16 bytes, number, padding.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// A message of one byte and of control data.
fn message(control: &mut Control, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: zero is a valid value of every field.
    let mut m: libc::msghdr = unsafe { std::mem::zeroed() };
    m.msg_iov = part;
    m.msg_iovlen = 1;
    m.msg_control = control.0.as_mut_ptr().cast();
    m.msg_controllen = control.0.len();
    m
}

fn send(socket: i32, fd: i32) -> Sys<()> {
    let mut bytes = Vec::with_capacity(24);
    // `struct cmsghdr` of `include/linux/socket.h`: length, level, type; then the descriptor.
    bytes.extend(20u64.to_ne_bytes());
    for word in [libc::SOL_SOCKET, libc::SCM_RIGHTS, fd, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    let mut control = Control([0; 24]);
    for (to, from) in control.0.iter_mut().zip(bytes) {
        *to = from;
    }
    let mut byte = 7u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let m = message(&mut control, &mut part);
    sys::sys(
        libc::SYS_sendmsg,
        &[socket as usize, &raw const m as usize, 0],
    )
    .map(|_| ())
}

fn receive(socket: i32) -> Sys {
    let mut control = Control([0; 24]);
    let mut byte = 0u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let mut m = message(&mut control, &mut part);
    sys::sys(
        libc::SYS_recvmsg,
        &[socket as usize, &raw mut m as usize, 0],
    )?;
    let number = control.0.iter().skip(16).take(4);
    Ok(number.rev().fold(0, |all, b| all << 8 | usize::from(*b)))
}

/// The number under which `pidfd_getfd` gave the descriptor again.
fn get_fd(fd: i32) -> Sys {
    let own = sys::sys(libc::SYS_pidfd_open, &[sys::getpid() as usize, 0])?;
    let got = sys::sys(libc::SYS_pidfd_getfd, &[own, fd as usize, 0]);
    sys::close(own as i32)?;
    got
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_comes_through_the_sockets() {
        let p = sys::Pipe::new(0).unwrap();
        let w = pass(p.w).unwrap() as i32;
        assert!(w != p.w && w > 2);
        assert_eq!(sys::write(w, b"x"), Ok(1));
        assert_eq!(sys::fionread(p.r), Ok(1));
        let _ = sys::close(w);
        assert!(pass(-1).is_err());
    }

    #[test]
    fn vectors_lie_one_behind_the_other() {
        let p = sys::Pipe::new(0).unwrap();
        let text = b"one two";
        assert_eq!(
            vector(libc::SYS_writev, p.w, text.as_ptr() as usize, 7),
            Ok(7)
        );
        let mut back = [0u8; 7];
        assert_eq!(
            vector(libc::SYS_readv, p.r, back.as_mut_ptr() as usize, 7),
            Ok(7)
        );
        assert_eq!(&back, text);
    }
}
