//! Every command that README.md and the docs tell people to type is run by something, or this fails.
//!
//! - A block of code is fenced and says of what kind it is. `console`: what is typed and what it answers; the guest runs it as it
//!   stands (tests/guest/src/tutorial.rs). `sh`: commands. Other kinds are not for typing.
//! - Commands of `sh` blocks and in the text, `like this`, that begin with one of [`PROGRAMS`] are held against what exists: make
//!   must know what to do for one of its own (`make -n`), and of the others `commands.toml` says which test runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// What people type. A doc that needs another program adds it here.
const PROGRAMS: &[&str] = &[
    "make",
    "synthctl",
    "specc",
    "cargo",
    "perf",
    "trace-cmd",
    "bpftool",
    "apt",
    "dkms",
    "systemctl",
    "insmod",
    "rmmod",
    "echo",
    "cat",
    "cp",
    "diff",
    "guest",
    "build/target/debug/vm",
];

/// Kinds of blocks that nobody types.
const NOT_TYPED: &[&str] = &["text", "toml", "c", "rust", "code", "asm"];

#[derive(Deserialize)]
struct List {
    command: Vec<Entry>,
}

/// A command that is no block of the kind `console`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// How the docs write it, or the words with which they begin.
    says: String,
    /// The file that runs it.
    test: String,
    /// What that file has for it.
    has: String,
}

impl Entry {
    fn is_for(&self, command: &str) -> bool {
        let rest = command.strip_prefix(&self.says);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn entries() -> Vec<Entry> {
    let text = include_str!("commands.toml");
    toml::from_str::<List>(text).unwrap().command
}

/// The texts, by their names from the top folder.
fn docs() -> Vec<(String, String)> {
    let mut names = vec!["README.md".to_owned(), "specs/README.md".to_owned()];
    for entry in fs::read_dir(top().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    let text = |name: String| {
        let text = fs::read_to_string(top().join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(text).collect()
}

/// What a text tells people to type.
#[derive(Debug, Default, PartialEq, Eq)]
struct Typed {
    /// It has blocks that are typed and answered.
    console: bool,
    /// Commands in `sh` blocks and in sentences.
    commands: BTreeSet<String>,
    /// Blocks that do not say what they are.
    unclear: Vec<String>,
}

fn typed(text: &str) -> Typed {
    let mut typed = Typed::default();
    let mut kind: Option<&str> = None;
    let (mut sentences, mut last) = (String::new(), "");
    for line in text.lines() {
        match (kind, line.trim_start().strip_prefix("```")) {
            (None, Some(opened)) => {
                let word = opened.split(' ').next().unwrap_or_default();
                typed.console |= word == "console";
                if word != "console" && word != "sh" && !NOT_TYPED.contains(&word) {
                    typed.unclear.push(line.to_owned());
                }
                kind = Some(word);
            }
            (Some(_), Some(_)) => kind = None,
            (Some("sh"), None) => {
                let line = line.split(" #").next().unwrap_or_default();
                let commands = line.split("&&").map(|part| part.trim().to_owned());
                typed
                    .commands
                    .extend(commands.filter(|part| !part.is_empty()));
            }
            (Some(_), None) => {}
            // Markdown takes four spaces behind an empty line for code too, and nothing says of what kind.
            (None, None) if line.starts_with("    ") && last.is_empty() => {
                typed.unclear.push(line.to_owned());
            }
            (None, None) => sentences.extend([line, " "]),
        }
        last = line;
    }
    let spans = sentences.split('`').skip(1).step_by(2);
    typed
        .commands
        .extend(spans.filter(|span| is_command(span)).map(str::to_owned));
    typed
}

fn is_command(span: &str) -> bool {
    let mut words = span.split(' ').skip_while(|word| is_setting(word));
    let program = words.next().unwrap_or_default();
    // The name alone speaks of a program; make alone is what one types.
    PROGRAMS.contains(&program) && (words.next().is_some() || program == "make")
}

/// `NAME=value` before a command.
fn is_setting(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// Whether make knows what to do, without doing it.
fn make_takes(command: &str) -> bool {
    // By the shell, since a word may be `$(uname -r)`.
    let output = Command::new("sh")
        .args(["-c", &command.replacen("make", "make -n", 1)])
        .current_dir(top())
        .env_remove("MAKEFLAGS")
        .output();
    output.unwrap().status.success()
}

/// Why a command of the docs is run by nobody.
fn wrong(command: &str, entries: &[Entry]) -> Option<String> {
    if let Some(entry) = entries.iter().find(|entry| entry.is_for(command)) {
        let test = fs::read_to_string(top().join(&entry.test)).unwrap_or_default();
        let (file, has) = (&entry.test, &entry.has);
        return (!test.contains(has)).then(|| format!("{file} lacks {has:?} for `{command}`"));
    }
    let program = command.split(' ').find(|word| !is_setting(word));
    match program {
        Some("make") => (!make_takes(command)).then(|| format!("make does not know `{command}`")),
        _ => Some(format!(
            "no test runs `{command}`: see tools/vm/tests/commands.toml"
        )),
    }
}

#[test]
fn every_command_is_run() {
    let entries = entries();
    let mut faults = Vec::new();
    let mut said = BTreeSet::new();
    let guest: String = ["tutorial.rs", "tests/tools/own.rs"]
        .iter()
        .map(|file| fs::read_to_string(top().join("tests/guest/src").join(file)).unwrap())
        .collect();
    for (name, text) in docs() {
        let typed = typed(&text);
        if typed.console && !guest.contains(&format!("/{name}\")")) {
            faults.push(format!("{name}: no guest test runs its console blocks"));
        }
        let unclear = typed.unclear.iter();
        faults.extend(unclear.map(|line| format!("{name}: a block of what kind? {line}")));
        let wrong = typed
            .commands
            .iter()
            .filter_map(|command| wrong(command, &entries));
        faults.extend(wrong.map(|fault| format!("{name}: {fault}")));
        said.extend(typed.commands);
    }
    let old = entries
        .iter()
        .filter(|entry| !said.iter().any(|command| entry.is_for(command)));
    faults.extend(old.map(|entry| format!("commands.toml: no text says `{}`", entry.says)));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn commands_are_found() {
    let text = "a `make demo` and `rep movsb`, `make` by `make\ntest`, `A=1 cargo test`, `perf`\n\n```sh\nmake x && insmod y  # why\n```\n";
    let found = typed(text);
    let commands: Vec<&str> = found.commands.iter().map(String::as_str).collect();
    let all = [
        "A=1 cargo test",
        "insmod y",
        "make",
        "make demo",
        "make test",
        "make x",
    ];
    assert_eq!(commands, all);
    assert!(!found.console && found.unclear.is_empty());
    assert!(typed("```console\n# ls\n```\n").console);
    assert_eq!(typed("a\n\n    ls\n").unclear, ["    ls"]);
    assert_eq!(typed("```\nls\n```\n").unclear, ["```"]);
    assert_eq!(
        typed("- a\n  b\n    c\n```code x\nls\n```\n"),
        Typed::default()
    );
}

#[test]
fn what_nobody_runs_is_told() {
    let entry = |has: &str| Entry {
        says: "perf record -a".to_owned(),
        test: "tools/vm/tests/docs.rs".to_owned(),
        has: has.to_owned(),
    };
    let known = "fn what_nobody_runs_is_told";
    let lacks = ["none", "such"].join(" ");
    assert_eq!(wrong("perf record -a", &[entry(known)]), None);
    assert!(wrong("perf record -a", &[entry(&lacks)])
        .unwrap()
        .contains("lacks"));
    assert!(wrong("perf record -ab", &[entry(known)])
        .unwrap()
        .contains("no test runs"));
    assert_eq!(wrong("make test-host", &[]), None);
    assert!(wrong("make tests-host", &[])
        .unwrap()
        .contains("does not know"));
}
