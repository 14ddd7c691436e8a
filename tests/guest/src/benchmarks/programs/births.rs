//! Hears of each process that is born, from the kernel's process connector, and attaches it before its first instruction.
//!
//! The listener runs at a real-time priority. The kernel tells of a birth while the parent is still inside of fork
//! (`proc_fork_connector()` in `copy_process()`, kernel/fork.c), so on one CPU the listener is done with the child before
//! it has run. One that is told not to attach hears the same and does nothing: what hearing costs is in both measurements.

use crate::proc::Kid;
use crate::sys::{self, Sys};
use crate::sysfs;
use nix::errno::Errno;

/// Index and value that name the messages, `CN_IDX_PROC` and `CN_VAL_PROC` of linux/connector.h.
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN` and `PROC_EVENT_FORK` of linux/cn_proc.h.
const LISTEN: u32 = 1;
const FORK: u32 = 1;
/// Bytes of `struct nlmsghdr` and `struct cn_msg`, which precede each message.
const HEAD: usize = 16 + 20;
/// Where `struct proc_event` has the four numbers of a fork.
const NUMBERS: usize = 16;
/// The parent of all kernel threads.
const KTHREADD: u32 = 2;

/// The listener, a process of its own; it ends when dropped.
pub struct Births {
    _kid: Kid,
}

impl Births {
    /// Begins to listen. When this returns no later birth is missed.
    pub fn hear(attach: bool) -> Sys<Births> {
        let socket = listen()?;
        let kid = Kid::spawn(|| {
            let priority = libc::sched_param { sched_priority: 1 };
            // SAFETY: `priority` is ours.
            if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) } != 0 {
                return 1;
            }
            let own = sys::getpid();
            loop {
                let mut message = [0u8; 4096];
                match sys::read(socket, &mut message) {
                    Ok(n) => {
                        let child = born(&message[..n]).filter(|child| *child != own);
                        if let (Some(child), true) = (child, attach) {
                            // Those that are refused are missing among the processes that are counted at the end.
                            let _ = sysfs::attach(child);
                        }
                    }
                    // More births than the socket holds: these processes are missing in the same way.
                    Err(Errno::ENOBUFS | Errno::EINTR) => {}
                    Err(_) => return 1,
                }
            }
        });
        sys::close(socket)?;
        Ok(Births { _kid: kid? })
    }
}

/// A socket that hears of processes.
fn listen() -> Sys<i32> {
    // SAFETY: takes numbers only.
    let socket = unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            libc::NETLINK_CONNECTOR,
        )
    };
    Errno::result(socket)?;
    // SAFETY: all zeroes is a valid address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = PROC;
    // SAFETY: the address is ours and has that size.
    let bound = unsafe {
        libc::bind(
            socket,
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as u32,
        )
    };
    Errno::result(bound)?;
    sys::write(socket, &subscription())?;
    Ok(socket)
}

/// The message that asks for the events.
fn subscription() -> Vec<u8> {
    let length = (HEAD + 4) as u32;
    let words = [
        length,
        // Type NLMSG_DONE, no flags.
        libc::NLMSG_DONE as u32,
        0,
        0,
        PROC,
        PROC,
        0,
        0,
        // Bytes that follow, no flags.
        4,
        LISTEN,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// The number of the process whose birth a message tells. Threads and kernel threads are none.
fn born(message: &[u8]) -> Option<i32> {
    let event = message.get(HEAD..)?;
    let word = |at: usize| Some(u32::from_ne_bytes(event.get(at..at + 4)?.try_into().ok()?));
    let (what, parent) = (word(0)?, word(NUMBERS + 4)?);
    let (pid, tgid) = (word(NUMBERS + 8)?, word(NUMBERS + 12)?);
    (what == FORK && parent != KTHREADD && pid == tgid).then_some(i32::try_from(tgid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_of_processes_are_told_from_others() {
        let message = |what: u32, parent: u32, pid: u32, tgid: u32| {
            let words = [what, 0, 0, 0, parent, parent, pid, tgid];
            let event = words.iter().flat_map(|word| word.to_ne_bytes());
            [0; HEAD].into_iter().chain(event).collect::<Vec<u8>>()
        };
        assert_eq!(born(&message(FORK, 9, 12, 12)), Some(12));
        assert_eq!(born(&message(FORK, 9, 13, 12)), None);
        assert_eq!(born(&message(FORK, KTHREADD, 12, 12)), None);
        assert_eq!(born(&message(2, 9, 12, 12)), None);
        assert_eq!(born(&[0; HEAD + 8]), None);
        assert_eq!(subscription().len(), HEAD + 4);
    }
}
