//! Failing allocations, on a kernel with fault injection (Documentation/fault-injection/fault-injection.rst in the kernel source).

use crate::sys::{self, Sys};

const FOLDER: &str = "/sys/kernel/debug";
/// Every fifth allocation of a thread that asked for it fails, also one that may wait, and those of single pages.
const SETTINGS: &[(&str, &str)] = &[
    ("failslab/probability", "20"),
    ("failslab/interval", "1"),
    ("failslab/times", "-1"),
    ("failslab/space", "0"),
    ("failslab/verbose", "0"),
    ("failslab/task-filter", "Y"),
    ("failslab/ignore-gfp-wait", "N"),
    ("fail_page_alloc/probability", "20"),
    ("fail_page_alloc/interval", "1"),
    ("fail_page_alloc/times", "-1"),
    ("fail_page_alloc/space", "0"),
    ("fail_page_alloc/verbose", "0"),
    ("fail_page_alloc/task-filter", "Y"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/min-order", "0"),
];

/// Sets fault injection up. Nothing fails before somebody asks for it.
///
/// # Errors
///
/// What this kernel lacks.
pub fn prepare() -> Result<(), String> {
    if Starvation::open().is_err() {
        return Err("no fault injection".into());
    }
    for (file, value) in SETTINGS {
        sys::write_text(&format!("{FOLDER}/{file}"), value).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}

/// Allocations of the thread that opened this fail while they are told to.
pub struct Starvation(i32);

impl Starvation {
    /// Opened while there is memory, so that starving can end.
    pub fn open() -> Sys<Starvation> {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        sys::open("/proc/thread-self/make-it-fail", flags, 0).map(Starvation)
    }

    /// What `f` returns, with failing allocations while it ran. It should not allocate memory itself.
    pub fn during<T>(&self, f: impl FnOnce() -> T) -> T {
        let _ = sys::pwrite(self.0, b"1", 0);
        let value = f();
        let _ = sys::pwrite(self.0, b"0", 0);
        value
    }
}

impl Drop for Starvation {
    fn drop(&mut self) {
        let _ = sys::close(self.0);
    }
}
