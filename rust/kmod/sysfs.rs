// SPDX-License-Identifier: GPL-2.0

//! What the files of `/sys/kernel/synthjit` say and take. Names and rights: `rust/glue/sysfs.c`.

use crate::control;
use crate::engine::admit::Call;
use crate::engine::specs::{self, Facts, Kept, Reason, SpecInfo, SpecKind};
use crate::engine::state::State as Life;
use crate::engine::text;
use crate::glue::{self, c};
use crate::state::{Exited, Path, Process, State, STATE};
use core::ffi::CStr;
use core::fmt::{self, Write};
use kernel::prelude::*;

/// The class of values that an assumption keeps: likely constant.
const LIKELY: u8 = 3;

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
        3 => glue::bailouts(),
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

/// A page to print into; what does not fit is left out.
struct Page<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// What has been read before and is not printed again.
    skip: usize,
}

impl Page<'_> {
    /// Takes back what was printed from `start` on if the end of the line did not fit: half a number is a wrong one.
    fn whole_line(&mut self, start: usize) {
        let line = self.bytes.get(start..self.len).unwrap_or_default();
        if line.last() != Some(&b'\n') {
            self.len = start;
        }
    }
}

impl Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let skipped = self.skip.min(s.len());
        self.skip = self.skip.wrapping_sub(skipped);
        let s = s.as_bytes().get(skipped..).unwrap_or_default();
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let n = room.len().min(s.len());
        for (to, from) in room.iter_mut().zip(s) {
            *to = *from;
        }
        self.len = self.len.wrapping_add(n);
        Ok(())
    }
}

/// What a file shows, into `out`. Returns the length.
pub(crate) fn show(
    attr: u32,
    about: (i32, u32, bool),
    out: &mut [u8],
    offset: usize,
) -> Result<usize> {
    let (tgid, fd, is_read) = about;
    let state = STATE.lock();
    let mut page = Page {
        bytes: out,
        len: 0,
        skip: offset,
    };
    let w = &mut page;
    // Writing to the page cannot fail.
    let _ = match attr {
        c::SYNTHJIT_ATTR_ENABLED => writeln!(w, "{}", u8::from(state.enabled)),
        c::SYNTHJIT_ATTR_PROFILE => writeln!(w, "{}", u8::from(state.code.profile)),
        c::SYNTHJIT_ATTR_TRAP_VECTOR => match state.platform {
            Reason::None => writeln!(w, "available"),
            reason => writeln!(w, "refused: {}", reason.text()),
        },
        c::SYNTHJIT_ATTR_PATHS => path_specs().try_for_each(|s| match s.available {
            true => writeln!(w, "{}: available", s.name),
            false => writeln!(w, "{}: left out: {}", s.name, s.unavailable),
        }),
        c::SYNTHJIT_ATTR_EXITED => state.exited.latest_first().try_for_each(|e| {
            let line_at = w.len;
            let done = show_exited(w, e);
            w.whole_line(line_at);
            done
        }),
        c::SYNTHJIT_ATTR_PROC_ENABLED => {
            let p = state.process(tgid).ok_or(ENOENT)?;
            writeln!(w, "{}", u8::from(p.enabled))
        }
        c::SYNTHJIT_ATTR_PROC_STATE => {
            let p = state.process(tgid).ok_or(ENOENT)?;
            show_state(w, &state, p)
        }
        c::SYNTHJIT_ATTR_PROC_WITHOUT => {
            let p = state.process(tgid).ok_or(ENOENT)?;
            p.without.iter().try_for_each(|x| {
                writeln!(w, "{}.{}: {}", x.fd, x.call.name(), x.reason.text())
            })
        }
        c::SYNTHJIT_ATTR_FD_SPEC..=c::SYNTHJIT_ATTR_FD_BAILOUTS => {
            let path = state
                .process(tgid)
                .and_then(|p| {
                    let is = |x: &&Path| x.fd == fd && (x.call == Call::Read) == is_read;
                    p.paths.iter().find(is)
                })
                .ok_or(ENOENT)?;
            if attr == c::SYNTHJIT_ATTR_FD_CODE {
                return copy_code(&state, path, page.bytes, offset);
            }
            match attr {
                c::SYNTHJIT_ATTR_FD_VALUES => show_values(w, &state, path),
                _ => show_path(w, attr, path),
            }
        }
        _ => {
            let index = attr.wrapping_sub(c::SYNTHJIT_ATTR_STAT);
            writeln!(w, "{}", stat(&state, index).ok_or(ENOENT)?)
        }
    };
    Ok(page.len)
}

fn show_exited(w: &mut Page<'_>, exited: &Exited) -> fmt::Result {
    let Exited { tgid, did } = exited;
    let (read, write) = (&did.read, &did.write);
    write!(w, "{tgid} read {} write {}", read.hits, write.hits)?;
    for (call, tally) in [(Call::Read, read), (Call::Write, write)] {
        for (bail, count) in tally.bails() {
            write!(w, " {}.{} {count}", call.name(), bail.name())?;
        }
    }
    writeln!(w)
}

fn show_state(w: &mut Page<'_>, state: &State, p: &Process) -> fmt::Result {
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

fn show_path(w: &mut Page<'_>, attr: u32, path: &Path) -> fmt::Result {
    let spec = path.kind.spec();
    match attr {
        c::SYNTHJIT_ATTR_FD_SPEC => writeln!(w, "{}", spec.name),
        c::SYNTHJIT_ATTR_FD_SIZE => writeln!(w, "{}", path.code.len),
        c::SYNTHJIT_ATTR_FD_HITS => writeln!(w, "{}", path.hits()),
        c::SYNTHJIT_ATTR_FD_BAILOUTS => show_bailouts(w, path),
        _ => spec
            .values
            .iter()
            .filter(|v| v.class == LIKELY)
            .try_for_each(|v| match v.kept {
                Kept::Watch => {
                    write!(w, "{}: watch", v.name)?;
                    v.events.iter().try_for_each(|e| write!(w, " {e}"))?;
                    writeln!(w, ": {}", v.doc)
                }
                _ => writeln!(w, "{}: guard: {}", v.name, v.doc),
            }),
    }
}

fn show_bailouts(w: &mut Page<'_>, path: &Path) -> fmt::Result {
    if path.stubs.is_none() {
        // A path that counts its hits would count this too if there were room.
        return match path.instance.hits {
            None => writeln!(w, "not counted: profile is off"),
            Some(_) => writeln!(w, "not counted: too many other paths are"),
        };
    }
    let bails = path.kind.spec().bails.iter();
    bails.copied().try_for_each(|bail| {
        let count = path.bails(bail).unwrap_or(0);
        writeln!(w, "{} {count}", bail.name())
    })
}

/// Everything that the code depends on: with it, the engine makes the same bytes again.
fn show_values(w: &mut Page<'_>, state: &State, path: &Path) -> fmt::Result {
    let Some(machine) = state.code.machine.as_ref() else {
        return Ok(());
    };
    let (i, g) = (&path.instance, &machine.ground);
    let mut line = |name: &str, value: u64| writeln!(w, "{name} {value:#x}");
    line("base", machine.address(path.code.slot))?;
    line("entry", path.entry)?;
    line("fd", i.fd.into())?;
    line("task", i.task)?;
    line("kernel_stack", i.kernel_stack)?;
    line("files", i.files)?;
    line("file_mode", i.file_mode.into())?;
    line("hits", i.hits.unwrap_or(0))?;
    line("report_bails", i.report_bails.into())?;
    line("stubs", i.bails.map_or(0, |counts| counts.stubs))?;
    line("bail_counters", i.bails.map_or(0, |c| c.counters))?;
    line("smap", g.smap.into())?;
    line("ibt", g.ibt.into())?;
    line("verw", g.verw.into())?;
    line("erms", g.erms.into())?;
    line("stock_entry", g.stock_entry)?;
    line("tail_thunk", g.tail_thunk)?;
    line("learn_thunk", g.learn_thunk)?;
    line("bail_thunk", g.bail_thunk)?;
    line("verw_sel", g.verw_sel)?;
    line("bailouts", g.bailouts)?;
    let facts = Facts::NAMES.iter().enumerate();
    facts
        .map(|(at, name)| (name, machine.facts.get(at)))
        .try_for_each(|(name, value)| line(name, value))
}

fn copy_code(state: &State, path: &Path, out: &mut [u8], offset: usize) -> Result<usize> {
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
        c::SYNTHJIT_ATTR_PROFILE => control::profile(switch()?),
        c::SYNTHJIT_ATTR_PROC_ENABLED => control::enable_process(tgid, switch()?),
        c::SYNTHJIT_ATTR_ATTACH => control::attach(number()?),
        c::SYNTHJIT_ATTR_DETACH => control::detach(number()?),
        _ => Err(EINVAL),
    }
}
