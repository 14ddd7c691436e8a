//! What a path was compiled from: its lines of the listing `values`, and the same code emitted again from them.

use std::collections::BTreeMap;

use synthjit_engine::specs::{layout, Facts};
use synthjit_engine::target::Target;
use synthjit_engine::template::exits::Entries;
use synthjit_engine::template::{self, Instance, PathCode, PathData, PathKind};
use synthjit_engine::x86::ops::OpLog;

use crate::error::Error;
use crate::module::{lines_about, Module};

/// Numbers by name.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<String, u64>);

/// A path emitted on this side of the door.
pub struct Emitted {
    pub bytes: [u8; layout::PATH_SLOT],
    pub code: PathCode,
    pub ops: OpLog,
}

/// What of the path's own values says how code is emitted, not what is baked in; for the machine's see [`Target::SWITCHES`].
const SWITCHES: &[&str] = &["base", "entry"];

impl Values {
    /// Those of the path `FD.CALL` of a process.
    ///
    /// # Errors
    ///
    /// If they are not for this user to see.
    pub fn read(module: &Module<'_>, pid: i32, path: &str) -> Result<Self, Error> {
        let listing = module.listing("values")?;
        Ok(Self::of_lines(lines_about(&listing, pid, path)))
    }

    /// Those of a text; a line that is not `NAME 0xNUMBER` is left out.
    pub fn parse(text: &str) -> Self {
        Self::of_lines(text.lines())
    }

    fn of_lines<'l>(lines: impl Iterator<Item = &'l str>) -> Self {
        let line = |line: &str| {
            let (name, number) = line.split_once(" 0x")?;
            Some((name.to_owned(), u64::from_str_radix(number, 16).ok()?))
        };
        Self(lines.filter_map(line).collect())
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// The same with another number for one name.
    pub fn with(&self, name: &str, value: u64) -> Self {
        let mut other = self.clone();
        other.0.insert(name.to_owned(), value);
        other
    }

    /// Names of what can be baked in.
    pub fn baked(&self) -> impl Iterator<Item = &str> {
        let of_machine = |name: &str| Target::SWITCHES.iter().any(|at| Target::NAMES[*at] == name);
        self.0
            .keys()
            .map(String::as_str)
            .filter(move |name| !SWITCHES.contains(name) && !of_machine(name))
    }

    /// Emits the path as the module did. `None` if a value is missing or does not fit its instruction.
    pub fn emit(&self, kind: PathKind) -> Option<Emitted> {
        let mut facts = Facts::default();
        for (at, name) in Facts::NAMES.iter().enumerate() {
            facts.set(at, self.get(name)?);
        }
        let mut target = Target::default();
        for (at, name) in Target::NAMES.iter().enumerate() {
            target.set(at, self.get(name)?);
        }
        let instance = Instance {
            fd: u32::try_from(self.get("fd")?).ok()?,
            task: self.get("task")?,
            kernel_stack: self.get("kernel_stack")?,
            files: self.get("files")?,
            file_mode: u32::try_from(self.get("file_mode")?).ok()?,
            data: PathData(self.get("data")?),
            memory_changes: self.get("memory_changes")?,
            exit: Entries {
                entered: self.get("exit_entered")?,
                held: self.get("exit_held")?,
            },
        };
        let mut bytes = [0; layout::PATH_SLOT];
        let base = self.get("base")?;
        let (code, ops) =
            template::emit_told(kind, &facts, &instance, &target, base, &mut bytes).ok()?;
        Some(Emitted { bytes, code, ops })
    }
}
