//! `perf_event_open(2)`: as much of it as tests need.

use nix::errno::Errno;
use std::io::Read;
use std::os::fd::{FromRawFd, RawFd};

/// What is counted, and of whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// `PERF_TYPE_*`
    pub kind: u32,
    /// `PERF_COUNT_*`; 0 for breakpoints.
    pub config: u64,
    /// What happens in user space does not count.
    pub kernel_only: bool,
    /// For breakpoints: what about the address, and how many bytes from there.
    pub breakpoint: u32,
    pub address: u64,
    pub len: u64,
    /// 0: this process, -1: every one.
    pub pid: i32,
    /// -1: any.
    pub cpu: i32,
}

/// A counter that counts as long as it lives.
#[derive(Debug)]
pub struct Counter(std::fs::File);

impl Event {
    pub fn open(&self) -> Result<Counter, Errno> {
        /// Up to `bp_len` (`PERF_ATTR_SIZE_VER1`).
        const SIZE: u32 = 72;
        const EXCLUDE_USER: u64 = 1 << 4;
        let mut attr = [0u8; SIZE as usize];
        let mut put = |at: usize, bytes: &[u8]| attr[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.kind.to_le_bytes());
        put(4, &SIZE.to_le_bytes());
        put(8, &self.config.to_le_bytes());
        put(
            40,
            &(if self.kernel_only { EXCLUDE_USER } else { 0 }).to_le_bytes(),
        );
        put(52, &self.breakpoint.to_le_bytes());
        put(56, &self.address.to_le_bytes());
        put(64, &self.len.to_le_bytes());
        let (call, group, flags) = (libc::SYS_perf_event_open, -1, 0);
        // SAFETY: The attributes are as long as they say.
        let fd = unsafe { libc::syscall(call, attr.as_ptr(), self.pid, self.cpu, group, flags) };
        let fd = Errno::result(fd)?;
        // SAFETY: The descriptor is new and nobody else's.
        Ok(Counter(unsafe { std::fs::File::from_raw_fd(fd as RawFd) }))
    }
}

impl Counter {
    pub fn count(&mut self) -> std::io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}
