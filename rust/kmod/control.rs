// SPDX-License-Identifier: GPL-2.0

//! What a person does through sysfs: attach, detach, switch on and off.

use crate::engine::account::Account;
use crate::engine::backoff::Backoff;
use crate::engine::lifecycle::{Event, State as Life};
use crate::engine::negative::NegativeCache;
use crate::engine::specs::Reason;
use crate::engine::template::memory::Seen;
use crate::glue::{self, c, Dir, Task};
use crate::state::{Exited, Process, Tallies, CHANGE, STATE};
use crate::work;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Most processes that are attached at a time. Each costs memory and two entries of sysfs, whoever writes the rules by which
/// processes are attached.
const MOST_PROCESSES: usize = 1024;

/// Attaches the process that is `nr` for the caller. It is specialized when it next passes through the kernel.
///
/// `ESRCH`: no such process; `EINVAL`: a kernel thread; `EEXIST`: attached already;
/// `EOPNOTSUPP`: no vectors on this platform; `ENOSPC`: [`MOST_PROCESSES`] are attached; `EBUSY`: function tracing is
/// switched off, so changes of kernel text would go unseen; `ENOMEM`.
pub(crate) fn attach(nr: i32) -> Result {
    let _change = CHANGE.lock();
    let platform = STATE.lock().platform;
    if platform != Reason::None {
        return refuse(nr, platform, unsupported());
    }
    let tgid = glue::find_process(nr)?;
    let gone = STATE.lock().process(tgid).map(|p| p.task.gone());
    match gone {
        Some(false) => return Err(EEXIST),
        // An earlier process of that number, whose end is about to be noticed.
        Some(true) => {
            take_out(tgid, Reason::Exited);
        }
        None => {}
    }
    if STATE.lock().processes.len() >= MOST_PROCESSES {
        return refuse(tgid, Reason::TooManyProcesses, ENOSPC);
    }
    glue::watch()?;
    insert(tgid)
}

/// Says and counts why a process is not attached.
fn refuse(tgid: i32, reason: Reason, error: Error) -> Result {
    pr_info!("attach {tgid} refused: {}\n", reason.text());
    let mut state = STATE.lock();
    state.code.counters.refused = state.code.counters.refused.wrapping_add(1);
    glue::trace_refuse_attach(tgid, reason);
    Err(error)
}

/// `EOPNOTSUPP`, for which the kernel crate has no name.
fn unsupported() -> Error {
    // CAST: The constant is small.
    Error::from_errno(-(kernel::bindings::EOPNOTSUPP as i32))
}

/// Under CHANGE.
fn insert(tgid: i32) -> Result {
    // A directory of the same name may still be waiting to go.
    glue::remove_dirs_now();
    let dir = Arc::new(Dir::process(tgid)?, GFP_KERNEL)?;
    let task = Task::attach(tgid)?;
    let process = Process {
        tgid,
        enabled: true,
        life: Life::Pending,
        vector: None,
        paths: KVec::new(),
        stale: true,
        negatives: NegativeCache::new(),
        account: Account::new(),
        did: Tallies::new(),
        judged_hits: 0,
        forget_at: 0,
        broken: Backoff::new(),
        fruitless: Backoff::new(),
        memory: Seen::NEVER,
        in_vain: Backoff::new(),
        not_before: 0,
        wakes_at: 0,
        dir: Some(dir),
        task,
    };
    // On failure the notifier is taken off before the object goes.
    let process = match KBox::new_uninit(GFP_KERNEL) {
        Ok(place) => place.write(process),
        Err(e) => {
            process.task.detach();
            return Err(e.into());
        }
    };
    let mut state = STATE.lock();
    if state.processes.reserve(1, GFP_KERNEL).is_err() {
        drop(state);
        process.task.detach();
        return Err(ENOMEM);
    }
    process.task.queue(c::SYNTHJIT_EVENT_CHANGED);
    // Room was reserved above.
    let _ = state.processes.push_within_capacity(process);
    Ok(())
}

/// Detaches the process that is `nr` for the caller: it is on the stock path when this returns. `ENOENT`: not attached;
/// `ESRCH`: no such process; `EINVAL`: a kernel thread.
pub(crate) fn detach(nr: i32) -> Result {
    let _change = CHANGE.lock();
    let tgid = glue::find_process(nr)?;
    take_out(tgid, Reason::Detached).ok_or(ENOENT)
}

/// Under CHANGE. Whoever sees the process gone sees its code gone too, and what is remembered if it has exited.
fn take_out(tgid: i32, reason: Reason) -> Option<()> {
    let process = {
        let mut state = STATE.lock();
        let state = &mut *state;
        let at = state.processes.iter().position(|p| p.tgid == tgid)?;
        let p = state.processes.get_mut(at)?;
        let quiesced = p.task.detach();
        work::strip(&mut state.code, p, reason, &quiesced);
        if reason == Reason::Exited {
            let did = p.did;
            state.exited.add(Exited { tgid, did });
        }
        state.processes.remove(at).ok()?
    };
    drop(process);
    glue::remove_dirs_now();
    Some(())
}

/// Detaches process `tgid` after its exit, unless somebody did before.
pub(crate) fn exited(task: *mut c::synthjit_task, tgid: i32) {
    let _change = CHANGE.lock();
    if STATE.lock().process(tgid).is_some_and(|p| p.task.is(task)) {
        take_out(tgid, Reason::Exited);
    }
}

/// Detaches everything, for unload.
pub(crate) fn detach_all() {
    let _change = CHANGE.lock();
    loop {
        let Some(tgid) = STATE.lock().processes.first().map(|p| p.tgid) else {
            break;
        };
        take_out(tgid, Reason::Detached);
    }
}

/// Stock path after the next [`glue::quiesce`]; what comes then is the process's own work.
fn look_again(p: &mut Process) {
    p.task.withdraw();
    p.life = p.life.after(Event::Renew).unwrap_or(p.life);
    p.life = p.life.after(Event::Retry).unwrap_or(p.life);
    p.task.queue(c::SYNTHJIT_EVENT_CHANGED);
}

/// Switches specialization on or off for all. Off: every process is on the stock path
/// when this returns.
pub(crate) fn enable(on: bool) {
    {
        let mut state = STATE.lock();
        state.enabled = on;
        for p in &mut state.processes {
            look_again(p);
        }
    }
    glue::quiesce();
}

/// No vector may be used from now on; none is when this returns.
pub(crate) fn lose_platform(reason: Reason) {
    pr_warn!("trap vector refused from now on: {}\n", reason.text());
    {
        let mut state = STATE.lock();
        state.platform = reason;
        for p in &mut state.processes {
            look_again(p);
        }
    }
    glue::quiesce();
}

/// The same for one process. `ENOENT`: not attached.
pub(crate) fn enable_process(tgid: i32, on: bool) -> Result {
    {
        let mut state = STATE.lock();
        let p = state
            .processes
            .iter_mut()
            .find(|p| p.tgid == tgid)
            .ok_or(ENOENT)?;
        p.enabled = on;
        look_again(p);
    }
    glue::quiesce();
    Ok(())
}
