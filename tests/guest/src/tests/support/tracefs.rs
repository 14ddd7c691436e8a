//! The kernel's tracing, switched on and off.

use super::lab::{Res, Stop};
use crate::skip;
use crate::sys;

pub const ROOT: &str = "/sys/kernel/tracing";

/// Mounts tracefs if need be; skips the test where the kernel has none.
pub fn mounted() -> Res {
    if std::path::Path::new(&format!("{ROOT}/trace")).exists() {
        return Ok(());
    }
    // SAFETY: all strings end with a null.
    let done = unsafe {
        libc::mount(
            c"tracefs".as_ptr(),
            c"/sys/kernel/tracing".as_ptr(),
            c"tracefs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    if done != 0 {
        skip!("no tracefs: {}", nix::errno::Errno::last());
    }
    Ok(())
}

/// Whether tracefs has this file.
pub fn exists(file: &str) -> bool {
    std::path::Path::new(&format!("{ROOT}/{file}")).exists()
}

/// Writes a file of tracefs.
pub fn put(file: &str, text: &str) -> Res {
    match sys::write_text(&format!("{ROOT}/{file}"), text) {
        Ok(_) => Ok(()),
        Err(e) => Err(Stop::Fail(format!("tracefs: {text:?} into {file}: {e}"))),
    }
}

/// Empties the ring buffer.
pub fn clear() -> Res {
    let fd = sys::open(&format!("{ROOT}/trace"), libc::O_WRONLY | libc::O_TRUNC, 0)?;
    sys::close(fd)?;
    Ok(())
}

/// Takes back everything that these tests switch on; also called after one of them has failed.
pub fn clean_up() {
    for (file, text) in [
        ("events/enable", "0"),
        ("tracing_on", "1"),
        ("current_tracer", "nop"),
        ("options/hash-ptr", "1"),
        ("set_ftrace_filter", "\n"),
        ("set_ftrace_pid", "\n"),
        ("events/raw_syscalls/sys_enter/filter", "0"),
        ("events/syscalls/sys_enter_write/filter", "0"),
        ("events/syscalls/sys_exit_write/filter", "0"),
    ] {
        let _ = sys::write_text(&format!("{ROOT}/{file}"), text);
    }
    let path = format!("{ROOT}/kprobe_events");
    if exists("kprobe_events") {
        if let Ok(fd) = sys::open(&path, libc::O_WRONLY | libc::O_TRUNC, 0) {
            let _ = sys::close(fd);
        }
    }
}

/// Cleans up when a test ends, however it ends.
pub struct Clean;

impl Drop for Clean {
    fn drop(&mut self) {
        clean_up();
    }
}
