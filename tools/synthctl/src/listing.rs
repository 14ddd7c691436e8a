//! Generated code for people: each instruction with the op that wrote it and the names of the values that were baked in.
//!
//! Nothing is guessed from the bytes. The code is emitted again from the path's values; it is the same to the byte, or nothing is named.
//! Where a value went shows when it is changed by a little and the code is emitted once more: what differs then is the value's.

use std::collections::BTreeMap;
use std::fmt;

use iced_x86::{
    ConstantOffsets, Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind,
    SymbolResolver, SymbolResult,
};
use synthjit_engine::template::PathKind;
use synthjit_engine::x86::buf::POISON;
use synthjit_engine::x86::masm::CONSTANT;

use crate::values::{Emitted, Values};

/// Most that an immediate may differ from its value and still be told as value and difference.
const NEAR: u64 = 64;

/// Columns for a op.
pub const OP: usize = 24;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A place that code jumps to.
    Place(String),
    /// A constant in the slot.
    Constant { value: u64, name: String },
    /// An instruction, and the op if it is the first of what that op wrote.
    Instruction { op: &'static str, text: String },
    /// Bytes that are not used.
    Gap(usize),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(name) => write!(f, "{name}:"),
            Self::Constant { value, name } => write!(f, "{name}: {value:#x}"),
            Self::Instruction { op, text } => write!(f, "  {op:OP$}{text}"),
            Self::Gap(bytes) => write!(f, "  {:OP$}({bytes} bytes unused)", ""),
        }
    }
}

/// Why there is no listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlike {
    /// The values do not suffice: the module is newer or older than this program.
    Values,
    /// The module's code is another than this program's engine emits.
    Code,
}

/// The listing of the path of `kind` whose bytes are `code`.
///
/// # Errors
///
/// If this program cannot emit the same bytes for `values`.
pub fn list(kind: PathKind, values: &Values, code: &[u8]) -> Result<Vec<Line>, Unlike> {
    let emitted = values.emit(kind).ok_or(Unlike::Values)?;
    if emitted.bytes.get(..emitted.code.len) != Some(code) {
        return Err(Unlike::Code);
    }
    let names = Names::find(kind, values, &emitted);
    Ok(lines(values, &emitted, &names))
}

/// Where each value went: names by the offset of the field in the code.
struct Names<'v> {
    values: &'v Values,
    /// Offset of a byte, and the value that it depends on.
    bytes: Vec<(usize, &'v str)>,
    /// Names of addresses in the slot.
    places: BTreeMap<u64, String>,
}

impl<'v> Names<'v> {
    fn find(kind: PathKind, values: &'v Values, emitted: &Emitted) -> Self {
        let mut bytes = Vec::new();
        for name in values.baked() {
            let differs = differences(kind, values, emitted, name);
            bytes.extend(differs.into_iter().map(|at| (at, name)));
        }
        let base = values.get("base").unwrap_or(0);
        let mut places: BTreeMap<u64, String> = emitted
            .ops
            .names()
            .iter()
            .map(|(at, name)| (base + *at as u64, (*name).to_owned()))
            .collect();
        places.insert(emitted.code.entry, "entry".to_owned());
        let mut names = Self {
            values,
            bytes,
            places,
        };
        for at in constants(emitted) {
            let value = constant(emitted, at);
            let name = names.of(at..at + 8, value, None);
            names.places.insert(
                base + at as u64,
                name.unwrap_or_else(|| "constant".to_owned()),
            );
        }
        names
    }

    /// What the number in the field at `field` is called; `shown` is what it means where it is relative.
    fn of(&self, field: std::ops::Range<usize>, value: u64, shown: Option<u64>) -> Option<String> {
        let mut names: Vec<&str> = self
            .bytes
            .iter()
            .filter(|(at, _)| field.contains(at))
            .map(|(_, name)| *name)
            .collect();
        if names.is_empty() {
            return None;
        }
        names.sort_unstable();
        names.dedup();
        let all = names.join("+");
        let sum = names
            .iter()
            .filter_map(|name| self.values.get(name))
            .fold(0u64, u64::wrapping_add);
        // A field that is shorter holds the low bytes; what is relative is shown whole.
        let bits = if shown.is_some() { 64 } else { field.len() * 8 };
        let mask = u64::MAX >> (64 - bits.clamp(1, 64));
        let off = shown.unwrap_or(value).wrapping_sub(sum) & mask;
        let less = off.wrapping_neg() & mask;
        Some(match (off, less) {
            (0, _) => all,
            (1..=NEAR, _) => format!("{all}+{off}"),
            (_, 1..=NEAR) => format!("{all}-{less}"),
            _ => format!("f({all})"),
        })
    }
}

/// Offsets of the bytes that change when the value `name` does.
fn differences(kind: PathKind, values: &Values, emitted: &Emitted, name: &str) -> Vec<usize> {
    let value = values.get(name).unwrap_or(0);
    // A step must not make an instruction longer or shorter, or everything behind it differs.
    for step in [1, u64::MAX, 2] {
        let other = values.with(name, value.wrapping_add(step)).emit(kind);
        let Some(other) = other
            .filter(|other| other.code == emitted.code && other.ops.all() == emitted.ops.all())
        else {
            continue;
        };
        let pairs = emitted.bytes.iter().zip(&other.bytes).enumerate();
        return pairs
            .filter(|(_, (a, b))| a != b)
            .map(|(at, _)| at)
            .collect();
    }
    Vec::new()
}

/// Offsets of the constants.
fn constants(emitted: &Emitted) -> impl Iterator<Item = usize> + '_ {
    let ops = emitted.ops.all().iter();
    ops.filter(|(_, name)| *name == CONSTANT).map(|(at, _)| *at)
}

fn constant(emitted: &Emitted, at: usize) -> u64 {
    emitted
        .bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn lines(values: &Values, emitted: &Emitted, names: &Names<'_>) -> Vec<Line> {
    let base = values.get("base").unwrap_or(0);
    let mut lines: Vec<Line> = constants(emitted)
        .map(|at| Line::Constant {
            value: constant(emitted, at),
            name: names
                .places
                .get(&(base + at as u64))
                .cloned()
                .unwrap_or_default(),
        })
        .collect();
    let mut ops: Vec<(usize, &'static str)> = emitted.ops.all().to_vec();
    ops.sort_by_key(|(at, _)| *at);
    let mut decoder = Decoder::with_ip(64, &emitted.bytes, base, DecoderOptions::NONE);
    let (mut at, end) = (constants(emitted).count() * 8, emitted.code.len);
    while at < end {
        let gap = emitted.bytes[at..end]
            .iter()
            .take_while(|byte| **byte == POISON)
            .count();
        let in_op = ops
            .iter()
            .any(|(v, name)| *v <= at && at < *v + 16 && *name == "return_to_user");
        if gap > 1 || gap == 1 && !in_op {
            lines.push(Line::Gap(gap));
            at += gap;
            continue;
        }
        // A place can have several names, of which a jump shows the last.
        let others = emitted.ops.names().iter().filter(|(place, _)| *place == at);
        let mut here: Vec<&str> = others.map(|(_, name)| *name).collect();
        if base + at as u64 == emitted.code.entry {
            here.push("entry");
        }
        lines.extend(here.iter().map(|name| Line::Place((*name).to_owned())));
        // Of several that begin here, all but the last wrote nothing.
        let begins = ops
            .iter()
            .rev()
            .find(|(v, _)| *v == at)
            .map(|(_, name)| *name);
        let shown = begins.unwrap_or("");
        if decoder.set_position(at).is_err() {
            break;
        }
        decoder.set_ip(base + at as u64);
        let instruction = decoder.decode();
        let offsets = decoder.get_constant_offsets(&instruction);
        lines.push(Line::Instruction {
            op: shown,
            text: text(&instruction, &offsets, at, names),
        });
        at += instruction.len();
    }
    lines
}

/// Names for the parts of one instruction.
struct Resolver {
    displacement: Option<String>,
    immediate: Option<String>,
    target: Option<String>,
}

impl SymbolResolver for Resolver {
    fn symbol(
        &mut self,
        instruction: &Instruction,
        _: u32,
        operand: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        let name = match operand.map(|operand| instruction.op_kind(operand)) {
            Some(OpKind::Memory) if instruction.is_ip_rel_memory_operand() => {
                self.target.as_deref()
            }
            Some(OpKind::Memory) => self.displacement.as_deref(),
            Some(OpKind::NearBranch64) => self.target.as_deref(),
            _ => self.immediate.as_deref(),
        };
        name.map(|name| SymbolResult::with_str(address, name))
    }
}

/// The table of files has eight bytes for each descriptor.
fn descriptor(name: String) -> String {
    let word = name.trim_start_matches("f(");
    match word.split(['+', '-', ')']).next() {
        Some("fd") => "fd*8".to_owned(),
        _ => name,
    }
}

fn text(
    instruction: &Instruction,
    offsets: &ConstantOffsets,
    at: usize,
    names: &Names<'_>,
) -> String {
    let field = |offset: usize, size: usize| at + offset..at + offset + size;
    let elsewhere =
        instruction
            .near_branch_target()
            .max(if instruction.is_ip_rel_memory_operand() {
                instruction.ip_rel_memory_address()
            } else {
                0
            });
    let displacement = field(offsets.displacement_offset(), offsets.displacement_size());
    let immediate = field(offsets.immediate_offset(), offsets.immediate_size());
    let target = names.places.get(&elsewhere).cloned().or_else(|| {
        let field = if offsets.has_immediate() && !instruction.is_ip_rel_memory_operand() {
            immediate.clone()
        } else {
            displacement.clone()
        };
        names.of(field, elsewhere, Some(elsewhere))
    });
    let number = (0..instruction.op_count())
        .find(|n| instruction.try_immediate(*n).is_ok())
        .map_or(0, |n| instruction.immediate(n));
    let mut resolver = Resolver {
        displacement: names
            .of(displacement, instruction.memory_displacement64(), None)
            .map(descriptor),
        immediate: (instruction.near_branch_target() == 0)
            .then(|| names.of(immediate, number, None))
            .flatten(),
        target,
    };
    let wide = resolver.immediate.clone();
    if offsets.displacement_size() == 0 {
        resolver.displacement = None;
    }
    let mut formatter = IntelFormatter::with_options(Some(Box::new(resolver)), None);
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_rip_relative_addresses(false);
    options.set_space_after_operand_separator(true);
    let mut line = String::new();
    formatter.format(instruction, &mut line);
    match wide {
        Some(name) if !line.contains(&name) => format!("{line}  ; {name}"),
        _ => line,
    }
}
