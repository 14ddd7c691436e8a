//! Nobody can have the kernel put a breakpoint into generated code, or into the thunks that it calls: a slot is written again
//! when it is made for something else, and what runs there runs before the mitigations of a kernel entry. Two ask by address:
//! another module, by `register_kprobe()` (`tests/kmod/synthjit_kprobe`), and perf, by a debug register.

use crate::sys;
use crate::tests::support::kallsyms::addresses;
use crate::tests::support::lab::{Lab, Res};
use crate::tests::support::perf::Event;
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("probes": no_kprobe_in_generated_code = 300, no_breakpoint_in_generated_code = 60);

const TEST_MODULE: &str = "synthjit_kprobe";
/// Text between the thunks and whatever follows them: the smallest of the three is longer.
const THUNK: u64 = 64;

fn parameter(name: &str) -> String {
    format!("/sys/module/{TEST_MODULE}/parameters/{name}")
}

/// What the test module tells of the addresses from `start` to `end`.
fn asked(start: u64, end: u64, step: u64) -> Res<String> {
    if !std::path::Path::new(&parameter("try")).exists() {
        sys::insmod(&format!("/modules/{TEST_MODULE}.ko"), "")?;
    }
    for (name, value) in [("start", start), ("end", end), ("step", step)] {
        sys::write_text(&parameter(name), &value.to_string())?;
    }
    Ok(sys::read_text(&parameter("try"))?.trim().to_owned())
}

/// Where generated code and thunks lie, and a function of the module that anybody may probe.
struct Places {
    arena: (u64, u64),
    thunks: [u64; 3],
    ordinary: u64,
}

fn places() -> Res<Places> {
    let [start, end, tail, miss, bail, ordinary] = addresses([
        "synthjit_arena_paths",
        "synthjit_arena_end",
        "synthjit_tail_thunk",
        "synthjit_miss_thunk",
        "synthjit_bail_thunk",
        "synthjit_text_edit",
    ])?;
    for address in [start, end, tail, miss, bail, ordinary] {
        ensure!(address != 0, "/proc/kallsyms lacks a symbol of the module");
    }
    Ok(Places {
        arena: (start, end),
        thunks: [tail, miss, bail],
        ordinary,
    })
}

fn no_kprobe_in_generated_code(lab: &Lab) -> Res {
    let places = places()?;
    let ((start, end), ordinary) = (places.arena, places.ordinary);
    // Otherwise nothing would be said by what follows.
    same!(
        asked(ordinary, ordinary + 1, 1)?,
        format!("asked 1 forbidden 0 kprobe at {ordinary:#x}"),
        "a kprobe in an ordinary function"
    );
    // Some slots are in use, most hold int3; each begins at a multiple of 64.
    let _rig = lab.rig()?;
    for (start, end, step) in [(start, end, 64), (start + 1, end, 13)]
        .into_iter()
        .chain(places.thunks.map(|thunk| (thunk, thunk + THUNK, 1)))
    {
        let all = (end - start).div_ceil(step);
        same!(
            asked(start, end, step)?,
            format!("asked {all} forbidden {all}"),
            "kprobes from {start:#x} to {end:#x}, {step} bytes apart"
        );
    }
    Ok(())
}

/// Asks for a breakpoint that fires when anybody executes `address` on CPU 0.
fn breakpoint(address: u64) -> Result<(), Errno> {
    let event = Event {
        // PERF_TYPE_BREAKPOINT, HW_BREAKPOINT_X
        kind: 5,
        breakpoint: 4,
        address,
        len: 8,
        pid: -1,
        cpu: 0,
        ..Event::default()
    };
    event.open().map(drop)
}

fn no_breakpoint_in_generated_code(lab: &Lab) -> Res {
    let places = places()?;
    same!(
        breakpoint(places.ordinary),
        Ok(()),
        "a breakpoint in an ordinary function"
    );
    let _rig = lab.rig()?;
    let arena = (places.arena.0..places.arena.1).step_by(13);
    for address in arena.chain(places.thunks) {
        same!(
            breakpoint(address),
            Err(Errno::EINVAL),
            "a breakpoint at {address:#x}"
        );
    }
    Ok(())
}
