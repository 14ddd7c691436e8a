//! The table of the matrix, for the terminal and for `docs/matrix.md`, where it is kept like a golden file.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

use crate::cells::Seen;
use crate::matrix::Matrix;
use crate::project::Project;

const KEPT: &str = "docs/matrix.md";
/// Between these lines is what a run writes.
const BEGIN: &str = "<!-- make test-matrix writes from here -->";
const END: &str = "<!-- to here -->";

/// Longest text of the column of options; longer ones go on in the next row.
const OPTIONS: usize = 30;
/// Columns of a line of prose.
const WIDTH: usize = 100;
const HEAD: [&str; 5] = ["Linux", "CPU", "CPUs", "options", "answer"];

/// The tables of all groups that have cells in `seen`, whose keys are the cells' numbers. `series` names a role's kernel.
pub fn rows(
    matrix: &Matrix,
    seen: &BTreeMap<usize, Seen>,
    series: &dyn Fn(&str) -> String,
) -> String {
    let mut number = 0;
    let mut tables = Vec::new();
    for group in &matrix.group {
        let mut rows: Vec<[String; 5]> = Vec::new();
        for cell in group.cells() {
            if let Some(seen) = seen.get(&number) {
                let cpus = match group.threads {
                    1 => cell.smp.to_string(),
                    threads => format!("{}/{threads}", cell.smp),
                };
                let mut options = wrap(&cell.options, OPTIONS).into_iter();
                let first = options.next().unwrap_or_default();
                rows.push([
                    series(&cell.kernel),
                    cell.cpu,
                    cpus,
                    first,
                    seen.answer.clone(),
                ]);
                let more = options.map(|text| {
                    [
                        String::new(),
                        String::new(),
                        String::new(),
                        text,
                        String::new(),
                    ]
                });
                rows.extend(more);
            }
            number += 1;
        }
        if !rows.is_empty() {
            let facts = |facts: &BTreeMap<String, String>| {
                let text = facts
                    .iter()
                    .map(|(fact, text)| format!("{fact}: {}", text.trim()));
                text.collect::<Vec<_>>().join("; ")
            };
            let mut notes = Vec::new();
            if !group.shows.is_empty() {
                notes.push(format!("Seen on each: {}.", facts(&group.shows)));
            }
            if !group.lacks.is_empty() {
                notes.push(format!("On none: {}.", facts(&group.lacks)));
            }
            tables.push((group.title.as_str(), rows, notes.join(" ")));
        }
    }
    let mut widths = HEAD.map(str::len);
    for row in tables.iter().flat_map(|(_, rows, _)| rows) {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut text = String::new();
    for (title, rows, note) in &tables {
        text.push_str(&format!("### {title}\n\n"));
        text.push_str(&line(&HEAD.map(str::to_owned), &widths));
        text.push_str(&line(&widths.map(|width| "-".repeat(width)), &widths));
        rows.iter()
            .for_each(|row| text.push_str(&line(row, &widths)));
        text.push('\n');
        if !note.is_empty() {
            text.push_str(&wrap(note, WIDTH).join("\n"));
            text.push_str("\n\n");
        }
    }
    text
}

fn line(row: &[String; 5], widths: &[usize; 5]) -> String {
    let cells = row
        .iter()
        .zip(widths)
        .map(|(text, width)| format!(" {text:width$} "));
    format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
}

/// Breaks a text at spaces. A word that is too long stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What the file keeps: the tables, what the CPUs' names stand for, what is not shown.
fn page(matrix: &Matrix, rows: &str) -> String {
    let mut text = format!("{rows}### CPU names\n\n");
    for (name, model) in &matrix.cpus {
        text.push_str(&format!("- {name}: `{model}`\n"));
    }
    text.push_str("\n### Not shown\n\n");
    for entry in &matrix.not_shown {
        let item = format!("- `{}`: {}", entry.what, entry.why);
        text.push_str(&wrap(&item, WIDTH).join("\n  "));
        text.push('\n');
    }
    text
}

/// Compares with the kept table, or replaces it if `SYNTH_BLESS=1` is set and all cells were `right`. True if they are equal
/// now.
pub fn keep(project: &Project, matrix: &Matrix, rows: &str, right: bool) -> Result<bool> {
    let path = project.path(KEPT);
    let kept = std::fs::read_to_string(&path).with_context(|| format!("cannot read {KEPT}"))?;
    let new = replaced(&kept, &page(matrix, rows))?;
    if new == kept {
        println!("the table is the one in {KEPT}");
        return Ok(true);
    }
    if std::env::var_os("SYNTH_BLESS").is_some_and(|value| value == "1") {
        if !right {
            println!("{KEPT} stays as it is: cells failed");
            return Ok(false);
        }
        std::fs::write(&path, new)?;
        println!("{KEPT} is replaced");
        return Ok(true);
    }
    println!("the table differs from {KEPT} (SYNTH_BLESS=1 accepts the change):");
    print!("{}", difference(&kept, &new));
    Ok(false)
}

/// The file with other text between the marks.
fn replaced(kept: &str, page: &str) -> Result<String> {
    let parts = kept
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        bail!("{KEPT} lacks the lines {BEGIN:?} and {END:?}");
    };
    Ok(format!("{before}{BEGIN}\n\n{}\n{END}{after}", page))
}

/// Lines that are in one text only, at most twenty of each.
fn difference(old: &str, new: &str) -> String {
    let only = |mark: char, a: &str, b: &str| {
        let lines = a
            .lines()
            .filter(|line| !b.lines().any(|other| other == *line));
        lines
            .take(20)
            .map(|line| format!("    {mark} {line}\n"))
            .collect::<String>()
    };
    only('-', old, new) + &only('+', new, old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Reasons;
    use std::path::Path;

    fn project() -> (Project, Matrix) {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let reasons = Reasons::load(&top.join("specs/reasons.toml")).unwrap();
        let matrix = Matrix::load(&top.join("qemu/matrix.toml"), &reasons).unwrap();
        (Project { top }, matrix)
    }

    /// The table of a run in which every cell answers as written.
    fn all_right(matrix: &Matrix) -> String {
        use crate::matrix::Answer;
        let answers = matrix.group.iter().flat_map(|group| {
            let answer = match &group.answer {
                Answer::Works => "works".to_owned(),
                Answer::Refuses(reason) => format!("refuses {reason}"),
                Answer::Stock(reason) => format!("stock {reason}"),
                Answer::Rejected(_) => "rejected".to_owned(),
            };
            vec![answer; group.cells().len()]
        });
        let seen = answers.map(|answer| Seen {
            answer,
            right: true,
            not_booted: false,
        });
        let seen = seen.enumerate().collect();
        rows(matrix, &seen, &|role| {
            if role == "run" { "7.2" } else { "7.3" }.to_owned()
        })
    }

    #[test]
    fn the_table_is_clear_at_100_columns() {
        for line in all_right(&project().1).lines() {
            assert!(
                line.chars().count() <= WIDTH,
                "{} columns: {line}",
                line.chars().count()
            );
        }
    }

    #[test]
    fn the_kept_file_has_its_marks_and_no_failure() {
        let (project, _) = project();
        let kept = std::fs::read_to_string(project.path(KEPT)).unwrap();
        assert!(replaced(&kept, "").is_ok());
        assert!(!kept.contains("FAILED"));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let kept = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replaced(&kept, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(replaced(&new, "new\n").unwrap(), new);
        assert!(replaced("nothing", "new").is_err());
        assert_eq!(difference("a\nb\n", "a\nc\n"), "    - b\n    + c\n");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("longer aa", 3), ["longer", "aa"]);
        assert!(wrap("", 3).is_empty());
    }
}
