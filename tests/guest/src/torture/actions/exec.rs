//! Another program goes on with the stream: this one again, started anew.

use super::super::board::Board;
use super::super::counts::Count;
use super::super::worker::{take_signals, Worker, WRONG};
use super::descriptors;
use std::ffi::CString;

/// Replaces the program; returns if that fails. The new one counts that it came.
fn replace(w: &Worker, what: Count) {
    w.state().exec = what.index() as u32 + 1;
    let args = [
        "guest".to_string(),
        "torture-worker".to_string(),
        w.fd.to_string(),
        w.index.to_string(),
    ]
    .map(|a| CString::new(a).unwrap_or_default());
    let mut pointers: Vec<*const libc::c_char> = args.iter().map(|a| a.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: the set is ours; both arrays end with a null pointer and live until the call. Handlers are gone after exec
    // until the new program has set its own, so signals wait until then.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut old);
        libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
    }
    w.state().exec = 0;
}

pub fn exec(w: &mut Worker) {
    if w.random().chance(1, 2) {
        descriptors::home(w);
    }
    replace(w, Count::Execs);
}

/// The thread takes the leader's place and number.
pub fn exec_from_thread(w: &mut Worker) {
    let other = w.other();
    let thread = std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || {
            replace(&other, Count::ThreadExecs);
        });
    if let Ok(thread) = thread {
        let _ = thread.join();
    }
}

/// What the new program does: finds the board and streams.
pub fn resume(fd: i32, index: usize) -> i32 {
    let Ok(board) = Board::of(fd) else {
        return WRONG;
    };
    match Worker::new(board, fd, index) {
        Ok(mut worker) => {
            take_signals();
            worker.count_exec();
            // SAFETY: plain prctl. Should the main process end, so does this one.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            worker.run()
        }
        Err(_) => WRONG,
    }
}
