// SPDX-License-Identifier: GPL-2.0

//! What the files of `/sys/kernel/synthjit` say and take, one value each. Names and rights: `rust/glue/sysfs.c`. What can be
//! longer than a page is a listing: [`crate::listing`].

use crate::control;
use crate::engine::lifecycle::State as Life;
use crate::engine::specs::{self, Reason, SpecInfo, SpecKind};
use crate::engine::syscall::Call;
use crate::engine::text::{self, Bounded, First};
use crate::glue::{self, c};
use crate::state::{Path, Process, State, STATE};
use core::ffi::CStr;
use core::fmt::{self, Write};
use kernel::prelude::*;

/// The files of `stats/`, in the order of their indices.
pub(crate) const STAT_NAMES: [&CStr; 7] = [
    c"attached",
    c"synthesized",
    c"retired",
    c"bailouts",
    c"refused",
    c"dropped",
    c"arena_bytes_used",
];

fn stat(state: &State, index: u32) -> Option<u64> {
    let counters = &state.code.counters;
    // CAST: usize is 64 bits wide here.
    Some(match index {
        0 => state.processes.len() as u64,
        1 => counters.synthesized,
        2 => counters.retired,
        3 => state.bailouts(),
        4 => counters.refused,
        5 => counters.dropped,
        6 => state.code.arena.bytes_used() as u64,
        _ => return None,
    })
}

/// The specs of paths, as opposed to what they share.
pub(crate) fn path_specs() -> impl Iterator<Item = &'static &'static SpecInfo> {
    specs::SPECS.iter().filter(|s| s.kind == SpecKind::Path)
}

/// The path of descriptor, call and process that a directory is about.
fn path_of(state: &State, about: (i32, u32, bool)) -> Result<&Path> {
    let (tgid, fd, is_read) = about;
    let is = |x: &&Path| x.fd == fd && (x.call == Call::Read) == is_read;
    let process = state.process(tgid).ok_or(ENOENT)?;
    process.paths.iter().find(is).ok_or(ENOENT)
}

/// What a file shows, into `out`. Returns the length. `ENOENT`: what it is about is gone; `EFBIG`: it does not fit, and nothing
/// is to be shown.
pub(crate) fn show(attr: u32, about: (i32, u32, bool), out: &mut [u8]) -> Result<usize> {
    let state = STATE.lock();
    let process = || state.process(about.0).ok_or(ENOENT);
    let path = || path_of(&state, about);
    let mut value = Bounded::new(out);
    let w = &mut value;
    match attr {
        c::SYNTHJIT_ATTR_ENABLED => writeln!(w, "{}", u8::from(state.enabled)),
        c::SYNTHJIT_ATTR_TRAP_VECTOR => match state.platform {
            Reason::None => writeln!(w, "available"),
            reason => writeln!(w, "refused: {}", reason.text()),
        },
        c::SYNTHJIT_ATTR_PROC_ENABLED => writeln!(w, "{}", u8::from(process()?.enabled)),
        c::SYNTHJIT_ATTR_PROC_STATE => show_state(w, &state, process()?),
        c::SYNTHJIT_ATTR_FD_SPEC => writeln!(w, "{}", path()?.kind.spec().name),
        c::SYNTHJIT_ATTR_FD_SIZE => writeln!(w, "{}", path()?.code.len),
        c::SYNTHJIT_ATTR_FD_HITS => writeln!(w, "{}", path()?.hits()),
        c::SYNTHJIT_ATTR_FD_BAILOUTS => writeln!(w, "{}", path()?.bailouts()),
        c::SYNTHJIT_ATTR_KIND.. => {
            // CAST: usize is 64 bits wide here.
            let index = attr.wrapping_sub(c::SYNTHJIT_ATTR_KIND) as usize;
            let spec = path_specs().nth(index).ok_or(ENOENT)?;
            match spec.available {
                true => writeln!(w, "available"),
                false => writeln!(w, "left out: {}", First(spec.unavailable)),
            }
        }
        _ => {
            let index = attr.wrapping_sub(c::SYNTHJIT_ATTR_STAT);
            writeln!(w, "{}", stat(&state, index).ok_or(ENOENT)?)
        }
    }
    .map_err(|_| EFBIG)?;
    Ok(value.length())
}

fn show_state(w: &mut Bounded<'_>, state: &State, p: &Process) -> fmt::Result {
    let stock = if state.platform != Reason::None {
        Some(state.platform)
    } else if !state.enabled {
        Some(Reason::Disabled)
    } else if !p.enabled {
        Some(Reason::ProcessDisabled)
    } else if let Life::Stock(reason) = p.life {
        Some(reason)
    } else if glue::mirrors_traced() {
        Some(Reason::MirrorTraced)
    } else if glue::vectors_held() {
        Some(Reason::Held)
    } else if p.task.withheld() != Reason::None {
        Some(p.task.withheld())
    } else if p.task.observed() {
        Some(Reason::Observed)
    } else {
        None
    };
    match stock {
        Some(reason) => writeln!(w, "stock: {}", reason.text()),
        None if matches!(p.life, Life::Specialized) => writeln!(w, "specialized"),
        None => writeln!(w, "pending"),
    }
}

/// The bytes of a path from `offset` on, into `out`. Returns how many. `ENOENT`: there is no such path any more.
pub(crate) fn code(about: (i32, u32, bool), out: &mut [u8], offset: usize) -> Result<usize> {
    let state = STATE.lock();
    let path = path_of(&state, about)?;
    let machine = state.code.machine.as_ref().ok_or(ENOENT)?;
    let code = glue::slot_bytes(machine.address(path.code.slot));
    let rest = code.get(offset..path.code.len).unwrap_or_default();
    let n = rest.len().min(out.len());
    for (to, from) in out.iter_mut().zip(rest) {
        *to = *from;
    }
    Ok(n)
}

/// What a file takes. `EINVAL`: not what it takes; others from [`control`].
pub(crate) fn store(attr: u32, tgid: i32, bytes: &[u8]) -> Result {
    let switch = || text::switch(bytes).ok_or(EINVAL);
    let number = || text::process_number(bytes).ok_or(EINVAL);
    match attr {
        c::SYNTHJIT_ATTR_ENABLED => {
            control::enable(switch()?);
            Ok(())
        }
        c::SYNTHJIT_ATTR_PROC_ENABLED => control::enable_process(tgid, switch()?),
        c::SYNTHJIT_ATTR_ATTACH => control::attach(number()?),
        c::SYNTHJIT_ATTR_DETACH => control::detach(number()?),
        _ => Err(EINVAL),
    }
}
