//! `docs/ABI/testing/sysfs-kernel-synthjit` says in the form of the kernel's `Documentation/ABI` what the table of `docs/sysfs.md`
//! says, and is made from it: `SYNTH_BLESS=1` writes it anew. A guest test holds the table against the files that there are.

use std::fmt::Write;

const TABLE: &str = include_str!("../../../../docs/sysfs.md");
const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/ABI/testing/sysfs-kernel-synthjit"
);
/// Columns of a description, two tabs apart.
const WIDTH: usize = 64;

/// A file of the table.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    names: Vec<String>,
    rights: String,
    meaning: String,
}

/// The table's rows.
fn entries(document: &str) -> Vec<Entry> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let [names, rights, meaning] = cells[..] else {
            panic!("{line}: a row has three cells");
        };
        Some(Entry {
            names: names.split('`').step_by(2).map(str::to_owned).collect(),
            rights: rights.to_owned(),
            meaning: meaning.trim_end_matches(" |").replace('`', ""),
        })
    };
    document.lines().filter_map(row).collect()
}

/// A sentence of the table as one of the description.
fn sentence(meaning: &str) -> String {
    let mut letters = meaning.chars();
    let first: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// What the rights of the table mean.
fn access(rights: &str) -> String {
    let (words, mode) = rights.split_once(' ').expect("two words");
    let may = match words {
        "ro" => "Read-only",
        "wo" => "Write-only",
        "rw" => "Read and write",
        other => panic!("{other} are no rights"),
    };
    format!("{may}, mode {mode}.")
}

fn wrapped(text: &str) -> String {
    let mut out = String::from("\t\t");
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out += "\n\t\t";
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.len();
    }
    out
}

/// The text of the file.
fn abi(document: &str) -> String {
    let mut out = String::new();
    for entry in entries(document) {
        if !out.is_empty() {
            out.push('\n');
        }
        for name in entry.names {
            let name = name
                .replace("TGID", "<tgid>")
                .replace("FD.CALL", "<fd>.<call>");
            let _ = writeln!(out, "What:\t\t/sys/kernel/synthjit/{name}");
        }
        out += "Date:\t\tNov 2026\nKernelVersion:\t7.2\nContact:\tsynthjit maintainers\nDescription:\n";
        let text = format!("{} {}", sentence(&entry.meaning), access(&entry.rights));
        out += &wrapped(&text);
        out.push('\n');
    }
    out
}

#[test]
fn the_abi_file_says_what_the_table_says() {
    let text = abi(TABLE);
    assert!(
        text.matches("What:").count() >= 20,
        "the table is not found"
    );
    if std::env::var_os("SYNTH_BLESS").is_some() {
        std::fs::write(FILE, &text).expect("docs can be written");
    }
    let there = std::fs::read_to_string(FILE).expect("the file is there");
    assert_eq!(there, text, "SYNTH_BLESS=1 writes {FILE} anew");
}

#[test]
fn a_row_becomes_an_entry() {
    let row = "| `attach`, `detach` | wo 0200 | a process number (`TGID`) |\n| `processes/TGID/fds/FD.CALL/spec` | ro 0444 | it |";
    assert_eq!(
        abi(row),
        "What:\t\t/sys/kernel/synthjit/attach\nWhat:\t\t/sys/kernel/synthjit/detach\nDate:\t\tNov 2026\nKernelVersion:\t7.2\n\
         Contact:\tsynthjit maintainers\nDescription:\n\t\tA process number (TGID). Write-only, mode 0200.\n\n\
         What:\t\t/sys/kernel/synthjit/processes/<tgid>/fds/<fd>.<call>/spec\nDate:\t\tNov 2026\nKernelVersion:\t7.2\n\
         Contact:\tsynthjit maintainers\nDescription:\n\t\tIt. Read-only, mode 0444.\n"
    );
}
