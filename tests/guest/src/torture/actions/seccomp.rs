//! A child installs a seccomp filter in the midst of a stream. The filter must be in force from then on.

use super::super::board::PAGE;
use super::super::counts::Count;
use super::super::worker::Worker;
use super::forks::carry_as;
use crate::sys::{self, Sys};
use crate::sysfs;
use nix::errno::Errno;

/// Where in the buffer calls begin that the filter refuses: no others begin there.
const REFUSED_AT: usize = 3 * PAGE + 512;
const REFUSED_COUNT: usize = 64;
const ERRNO: Errno = Errno::EXDEV;

/// Refuses reads and writes with this buffer and allows everything else.
fn install(refused: usize) -> Sys {
    let ins = |code: u16, k: u32, jt: u8, jf: u8| libc::sock_filter { code, jt, jf, k };
    let filter = [
        ins(0x20, 0, 0, 0), // load the number
        ins(0x25, libc::SYS_write as u32, 3, 0),
        ins(0x20, 24, 0, 0), // load the lower half of the second argument
        ins(0x15, refused as u32, 0, 1),
        ins(0x06, libc::SECCOMP_RET_ERRNO | ERRNO as u32, 0, 0),
        ins(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    sys::install_filter(&filter)
}

pub fn filtered(w: &mut Worker) {
    carry_as(w, |child| {
        if !child.board.stock() && sysfs::attach(sys::getpid()).is_ok() {
            child.board.did(Count::Attaches);
        }
        // Specialized before the filter comes.
        child.take_over();
        if child.steps(20).is_err() {
            return false;
        }
        let refused = child.at + REFUSED_AT;
        if install(refused).is_err() {
            return true;
        }
        child.board.did(Count::Seccomps);
        let state = child.state();
        for fd in [state.to, state.from].into_iter().filter(|fd| *fd >= 0) {
            let result = if fd == state.to {
                sys::write_at(fd, refused, REFUSED_COUNT)
            } else {
                sys::read_at(fd, refused, REFUSED_COUNT)
            };
            match result {
                Err(e) if e == ERRNO => child.board.did(Count::Filtered),
                other => {
                    let _ = child.surprise(format!("a call that a filter refuses: {other:?}"));
                    return false;
                }
            }
        }
        true
    });
}
