//! Raw system calls.
//!
//! The calls under test must be the `syscall` instruction itself with the registers this crate chose, not what a C library makes
//! of it, so everything here is inline assembly or a thin shell around it. Text files are read with `pread64` and written with
//! `writev`: those have no paths, so a process under test can look at sysfs without disturbing its own trap vector.

use nix::errno::Errno;
use std::arch::asm;
use std::ffi::CString;

/// Result of a system call: its value, or the errno.
pub type Sys<T = usize> = Result<T, Errno>;

/// One system call, everything as given.
///
/// Returns what the kernel left in `rax`: a value, or minus an errno in `-4095..=-1`.
pub fn call(nr: usize, a: [usize; 6]) -> isize {
    let ret: isize;
    // SAFETY: the kernel validates every pointer it is given; callers of this private-to-the-crate door pass memory they own or
    // addresses chosen to be wrong. The clobbers are those of the ABI; memory is assumed changed.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") a[0],
            in("rsi") a[1],
            in("rdx") a[2],
            in("r10") a[3],
            in("r8") a[4],
            in("r9") a[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Splits a raw return value into value and errno.
pub fn split(ret: isize) -> Sys {
    if (-4095..0).contains(&ret) {
        Err(Errno::from_raw(-ret as i32))
    } else {
        Ok(ret as usize)
    }
}

/// A call with up to six arguments, missing ones being zero.
pub fn sys(nr: i64, args: &[usize]) -> Sys {
    let mut a = [0; 6];
    for (slot, v) in a.iter_mut().zip(args) {
        *slot = *v;
    }
    split(call(nr as usize, a))
}

/// `write(2)` from any address, valid or not.
pub fn write_at(fd: i32, addr: usize, n: usize) -> Sys {
    sys(libc::SYS_write, &[fd as usize, addr, n])
}

/// `read(2)` to any address, valid or not.
pub fn read_at(fd: i32, addr: usize, n: usize) -> Sys {
    sys(libc::SYS_read, &[fd as usize, addr, n])
}

/// `write(2)` of a slice.
pub fn write(fd: i32, data: &[u8]) -> Sys {
    write_at(fd, data.as_ptr() as usize, data.len())
}

/// `read(2)` into a slice.
pub fn read(fd: i32, data: &mut [u8]) -> Sys {
    read_at(fd, data.as_mut_ptr() as usize, data.len())
}

/// `pipe2(2)`: (read end, write end).
pub fn pipe2(flags: i32) -> Sys<(i32, i32)> {
    let mut fds = [-1i32; 2];
    sys(
        libc::SYS_pipe2,
        &[fds.as_mut_ptr() as usize, flags as usize],
    )?;
    Ok((fds[0], fds[1]))
}

pub fn close(fd: i32) -> Sys {
    sys(libc::SYS_close, &[fd as usize])
}

pub fn dup(fd: i32) -> Sys<i32> {
    sys(libc::SYS_dup, &[fd as usize]).map(|v| v as i32)
}

pub fn dup2(from: i32, to: i32) -> Sys {
    sys(libc::SYS_dup2, &[from as usize, to as usize])
}

pub fn fcntl(fd: i32, cmd: i32, arg: usize) -> Sys {
    sys(libc::SYS_fcntl, &[fd as usize, cmd as usize, arg])
}

/// Sets or clears one status flag of a descriptor.
pub fn set_flag(fd: i32, flag: i32, on: bool) -> Sys {
    let old = fcntl(fd, libc::F_GETFL, 0)? as i32;
    let new = if on { old | flag } else { old & !flag };
    fcntl(fd, libc::F_SETFL, new as usize)
}

/// Bytes waiting in a pipe.
pub fn fionread(fd: i32) -> Sys<i32> {
    let mut n = 0i32;
    sys(
        libc::SYS_ioctl,
        &[
            fd as usize,
            libc::FIONREAD as usize,
            &mut n as *mut i32 as usize,
        ],
    )?;
    Ok(n)
}

/// `poll(2)` of one descriptor without waiting: its `revents`.
pub fn poll_now(fd: i32, events: i16) -> Sys<i16> {
    let mut p = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    sys(
        libc::SYS_poll,
        &[&mut p as *mut libc::pollfd as usize, 1, 0],
    )?;
    Ok(p.revents)
}

pub fn splice(from: i32, to: i32, n: usize, flags: u32) -> Sys {
    sys(
        libc::SYS_splice,
        &[from as usize, 0, to as usize, 0, n, flags as usize],
    )
}

pub fn tee(from: i32, to: i32, n: usize, flags: u32) -> Sys {
    sys(
        libc::SYS_tee,
        &[from as usize, to as usize, n, flags as usize],
    )
}

/// `vmsplice(2)` of one range of this process's memory.
pub fn vmsplice(fd: i32, addr: usize, n: usize, flags: u32) -> Sys {
    let iov = [addr, n];
    sys(
        libc::SYS_vmsplice,
        &[fd as usize, iov.as_ptr() as usize, 1, flags as usize],
    )
}

/// `openat(2)`; `mode` counts when the flags create.
pub fn open(path: &str, flags: i32, mode: u32) -> Sys<i32> {
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    sys(
        libc::SYS_openat,
        &[
            libc::AT_FDCWD as usize,
            path.as_ptr() as usize,
            flags as usize,
            mode as usize,
        ],
    )
    .map(|v| v as i32)
}

pub fn pread(fd: i32, data: &mut [u8], at: usize) -> Sys {
    sys(
        libc::SYS_pread64,
        &[fd as usize, data.as_mut_ptr() as usize, data.len(), at],
    )
}

pub fn pwrite(fd: i32, data: &[u8], at: usize) -> Sys {
    sys(
        libc::SYS_pwrite64,
        &[fd as usize, data.as_ptr() as usize, data.len(), at],
    )
}

/// The whole of a file that allows `pread64`.
pub fn read_file(path: &str) -> Sys<Vec<u8>> {
    let fd = open(path, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
    let mut all = Vec::new();
    let mut chunk = [0u8; 4096];
    let done = loop {
        match pread(fd, &mut chunk, all.len()) {
            Ok(0) => break Ok(all),
            Ok(n) => all.extend_from_slice(chunk.get(..n).unwrap_or(&chunk)),
            Err(e) => break Err(e),
        }
    };
    let _ = close(fd);
    done
}

/// The whole of a text file, ends trimmed.
pub fn read_text(path: &str) -> Sys<String> {
    read_file(path).map(|b| String::from_utf8_lossy(&b).trim().to_string())
}

/// One write of `text` to an existing file.
pub fn write_text(path: &str, text: &str) -> Sys {
    put_text(path, text, 0)
}

/// Like [`write_text`], appending (tracefs clears its lists when opened for truncation).
pub fn append_text(path: &str, text: &str) -> Sys {
    put_text(path, text, libc::O_APPEND)
}

fn put_text(path: &str, text: &str, flags: i32) -> Sys {
    let fd = open(path, libc::O_WRONLY | libc::O_CLOEXEC | flags, 0)?;
    // Not `pwrite64`: some files of tracefs have no position.
    let iov = [text.as_ptr() as usize, text.len()];
    let done = sys(libc::SYS_writev, &[fd as usize, iov.as_ptr() as usize, 1]);
    let _ = close(fd);
    done
}

/// Anonymous memory of `len` bytes (a multiple of the page size) at an address of the kernel's choice.
pub fn map(len: usize, prot: i32, flags: i32) -> Sys {
    sys(
        libc::SYS_mmap,
        &[
            0,
            len,
            prot as usize,
            (flags | libc::MAP_ANONYMOUS) as usize,
            usize::MAX,
            0,
        ],
    )
}

/// Maps the last page of user space, readable and writable, and returns its address. With five levels of page tables user space
/// ends elsewhere than with four; one page below the end of the lower half is always left out
/// (`arch/x86/include/asm/page_64_types.h`, `TASK_SIZE_MAX`).
///
/// # Errors
///
/// `EEXIST` if something lies there, `ENOMEM` if neither address can be mapped.
pub fn map_last_page() -> Sys {
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    let map = |end: usize| {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        sys(
            libc::SYS_mmap,
            &[
                end - 2 * 4096,
                4096,
                prot as usize,
                flags as usize,
                usize::MAX,
                0,
            ],
        )
    };
    map(1 << 56).or_else(|_| map(1 << 47))
}

pub fn unmap(addr: usize, len: usize) -> Sys {
    sys(libc::SYS_munmap, &[addr, len])
}

pub fn protect(addr: usize, len: usize, prot: i32) -> Sys {
    sys(libc::SYS_mprotect, &[addr, len, prot as usize])
}

pub fn getpid() -> i32 {
    call(libc::SYS_getpid as usize, [0; 6]) as i32
}

/// Puts the calling thread under a seccomp filter for life, without privilege.
pub fn install_filter(filter: &[libc::sock_filter]) -> Sys {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr() as *mut _,
    };
    sys(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as usize, 1])?;
    sys(
        libc::SYS_seccomp,
        &[
            libc::SECCOMP_SET_MODE_FILTER as usize,
            0,
            &program as *const libc::sock_fprog as usize,
        ],
    )
}

/// Loads a module file, as `insmod` does.
pub fn insmod(path: &str, options: &str) -> Sys {
    let fd = open(path, libc::O_RDONLY | libc::O_CLOEXEC, 0)?;
    let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
    let done = sys(
        libc::SYS_finit_module,
        &[fd as usize, options.as_ptr() as usize, 0],
    );
    let _ = close(fd);
    done
}

/// Removes a module, as `rmmod` does: without waiting for users.
pub fn rmmod(name: &str) -> Sys {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    sys(
        libc::SYS_delete_module,
        &[name.as_ptr() as usize, libc::O_NONBLOCK as usize],
    )
}

/// Both ends of a pipe, closed when dropped.
pub struct Pipe {
    /// Read end.
    pub r: i32,
    /// Write end.
    pub w: i32,
}

impl Pipe {
    /// A pipe with `flags` of `pipe2(2)`.
    pub fn new(flags: i32) -> Sys<Pipe> {
        let (r, w) = pipe2(flags)?;
        Ok(Pipe { r, w })
    }

    /// Closes the read end now.
    pub fn close_read(&mut self) {
        let _ = close(self.r);
        self.r = -1;
    }

    /// Closes the write end now.
    pub fn close_write(&mut self) {
        let _ = close(self.w);
        self.w = -1;
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        for fd in [self.r, self.w] {
            if fd >= 0 {
                let _ = close(fd);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_is_split_off() {
        assert_eq!(split(-9), Err(Errno::EBADF));
        assert_eq!(split(7), Ok(7));
        assert_eq!(split(-4096), Ok(-4096isize as usize));
    }

    #[test]
    fn a_pipe_carries_bytes() {
        let p = Pipe::new(0).unwrap();
        assert_eq!(write(p.w, b"abc"), Ok(3));
        assert_eq!(fionread(p.r), Ok(3));
        let mut b = [0; 8];
        assert_eq!(read(p.r, &mut b), Ok(3));
        assert_eq!(&b[..3], b"abc");
    }

    #[test]
    fn a_wrong_number_is_enosys() {
        assert_eq!(sys(100_000, &[]), Err(Errno::ENOSYS));
    }
}
