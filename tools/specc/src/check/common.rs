//! What all specs share: reasons, the arena, and that one name means one thing.

use std::collections::{BTreeMap, BTreeSet};

use super::{fault, is_field_name, value_key};
use crate::error::Fault;
use crate::load::{Set, ARENA, REASONS};
use crate::schema::{Spec, Value};

/// One name stands for one expression in all specs, and no value reaches a spec on two ways.
pub(super) fn one_meaning(set: &Set, faults: &mut Vec<Fault>) {
    let mut first: BTreeMap<&str, (&Spec, &Value)> = BTreeMap::new();
    for spec in &set.specs {
        for value in &spec.value {
            let (other, known) = *first.entry(&value.name).or_insert((spec, value));
            if other.name == spec.name {
                continue;
            }
            if known.c != value.c
                || known.when != value.when
                || known.symbol != value.symbol
                || known.from != value.from
            {
                let key = value_key(value, "c");
                let reason = format!(
                    "`{}` means something else in {}.toml",
                    value.name, other.name
                );
                faults.push(fault(
                    spec,
                    &key,
                    reason,
                    "use one expression, or two names",
                ));
            }
        }
        for used in set
            .closure(spec)
            .into_iter()
            .filter(|s| s.name != spec.name)
        {
            for value in used
                .value
                .iter()
                .filter(|v| spec.value.iter().any(|w| w.name == v.name))
            {
                let key = value_key(value, "name");
                let reason = format!(
                    "is already there from {}.toml, which this spec uses",
                    used.name
                );
                faults.push(fault(spec, &key, reason, "remove it here"));
            }
        }
    }
}

/// Each name of a bail-out is there once, and says what it is in one line.
pub(super) fn bails(set: &Set, faults: &mut Vec<Fault>) {
    let mut first: BTreeMap<&str, &Spec> = BTreeMap::new();
    for (spec, bail) in set
        .specs
        .iter()
        .flat_map(|s| s.bail.iter().map(move |b| (s, b)))
    {
        let key = |field: &str| format!("bail.{}.{field}", bail.name);
        if !is_field_name(&bail.name) {
            faults.push(fault(
                spec,
                &key("name"),
                "is no name",
                "use lower-case snake case",
            ));
        }
        if let Some(other) = first.insert(&bail.name, spec) {
            faults.push(fault(
                spec,
                &key("name"),
                format!("is there already, in {}.toml", other.name),
                "use another name, or move it to a spec that both use",
            ));
        }
        for (field, text) in [("doc", &bail.doc), ("cure", &bail.cure)] {
            if !is_one_line(text) {
                faults.push(fault(
                    spec,
                    &key(field),
                    "is not one line of text",
                    "say it to people in one line",
                ));
            }
        }
    }
}

/// Not even a carriage return: it becomes a comment of Rust, which allows none.
fn is_one_line(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains(char::is_control)
}

pub(super) fn reasons(set: &Set, faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for reason in &set.reasons.reason {
        let key = |field: &str| format!("reason.{}.{field}", reason.name);
        if !is_field_name(&reason.name) {
            faults.push(Fault::new(
                REASONS,
                key("name"),
                "is no name",
                "use lower-case snake case",
            ));
        }
        if !seen.insert(&reason.name) {
            faults.push(Fault::new(
                REASONS,
                key("name"),
                "is there twice",
                "give each reason one entry",
            ));
        }
        for (field, text) in [("text", &reason.text), ("cure", &reason.cure)] {
            if !is_one_line(text) {
                faults.push(Fault::new(
                    REASONS,
                    key(field),
                    "is not one line of text",
                    "say it to people in one line",
                ));
            }
        }
    }
}

pub(super) fn unused_reasons(set: &Set, faults: &mut Vec<Fault>) {
    let used: BTreeSet<&str> = set
        .specs
        .iter()
        .flat_map(|s| {
            s.refuses
                .iter()
                .chain(s.value.iter().filter_map(|v| v.reason.as_ref()))
        })
        .map(String::as_str)
        .collect();
    for reason in set
        .reasons
        .reason
        .iter()
        .filter(|r| !used.contains(r.name.as_str()))
    {
        faults.push(Fault::new(
            REASONS,
            format!("reason.{}", reason.name),
            "no spec refuses for it",
            "add it to `refuses` of the spec that does, or remove it",
        ));
    }
}

pub(super) fn arena(set: &Set, faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for constant in &set.arena.constant {
        let key = |field: &str| format!("constant.{}.{field}", constant.name);
        let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if !constant.name.starts_with(|c: char| c.is_ascii_uppercase())
            || !constant.name.chars().all(upper)
        {
            faults.push(Fault::new(
                ARENA,
                key("name"),
                "is no constant's name",
                "use upper-case snake case",
            ));
        }
        if !seen.insert(&constant.name) {
            faults.push(Fault::new(
                ARENA,
                key("name"),
                "is there twice",
                "give each constant one entry",
            ));
        }
        if constant.doc.trim().is_empty() {
            faults.push(Fault::new(
                ARENA,
                key("doc"),
                "is empty",
                "say what it is, with the unit",
            ));
        }
    }
}
