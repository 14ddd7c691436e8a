// SPDX-License-Identifier: GPL-2.0

//! What an attached process does for itself on its way back to user space.
//!
//! Every change of a live process's code happens here, in its own context: then the
//! only task that could run its code is the one that is running this instead.

use crate::engine::admit;
use crate::engine::backoff::Wait;
use crate::engine::dispatch::MOST_FD;
use crate::engine::lifecycle::Event;
use crate::engine::negative::Negative;
use crate::engine::specs::{Facts, Reason};
use crate::engine::syscall::Call;
use crate::engine::template::memory::Seen;
use crate::engine::tunables::FORGIVE_MS;
use crate::glue::{self, c, FdView, Quiesced, View};
use crate::state::{Code, Path, Process, CHANGE, STATE};
use crate::synth::CompileRequest;
use crate::worth;
use kernel::prelude::*;

/// Events that say that an assumption of the process broke.
const BREAKS: u32 = c::SYNTHJIT_EVENT_THREADS | c::SYNTHJIT_EVENT_EXEC;

/// Process context of the attached process itself, holding no locks.
///
/// `call` and `fd` are what the vector did not know, if `events` has `MISS`.
pub(crate) fn run(task: *mut c::synthjit_task, tgid: i32, events: u32, call: u32, fd: u32) {
    let began = glue::clock_ns();
    let _change = CHANGE.lock();
    let view = glue::view_current();
    let mut state = STATE.lock();
    let state = &mut *state;
    let switches = (state.platform, state.enabled);
    let of_task = |p: &&mut KBox<Process>| p.tgid == tgid && p.task.is(task);
    let Some(p) = state.processes.iter_mut().find(of_task) else {
        return;
    };
    forget_memory(p, events);
    if events == c::SYNTHJIT_EVENT_MEMORY {
        return;
    }
    let missed = (events & c::SYNTHJIT_EVENT_MISS != 0 && fd <= MOST_FD)
        .then(|| Call::from_number(call).map(|call| (call, fd)))
        .flatten();
    update(&mut state.code, p, switches, &view, events, missed);
    let took = glue::clock_ns().saturating_sub(began);
    p.account.charge_work(took);
}

/// What was seen of memory holds no more for another program, nor when somebody else can map something.
fn forget_memory(p: &mut Process, events: u32) {
    if events & c::SYNTHJIT_EVENT_EXEC != 0 {
        note_memory(p, Seen::NEVER);
    } else if events & (BREAKS | c::SYNTHJIT_EVENT_MEMORY) != 0 {
        note_memory(p, p.memory.forgotten());
    }
}

fn note_memory(p: &mut Process, seen: Seen) {
    p.memory = seen;
    for path in &p.paths {
        glue::note_memory(path.code.slot.index(), seen);
    }
}

/// Brings the process in line with what happened.
fn update(
    code: &mut Code,
    p: &mut Process,
    switches: (Reason, bool),
    view: &View,
    events: u32,
    missed: Option<(Call, u32)>,
) {
    // From here until the next publish the process is on the stock path.
    let quiesced = p.task.publish(0);
    p.account.fill(view.ran_ns);
    if events & c::SYNTHJIT_EVENT_CHANGED != 0 {
        // A person asked for it, not the process.
        p.account.refill();
    }
    if events & c::SYNTHJIT_EVENT_THREADS != 0 {
        code.counters.dropped = code.counters.dropped.wrapping_add(1);
        back_off(p);
    }
    let allowed = may_specialize(p, switches, view);
    if events & (BREAKS | c::SYNTHJIT_EVENT_CHANGED) != 0 {
        retire_paths(code, p, |_| true, why_gone(events, allowed), &quiesced);
        p.negatives.clear();
        p.stale = true;
    }
    let done = allowed
        .and_then(|()| judge(code, p, &quiesced))
        .and_then(|()| specialize(code, p, view, missed, &quiesced));
    let waits = match done {
        Ok(()) => {
            step(p, Event::Retry);
            step(p, Event::Ready);
            forget_in_time(p);
            false
        }
        Err(reason) => {
            glue::trace_refuse(p.tgid, None, reason);
            if reason != Reason::RateLimited {
                retire_paths(code, p, |_| true, reason, &quiesced);
                p.negatives.clear();
                p.stale = true;
            }
            // What was made stays for when it may be used again, if it is right still.
            if p.stale {
                code.retire_vector(p, &quiesced);
            }
            step(p, Event::Lost(reason));
            retry_later(p, reason)
        }
    };
    p.task
        .set_idle(waits && p.paths.is_empty() && p.vector.is_none());
}

/// Judges code that has used up its budget. `CostsMore`: the vector is not worth it; `RateLimited`: nothing may be done now.
fn judge(code: &mut Code, p: &mut Process, quiesced: &Quiesced) -> Result<(), Reason> {
    worth::judge_vector(p).inspect_err(|_| back_off(p))?;
    while let Some((call, fd)) = worth::judge_paths(code, p) {
        let is = |x: &Path| (x.call, x.fd) == (call, fd);
        retire_paths(code, p, is, Reason::CostsMore, quiesced);
        let wait = ms(p.in_vain.penalise(glue::random()));
        let until_ms = glue::now_ms().saturating_add(wait.into());
        remember(p, call, fd, Reason::CostsMore, until_ms);
    }
    match p.account.allows() {
        true => Ok(()),
        false => Err(Reason::RateLimited),
    }
}

/// Why paths go at these events: what broke, else what is in the way now, else nothing but a change of how they are made.
fn why_gone(events: u32, allowed: Result<(), Reason>) -> Reason {
    if events & c::SYNTHJIT_EVENT_THREADS != 0 {
        Reason::Threads
    } else if events & c::SYNTHJIT_EVENT_EXEC != 0 {
        Reason::Exec
    } else {
        allowed.err().unwrap_or(Reason::Remade)
    }
}

/// Milliseconds to wait.
fn ms(wait: Wait) -> u32 {
    match wait {
        Wait::Again(ms) | Wait::GiveUp(ms) => ms,
    }
}

fn back_off(p: &mut Process) {
    let now = glue::now_ms();
    if now > p.not_before.saturating_add(FORGIVE_MS) {
        p.broken.forgive();
    }
    let wait = ms(p.broken.penalise(glue::random()));
    p.not_before = now.saturating_add(wait.into());
}

fn step(p: &mut Process, event: Event) {
    // What the table does not allow leaves the state as it is.
    p.life = p.life.after(event).unwrap_or(p.life);
}

fn may_specialize(p: &Process, switches: (Reason, bool), view: &View) -> Result<(), Reason> {
    let (platform, enabled) = switches;
    admit::process(&admit::Process {
        platform,
        files_count: view.files_count,
        threads: view.threads,
        compat: view.compat != 0,
        enabled,
        process_enabled: p.enabled,
    })?;
    if glue::now_ms() < p.not_before {
        return Err(Reason::BackedOff);
    }
    Ok(())
}

/// Looks again by itself where nobody else would say that things have changed. Whether it does.
fn retry_later(p: &mut Process, reason: Reason) -> bool {
    let wait = match reason {
        Reason::Disabled
        | Reason::ProcessDisabled
        | Reason::NotNative
        | Reason::KvmHost
        | Reason::CodeFault => return false,
        Reason::RateLimited => p.account.wait_ms(),
        _ => {
            let now = glue::now_ms();
            if p.not_before <= now {
                back_off(p);
            }
            let wait = p.not_before.saturating_sub(now);
            u32::try_from(wait).unwrap_or(u32::MAX)
        }
    };
    wake_in(p, wait);
    true
}

/// Makes what is missing and publishes a vector.
fn specialize(
    code: &mut Code,
    p: &mut Process,
    view: &View,
    missed: Option<(Call, u32)>,
    quiesced: &Quiesced,
) -> Result<(), Reason> {
    p.stale |= p.negatives.expire(glue::now_ms());
    let request = match missed {
        Some((call, fd)) => consider(code, p, call, fd, quiesced)?,
        None => None,
    };
    if request.is_none() && !p.stale && p.vector.is_some() {
        return republish(code, p);
    }
    let requested = request.as_ref().map(|o| (o.call, o.fd, o.seen));
    let vector = match (code.rebuild(p, view, request, quiesced), requested) {
        (Ok(vector), None) => vector,
        (Ok(vector), Some(_)) => {
            p.fruitless.forgive();
            vector
        }
        // The descriptor has no path then; the process keeps its others.
        (Err(reason), Some((call, fd, seen))) => {
            let (tgid, name, text) = (p.tgid, call.name(), reason.text());
            pr_debug!("{tgid}: descriptor {fd} gets no path for {name}: {text}\n");
            refuse(code, p, (call, fd, &seen), reason);
            code.rebuild(p, view, None, quiesced)?
        }
        (Err(reason), None) => return Err(reason),
    };
    p.task.publish(vector);
    Ok(())
}

fn republish(code: &Code, p: &Process) -> Result<(), Reason> {
    let machine = code.machine.as_ref().ok_or(Reason::SymbolMissing)?;
    let vector = p.vector.as_ref().ok_or(Reason::NoMemory)?;
    p.task.publish(machine.address(vector.slot));
    Ok(())
}

/// The path that a descriptor is to get, if it is to get one. If it has none and gets none, that is remembered.
fn consider(
    code: &mut Code,
    p: &mut Process,
    call: Call,
    fd: u32,
    quiesced: &Quiesced,
) -> Result<Option<CompileRequest>, Reason> {
    let seen = glue::view_fd(fd);
    let facts = &code.machine.as_ref().ok_or(Reason::SymbolMissing)?.facts;
    let verdict = admit::descriptor(&object(&seen), call, facts);
    let is = |x: &Path| (x.call, x.fd) == (call, fd);
    let known = p.paths.iter().find(|x| is(x) && fits(x, &seen, facts));
    if let Some(path) = known {
        if glue::memory_asked(path.code.slot.index()) {
            note_memory(p, p.memory.looked(glue::now_ms(), glue::look_at_memory()));
        }
        return Ok(None);
    }
    // Others may be closed, or lead to other objects by now.
    let facts = *facts;
    retire_paths(
        code,
        p,
        |x| is(x) || !fits(x, &glue::view_fd(x.fd), &facts),
        Reason::Replaced,
        quiesced,
    );
    if p.negatives.has(fd, call) {
        return Ok(None);
    }
    match verdict {
        Ok(kind) => Ok(Some(CompileRequest {
            kind,
            call,
            fd,
            seen,
        })),
        Err(reason) => {
            refuse(code, p, (call, fd, &seen), reason);
            Ok(None)
        }
    }
}

fn object(seen: &FdView) -> admit::Descriptor {
    admit::Descriptor {
        f_op: seen.f_op,
        f_mode: seen.f_mode,
    }
}

/// Whether `path` is for the object that was seen on its descriptor.
fn fits(path: &Path, seen: &FdView, facts: &Facts) -> bool {
    admit::descriptor(&object(seen), path.call, facts) == Ok(path.kind)
        && path.instance.file_mode == seen.f_mode
}

/// Remembers that a descriptor has no path for a call. All that are found in a while are forgotten together, after a while that grows.
fn refuse(code: &mut Code, p: &mut Process, about: (Call, u32, &FdView), reason: Reason) {
    let (call, fd, _) = about;
    glue::trace_refuse(p.tgid, Some(about), reason);
    code.counters.refused = code.counters.refused.wrapping_add(1);
    let now = glue::now_ms();
    if p.forget_at <= now {
        let wait = ms(p.fruitless.penalise(glue::random()));
        p.forget_at = now.saturating_add(wait.into());
    }
    remember(p, call, fd, reason, p.forget_at);
}

/// Has the vector leave a descriptor to the stock entry until then.
fn remember(p: &mut Process, call: Call, fd: u32, reason: Reason, until_ms: u64) {
    p.stale = true;
    p.negatives.insert(Negative {
        fd,
        call,
        reason,
        until_ms,
    });
}

/// Looks again when the next descriptor is to be forgotten.
fn forget_in_time(p: &mut Process) {
    let Some(due) = p.negatives.next_due() else {
        return;
    };
    let now = glue::now_ms();
    if p.wakes_at <= now || due < p.wakes_at {
        let wait = due.saturating_sub(now);
        wake_in(p, u32::try_from(wait).unwrap_or(u32::MAX));
    }
}

/// Has a work run in so many milliseconds, and at no other time.
fn wake_in(p: &mut Process, ms: u32) {
    p.wakes_at = glue::now_ms().saturating_add(ms.into());
    p.task.retry_in(ms);
}

/// Takes the paths out that `which` names.
fn retire_paths(
    code: &mut Code,
    p: &mut Process,
    which: impl Fn(&Path) -> bool,
    reason: Reason,
    quiesced: &Quiesced,
) {
    let (did, account, stale) = (&mut p.did, &mut p.account, &mut p.stale);
    p.paths.retain(|path| {
        let stays = !which(path);
        if !stays {
            *stale = true;
            let counts = path.counts();
            did.add(path, counts.hits);
            account.charge(worth::settle_path(code, path, &counts));
            code.retire_path(path, reason, quiesced);
        }
        stays
    });
}

/// Takes every piece of code from a process that is detached or gone.
pub(crate) fn strip(code: &mut Code, p: &mut Process, reason: Reason, quiesced: &Quiesced) {
    step(p, Event::Detach);
    retire_paths(code, p, |_| true, reason, quiesced);
    code.retire_vector(p, quiesced);
    code.flush();
}
