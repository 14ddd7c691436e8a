//! The facts of the machine: each name is a field of C and Rust and a line of the listing `values`.

use std::collections::BTreeSet;

use super::is_field_name;
use crate::error::Fault;
use crate::load::{Set, TARGET};
use crate::schema::{FactType, MachineFact};

pub(super) fn judge(set: &Set, faults: &mut Vec<Fault>) {
    if set.target.doc.trim().is_empty() {
        faults.push(Fault::new(
            TARGET,
            "doc",
            "is empty",
            "say in a sentence or two what the facts are about",
        ));
    }
    let facts = set.target.fact.iter().map(|f| (&f.name, &f.doc));
    entries("fact", facts, faults);
    let arrays = set.target.array.iter().map(|a| (&a.name, &a.doc));
    entries("array", arrays, faults);
    for fact in &set.target.fact {
        source(fact, faults);
        one_meaning(set, fact, faults);
    }
    for array in set.target.array.iter().filter(|a| a.c.trim().is_empty()) {
        faults.push(Fault::new(
            TARGET,
            format!("array.{}.c", array.name),
            "is empty",
            "write a C expression of the array's address",
        ));
    }
}

/// What both tables have: a name for a field, once, and a text about it.
fn entries<'a>(
    table: &str,
    all: impl Iterator<Item = (&'a String, &'a String)>,
    faults: &mut Vec<Fault>,
) {
    let mut seen = BTreeSet::new();
    for (name, doc) in all {
        let mut bad = |field: &str, reason: &str, cure: &str| {
            let key = format!("{table}.{name}.{field}");
            faults.push(Fault::new(TARGET, key, reason, cure));
        };
        if !is_field_name(name) {
            bad("name", "is no field name", "use lower-case snake case");
        }
        if !seen.insert(name) {
            bad("name", "is there twice", "give each one entry");
        }
        if doc.trim().is_empty() {
            bad(
                "doc",
                "is empty",
                "say what it is, with its unit, and in which file it is used or set",
            );
        }
    }
}

/// Where it comes from.
fn source(fact: &MachineFact, faults: &mut Vec<Fault>) {
    let mut bad = |field: &str, reason: &str, cure: &str| {
        let key = format!("fact.{}.{field}", fact.name);
        faults.push(Fault::new(TARGET, key, reason, cure));
    };
    match (&fact.c, &fact.symbol) {
        (Some(c), None) if c.trim().is_empty() => {
            bad("c", "is empty", "write a C expression of the fact's type")
        }
        (None, Some(symbol)) if symbol.trim().is_empty() => {
            bad("symbol", "is empty", "name a symbol of the kernel");
        }
        (None, Some(_)) if fact.of == FactType::Bool => bad(
            "symbol",
            "is an address, not yes or no",
            "write type = \"address\", or give `c`",
        ),
        (Some(_), None) | (None, Some(_)) => {}
        (Some(_), Some(_)) | (None, None) => bad(
            "c",
            "a fact has exactly one of `c` and `symbol`",
            "keep the one that says where it comes from",
        ),
    }
}

/// Values and facts are told apart by their names where they are listed.
fn one_meaning(set: &Set, fact: &MachineFact, faults: &mut Vec<Fault>) {
    let of_name = |spec: &&crate::schema::Spec| spec.value.iter().any(|v| v.name == fact.name);
    if let Some(spec) = set.specs.iter().find(of_name) {
        faults.push(Fault::new(
            TARGET,
            format!("fact.{}.name", fact.name),
            format!("is the name of a value in {}.toml", spec.name),
            "use another name, or say it in one of the two files only",
        ));
    }
}
