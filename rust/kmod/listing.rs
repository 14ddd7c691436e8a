// SPDX-License-Identifier: GPL-2.0

//! What the listings of `/sys/kernel/debug/synthjit` say. How they are read: `rust/glue/debugfs.c`.
//!
//! A listing consists of records. One about processes has a record for each of them, whose key is its number; the others have one
//! record, whose key is 0. A record is printed under [`STATE`], so all of it is of one moment.

use crate::engine::specs::{Facts, Kept, SpecInfo};
use crate::engine::target::Target;
use crate::glue::c;
use crate::state::{Exited, Path, Process, State, STATE};
use crate::sysfs::path_specs;
use core::fmt::{self, Write};

/// The class of values that an assumption keeps: likely constant.
const LIKELY: u8 = 3;

/// The least key of `list` that is not below `from`.
pub(crate) fn next(list: u32, from: i64) -> Option<i64> {
    match list {
        c::SYNTHJIT_LIST_WITHOUT | c::SYNTHJIT_LIST_BAILOUTS | c::SYNTHJIT_LIST_VALUES => {
            let state = STATE.lock();
            let keys = state.processes.iter().map(|p| i64::from(p.tgid));
            keys.filter(|key| *key >= from).min()
        }
        _ => (from <= 0).then_some(0),
    }
}

/// Prints the record `key`; nothing if it is gone. An error is that of `w`.
pub(crate) fn show(list: u32, key: i64, w: &mut impl Write) -> fmt::Result {
    let state = STATE.lock();
    let process = || state.processes.iter().find(|p| i64::from(p.tgid) == key);
    match (list, process()) {
        (c::SYNTHJIT_LIST_EXITED, _) => state
            .exited
            .latest_first()
            .try_for_each(|e| show_exited(w, e)),
        (c::SYNTHJIT_LIST_ASSUMPTIONS, _) => path_specs().try_for_each(|s| show_assumptions(w, s)),
        (c::SYNTHJIT_LIST_LEFT_OUT, _) => path_specs().try_for_each(|spec| {
            let mut parts = spec.unavailable.iter();
            parts.try_for_each(|part| writeln!(w, "{}: {part}", spec.name))
        }),
        (c::SYNTHJIT_LIST_WITHOUT, Some(p)) => p.negatives.entries().iter().try_for_each(|x| {
            let (call, reason) = (x.call.name(), x.reason.text());
            writeln!(w, "{} {}.{call}: {reason}", p.tgid, x.fd)
        }),
        (c::SYNTHJIT_LIST_BAILOUTS, Some(p)) => {
            p.paths.iter().try_for_each(|x| show_bailouts(w, p, x))
        }
        (c::SYNTHJIT_LIST_VALUES, Some(p)) => p
            .paths
            .iter()
            .try_for_each(|x| show_values(w, &state, p, x)),
        _ => Ok(()),
    }
}

fn show_exited(w: &mut impl Write, exited: &Exited) -> fmt::Result {
    let Exited { tgid, did } = exited;
    let (read, write) = (&did.read, &did.write);
    write!(w, "{tgid} read {} write {}", read.hits, write.hits)?;
    for (call, tally) in [("read", read), ("write", write)] {
        for (bail, count) in tally.bails() {
            write!(w, " {call}.{} {count}", bail.name())?;
        }
    }
    writeln!(w)
}

fn show_assumptions(w: &mut impl Write, spec: &SpecInfo) -> fmt::Result {
    let kept = spec.values.iter().filter(|v| v.class == LIKELY);
    kept.map(|v| (v, matches!(v.kept, Kept::Watch)))
        .try_for_each(|(v, watched)| {
            write!(w, "{} {}: ", spec.name, v.name)?;
            w.write_str(if watched { "watch" } else { "guard" })?;
            let mut events = v.events.iter().filter(|_| watched);
            events.try_for_each(|e| write!(w, " {e}"))?;
            writeln!(w, ": {}", v.doc)
        })
}

fn show_bailouts(w: &mut impl Write, p: &Process, path: &Path) -> fmt::Result {
    let (tgid, fd, call) = (p.tgid, path.fd, path.call.name());
    path.exits()
        .map(|(bail, count)| writeln!(w, "{tgid} {fd}.{call} {} {count}", bail.name()))
        .collect()
}

/// Everything that the code depends on: with it, the engine makes the same bytes again.
fn show_values(w: &mut impl Write, state: &State, p: &Process, path: &Path) -> fmt::Result {
    let Some(machine) = state.code.machine.as_ref() else {
        return Ok(());
    };
    let (i, target) = (&path.instance, &machine.target);
    let (tgid, fd, call) = (p.tgid, path.fd, path.call.name());
    let mut line = |name: &str, value: u64| writeln!(w, "{tgid} {fd}.{call} {name} {value:#x}");
    line("base", machine.address(path.code.slot))?;
    line("entry", path.entry)?;
    line("fd", i.fd.into())?;
    line("task", i.task)?;
    line("kernel_stack", i.kernel_stack)?;
    line("files", i.files)?;
    line("file_mode", i.file_mode.into())?;
    line("memory_changes", i.memory_changes)?;
    line("data", i.data.0)?;
    line("exit_entered", i.exit.entered)?;
    line("exit_held", i.exit.held)?;
    let of_machine = Target::NAMES.iter().enumerate();
    let of_machine = of_machine.map(|(at, name)| (name, target.get(at)));
    let of_kernel = Facts::NAMES.iter().enumerate();
    let of_kernel = of_kernel.map(|(at, name)| (name, machine.facts.get(at)));
    of_machine
        .chain(of_kernel)
        .try_for_each(|(name, value)| line(name, value))
}
