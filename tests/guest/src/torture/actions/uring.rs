//! io_uring started in a streaming process; messages go through it too, done by its own threads.

use super::super::board::PAGE;
use super::super::counts::Count;
use super::super::worker::{Step, Worker};
use io_uring::{opcode, types, IoUring};
use nix::errno::Errno;

/// Whether io_uring works here.
pub fn probe() -> Result<(), String> {
    IoUring::new(2).map(|_| ()).map_err(|e| e.to_string())
}

pub fn uring(w: &mut Worker) {
    let mut builder = IoUring::builder();
    // A thread of the kernel that shares the descriptors from the beginning; without it, one comes with the first request.
    if w.random().chance(1, 2) {
        builder.setup_sqpoll(20);
    }
    let Ok(mut ring) = builder.build(4) else {
        return;
    };
    w.board.did(Count::Urings);
    let _ = w.steps(8);
    for _ in 0..4 {
        if message(w, &mut ring).is_err() || w.steps(4).is_err() {
            return;
        }
    }
}

/// Writes one message through the ring, if this process writes messages.
fn message(w: &mut Worker, ring: &mut IoUring) -> Step {
    let state = w.state();
    if state.to < 0 || state.from >= 0 || state.ended != 0 || w.board.stopping() {
        return Ok(());
    }
    let start = w.random().below(PAGE);
    let n = w.compose(start, false);
    let entry = opcode::Write::new(types::Fd(state.to), (w.at + start) as *const u8, n as u32)
        .offset(u64::MAX)
        .build()
        .flags(io_uring::squeue::Flags::ASYNC);
    // SAFETY: the buffer lives as long as the process, and nobody touches it until the request is done.
    if unsafe { ring.submission().push(&entry) }.is_err() {
        return Ok(());
    }
    loop {
        let result = ring.submit_and_wait(1);
        if let Some(done) = ring.completion().next() {
            return match done.result() {
                k if k == n as i32 => {
                    w.board.did(Count::UringWrites);
                    w.wrote(n, false);
                    Ok(())
                }
                // Nothing was written.
                k if [Errno::EAGAIN, Errno::EINTR, Errno::ENOMEM, Errno::ECANCELED]
                    .iter()
                    .any(|e| k == -(*e as i32)) =>
                {
                    Ok(())
                }
                k => Err(w.surprise(format!("a write of {n} bytes through io_uring: {k}"))),
            };
        }
        match result.map_err(|e| e.raw_os_error()) {
            Ok(_) | Err(Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM)) => {}
            Err(e) => return Err(w.surprise(format!("io_uring_enter: errno {e:?}"))),
        }
        if w.board.aborted() {
            return Err(super::super::worker::Stop::Abort);
        }
    }
}
