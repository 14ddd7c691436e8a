//! The program that [`crate::tests::lifecycle::task`] executes in place of an attached process.

use super::lab::{echo, expect_of, Lab, Res};
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

/// After exec: the pipe has its bytes, the process is still attached, and its descriptors are specialized anew.
pub fn main(mode: &str, r: i32, w: i32) -> i32 {
    if mode == "nothing" {
        return NOTHING;
    }
    let lab = Lab {
        uncounted: false,
        stock: mode == "stock",
    };
    crate::proc::answered(all_is_there(&lab, r, w), std::panic::Location::caller())
}

fn all_is_there(lab: &Lab, r: i32, w: i32) -> Res {
    let p = Pipe { r, w };
    expect_of(r, 100, b"heirloom")?;
    echo(r, w, b"new program")?;
    if !lab.stock {
        sysfs::state(sys::getpid())?;
    }
    lab.fast_again(&p)?;
    if !lab.stock {
        sysfs::detach(sys::getpid())?;
    }
    echo(r, w, b"detached")
}
