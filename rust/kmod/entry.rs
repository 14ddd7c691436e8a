// SPDX-License-Identifier: GPL-2.0

//! What C calls. C header: `rust/glue/synthjit.h`.

use crate::engine::specs::{Reason, SpecKind, SPECS};
use crate::glue::{self, c};
use crate::{control, listing, sysfs, tidy, work};
use core::ffi::{c_char, c_int, c_long, c_uint, c_ulong};
use kernel::error::Result;

/// Names of files as C wants them: NULL-terminated.
#[repr(transparent)]
pub(crate) struct Names<const N: usize>([*const c_char; N]);

// SAFETY: The pointers are to string literals.
unsafe impl<const N: usize> Sync for Names<N> {}

/// Read by `rust/glue/sysfs.c`.
#[no_mangle]
pub(crate) static synthjit_rs_stat_names: Names<{ sysfs::STAT_NAMES.len() + 1 }> = {
    let mut list = [core::ptr::null(); sysfs::STAT_NAMES.len() + 1];
    let mut i = 0;
    while i < sysfs::STAT_NAMES.len() {
        list[i] = sysfs::STAT_NAMES[i].as_ptr();
        i += 1;
    }
    Names(list)
};

/// The kinds of paths, in the order of [`sysfs::path_specs`]. Read by `rust/glue/sysfs.c`.
#[no_mangle]
pub(crate) static synthjit_rs_kind_names: Names<{ SPECS.len() + 1 }> = {
    let mut list = [core::ptr::null(); SPECS.len() + 1];
    let (mut i, mut n) = (0, 0);
    while i < SPECS.len() {
        if matches!(SPECS[i].kind, SpecKind::Path) {
            list[n] = SPECS[i].c_name.as_ptr();
            n += 1;
        }
        i += 1;
    }
    Names(list)
};

/// Task work of an attached process: process context, no locks held.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_work(
    task: *mut c::synthjit_task,
    tgid: c_int,
    events: c_uint,
    call: c_uint,
    fd: c_uint,
) {
    work::run(task, tgid, events, call, fd);
}

/// From the loading of a module that cannot live beside vectors, or after a fault in generated
/// code: process context.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_platform_lost(reason: c_uint) {
    control::lose_platform(Reason::from_number(reason));
}

/// Workqueue context: directories follow paths.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_tidy() {
    tidy::tidy();
}

/// Workqueue context, after an attached process has gone.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_exited(task: *mut c::synthjit_task, tgid: c_int) {
    control::exited(task, tgid);
}

/// Shows a file. Returns its length or a negative errno, of which `EFBIG` says that more than `size` would have been needed.
///
/// # Safety
///
/// `buf` must be valid for `size` bytes.
#[no_mangle]
pub(crate) unsafe extern "C" fn synthjit_rs_show(
    attr: c_uint,
    tgid: c_int,
    fd: c_uint,
    is_read: c_uint,
    buf: *mut c_char,
    size: c_ulong,
) -> c_long {
    // SAFETY: By the function's contract. CAST: usize is 64 bits wide here.
    let out = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), size as usize) };
    length(sysfs::show(attr, (tgid, fd, is_read != 0), out))
}

/// Copies the code of a path from `offset` on. Returns how many bytes, or a negative errno.
///
/// # Safety
///
/// `buf` must be valid for `size` bytes.
#[no_mangle]
pub(crate) unsafe extern "C" fn synthjit_rs_code(
    tgid: c_int,
    fd: c_uint,
    is_read: c_uint,
    buf: *mut c_char,
    size: c_ulong,
    offset: c_ulong,
) -> c_long {
    // SAFETY: By the function's contract. CAST: usize is 64 bits wide here.
    let out = unsafe { core::slice::from_raw_parts_mut(buf.cast::<u8>(), size as usize) };
    length(sysfs::code((tgid, fd, is_read != 0), out, offset as usize))
}

/// CAST: a length fits.
fn length(result: Result<usize>) -> c_long {
    result.map_or_else(|e| e.to_errno().into(), |len| len as c_long)
}

/// The least key of a listing that is not below `from`; -1: there is none.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_list_next(list: c_uint, from: c_long) -> c_long {
    listing::next(list, from).unwrap_or(-1)
}

/// Prints a record of a listing. Process context.
#[no_mangle]
pub(crate) extern "C" fn synthjit_rs_list_show(list: c_uint, key: c_long, m: *mut c::seq_file) {
    // What does not fit is asked for again by seq_file, which sees it for itself.
    let _ = listing::show(list, key, &mut glue::List(m));
}

/// Takes what was written to a file. Returns `size` or a negative errno.
///
/// # Safety
///
/// `buf` must be valid for `size` bytes.
#[no_mangle]
pub(crate) unsafe extern "C" fn synthjit_rs_store(
    attr: c_uint,
    tgid: c_int,
    buf: *const c_char,
    size: c_ulong,
) -> c_long {
    // SAFETY: By the function's contract. CAST: usize is 64 bits wide here.
    let text = unsafe { core::slice::from_raw_parts(buf.cast::<u8>(), size as usize) };
    match sysfs::store(attr, tgid, text) {
        Ok(()) => size as c_long,
        Err(e) => e.to_errno().into(),
    }
}
