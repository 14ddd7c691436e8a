//! A second task of the executor that makes some calls of a sequence in its place: a child, a child that shares the descriptor
//! table, or a thread. Only one of the two is at work at any time, so that what comes out does not depend on timing.

use super::calls::{Caller, Done};
use super::channel::Channel;
use super::op::Helping;
use crate::proc::{decode, futex_wait, futex_wake, Ended};
use crate::sys::{self, Sys};
use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// Instead of the number of a call: the helper ends.
const END: u32 = u32::MAX;

/// A running helper.
pub struct Helper {
    channel: &'static Channel,
    task: Task,
}

enum Task {
    Child(i32),
    Thread(JoinHandle<()>),
}

impl Helper {
    /// Starts a helper of the executor that `caller` belongs to.
    pub fn start(caller: Caller, how: Helping) -> Sys<Helper> {
        let channel = caller.channel;
        let seen = channel.helper_asked.load(Ordering::SeqCst);
        let task = match how {
            Helping::Child => child(caller, seen, 0)?,
            Helping::Sharing => child(caller, seen, libc::CLONE_FILES)?,
            Helping::Thread => Task::Thread(
                std::thread::Builder::new()
                    .spawn(move || serve(caller, seen))
                    .map_err(|_| Errno::EAGAIN)?,
            ),
        };
        Ok(Helper { channel, task })
    }

    /// Has the helper make call `i` of the sequence and waits until it is done. Second: the helper's own signal counters, where it
    /// is a process of its own.
    pub fn call(&self, i: usize) -> Sys<(Done, Option<[u32; 2]>)> {
        let c = self.channel;
        let before = c.helper_done.load(Ordering::SeqCst);
        self.ask(i as u32);
        while c.helper_done.load(Ordering::SeqCst) == before {
            futex_wait(&c.helper_done, before, Duration::from_secs(1));
            if self.has_died() {
                return Err(Errno::ECHILD);
            }
        }
        let about = c.helper_about.load(Ordering::SeqCst);
        let done = Done {
            ret: c.helper_ret.load(Ordering::SeqCst),
            memory: c.helper_memory.load(Ordering::SeqCst),
            about: (about != i32::MIN).then_some(about),
        };
        let signals = [0, 1].map(|n: usize| {
            c.helper_signals
                .get(n)
                .map_or(0, |s| s.load(Ordering::SeqCst))
        });
        Ok((done, matches!(self.task, Task::Child(_)).then_some(signals)))
    }

    /// Ends the helper and waits until nothing is left of it.
    pub fn end(self) -> Sys<()> {
        self.ask(END);
        match self.task {
            Task::Child(pid) => loop {
                let mut status = 0;
                // SAFETY: `status` is ours.
                if unsafe { libc::waitpid(pid, &mut status, 0) } == pid {
                    return match decode(status) {
                        Some(Ended::Exit(0)) => Ok(()),
                        _ => Err(Errno::ECHILD),
                    };
                }
                if Errno::last() != Errno::EINTR {
                    return Err(Errno::last());
                }
            },
            Task::Thread(thread) => {
                thread.join().map_err(|_| Errno::ECHILD)?;
                // A thread can be joined when it has left the memory, and gives its descriptor table back later (`do_exit()` in
                // kernel/exit.c). Its number is the last to go.
                let task = self.channel.helper_task.load(Ordering::SeqCst) as usize;
                let process = sys::getpid() as usize;
                while sys::sys(libc::SYS_tgkill, &[process, task, 0]).is_ok() {
                    std::thread::sleep(Duration::from_micros(30));
                }
                Ok(())
            }
        }
    }

    fn ask(&self, what: u32) {
        self.channel.helper_what.store(what, Ordering::SeqCst);
        self.channel.helper_asked.fetch_add(1, Ordering::SeqCst);
        futex_wake(&self.channel.helper_asked);
    }

    fn has_died(&self) -> bool {
        match &self.task {
            // SAFETY: no status is asked for, and the child stays to be waited for.
            Task::Child(pid) => unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
                libc::waitid(libc::P_PID, *pid as u32, &mut info, flags) == 0
                    && info.si_pid() == *pid
            },
            Task::Thread(thread) => thread.is_finished(),
        }
    }
}

/// A child with these flags of `clone(2)`; it dies with the executor.
fn child(caller: Caller, seen: u32, flags: i32) -> Sys<Task> {
    let flags = (flags | libc::SIGCHLD) as usize;
    match sys::sys(libc::SYS_clone, &[flags, 0, 0, 0, 0])? {
        0 => {
            // SAFETY: plain prctl; `_exit` runs no handlers of the parent's copy. No other thread runs that could hold a lock of
            // the allocator.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                serve(caller, seen);
                libc::_exit(0)
            }
        }
        pid => Ok(Task::Child(pid as i32)),
    }
}

/// Makes calls as they are asked for, until the end is.
fn serve(caller: Caller, mut seen: u32) {
    let task = sys::sys(libc::SYS_gettid, &[]).unwrap_or(0) as i32;
    let c = caller.channel;
    c.helper_task.store(task, Ordering::SeqCst);
    let caller = Caller { task, ..caller };
    loop {
        let asked = c.helper_asked.load(Ordering::SeqCst);
        if asked == seen {
            futex_wait(&c.helper_asked, seen, Duration::from_secs(1));
            continue;
        }
        seen = asked;
        let what = c.helper_what.load(Ordering::SeqCst);
        if what == END {
            return;
        }
        let Some(op) = c.sequence().get(what as usize).copied() else {
            return;
        };
        let done = caller.perform(what as usize, op);
        c.helper_ret.store(done.ret, Ordering::SeqCst);
        c.helper_memory.store(done.memory, Ordering::SeqCst);
        c.helper_about
            .store(done.about.unwrap_or(i32::MIN), Ordering::SeqCst);
        for (to, n) in c.helper_signals.iter().zip(super::calls::signals()) {
            to.store(n, Ordering::SeqCst);
        }
        c.helper_done.fetch_add(1, Ordering::SeqCst);
        futex_wake(&c.helper_done);
    }
}
