//! QEMU plugin that counts the instructions between two marks of the guest, address by address.
//!
//!     -plugin libcount_plugin.so,out=FILE
//!
//! What lies between a pair of marks ([`mark`]) is a section. FILE gets, for each, a line `section` and then one line for each
//! address at which instructions were executed, in the order in which they first were: the address in hexadecimal and how often.
//! A repeated string instruction counts once for each repetition, as QEMU's own clock counts it (`-icount`).
//!
//! Everything between the marks counts. If an interrupt comes there, it does too: whoever reads the file has to tell. One CPU only.

#[path = "../../../tests/guest/src/benchmarks/calls/mark.rs"]
mod mark;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{bail, Result};
use indexmap::IndexMap;
use qemu_plugin::install::{Args, Info};
use qemu_plugin::plugin::{HasCallbacks, Plugin, Register, PLUGIN};
use qemu_plugin::{
    qemu_plugin_u64_set, sys, Instruction, PluginCondition, PluginId, PluginU64, TranslationBlock,
};

struct Count;

impl Plugin for Count {}

impl Register for Count {
    fn register(&mut self, _: PluginId, args: &Args, info: &Info) -> Result<()> {
        if info.system.as_ref().map(|system| system.max_vcpus) != Some(1) {
            bail!("count-plugin counts a machine with one CPU only");
        }
        let out = args.raw.iter().find_map(|word| word.strip_prefix("out="));
        let Some(out) = out else {
            bail!("count-plugin needs out=FILE");
        };
        let state = State {
            file: BufWriter::new(File::create(out)?),
            counts: IndexMap::new(),
            // SAFETY: memory that QEMU makes for one word, and that is never given back, as the code that looks at it never is.
            open: PluginU64 {
                score: unsafe { sys::qemu_plugin_scoreboard_new(size_of::<u64>()) },
                offset: 0,
            },
        };
        let first = STATE.set(Mutex::new(state));
        first.map_err(|_| anyhow::anyhow!("count-plugin is loaded twice"))
    }
}

impl HasCallbacks for Count {
    fn on_translation_block_translate(
        &mut self,
        _: PluginId,
        block: TranslationBlock,
    ) -> Result<()> {
        let open = state().open;
        for instruction in block.instructions() {
            match instruction.data().try_into().map(u64::from_le_bytes) {
                Ok(mark::BEGIN) => instruction.register_execute_callback(|_| state().begin()),
                Ok(mark::END) => instruction.register_execute_callback(|_| state().end()),
                _ => count(&instruction, open),
            }
        }
        Ok(())
    }
}

/// Counts `instruction` whenever it is executed while `open` is not zero, which QEMU's own code looks at: outside of sections
/// the guest is hardly slower.
fn count(instruction: &Instruction<'_>, open: PluginU64) {
    let address = instruction.vaddr();
    instruction.register_conditional_execute_callback(
        move |_| *state().counts.entry(address).or_insert(0) += 1,
        PluginCondition::QEMU_PLUGIN_COND_NE,
        open,
        0,
    );
}

struct State {
    file: BufWriter<File>,
    /// Executions by address, in this section.
    counts: IndexMap<u64, u64>,
    /// Not zero while a section is open.
    open: PluginU64,
}

// SAFETY: what is not `Send` is the handle of QEMU's memory, which any of QEMU's threads may use.
unsafe impl Send for State {}

static STATE: OnceLock<Mutex<State>> = OnceLock::new();

fn state() -> MutexGuard<'static, State> {
    let state = STATE
        .get()
        .expect("QEMU registers a plugin before anything runs");
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn begin(&mut self) {
        self.counts.clear();
        qemu_plugin_u64_set(self.open, 0, 1);
    }

    fn end(&mut self) {
        qemu_plugin_u64_set(self.open, 0, 0);
        self.write().expect("the file of counts can be written");
    }

    fn write(&mut self) -> std::io::Result<()> {
        writeln!(self.file, "section")?;
        for (address, count) in &self.counts {
            writeln!(self.file, "{address:x} {count}")?;
        }
        // QEMU does not say that it ends.
        self.file.flush()
    }
}

/// QEMU asks for the plugin as soon as it has loaded this library.
#[ctor::ctor]
fn load() {
    // It is loaded once only.
    let _ = PLUGIN.set(Mutex::new(Box::new(Count)));
}
