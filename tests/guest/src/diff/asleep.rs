//! Whether a task really sleeps, as opposed to being about to.
//!
//! The state letter in `/proc/PID/stat` does not tell: a task that was preempted between saying that it will sleep and doing so
//! shows `S` too, and so does one that is about to find that it need not. `/proc/PID/wchan` names a function only while the task is
//! off the run queue (`proc_pid_wchan()` in fs/proc/base.c, `get_wchan()` in kernel/sched/core.c).

use crate::sys::{self, Sys};

/// Enough for a function's name in `/proc/PID/wchan`.
pub const WCHAN_MAX: usize = 512;

/// Whether this content of `/proc/PID/wchan` is that of a task that is off the run queue.
pub fn by_wchan(text: &[u8]) -> bool {
    !text.is_empty() && text != b"0"
}

/// Identifies one sleep of a task: how often the task had been given a CPU before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleep(u64);

/// The files of one task that tell whether it sleeps, kept open. They are closed when the program ends.
pub struct Task {
    wchan: i32,
    schedstat: i32,
}

impl Task {
    pub fn open(pid: i32) -> Sys<Task> {
        let file = |name: &str| {
            let flags = libc::O_RDONLY | libc::O_CLOEXEC;
            sys::open(&format!("/proc/{pid}/{name}"), flags, 0)
        };
        let wchan = file("wchan")?;
        file("schedstat")
            .map(|schedstat| Task { wchan, schedstat })
            .inspect_err(|_| {
                let _ = sys::close(wchan);
            })
    }

    /// The sleep that the task is in; `None` when it runs or is going to. While the answer stays the same, the task has not run.
    pub fn sleep(&self) -> Option<Sleep> {
        let before = self.runs()?;
        let mut text = [0u8; WCHAN_MAX];
        let n = sys::pread(self.wchan, &mut text, 0).ok()?;
        (by_wchan(text.get(..n)?) && self.runs() == Some(before)).then_some(Sleep(before))
    }

    /// Third number of `/proc/PID/schedstat`: how often the task was given a CPU.
    fn runs(&self) -> Option<u64> {
        let mut text = [0u8; 128];
        let n = sys::pread(self.schedstat, &mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..n)?).ok()?;
        text.split_whitespace().nth(2)?.parse().ok()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        for fd in [self.wchan, self.schedstat] {
            let _ = sys::close(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::{futex_wait, futex_wake, poll_until, Board, Kid};
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    #[test]
    fn zero_is_no_place_to_sleep_in() {
        assert!(by_wchan(b"anon_pipe_read"));
        assert!(!by_wchan(b"0"));
        assert!(!by_wchan(b""));
    }

    #[test]
    fn each_sleep_is_another_one() {
        let board = Board::new().unwrap();
        let kid = Kid::spawn::<()>(|| loop {
            let word = &board.flags[0];
            match word.load(Ordering::SeqCst) {
                // Busy, but never asleep.
                2 => std::thread::yield_now(),
                n => futex_wait(word, n, Duration::from_secs(10)),
            }
        })
        .unwrap();
        let task = Task::open(kid.pid).unwrap();
        let next = || poll_until(Duration::from_secs(10), || task.sleep()).unwrap();
        let first = next();
        assert_eq!(task.sleep(), Some(first));
        board.raise(0, 1);
        futex_wake(&board.flags[0]);
        let second = next();
        assert_ne!(first, second);
        board.raise(0, 2);
        futex_wake(&board.flags[0]);
        let third = task.sleep();
        assert!(third.is_none() || third == Some(second));
        assert!((0..200).all(|_| task.sleep().is_none_or(|s| s == second)));
    }
}
