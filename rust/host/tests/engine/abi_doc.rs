//! The files of `docs/ABI/testing` say in the form of the kernel's `Documentation/ABI` what the tables of `docs/sysfs.md` say, and are
//! made from them: `SYNTH_BLESS=1` writes them anew. A guest test holds the tables against the files that there are.

use std::fmt::Write;

const TABLE: &str = include_str!("../../../../docs/sysfs.md");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ABI/testing");
/// Where files are whose rows give no whole path.
const SYSFS: &str = "/sys/kernel/synthjit/";
/// What each file of the folder is about.
const FILES: [(&str, &str); 2] = [
    ("sysfs-kernel-synthjit", SYSFS),
    ("debugfs-synthjit", "/sys/kernel/debug/synthjit/"),
];
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

/// The text of a file: the rows about what is below `folder`.
fn abi(document: &str, folder: &str) -> String {
    let mut out = String::new();
    for entry in entries(document) {
        let names = entry.names.iter().map(|name| match name.starts_with('/') {
            true => name.clone(),
            false => format!("{SYSFS}{name}"),
        });
        let names: Vec<String> = names.filter(|name| name.starts_with(folder)).collect();
        if names.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        for name in names {
            let name = name
                .replace("TGID", "<tgid>")
                .replace("KIND", "<kind>")
                .replace("FD.CALL", "<fd>.<call>");
            let _ = writeln!(out, "What:\t\t{name}");
        }
        out += "Date:\t\tNov 2026\nKernelVersion:\t7.2\nContact:\tsynthjit maintainers\nDescription:\n";
        let text = format!("{} {}", sentence(&entry.meaning), access(&entry.rights));
        out += &wrapped(&text);
        out.push('\n');
    }
    out
}

#[test]
fn the_abi_files_say_what_the_tables_say() {
    let mut told = 0;
    for (name, folder) in FILES {
        let text = abi(TABLE, folder);
        told += text.matches("What:").count();
        let file = format!("{FOLDER}/{name}");
        if std::env::var_os("SYNTH_BLESS").is_some() {
            std::fs::write(&file, &text).expect("docs can be written");
        }
        let there = std::fs::read_to_string(&file).expect("the file is there");
        assert_eq!(there, text, "SYNTH_BLESS=1 writes {file} anew");
    }
    let rows: usize = entries(TABLE).iter().map(|entry| entry.names.len()).sum();
    assert!(
        told == rows && rows >= 25,
        "{told} of {rows} files are told"
    );
}

#[test]
fn a_row_becomes_an_entry() {
    let row = "| `attach`, `detach` | wo 0200 | a process number (`TGID`) |\n| `processes/TGID/fds/FD.CALL/spec` | ro 0444 | it |\n\
               | `/sys/kernel/debug/synthjit/list` | ro 0400 | them |";
    assert_eq!(
        abi(row, SYSFS),
        "What:\t\t/sys/kernel/synthjit/attach\nWhat:\t\t/sys/kernel/synthjit/detach\nDate:\t\tNov 2026\nKernelVersion:\t7.2\n\
         Contact:\tsynthjit maintainers\nDescription:\n\t\tA process number (TGID). Write-only, mode 0200.\n\n\
         What:\t\t/sys/kernel/synthjit/processes/<tgid>/fds/<fd>.<call>/spec\nDate:\t\tNov 2026\nKernelVersion:\t7.2\n\
         Contact:\tsynthjit maintainers\nDescription:\n\t\tIt. Read-only, mode 0444.\n"
    );
    let other = abi(row, "/sys/kernel/debug/synthjit/");
    assert!(
        other.starts_with("What:\t\t/sys/kernel/debug/synthjit/list\n")
            && other.matches("What:").count() == 1,
        "{other}"
    );
}
