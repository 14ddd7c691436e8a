//! A process that becomes the same program again and again.

use super::world::ticks;
use super::{Ticks, LATER, SOON};
use crate::proc::{nap, Ended, Kid};
use crate::{sys, sysfs};
use std::ffi::CString;

/// Executes the program once more, until `left` is zero. Between two times it uses a pipe.
pub fn again(left: u64) -> i32 {
    if let Ok(p) = sys::Pipe::new(0) {
        for _ in 0..4 {
            let _ = sys::write(p.w, b"x");
            let _ = sys::read(p.r, &mut [0]);
        }
    }
    if left == 0 {
        return 0;
    }
    let text = |s: &str| CString::new(s).unwrap_or_default();
    let args = [
        text("/guest"),
        text("hostile-exec"),
        text(&(left - 1).to_string()),
    ];
    let mut pointers: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: the strings and the list end with zero and live until the call.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    1
}

/// Windows that count as the first one: the burst that the account allows lasts about as long.
const BURST: u32 = 2;

/// The same number of times stock, then attached. Where a program is loaded is chance, and each time it costs another number of
/// instructions, so each figure is of several windows.
pub fn run(window: u64) -> Result<Ticks, String> {
    let once = chain(8, false)? / 8;
    let times = (window / once.max(1)).max(8);
    let windows = |n: u32, attached| chain(times * u64::from(n), attached);
    let stock = windows(LATER, false)? / u64::from(LATER);
    let begin = windows(BURST, true)?;
    let all = windows(BURST + 2 * LATER, true)?;
    let once = begin.saturating_sub(u64::from(BURST) * stock);
    let later = all.saturating_sub(begin) / u64::from(2 * LATER);
    Ok(Ticks {
        stock,
        first: stock + once,
        later,
    })
}

/// Ticks of a process that does it so many times.
fn chain(times: u64, attached: bool) -> Result<u64, String> {
    let gate = sys::Pipe::new(0).map_err(|e| e.to_string())?;
    let mut kid = Kid::fork(|| {
        let _ = sys::read(gate.r, &mut [0]);
        again(times)
    })
    .map_err(|e| e.to_string())?;
    if attached {
        sysfs::attach(kid.pid).map_err(|e| format!("attach: {e}"))?;
    }
    nap(20);
    let began = ticks();
    let _ = sys::write(gate.w, b"x");
    match kid.wait(SOON * 10) {
        Some(Ended::Exit(0)) => Ok(ticks() - began),
        other => Err(format!("ended with {other:?}")),
    }
}
