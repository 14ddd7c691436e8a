//! Golden disassembly: what each path and shape of vector looks like, with the facts that it depends on, for people to
//! read and for reviews to see changes in. `SYNTH_BLESS=1 cargo test -p synthjit-engine` rewrites the files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use iced_x86::{FlowControl, Formatter, Instruction, IntelFormatter, SymbolResolver, SymbolResult};
use synthjit_engine::dispatch::{self, Entry, VectorPlan};
use synthjit_engine::specs::layout;
use synthjit_engine::target::Target;
use synthjit_engine::template::{self, exits, Instance, PathKind};
use synthjit_engine::x86::masm::Profile;

use crate::disasm::{reachable, rest_is_poison};
use crate::facts::{
    facts, facts_of, instance, symbol, target, Form, BUDGET, EXIT, PATH_BASE, VECTOR_BASE,
};

/// Names of places in one slot, and of everything elsewhere.
struct Names(BTreeMap<u64, String>);

impl Names {
    fn of(&self, address: u64) -> Option<String> {
        self.0
            .get(&address)
            .cloned()
            .or_else(|| symbol(address).map(str::to_owned))
    }
}

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        self.of(address)
            .map(|name| SymbolResult::with_string(address, name))
    }
}

/// Number of instructions from `entry` to the end if no conditional branch is taken.
fn straight(code: &BTreeMap<u64, Instruction>, entry: u64) -> usize {
    let (mut at, mut count) = (entry, 0);
    while let Some(instruction) = code.get(&at) {
        count += 1;
        at = match instruction.flow_control() {
            FlowControl::UnconditionalBranch => instruction.near_branch_target(),
            FlowControl::Return => break,
            _ => instruction.next_ip(),
        };
    }
    count
}

/// A slot and what it depends on: constants before `code_from`, and everything that can be reached from `entries`.
struct Slot {
    head: String,
    bytes: Vec<u8>,
    base: u64,
    code_from: usize,
    entries: Vec<u64>,
}

impl Slot {
    fn code(&self) -> BTreeMap<u64, Instruction> {
        reachable(&self.bytes, self.base, &self.entries)
    }

    /// As in the golden files.
    fn text(&self) -> String {
        let code = self.code();
        assert!(
            rest_is_poison(&self.bytes, self.base, self.code_from, &code),
            "something lies between the code"
        );
        text(&self.head, &code, self.base, self.code_from, &self.entries)
    }
}

/// The instructions of the golden file `name`, one a line: the bytes, two spaces, the text without its remark.
pub fn listing(name: &str) -> Option<Vec<String>> {
    let (_, slot) = cases().into_iter().find(|(case, _)| *case == name)?;
    let text = slot.text();
    let texts = text.lines().filter_map(|line| line.strip_prefix("    "));
    let line = |(i, text): (&Instruction, &str)| {
        let at = (i.ip() - slot.base) as usize;
        let bytes: Vec<_> = slot.bytes[at..at + i.len()]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let text = text.split("    ;").next().unwrap_or_default();
        format!("{}  {text}", bytes.join(" "))
    };
    Some(slot.code().values().zip(texts).map(line).collect())
}

fn text(
    facts: &str,
    code: &BTreeMap<u64, Instruction>,
    base: u64,
    code_from: usize,
    entries: &[u64],
) -> String {
    let mut names = BTreeMap::from([(entries[0], "entry".to_owned())]);
    names.extend(entries[1..].iter().map(|at| (*at, "held".to_owned())));
    let targets = code
        .values()
        .map(Instruction::near_branch_target)
        .filter(|t| code.contains_key(t));
    for (number, target) in targets
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .enumerate()
    {
        names.entry(target).or_insert_with(|| format!("L{number}"));
    }
    if code_from > 0 {
        names.insert(base, "user_ptr_max".into());
        names.insert(base + 8, "page_bias".into());
    }
    let len = code.values().map(Instruction::next_ip).max().expect("code") - base;
    let mut out = format!(
        "{facts}; {} instructions, {} straight on from the entry; bytes up to {len}\n",
        code.len(),
        straight(code, entries[0])
    );
    let mut formatter = IntelFormatter::with_options(Some(Box::new(Names(names.clone()))), None);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_rip_relative_addresses(false);
    for (at, instruction) in code {
        if let Some(name) = names.get(at) {
            let _ = writeln!(out, "{name}:");
        }
        let mut line = String::new();
        formatter.format(instruction, &mut line);
        // A 64-bit immediate has no symbol of the disassembler's.
        let wide = Some(instruction.immediate64())
            .filter(|_| instruction.op_kind(1) == iced_x86::OpKind::Immediate64);
        let name = wide
            .and_then(symbol)
            .map_or(String::new(), |name| format!("    ; {name}"));
        let name = if line.contains(name.trim_start_matches("    ; ")) {
            String::new()
        } else {
            name
        };
        let site = (at - base) as usize;
        let mark = match site {
            layout::COPY_SITE_A if code_from > 0 => "    ; copy site A",
            layout::COPY_SITE_B if code_from > 0 => "    ; copy site B",
            _ => "",
        };
        let _ = writeln!(out, "    {line}{name}{mark}");
    }
    out
}

fn compare(name: &str, text: &str) -> Result<(), String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/engine/golden")
        .join(name);
    if env::var_os("SYNTH_BLESS").is_some_and(|v| v == "1") {
        return fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
    }
    let old = fs::read_to_string(&path)
        .map_err(|e| format!("{}: {e}; SYNTH_BLESS=1 writes it", path.display()))?;
    if old == text {
        return Ok(());
    }
    Err(format!(
        "{name} (SYNTH_BLESS=1 accepts the change):\n{}",
        difference(&old, text)
    ))
}

/// The lines that differ, each text's lines that the other has not, in order.
fn difference(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // Longest common subsequence, by lengths from the end.
    let mut common = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[i + 1][j] >= common[i][j + 1] {
            let _ = writeln!(out, "-{}", old[i]);
            i += 1;
        } else {
            let _ = writeln!(out, "+{}", new[j]);
            j += 1;
        }
    }
    out
}

fn describe(target: &Target) -> String {
    let switches = Target::SWITCHES.iter().map(|at| match target.get(*at) {
        0 => "-",
        _ => Target::NAMES[*at],
    });
    format!("; CPU: {}\n", switches.collect::<Vec<_>>().join(" "))
}

fn path(kind: PathKind, form: Form, target: &Target, instance: &Instance) -> Slot {
    let mut out = [0; layout::PATH_SLOT];
    let facts = facts_of(form);
    let code = template::emit(kind, &facts, instance, target, PATH_BASE, &mut out).expect("a path");
    let kernel = match form {
        Form::Pool => "",
        Form::Places => ", before 7.3",
    };
    let head = format!(
        "; {kind:?} for descriptor {}{kernel}\n{}",
        instance.fd,
        describe(target)
    );
    Slot {
        head,
        bytes: out.to_vec(),
        base: PATH_BASE,
        code_from: 16,
        entries: vec![code.entry],
    }
}

/// The exit routine of a kind.
fn routine(kind: PathKind, target: &Target) -> Slot {
    let mut out = [0; layout::EXIT_ROUTINE];
    let made = exits::emit_routine(Profile::Kernel, kind, &facts(), target, EXIT, &mut out)
        .expect("a routine");
    let exits: Vec<_> = kind
        .exits_on(target)
        .iter()
        .zip(0..)
        .map(|(exit, number)| format!("; {number} {}: {:?}\n", exit.reason.name(), exit.undo))
        .collect();
    Slot {
        head: format!(
            "; exits of {kind:?}\n{}{}",
            describe(target),
            exits.concat()
        ),
        bytes: out.to_vec(),
        base: EXIT,
        code_from: 0,
        entries: vec![made.entries.entered, made.entries.held],
    }
}

fn vector(name: &str, target: &Target, plan: &VectorPlan<'_>) -> Slot {
    let mut out = [0; layout::VECTOR_SLOT];
    let stack = instance().kernel_stack;
    dispatch::emit(plan, &facts(), target, VECTOR_BASE, stack, &mut out).expect("a vector");
    Slot {
        head: format!("; vector: {name}\n{}", describe(target)),
        bytes: out.to_vec(),
        base: VECTOR_BASE,
        code_from: 0,
        entries: vec![VECTOR_BASE],
    }
}

/// What the golden files show.
fn cases() -> [(&'static str, Slot); 12] {
    let plain = target();
    let other = Target {
        smap: false,
        verw: true,
        erms: false,
        ..plain
    };
    let pair = [
        Entry {
            fd: 4,
            target: Some(PATH_BASE + 0x37),
        },
        Entry {
            fd: 1,
            target: None,
        },
    ];
    let many: Vec<Entry> = (0..9)
        .map(|fd| Entry {
            fd,
            target: (fd % 3 == 0).then(|| PATH_BASE + u64::from(fd) * layout::PATH_SLOT as u64),
        })
        .collect();
    let crowd: Vec<Entry> = (0..24)
        .map(|i| Entry {
            fd: 2 * i + 1,
            target: (i == 9).then_some(PATH_BASE + 0x37),
        })
        .collect();
    let ibt = Target { ibt: true, ..plain };
    [
        (
            "pipe_write.txt",
            path(PathKind::PipeWrite, Form::Pool, &plain, &instance()),
        ),
        (
            "pipe_write_before_7_3.txt",
            path(PathKind::PipeWrite, Form::Places, &plain, &instance()),
        ),
        (
            "pipe_write_other_cpu.txt",
            path(PathKind::PipeWrite, Form::Pool, &other, &instance()),
        ),
        (
            "pipe_read.txt",
            path(PathKind::PipeRead, Form::Pool, &plain, &instance()),
        ),
        (
            "pipe_read_before_7_3.txt",
            path(PathKind::PipeRead, Form::Places, &plain, &instance()),
        ),
        (
            "pipe_read_other_cpu.txt",
            path(PathKind::PipeRead, Form::Pool, &other, &instance()),
        ),
        ("pipe_write_exits.txt", routine(PathKind::PipeWrite, &plain)),
        ("pipe_read_exits.txt", routine(PathKind::PipeRead, &plain)),
        (
            "vector_new.txt",
            vector(
                "nothing known",
                &ibt,
                &VectorPlan {
                    report: true,
                    budget: BUDGET,
                    write: &[],
                    read: &[],
                },
            ),
        ),
        (
            "vector_pair.txt",
            vector(
                "one pipe",
                &plain,
                &VectorPlan {
                    report: true,
                    budget: BUDGET,
                    write: &pair,
                    read: &pair[..1],
                },
            ),
        ),
        (
            "vector_crowd.txt",
            vector(
                "very many descriptors",
                &plain,
                &VectorPlan {
                    report: true,
                    budget: BUDGET,
                    write: &crowd,
                    read: &many,
                },
            ),
        ),
        (
            "vector_many.txt",
            vector(
                "many descriptors",
                &plain,
                &VectorPlan {
                    report: true,
                    budget: BUDGET,
                    write: &many,
                    read: &[],
                },
            ),
        ),
    ]
}

#[test]
fn code_is_as_it_was_reviewed() {
    let wrong: Vec<String> = cases()
        .iter()
        .filter_map(|(name, slot)| compare(name, &slot.text()).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn differences_name_both_lines() {
    assert_eq!(difference("a\nb\nc\n", "a\nx\nc\nd\n"), "-b\n+x\n+d\n");
    assert_eq!(difference("a\n", "a\n"), "");
}
