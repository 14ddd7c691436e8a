// SPDX-License-Identifier: GPL-2.0

//! What an attached process does for itself on its way back to user space.
//!
//! Every change of a live process's code happens here, in its own context: then the
//! only task that could run its code is the one that is running this instead.

use crate::engine::admit::{self, Call};
use crate::engine::backoff::Wait;
use crate::engine::paths::memory::Seen;
use crate::engine::specs::{Facts, Reason};
use crate::engine::state::Event;
use crate::glue::{self, c, Dir, FdView, Quiesced, View};
use crate::state::{Code, Path, Process, Without, CHANGE, STATE};
use crate::synth::Order;
use kernel::prelude::*;
use kernel::sync::Arc;

/// Events that say that an assumption of the process broke.
const BREAKS: u32 = c::SYNTHJIT_EVENT_THREADS | c::SYNTHJIT_EVENT_EXEC;

/// Process context of the attached process itself, holding no locks.
///
/// `call` and `fd` are what the vector did not know, if `events` has `LEARN`.
pub(crate) fn run(task: *mut c::synthjit_task, tgid: i32, events: u32, call: u32, fd: u32) {
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
    let wish = (events & c::SYNTHJIT_EVENT_LEARN != 0)
        .then(|| Call::from_number(call).map(|call| (call, fd)))
        .flatten();
    update(&mut state.code, p, switches, &view, events, wish);
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
    wish: Option<(Call, u32)>,
) {
    // From here until the next publish the process is on the stock path.
    let quiesced = p.task.publish(0);
    if events & c::SYNTHJIT_EVENT_THREADS != 0 {
        code.counters.dropped = code.counters.dropped.wrapping_add(1);
        back_off(p);
    }
    let allowed = may_specialize(p, switches, view);
    if events & (BREAKS | c::SYNTHJIT_EVENT_CHANGED) != 0 {
        retire_paths(code, p, |_| true, why_gone(events, allowed), &quiesced);
        p.without.clear();
    }
    match allowed.and_then(|()| specialize(code, p, view, wish, &quiesced)) {
        Ok(()) => {
            step(p, Event::Retry);
            step(p, Event::Ready);
        }
        Err(reason) => {
            glue::trace_refuse(p.tgid, None, reason);
            retire_paths(code, p, |_| true, reason, &quiesced);
            code.retire_vector(p, &quiesced);
            step(p, Event::Lost(reason));
            retry_later(p, reason);
        }
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

/// Once an assumption has held this long, earlier breaks are forgiven (milliseconds).
const FORGIVE_MS: u64 = 60_000;

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

/// Looks again by itself where nobody else would say that things have changed.
fn retry_later(p: &mut Process, reason: Reason) {
    if matches!(
        reason,
        Reason::Disabled
            | Reason::ProcessDisabled
            | Reason::NotNative
            | Reason::KvmHost
            | Reason::CodeFault
    ) {
        return;
    }
    let now = glue::now_ms();
    if p.not_before <= now {
        back_off(p);
    }
    let wait = p.not_before.saturating_sub(now);
    p.task.retry_in(u32::try_from(wait).unwrap_or(u32::MAX));
}

/// Makes what is missing and publishes a vector.
fn specialize(
    code: &mut Code,
    p: &mut Process,
    view: &View,
    wish: Option<(Call, u32)>,
    quiesced: &Quiesced,
) -> Result<(), Reason> {
    let forgot = forget(p);
    let order = match wish {
        Some((call, fd)) => match consider(code, p, call, fd, quiesced)? {
            Considered::Known if !forgot && p.vector.is_some() => return republish(code, p),
            Considered::Known | Considered::Refused => None,
            Considered::Order(order) => Some(order),
        },
        None => None,
    };
    let ordered = order.as_ref().map(|o| (o.call, o.fd, o.seen));
    let vector = match (code.rebuild(p, view, order, quiesced), ordered) {
        (Ok(vector), None) => vector,
        (Ok(vector), Some(_)) => {
            p.fruitless.forgive();
            vector
        }
        // The descriptor has no path then; the process keeps its others.
        (Err(reason), Some((call, fd, seen))) => {
            let (tgid, name, text) = (p.tgid, call.name(), reason.text());
            pr_debug!("{tgid}: descriptor {fd} gets no path for {name}: {text}\n");
            refuse(code, p, (call, fd, &seen), reason)?;
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

/// What a look at a descriptor came to.
enum Considered {
    /// It has the path that it should have.
    Known,
    /// It has none, which is remembered.
    Refused,
    /// It is to get one.
    Order(Order),
}

fn consider(
    code: &mut Code,
    p: &mut Process,
    call: Call,
    fd: u32,
    quiesced: &Quiesced,
) -> Result<Considered, Reason> {
    let seen = glue::view_fd(fd);
    let facts = &code.machine.as_ref().ok_or(Reason::SymbolMissing)?.facts;
    let verdict = admit::descriptor(&object(&seen), call, facts);

    let known = p
        .paths
        .iter()
        .find(|x| x.call == call && x.fd == fd && fits(x, &seen, facts));
    if let Some(path) = known {
        if glue::memory_asked(path.code.slot.index()) {
            note_memory(p, p.memory.looked(glue::now_ms(), glue::look_at_memory()));
        }
        return Ok(Considered::Known);
    }
    // Others may be closed, or lead to other objects by now.
    let facts = *facts;
    retire_paths(
        code,
        p,
        |x| !fits(x, &glue::view_fd(x.fd), &facts),
        Reason::Replaced,
        quiesced,
    );
    match verdict {
        Ok(kind) => Ok(Considered::Order(Order {
            kind,
            call,
            fd,
            seen,
        })),
        Err(reason) => refuse(code, p, (call, fd, &seen), reason).map(|()| Considered::Refused),
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

/// Remembers that a descriptor has no path for a call, for a while that grows.
fn refuse(
    code: &mut Code,
    p: &mut Process,
    about: (Call, u32, &FdView),
    reason: Reason,
) -> Result<(), Reason> {
    let (call, fd, _) = about;
    glue::trace_refuse(p.tgid, Some(about), reason);
    code.counters.refused = code.counters.refused.wrapping_add(1);
    if p.without.is_empty() {
        let wait = ms(p.fruitless.penalise(glue::random()));
        p.forget_at = glue::now_ms().saturating_add(wait.into());
        p.task.retry_in(wait);
    }
    p.without
        .push(Without { fd, call, reason }, GFP_KERNEL)
        .map_err(|_| Reason::NoMemory)
}

/// What had no path may be another object by now. Whether something was forgotten.
fn forget(p: &mut Process) -> bool {
    let due = !p.without.is_empty() && glue::now_ms() >= p.forget_at;
    if due {
        p.without.clear();
    }
    due
}

/// Takes the paths out that `which` names.
fn retire_paths(
    code: &mut Code,
    p: &mut Process,
    which: impl Fn(&Path) -> bool,
    reason: Reason,
    quiesced: &Quiesced,
) {
    let did = &mut p.did;
    p.paths.retain(|path| {
        let stays = !which(path);
        if !stays {
            did.add(path);
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

/// Retired code is poisoned, and names and directories follow paths. Workqueue context.
///
/// Directories are made here and not where paths are made because they cost more than the
/// paths, and the process should not wait for them.
pub(crate) fn tidy() {
    let _change = CHANGE.lock();
    {
        let mut state = STATE.lock();
        state.code.flush();
        if glue::update_names() {
            glue::tidy_soon();
        }
    }
    while let Some((parent, tgid, fd, call)) = next_without_dir() {
        // Under CHANGE, so the path is still there afterwards.
        let Ok(dir) = parent.path(tgid, fd, call == Call::Read) else {
            pr_warn!("no memory for the directory of {fd}.{}\n", call.name());
            break;
        };
        let mut state = STATE.lock();
        let of_path = |x: &&mut Path| x.fd == fd && x.call == call;
        let process = state.processes.iter_mut().find(|p| p.tgid == tgid);
        if let Some(path) = process.and_then(|p| p.paths.iter_mut().find(of_path)) {
            path.dir = Some(dir);
        }
    }
    // What a path that was made anew has use for was taken over above.
    glue::remove_dirs_now();
}

fn next_without_dir() -> Option<(Arc<Dir>, i32, u32, Call)> {
    let state = STATE.lock();
    let found = state.processes.iter().find_map(|p| {
        let path = p.paths.iter().find(|x| x.dir.is_none())?;
        Some((p.dir.clone()?, p.tgid, path.fd, path.call))
    });
    found
}
