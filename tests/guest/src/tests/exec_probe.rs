//! The program that [`super::task`] executes in place of an attached process.

use super::lab::{echo, expect_of, Lab};
use crate::sys::{self, Pipe};
use crate::sysfs;
use std::ffi::CString;

/// Exit code of `guest exec-probe nothing`.
pub const NOTHING: i32 = 37;

/// Replaces this process by `guest exec-probe MODE R W`; returns only when that fails.
pub fn exec(stock: bool, r: i32, w: i32) -> i32 {
    let args = [
        "guest",
        "exec-probe",
        if stock { "stock" } else { "attached" },
        &r.to_string(),
        &w.to_string(),
    ]
    .map(|a| CString::new(a).unwrap_or_default());
    let mut pointers: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: both arrays end with a null pointer and live until the call.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr()) };
    99
}

/// After exec: the pipe has its bytes, the process is still attached, and its descriptors are specialised anew.
pub fn main(mode: &str, r: i32, w: i32) -> i32 {
    if mode == "nothing" {
        return NOTHING;
    }
    let lab = Lab {
        uncounted: false,
        stock: mode == "stock",
    };
    let p = Pipe { r, w };
    if expect_of(r, 100, b"heirloom").is_err() {
        return 11;
    }
    if echo(r, w, b"new program").is_err() {
        return 12;
    }
    if !lab.stock && sysfs::state(sys::getpid()).is_err() {
        return 13;
    }
    if lab.fast_again(&p).is_err() {
        return 14;
    }
    if !lab.stock && sysfs::detach(sys::getpid()).is_err() {
        return 15;
    }
    i32::from(echo(r, w, b"detached").is_err()) * 16
}
