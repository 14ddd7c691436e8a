//! What the kernel calls generated code (docs/tracing.md): in `/proc/kallsyms` and in stack traces. And what types it knows of the
//! module.

use crate::proc::poll_until;
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop};
use crate::tests::support::listener::{Event, Listener};
use crate::tests::support::tracefs::{self, put};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::time::Duration;

area!("names": slots_bear_names = 120, names_follow_reuse = 120, stacks_show_them = 120, types_are_known);

/// Reading all symbols takes a while.
const SOON: Duration = Duration::from_secs(60);

/// Symbols of the arena's slots: address and name.
fn slots() -> Res<Vec<(String, String)>> {
    let text = sys::read_text("/proc/kallsyms")?;
    let symbol = |line: &str| {
        let mut words = line.split_whitespace();
        let (address, name) = (words.next()?, words.nth(1)?);
        let ours = words.next() == Some("[synthjit]");
        let of_slot = ["path", "vector"]
            .iter()
            .any(|class| name.starts_with(&format!("synthjit_{class}_")));
        (ours && of_slot).then(|| (address.to_owned(), name.to_owned()))
    };
    Ok(text.lines().filter_map(symbol).collect())
}

/// The name of the path that an event speaks of.
fn name_of(event: &Event) -> String {
    let [spec, pid, fd] = ["spec", "tgid", "fd"].map(|field| event.get(field));
    format!("synthjit_path_{spec}_pid{pid}_fd{fd}")
}

/// Waits until the slot of each event bears its name. All symbols of slots at that time.
fn await_names(made: &[Event]) -> Res<Vec<(String, String)>> {
    let mut missing = String::new();
    let named = poll_until(SOON, || match slots() {
        Ok(slots) => {
            let is_there = |event: &&Event| {
                let want = (event.get("code").to_owned(), name_of(event));
                slots.contains(&want)
            };
            let first = made.iter().find(|event| !is_there(event));
            missing = first.map_or(String::new(), |e| format!("{e:?}"));
            first.is_none().then_some(Ok(slots))
        }
        Err(stop) => Some(Err(stop)),
    });
    named.unwrap_or_else(|| Err(Stop::Fail(format!("kallsyms has no name for {missing}"))))
}

/// The last events of the two paths of this process.
fn made_last(listener: &Listener) -> Res<Vec<Event>> {
    let mut made = listener.heard("synthesize")?;
    ensure!(made.len() >= 2, "{} paths were made", made.len());
    let last = made.split_off(made.len() - 2);
    ensure!(last[0].get("fd") != last[1].get("fd"), "{last:?}");
    Ok(last)
}

fn slots_bear_names(lab: &Lab) -> Res {
    needs_module(lab)?;
    let listener = Listener::to(&["synthesize"])?;
    let rig = lab.rig()?;
    let slots = await_names(&made_last(&listener)?)?;
    // As many symbols as slots (specs/arena.toml), each at a place of its own.
    let mut places: Vec<&String> = slots.iter().map(|(address, _)| address).collect();
    places.sort();
    places.dedup();
    same!((slots.len(), places.len()), (256 + 128, 256 + 128), "slots");
    let vector = format!("synthjit_vector_pid{}", sys::getpid());
    ensure!(
        slots.iter().any(|(_, name)| *name == vector),
        "there is no {vector}"
    );
    ensure!(
        slots.iter().all(|(_, name)| !name.contains('.')),
        "a name has room in it"
    );
    lab.fast_again(&rig.p)
}

/// More paths are made than there are slots, then others: none is called after an earlier one.
fn names_follow_reuse(lab: &Lab) -> Res {
    needs_module(lab)?;
    let listener = Listener::to(&["synthesize"])?;
    let rig = lab.rig()?;
    let used = |listener: &Listener| -> Res<Vec<String>> {
        let made = listener.heard("synthesize")?;
        Ok(made.iter().map(|e| e.get("code").to_owned()).collect())
    };
    for _ in 0..130 {
        // The paths are recompiled, in slots that were not used for longest.
        sysfs::set("enabled", "1")?;
        for _ in 0..3 {
            echo(rig.p.r, rig.p.w, b"anew")?;
        }
    }
    await_names(&made_last(&listener)?)?;
    let before = used(&listener)?;
    ensure!(before.len() > 256, "{} paths", before.len());
    let other = Pipe::new(0)?;
    lab.warm(&other)?;
    let made = made_last(&listener)?;
    for event in &made {
        let fd = [other.r.to_string(), other.w.to_string()];
        ensure!(fd.iter().any(|fd| fd == event.get("fd")), "{event:?}");
        ensure!(
            before.iter().any(|code| code == event.get("code")),
            "{event:?} is not in a slot that was used before"
        );
    }
    await_names(&made)?;
    lab.fast_again(&other)
}

fn stacks_show_them(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let _listener = Listener::to(&["bailout"])?;
    lab.fast_again(&rig.p)?;
    tracefs::clear()?;
    put("options/stacktrace", "1")?;
    let mut b = [0; 8];
    let got = sys::read(rig.p.r, &mut b);
    put("options/stacktrace", "0")?;
    same!(got, Err(Errno::EAGAIN), "read of an empty pipe");
    let text = sys::read_text("/sys/kernel/tracing/trace")?;
    let frames: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("=> "))
        .collect();
    let routine = "synthjit_exits_pipe_read";
    let thunk = frames
        .iter()
        .position(|f| f.contains("synthjit_bail_thunk"));
    ensure!(
        thunk.is_some_and(|at| frames.get(at + 1).is_some_and(|f| f.contains(routine))),
        "{routine} did not call the thunk: {frames:?}"
    );
    Ok(())
}

fn types_are_known(lab: &Lab) -> Res {
    needs_module(lab)?;
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        skip!("this kernel tells no types");
    }
    let types = sys::read_file("/sys/kernel/btf/synthjit")?;
    // include/uapi/linux/btf.h, BTF_MAGIC.
    same!(types.get(..2), Some(&[0x9f, 0xeb][..]), "magic number");
    for name in ["synthjit_task", "synthjit_made", "synthjit_miss"] {
        let text = [b"\0", name.as_bytes(), b"\0"].concat();
        ensure!(
            types.windows(text.len()).any(|part| part == text),
            "{name} is unknown"
        );
    }
    Ok(())
}
