//! Signals, counted.

use std::sync::atomic::{AtomicU64, Ordering};

pub static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: i32) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// Counts a signal in [`SIGNALS`] from now on, starting at zero; `flags` as in `sigaction(2)`.
pub fn count_signals(signal: i32, flags: i32) {
    SIGNALS.store(0, Ordering::SeqCst);
    // SAFETY: the handler only touches an atomic.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count_signal as *const () as usize;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}
