//! One spec by itself: its head, its values, its mirrors.

use std::collections::BTreeSet;

use super::{fault, is_field_name, value_key};
use crate::error::Fault;
use crate::load::{Set, REASONS};
use crate::schema::{From, Kept, Kind, Mirror, Spec, Value, ABSENT};

/// Everything that can be said about `spec` without comparing its values with those of others.
pub(super) fn judge(set: &Set, spec: &Spec, faults: &mut Vec<Fault>) {
    spec_head(set, spec, faults);
    uses(set, spec, faults);
    rivals(set, spec, faults);
    let mut names = BTreeSet::new();
    for value in &spec.value {
        if !names.insert(&value.name) {
            let key = value_key(value, "name");
            faults.push(fault(
                spec,
                &key,
                "is there twice",
                "give each value one entry",
            ));
        }
        value_fields(set, spec, value, faults);
    }
    mirrors(spec, faults);
    passed(spec, faults);
}

fn spec_head(set: &Set, spec: &Spec, faults: &mut Vec<Fault>) {
    if !is_field_name(&spec.name) || spec.name == "layout" {
        faults.push(fault(
            spec,
            "name",
            format!("`{}` is no module name", spec.name),
            "use lower-case snake case",
        ));
    }
    let path = spec.kind == Kind::Path;
    for (key, given) in [
        ("call", !spec.call.is_empty()),
        ("syscall", spec.syscall.is_some()),
        ("object", !spec.object.is_empty()),
        ("commit", !spec.commit.is_empty()),
    ] {
        if path && !given {
            faults.push(fault(spec, key, "is missing", "a path spec must say it"));
        } else if !path && given {
            faults.push(fault(
                spec,
                key,
                "only a path has it",
                "remove it, or write kind = \"path\"",
            ));
        }
    }
    if path && set.closure(spec).iter().all(|s| s.bail.is_empty()) {
        faults.push(fault(spec, "bail", "is missing", "a path spec must say it"));
    }
    if spec.doc.trim().is_empty() {
        faults.push(fault(
            spec,
            "doc",
            "is empty",
            "say in a sentence or two what the spec is about",
        ));
    }
    for name in &spec.refuses {
        known_reason(set, spec, "refuses", name, faults);
    }
}

/// What `spec` uses is there, is no path, and does not use it in turn.
fn uses(set: &Set, spec: &Spec, faults: &mut Vec<Fault>) {
    for name in &spec.uses {
        match set.spec(name) {
            None => faults.push(fault(
                spec,
                "uses",
                format!("there is no spec `{name}`"),
                "name a file of this folder",
            )),
            Some(used) if used.kind == Kind::Path => faults.push(fault(
                spec,
                "uses",
                format!("`{name}` is a path"),
                "move what both need to a spec of kind \"common\"",
            )),
            Some(used) if set.closure(used).iter().any(|s| s.name == spec.name) => {
                faults.push(fault(
                    spec,
                    "uses",
                    format!("`{name}` uses this spec too"),
                    "break the circle",
                ));
            }
            Some(_) => {}
        }
    }
}

/// No two paths for one call on one kind of object.
fn rivals(set: &Set, spec: &Spec, faults: &mut Vec<Fault>) {
    let path = spec.kind == Kind::Path;
    for other in set
        .specs
        .iter()
        .filter(|s| s.kind == Kind::Path && path && s.name < spec.name)
    {
        if other.object == spec.object && other.call == spec.call {
            faults.push(fault(
                spec,
                "call",
                format!(
                    "`{}` already is the path of {} on {}",
                    other.name, spec.call, spec.object
                ),
                "merge the two, or name another object",
            ));
        }
    }
}

fn known_reason(set: &Set, spec: &Spec, key: &str, name: &str, faults: &mut Vec<Fault>) {
    if !set.reasons.reason.iter().any(|r| r.name == name) {
        faults.push(fault(
            spec,
            key,
            format!("there is no reason `{name}`"),
            format!("add it to {REASONS} with kind, text and cure"),
        ));
    }
}

fn value_fields(set: &Set, spec: &Spec, value: &Value, faults: &mut Vec<Fault>) {
    let mut bad = |field: &str, reason: String, cure: &str| {
        faults.push(fault(spec, &value_key(value, field), reason, cure));
    };
    if !is_field_name(&value.name) {
        bad(
            "name",
            format!("`{}` is no field name", value.name),
            "use lower-case snake case",
        );
    }
    if value.doc.trim().is_empty() {
        bad(
            "doc",
            "is empty".into(),
            "say what the value is and in which file and function of the kernel it is used",
        );
    }
    let sources = [
        value.c.is_some(),
        value.symbol.is_some(),
        value.from.is_some(),
    ];
    if sources.iter().filter(|s| **s).count() != 1 {
        bad(
            "c",
            "a value has exactly one of `c`, `symbol` and `from`".into(),
            "keep the one that says where it comes from",
        );
    }
    if value.c.as_ref().is_some_and(|c| c.trim().is_empty()) {
        bad(
            "c",
            "is empty".into(),
            "write a C expression of integer type",
        );
    }
    if value.when.is_some() && value.c.is_none() {
        bad(
            "when",
            "only a C expression has a condition".into(),
            "remove it, or give `c`",
        );
    }
    let dynamic = value.from == Some(From::Call);
    match (value.class, value.kept) {
        (1 | 2, None | Some(Kept::Always))
        | (3, Some(Kept::Guard | Kept::Watch))
        | (4, None | Some(Kept::Never)) => {}
        (1 | 2, Some(_)) => bad(
            "kept",
            "classes 1 and 2 are constant".into(),
            "write kept = \"always\", or class = 3",
        ),
        (3, None) => bad(
            "kept",
            "is missing".into(),
            "class 3 needs \"guard\" or \"watch\"",
        ),
        (3, Some(_)) => bad(
            "kept",
            "class 3 may change".into(),
            "write \"guard\" or \"watch\"",
        ),
        (4, Some(_)) => bad(
            "kept",
            "class 4 is read on each call".into(),
            "write kept = \"never\" or leave it out",
        ),
        (other, _) => bad(
            "class",
            format!("there is no class {other}"),
            "use 1, 2, 3 or 4",
        ),
    }
    if value.class == 4 && !dynamic {
        bad(
            "class",
            "class 4 is read by the path, so nothing is baked in".into(),
            "write from = \"call\", or another class",
        );
    }
    if dynamic && value.kept == Some(Kept::Watch) {
        bad(
            "kept",
            "a value read on each call is not watched but guarded".into(),
            "write kept = \"guard\"",
        );
    }
    if dynamic && (value.class == 1 || value.class == 2) {
        bad(
            "from",
            "a value read on each call is of class 3 (guard) or 4".into(),
            "correct class or from",
        );
    }
    let watch = value.kept == Some(Kept::Watch);
    if watch && value.events.is_empty() {
        bad(
            "events",
            "is missing".into(),
            "a watch names the kernel events that end it",
        );
    }
    if watch && value.reason.is_none() {
        bad(
            "reason",
            "is missing".into(),
            "a watch names the reason that people see while it does not hold",
        );
    }
    if !watch && !value.events.is_empty() {
        bad(
            "events",
            "only a watch has events".into(),
            "write kept = \"watch\", or remove the events",
        );
    }
    if value.from == Some(From::Event) && !watch {
        bad(
            "from",
            "a state kept by events is a watch".into(),
            "write class = 3 and kept = \"watch\"",
        );
    }
    if let Some(name) = &value.reason {
        known_reason(set, spec, &value_key(value, "reason"), name, faults);
    }
}

fn mirrors(spec: &Spec, faults: &mut Vec<Fault>) {
    let mut seen = BTreeSet::new();
    for mirror in &spec.mirror {
        let key = |field: &str| format!("mirror.{}.{field}", mirror.name);
        if !seen.insert((&mirror.name, &mirror.file, mirror.kind as u8)) {
            faults.push(fault(
                spec,
                &key("name"),
                "is there twice",
                "give each mirror one entry",
            ));
        }
        if mirror.doc.trim().is_empty() {
            faults.push(fault(
                spec,
                &key("doc"),
                "is empty",
                "say what the path takes from it",
            ));
        }
        if mirror.file.starts_with('/') || mirror.file.contains("..") {
            faults.push(fault(
                spec,
                &key("file"),
                "is not inside the kernel source",
                "name it from the source's root",
            ));
        }
        if mirror.symbol.is_some() && !mirror.watched {
            faults.push(fault(
                spec,
                &key("symbol"),
                "nobody watches it",
                "write watched = true, or remove it",
            ));
        }
        if mirror.watched_when.is_some() && !mirror.watched {
            faults.push(fault(
                spec,
                &key("watched_when"),
                "nobody watches it",
                "write watched = true, or remove it",
            ));
        }
        fingerprints(spec, mirror, faults);
    }
}

/// Functions that the stock call passes, and the static keys in them.
fn passed(spec: &Spec, faults: &mut Vec<Fault>) {
    let mirrors = spec.mirror.iter().filter_map(Mirror::watched_symbol);
    let mut seen: BTreeSet<&str> = mirrors.collect();
    for function in &spec.function {
        if !seen.insert(&function.name) {
            let key = format!("function.{}.name", function.name);
            faults.push(fault(
                spec,
                &key,
                "is watched already",
                "give each function one entry",
            ));
        }
    }
    let functions = spec.function.iter().map(|f| ("function", &f.name, &f.doc));
    let keys = spec.key.iter().map(|k| ("key", &k.name, &k.doc));
    for (table, name, doc) in functions.chain(keys) {
        if doc.trim().is_empty() {
            let key = format!("{table}.{name}.doc");
            faults.push(fault(
                spec,
                &key,
                "is empty",
                "say what the stock call does in it, or why the state is right",
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for key in &spec.key {
        if !seen.insert(&key.name) {
            let name = format!("key.{}.name", key.name);
            faults.push(fault(
                spec,
                &name,
                "is there twice",
                "give each key one entry",
            ));
        }
    }
}

fn fingerprints(spec: &Spec, mirror: &Mirror, faults: &mut Vec<Fault>) {
    let key = format!("mirror.{}.reviewed", mirror.name);
    let cure = "copy the line that `specc fingerprint` prints, after the review";
    if mirror.reviewed.is_empty() {
        faults.push(fault(spec, &key, "no fingerprint", cure));
    }
    if !mirror.reviewed.is_empty() && mirror.reviewed.values().all(|print| print == ABSENT) {
        faults.push(fault(
            spec,
            &key,
            "it is absent from every series",
            "remove the mirror",
        ));
    }
    for (series, print) in mirror.reviewed.iter().filter(|(_, print)| *print != ABSENT) {
        let key = format!("{key}.{series}");
        if print.len() != 64 {
            faults.push(fault(
                spec,
                &key,
                format!("a fingerprint has 64 digits, not {}", print.len()),
                cure,
            ));
        } else if !print
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            faults.push(fault(
                spec,
                &key,
                "a fingerprint has lower-case hexadecimal digits only",
                cure,
            ));
        }
    }
}
