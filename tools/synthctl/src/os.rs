//! What the standard library has no safe door to.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets this program end when it writes to a pipe that nobody reads, like `head`, instead of complaining.
pub fn end_when_nobody_reads() {
    // SAFETY: No handler of ours is involved, and nothing else changes this signal.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Interrupts from the keyboard are for the command that runs, which gets them too; this program waits to tell how it ended.
pub fn leave_interrupts_to_the_command() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: As above.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Has the child of `command` write its number to `attach` before it becomes the program. An error is that of the start.
pub fn attach_itself(command: &mut Command, mut attach: File) {
    let attach_me = move || {
        // No memory may be allocated between fork and exec.
        let mut text = [0; 12];
        let mut rest = &mut text[..];
        write!(rest, "{}", std::process::id())?;
        let unused = rest.len();
        let used = text.len() - unused;
        attach.write_all(&text[..used])
    };
    // SAFETY: The closure formats a number into an array on the stack and writes it: no memory is allocated, no lock is taken.
    unsafe { command.pre_exec(attach_me) };
}

/// Returns when a child has ended. It is not reaped: its files in /proc stay.
pub fn wait_for_end(pid: i32) -> io::Result<()> {
    loop {
        // SAFETY: Zeroes are a valid value of this plain structure.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is a place for the result; CAST: the number of a process is positive.
        let failed = unsafe {
            libc::waitid(
                libc::P_PID,
                pid as libc::id_t,
                &mut info,
                libc::WEXITED | libc::WNOWAIT,
            )
        } != 0;
        let error = io::Error::last_os_error();
        match failed {
            true if error.kind() == io::ErrorKind::Interrupted => {}
            true => return Err(error),
            false => return Ok(()),
        }
    }
}
