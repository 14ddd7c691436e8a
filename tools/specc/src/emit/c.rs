//! `synthjit_specs.h` and `synthjit_specs.c`: what the module's glue needs, and the facts as the C compiler knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{facts, one_line, NOTE};
use crate::load::Set;
use crate::schema::{FactType, KeyState, Spec, Value};
use crate::source::Verdicts;

/// The text of `synthjit_specs.h`. The layout part may be included from assembly.
pub fn header(set: &Set) -> String {
    let mut out = format!("/* SPDX-License-Identifier: GPL-2.0 */\n/* {NOTE} */\n");
    out += "#ifndef SYNTHJIT_SPECS_H\n#define SYNTHJIT_SPECS_H\n\n";
    for c in &set.arena.constant {
        let _ = writeln!(
            out,
            "/* {} */\n#define SYNTHJIT_{} {}",
            comment(&c.doc),
            c.name,
            c.value
        );
    }
    out += "\n#ifndef __ASSEMBLER__\n\n#include <linux/types.h>\n\n";
    out += "/* Why something is not specialized, or no longer; 0 is no reason. */\nenum synthjit_reason {\n\tSYNTHJIT_REASON_NONE = 0,\n";
    for (at, reason) in set.reasons.reason.iter().enumerate() {
        let _ = writeln!(
            out,
            "\tSYNTHJIT_REASON_{} = {},",
            reason.name.to_ascii_uppercase(),
            at + 1
        );
    }
    let _ = writeln!(
        out,
        "}};\n#define SYNTHJIT_REASONS {}\n",
        set.reasons.reason.len()
    );
    out += "/* Numbers and words, for __print_symbolic(). */\n#define SYNTHJIT_REASON_NAMES \\\n\t{ 0, \"none\" }";
    for (at, reason) in set.reasons.reason.iter().enumerate() {
        let _ = write!(out, ", \\\n\t{{ {}, \"{}\" }}", at + 1, reason.name);
    }
    out += "\n\n";
    out += "/* The same for reasons of bail-outs. */\n#define SYNTHJIT_BAIL_NAMES";
    for (at, bail) in super::bails(set).iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma} \\\n\t{{ {at}, \"{}\" }}", bail.name);
    }
    out += "\n\n";
    out += "/* Same layout as Facts in specs.rs. */\nstruct synthjit_facts {\n";
    for value in facts(set) {
        let _ = writeln!(
            out,
            "\t/* {} */\n\tu64 {};",
            comment(&value.doc),
            value.name
        );
    }
    out += "};\n\n";
    target_structs(&mut out, set);
    out += "/* A fact which is the address of a kernel symbol that modules cannot link to. */\n\
            struct synthjit_symbol_fact {\n\tconst char *symbol;\n\tu32 offset; /* in struct synthjit_facts */\n};\n\
            extern const struct synthjit_symbol_fact synthjit_symbol_facts[];\n\
            extern const u32 synthjit_symbol_facts_len;\n\n";
    out +=
        "/* A function that the stock call passes: nobody writes a byte of it unnoticed. */\n\
            struct synthjit_watched_function {\n\tconst char *symbol;\n\tbool optional; /* this kernel may not have it */\n};\n\
            /* Each once; the last has no symbol. */\n\
            extern const struct synthjit_watched_function synthjit_watched_functions[];\n\n\
            enum synthjit_key_state { SYNTHJIT_KEY_OFF, SYNTHJIT_KEY_ON, SYNTHJIT_KEY_BOOT };\n\
            /* A static key in such functions; with * at the end, all that begin so. */\n\
            struct synthjit_reviewed_key {\n\tconst char *symbol;\n\tenum synthjit_key_state state;\n};\n\
            /* The last has no symbol. */\n\
            extern const struct synthjit_reviewed_key synthjit_reviewed_keys[];\n\n";
    out += "/*\n * Fills all facts that have a C expression and an available spec, leaves the others alone. Those that the module's own code fills:\n";
    for value in facts(set)
        .iter()
        .filter(|v| v.c.is_none() && v.symbol.is_none())
    {
        let _ = writeln!(out, " *   {}", value.name);
    }
    out += " */\nvoid synthjit_fill_facts(struct synthjit_facts *f);\n\n#endif\n#endif\n";
    out
}

/// The text of `synthjit_specs.c`.
///
/// What only unavailable specs need is left out: on a kernel whose types have changed it need not compile.
pub fn filler(set: &Set, verdicts: &Verdicts) -> String {
    let usable: Vec<&Spec> = set
        .specs
        .iter()
        .filter(|s| verdicts.unavailable(set, s).is_empty())
        .collect();
    let needed = |value: &Value| {
        usable
            .iter()
            .any(|s| s.value.iter().any(|v| v.name == value.name))
    };
    let mut out = format!("// SPDX-License-Identifier: GPL-2.0\n/* {NOTE} */\n\n");
    let headers: BTreeSet<&String> = usable
        .iter()
        .flat_map(|s| &s.include)
        .chain(&set.target.include)
        .collect();
    for header in headers {
        let _ = writeln!(out, "#include <{header}>");
    }
    out += "#include <linux/build_bug.h>\n#include <linux/stddef.h>\n#include <linux/version.h>\n\n#include \"glue.h\"\n\n";
    for spec in &usable {
        for condition in &spec.asserts {
            let text = format!("{}: {}", spec.name, condition);
            let _ = writeln!(
                out,
                "static_assert({condition},\n\t      {});",
                c_string(&text)
            );
        }
    }
    out += "\nvoid synthjit_fill_facts(struct synthjit_facts *f)\n{\n";
    for value in facts(set).into_iter().filter(|v| needed(v)) {
        if let Some(c) = &value.c {
            let fill = format!("\tf->{} = (u64)({});\n", value.name, one_line(c));
            match &value.when {
                Some(when) => {
                    out += &format!(
                        "#if {when}\n{fill}#else\n\tf->{} = 0;\n#endif\n",
                        value.name
                    )
                }
                None => out += &fill,
            }
        }
    }
    out += "}\n\nconst struct synthjit_symbol_fact synthjit_symbol_facts[] = {\n";
    let mut count = 0;
    for value in facts(set).into_iter().filter(|v| needed(v)) {
        if let Some(symbol) = &value.symbol {
            let offset = format!("offsetof(struct synthjit_facts, {})", value.name);
            let _ = writeln!(out, "\t{{ {}, {offset} }},", c_string(symbol));
            count += 1;
        }
    }
    if count == 0 {
        out += "\t{ NULL, 0 },\n";
    }
    let _ = writeln!(out, "}};\nconst u32 synthjit_symbol_facts_len = {count};\n");
    fill_target(set, &mut out);
    watched_functions(set, &mut out);
    reviewed_keys(set, &mut out);
    out
}

fn target_structs(out: &mut String, set: &Set) {
    let field = |out: &mut String, of: &str, name: &str, doc: &str| {
        let _ = writeln!(out, "\t/* {} */\n\t{of} {name};", comment(doc));
    };
    let _ = writeln!(
        out,
        "/* {} Same layout as Target in specs.rs. */\nstruct synthjit_target {{",
        comment(&set.target.doc)
    );
    for fact in &set.target.fact {
        let of = match fact.of {
            FactType::Bool => "bool",
            FactType::Address => "u64",
        };
        field(out, of, &fact.name, &fact.doc);
    }
    *out += "};\n\n/* Addresses of the module's own arrays. Same layout as Arrays in specs.rs. */\nstruct synthjit_arrays {\n";
    for array in &set.target.array {
        field(out, "u64", &array.name, &array.doc);
    }
    *out += "};\n\n\
             /* Fills all of it, once the platform was found good. Returns NULL, or the kernel symbol that is missing. */\n\
             const char *synthjit_fill_target(struct synthjit_target *t);\n\
             void synthjit_fill_arrays(struct synthjit_arrays *a);\n\n";
}

fn fill_target(set: &Set, out: &mut String) {
    *out += "const char *synthjit_fill_target(struct synthjit_target *t)\n{\n";
    for fact in &set.target.fact {
        let name = &fact.name;
        if let Some(c) = &fact.c {
            let cast = match fact.of {
                FactType::Bool => "bool",
                FactType::Address => "unsigned long",
            };
            let _ = writeln!(out, "\tt->{name} = ({cast})({});", one_line(c));
        }
        if let Some(symbol) = &fact.symbol {
            let symbol = c_string(symbol);
            let _ = writeln!(
                out,
                "\tt->{name} = synthjit_symbol({symbol});\n\tif (!t->{name})\n\t\treturn {symbol};"
            );
        }
    }
    *out += "\treturn NULL;\n}\n\nvoid synthjit_fill_arrays(struct synthjit_arrays *a)\n{\n";
    for array in &set.target.array {
        let _ = writeln!(
            out,
            "\ta->{} = (unsigned long)({});",
            array.name,
            one_line(&array.c)
        );
    }
    *out += "}\n\n";
}

/// Each function once; one that some spec cannot do without is not optional.
fn watched_functions(set: &Set, out: &mut String) {
    let mut watched: BTreeMap<(&str, Option<&str>), bool> = BTreeMap::new();
    for spec in &set.specs {
        let mirrors = spec
            .mirror
            .iter()
            .filter_map(|m| Some((m.watched_symbol()?, m.watched_when.as_deref(), false)));
        let functions = spec
            .function
            .iter()
            .map(|f| (f.name.as_str(), f.when.as_deref(), f.optional));
        for (name, when, optional) in mirrors.chain(functions) {
            *watched.entry((name, when)).or_insert(true) &= optional;
        }
    }
    *out += "const struct synthjit_watched_function synthjit_watched_functions[] = {\n";
    for ((name, when), optional) in watched {
        let line = format!("\t{{ {}, {optional} }},\n", c_string(name));
        *out += &match when {
            Some(when) => format!("#if {when}\n{line}#endif\n"),
            None => line,
        };
    }
    *out += "\t{ NULL }\n};\n\n";
}

fn reviewed_keys(set: &Set, out: &mut String) {
    let keys: BTreeMap<&str, KeyState> = set
        .specs
        .iter()
        .flat_map(|s| &s.key)
        .map(|k| (k.name.as_str(), k.state))
        .collect();
    *out += "const struct synthjit_reviewed_key synthjit_reviewed_keys[] = {\n";
    for (name, state) in keys {
        let state = match state {
            KeyState::Off => "OFF",
            KeyState::On => "ON",
            KeyState::Boot => "BOOT",
        };
        let _ = writeln!(out, "\t{{ {}, SYNTHJIT_KEY_{state} }},", c_string(name));
    }
    *out += "\t{ NULL }\n};\n";
}

/// The text inside a C comment.
fn comment(text: &str) -> String {
    one_line(text).replace("*/", "* /")
}

fn c_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
