//! Judges the contents of specs: what the TOML shape alone cannot say.

mod common;
mod spec;
mod target;

use crate::error::Fault;
use crate::load::Set;
use crate::schema::{Spec, Value};

const RUST_WORDS: &[&str] = &[
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub",
    "ref", "return", "self", "static", "struct", "super", "trait", "true", "type", "unsafe", "use",
    "where", "while", "int", "long", "short", "char", "signed", "unsigned", "void", "register",
    "volatile", "default", "switch", "case", "goto", "union", "double", "float", "auto", "typedef",
    "sizeof", "inline", "restrict", "do", "gen", "try",
];

/// All faults of a set, in file order.
pub fn check(set: &Set) -> Vec<Fault> {
    let mut faults = Vec::new();
    common::reasons(set, &mut faults);
    common::arena(set, &mut faults);
    target::judge(set, &mut faults);
    for spec in &set.specs {
        spec::judge(set, spec, &mut faults);
    }
    common::bails(set, &mut faults);
    common::one_meaning(set, &mut faults);
    common::unused_reasons(set, &mut faults);
    faults
}

fn fault(spec: &Spec, key: &str, reason: impl Into<String>, cure: impl Into<String>) -> Fault {
    Fault::new(format!("{}.toml", spec.name), key, reason, cure)
}

fn value_key(value: &Value, field: &str) -> String {
    format!("value.{}.{field}", value.name)
}

/// Lower-case snake case that is no keyword of Rust or C: it becomes a field of both.
fn is_field_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RUST_WORDS.contains(&name)
}
