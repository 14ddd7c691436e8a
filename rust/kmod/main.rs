// SPDX-License-Identifier: GPL-2.0

//! synthjit: code generated for a process and a descriptor, reached through a trap vector of
//! the process's own.
//!
//! This crate is thin. What code to make is the engine's business (`rust/engine`, which knows
//! no kernel API); how the kernel is touched is the glue's (`rust/glue`). In between:
//!
//! - [`state`]: what is attached, and the locks;
//! - [`control`]: what people do;
//! - [`work`]: what an attached process does for itself, [`worth`]: what it costs, [`tidy`]: what a worker does later;
//! - [`synth`]: slots and their life;
//! - [`sysfs`]: what files say, [`listing`]: what listings say;
//! - [`glue`], [`entry`]: both directions of the door to C, and all that is unsafe.

#[path = "../engine/mod.rs"]
mod engine;

mod control;
mod entry;
mod glue;
mod listing;
mod state;
mod synth;
mod sysfs;
mod tidy;
mod work;
mod worth;

use engine::specs::Reason;
use engine::text::First;
use kernel::prelude::*;
use state::{Machine, CHANGE, STATE};
use synth::Scratch;

module! {
    type: SynthJit,
    name: "synthjit",
    authors: ["synthjit maintainers"],
    description: "System calls synthesised per process and descriptor",
    license: "GPL",
}

struct SynthJit {
    /// The glue was started, because the platform can be used.
    started: bool,
}

impl kernel::Module for SynthJit {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        // SAFETY: Called once, before anything else uses the locks.
        unsafe {
            CHANGE.init();
            STATE.init();
        }
        #[cfg(synthjit_forced_faults)]
        pr_warn!("built with forced faults, for tests only\n");
        // A platform that is refused still has its files, which say why.
        let platform = prepare();
        match platform {
            // Left as it is: a KVM module may have come meanwhile and said no.
            Reason::None => pr_info!("trap vector available\n"),
            reason => {
                STATE.lock().platform = reason;
                pr_info!("trap vector refused: {}\n", reason.text());
            }
        }
        let module = Self {
            started: platform == Reason::None,
        };
        // On an error `module` is dropped, which stops what was started.
        glue::start_sysfs()?;
        glue::start_debugfs();
        Ok(module)
    }
}

/// Finds out what the machine is. Everything is ready for processes on `Reason::None`.
fn prepare() -> Reason {
    if glue::start_symbols().is_err() {
        return Reason::SymbolMissing;
    }
    let reason = glue::check_platform();
    if reason != Reason::None {
        return reason;
    }
    for spec in sysfs::path_specs().filter(|s| !s.available) {
        pr_warn!(
            "path {} is left out: {}\n",
            spec.name,
            core::format_args!("{}", First(spec.unavailable))
        );
    }
    if !sysfs::path_specs().any(|s| s.available) {
        return Reason::NoPathBuilt;
    }
    let Ok((facts, target, arrays)) = glue::load_facts() else {
        return Reason::SymbolMissing;
    };
    if glue::start().is_err() {
        return Reason::SymbolMissing;
    }
    // Later KVM modules are announced from here on; one may have come since the first look.
    let reason = glue::check_platform();
    if reason != Reason::None {
        glue::stop();
        return reason;
    }
    let Ok(scratch) = KBox::new(Scratch::new(), GFP_KERNEL) else {
        glue::stop();
        return Reason::NoMemory;
    };
    let mut machine = Machine {
        facts,
        target,
        arrays,
        exits: Default::default(),
    };
    if let Err(reason) = machine.write_exits() {
        glue::stop();
        return reason;
    }
    let mut state = STATE.lock();
    state.code.machine = Some(machine);
    state.code.scratch = Some(scratch);
    Reason::None
}

impl Drop for SynthJit {
    fn drop(&mut self) {
        glue::stop_debugfs();
        glue::close_sysfs();
        control::detach_all();
        if self.started {
            glue::stop();
        }
        glue::stop_sysfs();
    }
}
