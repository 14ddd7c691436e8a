//! `specs.rs`: typed constants, assumption tables and reasons for the engine.

use std::fmt::Write;

use super::{facts, one_line, NOTE};
use crate::load::Set;
use crate::schema::{Bail, FactType, From, Kept, Kind, Reason, ReasonKind, Spec, Value};
use crate::source::{MirrorState, Verdicts};

/// The text of `specs.rs`.
pub fn rust(set: &Set, verdicts: &Verdicts, release: &str) -> String {
    let mut out = format!("// SPDX-License-Identifier: GPL-2.0\n// {NOTE}\n\n");
    out += &format!(
        "/// Release of the kernel that mirrors were compared with; empty in host builds.\n\
         pub const RELEASE: &str = {release:?};\n\n"
    );
    out += TYPES;
    facts_struct(&mut out, set);
    target_structs(&mut out, set);
    layout(&mut out, set);
    reasons(&mut out, &set.reasons.reason);
    bails(&mut out, &super::bails(set));
    for spec in &set.specs {
        module(&mut out, set, verdicts, spec);
    }
    out += "/// All specs, sorted by name.\npub static SPECS: &[&SpecInfo] = &[";
    out += &list(set.specs.iter().map(|s| format!("&{}::SPEC", s.name)));
    out += "];\n";
    out
}

/// The types that do not depend on any spec.
const TYPES: &str = include_str!("types.txt");

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn strings(items: &[String]) -> String {
    format!(
        "&[{}]",
        list(items.iter().map(|s| format!("{:?}", one_line(s))))
    )
}

/// A field of a generated struct.
struct Field<'a> {
    name: &'a str,
    of: FactType,
    doc: &'a str,
}

impl<'a> Field<'a> {
    fn of_value(value: &'a Value) -> Self {
        Self::address(&value.name, &value.doc)
    }

    fn address(name: &'a str, doc: &'a str) -> Self {
        let of = FactType::Address;
        Self { name, of, doc }
    }

    fn write(&self, out: &mut String) {
        let of = match self.of {
            FactType::Bool => "bool",
            FactType::Address => "u64",
        };
        let _ = writeln!(out, "    /// {}", one_line(self.doc));
        let _ = writeln!(out, "    pub {}: {of},", self.name);
    }
}

fn facts_struct(out: &mut String, set: &Set) {
    let all = facts(set);
    let fields: Vec<Field<'_>> = all.into_iter().map(Field::of_value).collect();
    let doc = "All that is known about the kernel once the module is loaded. Same layout as `struct synthjit_facts`.";
    shared_struct(out, doc, "Facts", &fields);
    by_place(out, "Facts", &fields);
}

fn target_structs(out: &mut String, set: &Set) {
    let facts = set.target.fact.iter().map(|f| Field {
        name: &f.name,
        of: f.of,
        doc: &f.doc,
    });
    let facts: Vec<Field<'_>> = facts.collect();
    let doc = format!(
        "{} Same layout as `struct synthjit_target`.",
        one_line(&set.target.doc)
    );
    shared_struct(out, &doc, "Target", &facts);
    by_place(out, "Target", &facts);
    let switches = facts.iter().enumerate();
    let switches = switches.filter(|(_, f)| f.of == FactType::Bool);
    let _ = writeln!(
        out,
        "#[allow(dead_code)]\nimpl Target {{\n    \
         /// Places in [`Target::NAMES`] of those that are yes or no: they say how code is made and are not baked in.\n    \
         pub const SWITCHES: &'static [usize] = &[{}];\n}}\n",
        list(switches.map(|(at, _)| at.to_string()))
    );
    let arrays = set.target.array.iter();
    let arrays: Vec<Field<'_>> = arrays.map(|a| Field::address(&a.name, &a.doc)).collect();
    let doc = "Addresses of the module's own arrays. Same layout as `struct synthjit_arrays`.";
    shared_struct(out, doc, "Arrays", &arrays);
}

/// A struct which C code fills.
fn shared_struct(out: &mut String, doc: &str, name: &str, fields: &[Field<'_>]) {
    let _ = writeln!(
        out,
        "/// {doc}\n#[repr(C)]\n#[derive(Clone, Copy, Debug, Default)]\npub struct {name} {{"
    );
    fields.iter().for_each(|field| field.write(out));
    *out += "}\n\n";
}

/// Access to the fields of struct `of` by number, and their names.
fn by_place(out: &mut String, of: &str, fields: &[Field<'_>]) {
    let _ = write!(
        out,
        "#[allow(dead_code)]\nimpl {of} {{\n    /// Name of each, in order.\n    pub const NAMES: &'static [&'static str] = &[{}];\n\n    \
         /// The one at this place of [`{of}::NAMES`].\n    pub const fn get(&self, at: usize) -> u64 {{\n        match at {{\n",
        list(fields.iter().map(|f| format!("{:?}", f.name)))
    );
    for (at, Field { name, of, .. }) in fields.iter().enumerate() {
        let cast = match of {
            FactType::Bool => " as u64",
            FactType::Address => "",
        };
        let _ = writeln!(out, "            {at} => self.{name}{cast},");
    }
    *out += "            _ => 0,\n        }\n    }\n\n    /// Changes the one at this place.\n    pub const fn set(&mut self, at: usize, value: u64) {\n        match at {\n";
    for (at, Field { name, of, .. }) in fields.iter().enumerate() {
        let test = match of {
            FactType::Bool => " != 0",
            FactType::Address => "",
        };
        let _ = writeln!(out, "            {at} => self.{name} = value{test},");
    }
    *out += "            _ => {}\n        }\n    }\n}\n\n";
}

fn layout(out: &mut String, set: &Set) {
    let _ = writeln!(
        out,
        "/// {}\n#[allow(dead_code)]\npub mod layout {{",
        one_line(&set.arena.doc)
    );
    for c in &set.arena.constant {
        let _ = writeln!(
            out,
            "    /// {}\n    pub const {}: usize = {};",
            one_line(&c.doc),
            c.name,
            c.value
        );
    }
    for condition in &set.arena.asserts {
        let _ = writeln!(
            out,
            "    const _: () = assert!({condition}, {condition:?});"
        );
    }
    *out += "}\n\n";
}

/// `snake_case` as `CamelCase`.
fn camel(name: &str) -> String {
    let word = |w: &str| {
        let mut chars = w.chars();
        chars.next().map_or(String::new(), |c| {
            c.to_ascii_uppercase().to_string() + chars.as_str()
        })
    };
    name.split('_').map(word).collect()
}

fn reasons(out: &mut String, all: &[Reason]) {
    *out += REASON_KIND;
    for (at, reason) in all.iter().enumerate() {
        let _ = writeln!(
            out,
            "    /// {}\n    {} = {},",
            reason.text,
            camel(&reason.name),
            at + 1
        );
    }
    *out += "}\n\n#[allow(dead_code)]\nimpl Reason {\n    /// Every reason but none, in the order of its number.\n    pub const ALL: &'static [Reason] = &[";
    *out += &list(all.iter().map(|r| format!("Reason::{}", camel(&r.name))));
    *out += "];\n\n";
    reason_table(
        out,
        all,
        "The word for it in files and tools.",
        "name",
        "&'static str",
        |r| format!("{:?}", r.name),
    );
    reason_table(out, all, "What people read.", "text", "&'static str", |r| {
        format!("{:?}", r.text)
    });
    reason_table(
        out,
        all,
        "What people can do about it.",
        "cure",
        "&'static str",
        |r| format!("{:?}", r.cure),
    );
    reason_table(out, all, "What is refused.", "kind", "ReasonKind", |r| {
        let kind = match r.kind {
            ReasonKind::Platform => "Platform",
            ReasonKind::Process => "Process",
            ReasonKind::Descriptor => "Descriptor",
            ReasonKind::Invalidated => "Invalidated",
        };
        format!("ReasonKind::{kind}")
    });
    *out += "    /// The reason with this number, as C code hands it over; [`Reason::None`] for a number that is none.\n    \
             pub const fn from_number(number: u32) -> Reason {\n        match number {\n";
    for (at, reason) in all.iter().enumerate() {
        let _ = writeln!(
            out,
            "            {} => Reason::{},",
            at + 1,
            camel(&reason.name)
        );
    }
    *out += "            _ => Reason::None,\n        }\n    }\n}\n\n";
}

const REASON_KIND: &str = "/// What a reason speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonKind {
    /// Nothing is refused.
    None,
    /// No process on this machine can be specialized.
    Platform,
    /// This process cannot be, for now or for good.
    Process,
    /// This descriptor cannot be.
    Descriptor,
    /// Code that existed was dropped.
    Invalidated,
}

/// Every reason for not specializing and for dropping what was specialized.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is refused.
    #[default]
    None = 0,
";

fn reason_table(
    out: &mut String,
    all: &[Reason],
    doc: &str,
    name: &str,
    of: &str,
    text: impl Fn(&Reason) -> String,
) {
    let none = if of == "ReasonKind" {
        "ReasonKind::None"
    } else if name == "name" {
        "\"none\""
    } else {
        "\"\""
    };
    let rows = all.iter().map(|r| (camel(&r.name), text(r)));
    let none = ("None".to_owned(), none.to_owned());
    table(
        out,
        doc,
        name,
        of,
        "Reason",
        std::iter::once(none).chain(rows),
    );
}

/// A method `name` of the enumeration `of`, which gives `result`: for each of `rows` a variant and what is given.
fn table(
    out: &mut String,
    doc: &str,
    name: &str,
    result: &str,
    of: &str,
    rows: impl Iterator<Item = (String, String)>,
) {
    let _ = writeln!(
        out,
        "    /// {doc}\n    pub const fn {name}(self) -> {result} {{\n        match self {{"
    );
    for (variant, given) in rows {
        let _ = writeln!(out, "            {of}::{variant} => {given},");
    }
    *out += "        }\n    }\n\n";
}

fn bails(out: &mut String, all: &[&Bail]) {
    *out += "/// Every reason why a call bails out of a path.\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum Bail {\n";
    for bail in all {
        let _ = writeln!(out, "    /// {}\n    {},", bail.doc, camel(&bail.name));
    }
    *out += "}\n\n#[allow(dead_code)]\nimpl Bail {\n    /// Every one, in the order of its number.\n    pub const ALL: &'static [Bail] = &[";
    *out += &list(all.iter().map(|b| format!("Bail::{}", camel(&b.name))));
    *out += "];\n\n";
    let texts: [(&str, &str, fn(&Bail) -> &String); 3] = [
        ("The word for it in files and tools.", "name", |b| &b.name),
        ("What the situation is.", "doc", |b| &b.doc),
        ("What people can do about it.", "cure", |b| &b.cure),
    ];
    for (doc, name, text) in texts {
        let rows = all
            .iter()
            .map(|b| (camel(&b.name), format!("{:?}", text(b))));
        table(out, doc, name, "&'static str", "Bail", rows);
    }
    *out += "}\n\n";
}

fn module(out: &mut String, set: &Set, verdicts: &Verdicts, spec: &Spec) {
    let closure = set.closure(spec);
    let values: Vec<&Value> = closure.iter().flat_map(|s| &s.value).collect();
    let known: Vec<&Value> = values.iter().copied().filter(|v| v.is_fact()).collect();
    let _ = writeln!(
        out,
        "/// {}\n#[allow(dead_code)]\npub mod {} {{",
        one_line(&spec.doc),
        spec.name
    );
    let mut body = String::new();
    body += "/// What the path bakes in that is known once the module is loaded.\n\
             #[derive(Clone, Copy, Debug, Default)]\npub struct Known {\n";
    known
        .iter()
        .for_each(|v| Field::of_value(v).write(&mut body));
    body += "}\n\nimpl Known {\n    /// Picks this spec's values.\n    pub const fn new(f: &super::Facts) -> Self {\n";
    body += "        let _ = f;\n        Self {\n";
    for value in &known {
        let _ = writeln!(body, "            {0}: f.{0},", value.name);
    }
    body += "        }\n    }\n}\n\n/// What the path bakes in that is found out when it is compiled.\n\
             #[derive(Clone, Copy, Debug, Default)]\npub struct Seen {\n";
    values
        .iter()
        .filter(|v| v.from == Some(From::Synthesis))
        .for_each(|v| Field::of_value(v).write(&mut body));
    body += "}\n\n";
    info(&mut body, set, verdicts, spec);
    for line in body.lines() {
        let _ = if line.is_empty() {
            writeln!(out)
        } else {
            writeln!(out, "    {line}")
        };
    }
    *out += "}\n\n";
}

fn info(out: &mut String, set: &Set, verdicts: &Verdicts, spec: &Spec) {
    let closure = set.closure(spec);
    let unavailable = verdicts.unavailable(set, spec);
    let kind = if spec.kind == Kind::Path {
        "Path"
    } else {
        "Common"
    };
    let syscall = spec
        .syscall
        .map_or("u32::MAX".to_owned(), |n| n.to_string());
    *out += "/// The spec for people and tables.\npub const SPEC: super::SpecInfo = super::SpecInfo {\n";
    let mut line = |key: &str, value: String| {
        let _ = writeln!(out, "    {key}: {value},");
    };
    line("name", format!("{:?}", spec.name));
    line("c_name", format!("c{:?}", spec.name));
    line("kind", format!("super::SpecKind::{kind}"));
    line("call", format!("{:?}", spec.call));
    line("syscall", syscall);
    line("object", format!("{:?}", spec.object));
    line("doc", format!("{:?}", one_line(&spec.doc)));
    line("uses", strings(&spec.uses));
    line("available", unavailable.is_empty().to_string());
    line("unavailable", strings(&unavailable));
    line(
        "refuses",
        format!(
            "&[{}]",
            list(
                spec.refuses
                    .iter()
                    .map(|r| format!("super::Reason::{}", camel(r)))
            )
        ),
    );
    let bails = closure.iter().flat_map(|s| &s.bail);
    line(
        "bails",
        format!(
            "&[{}]",
            list(bails.map(|b| format!("super::Bail::{}", camel(&b.name))))
        ),
    );
    line("commit", format!("{:?}", one_line(&spec.commit)));
    line("stays", strings(&spec.observable.stays));
    line("differs", strings(&spec.observable.differs));
    line("proof", strings(&spec.proof));
    *out += "    mirrors: &[\n";
    for mirror in closure.iter().flat_map(|s| &s.mirror) {
        let _ = writeln!(
            out,
            "        super::MirrorInfo {{ name: {:?}, file: {:?}, known: {}, watched: {}, symbol: {:?}, doc: {:?} }},",
            mirror.name,
            mirror.file,
            verdicts.state(mirror) == MirrorState::Known,
            mirror.watched,
            mirror.watched_symbol().unwrap_or(""),
            one_line(&mirror.doc)
        );
    }
    *out += "    ],\n    values: &[\n";
    for value in closure.iter().flat_map(|s| &s.value) {
        value_info(out, value);
    }
    *out += "    ],\n};\n";
}

fn value_info(out: &mut String, value: &Value) {
    let kept = match value.keeping() {
        Kept::Always => "Always",
        Kept::Guard => "Guard",
        Kept::Watch => "Watch",
        Kept::Never => "Never",
    };
    let source = match value.from {
        Some(From::Synthesis) => "Seen",
        Some(From::Call) => "Call",
        Some(From::Event) => "Event",
        Some(From::Load) | None => "Fact",
    };
    let reason = value
        .reason
        .as_ref()
        .map_or("super::Reason::None".to_owned(), |r| {
            format!("super::Reason::{}", camel(r))
        });
    let _ = writeln!(
        out,
        "        super::ValueInfo {{ name: {:?}, class: {}, kept: super::Kept::{kept}, source: super::Source::{source}, \
         events: {}, reason: {reason}, doc: {:?} }},",
        value.name,
        value.class,
        strings(&value.events),
        one_line(&value.doc)
    );
}
