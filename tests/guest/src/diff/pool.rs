//! The two executors, one attached, and the comparison of what they did.

use super::asleep::Task;
use super::channel::{Channel, PARTNER_DONE, PARTNER_IDLE, PARTNER_IN_CALL};
use super::op::{Op, Outcome, PAGES};
use crate::proc::{futex_wait, futex_wake, poll_until, Kid};
use crate::sys;
use crate::sysfs;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time that a sequence may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at an executor that is in a call. One that sleeps for good is seen twice before it is interrupted.
const LOOK_EVERY: Duration = Duration::from_millis(2);

struct Worker {
    kid: Kid,
    channel: &'static Channel,
    executor: Task,
    partner: Task,
    /// [`Channel::call`] at the last look.
    call: u32,
}

/// Both executors.
pub struct Pool {
    workers: [Worker; 2],
    stock: bool,
    planted: bool,
    memory: usize,
    hits: Hits,
}

/// What both executors reported: first the one that is never attached.
pub type Both = [Vec<Outcome>; 2];

impl Pool {
    /// Starts both; with `stock` neither is attached, with `planted` the second one tells lies.
    pub fn start(stock: bool, planted: bool) -> Result<Pool, String> {
        let memory = sys::map(PAGES * 4096, 3, libc::MAP_PRIVATE)
            .map_err(|e| format!("memory for buffers: {e}"))?;
        let workers = [
            worker(memory, false, false)?,
            worker(memory, !stock, planted)?,
        ];
        Ok(Pool {
            workers,
            stock,
            planted,
            memory,
            hits: Hits::default(),
        })
    }

    /// Replaces both executors, after one of them got stuck or died.
    fn restart(&mut self) -> Result<(), String> {
        self.workers = [
            worker(self.memory, false, false)?,
            worker(self.memory, !self.stock, self.planted)?,
        ];
        self.hits.forget();
        Ok(())
    }

    /// Runs a sequence in both at once. An executor that dies or does not answer is an error; both are replaced then.
    pub fn run(&mut self, ops: &[Op]) -> Result<Both, String> {
        for w in &self.workers {
            w.channel.put(ops);
            w.channel.command.fetch_add(1, Ordering::SeqCst);
            futex_wake(&w.channel.command);
        }
        let names = ["the stock process", "the attached process"];
        let start = Instant::now();
        while let Some(waiting) = self.workers.iter().find(|w| !w.answered()) {
            let got = waiting.channel.answer.load(Ordering::SeqCst);
            if !waiting.answered() {
                futex_wait(&waiting.channel.answer, got, LOOK_EVERY);
            }
            let trouble =
                self.workers.iter_mut().zip(names).find_map(|(w, name)| {
                    Some(format!("{name} {}", w.look(start.elapsed()).err()?))
                });
            if let Some(why) = trouble {
                self.restart()?;
                return Err(why);
            }
        }
        let [a, b] = &self.workers;
        Ok([a.channel.outcomes(), b.channel.outcomes()])
    }

    /// Detaches the attached process and attaches it again. A process whose descriptors keep becoming other objects is left
    /// alone by the module for longer and longer, rightly; a new attachment begins without that history.
    pub fn attach_again(&mut self) -> Result<(), String> {
        if self.stock {
            return Ok(());
        }
        self.specialized();
        self.hits.forget();
        let tgid = self.workers[1].kid.pid;
        sysfs::detach(tgid).map_err(|e| format!("detach {tgid}: {e}"))?;
        sysfs::attach(tgid).map_err(|e| format!("attach {tgid}: {e}"))?;
        Ok(())
    }

    /// Whether a sequence ends differently in both processes, or badly.
    pub fn differs(&mut self, ops: &[Op]) -> bool {
        match self.run(ops) {
            Ok([a, b]) => a != b,
            Err(_) => true,
        }
    }

    /// Calls of the attached process that ran specialized so far.
    pub fn specialized(&mut self) -> u64 {
        if self.stock {
            return 0;
        }
        let tgid = self.workers[1].kid.pid;
        for name in sysfs::list(&format!("processes/{tgid}/fds")) {
            if let Ok(n) = sysfs::number(&format!("processes/{tgid}/fds/{name}/hits")) {
                self.hits.seen(&name, n);
            }
        }
        self.hits.total
    }
}

fn worker(memory: usize, attached: bool, planted: bool) -> Result<Worker, String> {
    let channel = Channel::new().map_err(|e| format!("shared memory: {e}"))?;
    channel.planted.store(u32::from(planted), Ordering::SeqCst);
    let kid = Kid::spawn(|| super::exec::main(channel, memory, attached))
        .map_err(|e| format!("fork: {e}"))?;
    let ready = poll_until(Duration::from_secs(10), || {
        let r = channel.ready.load(Ordering::SeqCst);
        (r != 0).then_some(r)
    });
    match ready {
        Some(r) if r > 0 => {
            let task = |pid| Task::open(pid).map_err(|e| format!("/proc/{pid}: {e}"));
            Ok(Worker {
                executor: task(kid.pid)?,
                partner: task(channel.partner_pid.load(Ordering::SeqCst))?,
                call: 0,
                kid,
                channel,
            })
        }
        Some(r) => Err(format!(
            "executor (attached: {attached}): {}",
            nix::errno::Errno::from_raw(-r)
        )),
        None => Err("executor does not get ready".into()),
    }
}

impl Worker {
    /// Whether the last command has been answered.
    fn answered(&self) -> bool {
        let c = self.channel;
        c.answer.load(Ordering::SeqCst) == c.command.load(Ordering::SeqCst)
    }

    /// Looks at an executor that has not answered for `elapsed`; interrupts it when it sleeps for good. The error says what became
    /// of it.
    fn look(&mut self, elapsed: Duration) -> Result<(), String> {
        let call = self.channel.call.load(Ordering::SeqCst);
        if self.answered() || call != self.call {
            self.call = call;
            return Ok(());
        }
        if let Some(end) = self.kid.ended() {
            return Err(format!("ended: {end:?}"));
        }
        if elapsed > LIMIT {
            let file = |f: &str| {
                sys::read_text(&format!("/proc/{}/{f}", self.kid.pid)).unwrap_or_default()
            };
            return Err(format!(
                "does not answer; syscall {}; stack {}",
                file("syscall"),
                file("stack").replace('\n', " ")
            ));
        }
        if let Some(task) = self.sleeps_for_good(call) {
            let _ = sys::sys(libc::SYS_tkill, &[task as usize, libc::SIGALRM as usize]);
        }
        Ok(())
    }

    /// The task that sleeps in this call for good: the partner, which alone could wake it, has nothing to do or sleeps too, and
    /// executor and helper wait for each other.
    fn sleeps_for_good(&self, call: u32) -> Option<i32> {
        if call % 2 == 0 {
            return None;
        }
        let caller = self.channel.caller.load(Ordering::SeqCst);
        let helper = (caller != self.kid.pid).then(|| Task::open(caller).ok());
        let task = match &helper {
            None => &self.executor,
            Some(helper) => helper.as_ref()?,
        };
        // The partner is looked at between two looks at the caller that find it in the same sleep.
        let sleep = task.sleep()?;
        let partner_rests = match self.channel.phase.load(Ordering::SeqCst) {
            PARTNER_IDLE | PARTNER_DONE => true,
            PARTNER_IN_CALL => self.partner.sleep().is_some(),
            _ => false,
        };
        (partner_rests
            && task.sleep() == Some(sleep)
            && self.channel.call.load(Ordering::SeqCst) == call)
            .then_some(caller)
    }
}

/// Adds up hit counters that begin again when a path is recompiled.
#[derive(Default)]
pub struct Hits {
    last: BTreeMap<String, u64>,
    pub total: u64,
}

impl Hits {
    /// A path's counter was seen with this value.
    pub fn seen(&mut self, name: &str, value: u64) {
        let last = self.last.insert(name.to_string(), value).unwrap_or(0);
        self.total += if value >= last { value - last } else { value };
    }

    /// All counters begin again.
    pub fn forget(&mut self) {
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_survive_a_new_path() {
        let mut h = Hits::default();
        h.seen("11.write", 10);
        h.seen("11.write", 15);
        h.seen("10.read", 1);
        h.seen("11.write", 4);
        assert_eq!(h.total, 20);
    }
}
