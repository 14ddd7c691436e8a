//! The partner: a process beside each executor that reads or writes the executor's pipes and may sleep in it.

use super::channel::{Channel, PARTNER_ASKED, PARTNER_DONE, PARTNER_IN_CALL};
use crate::proc::{futex_wait, Kid};
use crate::sys::{self, Sys};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Most bytes it reads or writes at once.
pub const MOST: usize = 65_536;

extern "C" fn nothing(_: i32) {}

/// Sets a handler that does nothing, so that the signal interrupts a sleeping call.
pub fn interrupt_by(signal: i32) {
    // SAFETY: the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

/// Forks the partner of this process.
pub fn spawn(channel: &'static Channel) -> Sys<Kid> {
    let executor = sys::getpid();
    Kid::spawn(move || {
        let _ = sys::sys(libc::SYS_close_range, &[3, u32::MAX as usize, 0]);
        // SAFETY: sets a disposition.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        interrupt_by(libc::SIGUSR1);
        let Ok(pidfd) = sys::sys(libc::SYS_pidfd_open, &[executor as usize, 0]) else {
            return 1;
        };
        let mut memory = vec![0u8; MOST];
        let mut seen = 0;
        loop {
            let asked = channel.asked.load(Ordering::SeqCst);
            if asked == seen {
                futex_wait(&channel.asked, seen, Duration::from_secs(1));
                continue;
            }
            seen = asked;
            call(channel, pidfd, &mut memory);
        }
    })
}

/// Does the call that is asked for.
fn call(channel: &Channel, pidfd: usize, memory: &mut [u8]) {
    let fd = channel.fd.load(Ordering::SeqCst);
    let n = (channel.count.load(Ordering::SeqCst) as usize).min(MOST);
    let result = match sys::sys(libc::SYS_pidfd_getfd, &[pidfd, fd as usize, 0]) {
        Err(e) => Err(e),
        Ok(own) => {
            let at = memory.as_mut_ptr() as usize;
            let writes = channel.writes.load(Ordering::SeqCst) != 0;
            memory
                .iter_mut()
                .take(n.min(64))
                .enumerate()
                .for_each(|(i, b)| *b = (i as u8) ^ if writes { 0x3c } else { 0 });
            channel.phase.store(PARTNER_IN_CALL, Ordering::SeqCst);
            let result = if writes {
                sys::write_at(own as i32, at, n)
            } else {
                sys::read_at(own as i32, at, n)
            };
            let _ = sys::close(own as i32);
            result
        }
    };
    let got = result.map_or(0, |k| k.min(n));
    channel.data.store(
        super::calls::hash(memory.get(..got).unwrap_or_default()),
        Ordering::SeqCst,
    );
    channel
        .ret
        .store(super::calls::flat(result), Ordering::SeqCst);
    channel.phase.store(PARTNER_DONE, Ordering::SeqCst);
}

/// Whether it has been asked for a call that it has not finished.
pub fn busy(channel: &Channel) -> bool {
    matches!(
        channel.phase.load(Ordering::SeqCst),
        PARTNER_ASKED | PARTNER_IN_CALL
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_differ_by_order_and_length() {
        use crate::diff::calls::hash;
        assert_ne!(hash(b"ab"), hash(b"ba"));
        assert_ne!(hash(b"a\0"), hash(b"a"));
        assert_ne!(hash(b"12345678"), hash(b"12345679"));
    }
}
