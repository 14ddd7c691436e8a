//! The tables of the matrix, for the terminal and for `docs/matrix.md`.

use std::collections::BTreeMap;

use crate::matrix::{Cell, Group, Matrix};

/// Longest text of the column of options; longer ones go on in the next row.
const OPTIONS: usize = 30;
/// Columns of a line of prose.
const WIDTH: usize = 100;
const HEAD: [&str; 5] = ["Linux", "CPU", "CPUs", "options", "answer"];

/// What cells answered, by their numbers.
pub type Answers = BTreeMap<usize, String>;
/// Names the kernel of a role.
pub type Series<'a> = &'a dyn Fn(&str) -> String;

/// What tells a row from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The group's.
    pub title: String,
    pub linux: String,
    pub cpu: String,
    pub cpus: String,
    pub options: String,
}

fn key(group: &Group, cell: Cell, series: Series) -> Key {
    Key {
        title: group.title.clone(),
        linux: series(&cell.kernel),
        cpu: cell.cpu,
        cpus: match group.threads {
            1 => cell.smp.to_string(),
            threads => format!("{}/{threads}", cell.smp),
        },
        options: match cell.modules.last() {
            Some(module) => format!("{} {module} loaded", cell.options)
                .trim_start()
                .to_owned(),
            None => cell.options,
        },
    }
}

/// Those of all cells, in order.
pub fn keys(matrix: &Matrix, series: Series) -> Vec<Key> {
    let keys = |group| {
        let cells = Group::cells(group).into_iter();
        cells.map(move |cell| key(group, cell, series))
    };
    matrix.group.iter().flat_map(keys).collect()
}

/// The tables of all groups that have cells in `answers`.
pub fn tables(matrix: &Matrix, answers: &Answers, series: Series) -> String {
    let mut cells = keys(matrix, series).into_iter().enumerate();
    let mut tables = Vec::new();
    for group in &matrix.group {
        let own = cells.by_ref().take(group.cells().len());
        let rows: Vec<[String; 5]> = own
            .filter_map(|(number, key)| Some(rows_of(key, answers.get(&number)?)))
            .flatten()
            .collect();
        if !rows.is_empty() {
            tables.push((group.title.as_str(), rows, notes(group)));
        }
    }
    let mut widths = HEAD.map(str::len);
    for row in tables.iter().flat_map(|(_, rows, _)| rows) {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut text = String::new();
    for (title, rows, notes) in &tables {
        text.push_str(&format!("### {title}\n\n"));
        text.push_str(&line(&HEAD.map(str::to_owned), &widths));
        text.push_str(&line(&widths.map(|width| "-".repeat(width)), &widths));
        rows.iter()
            .for_each(|row| text.push_str(&line(row, &widths)));
        text.push('\n');
        if !notes.is_empty() {
            text.push_str(&wrap(notes, WIDTH).join("\n"));
            text.push_str("\n\n");
        }
    }
    text
}

/// A row, and more of them for more options than fit.
fn rows_of(key: Key, answer: &str) -> Vec<[String; 5]> {
    let mut options = wrap(&key.options, OPTIONS).into_iter();
    let first = options.next().unwrap_or_default();
    let mut rows = vec![[key.linux, key.cpu, key.cpus, first, answer.to_owned()]];
    rows.extend(options.map(|more| {
        let mut row: [String; 5] = Default::default();
        row[3] = more;
        row
    }));
    rows
}

/// What was seen on each machine of a group, and what on none.
fn notes(group: &Group) -> String {
    let facts = |facts: &BTreeMap<String, String>| {
        let text = facts
            .iter()
            .map(|(fact, text)| format!("{fact}: {}", text.trim()));
        text.collect::<Vec<_>>().join("; ")
    };
    let mut notes = Vec::new();
    if let Some(online) = group.online {
        notes.push(format!("CPUs that are on: {online}."));
    }
    if !group.shows.is_empty() {
        notes.push(format!("Seen on each: {}.", facts(&group.shows)));
    }
    if !group.lacks.is_empty() {
        notes.push(format!("On none: {}.", facts(&group.lacks)));
    }
    notes.join(" ")
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
pub fn page(matrix: &Matrix, answers: &Answers, series: Series) -> String {
    let mut text = tables(matrix, answers, series) + "### CPU names\n\n";
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::matrix::{Answer, Reasons};
    use crate::project::Project;
    use std::path::{Path, PathBuf};

    fn top() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    pub fn project() -> (Project, Matrix) {
        let top = top();
        let reasons = Reasons::load(&top.join("specs/reasons.toml")).unwrap();
        let matrix = Matrix::load(&top.join("qemu/matrix.toml"), &reasons).unwrap();
        (Project { top }, matrix)
    }

    /// The first two numbers of the release that `qemu/kernels` has for a role.
    pub fn series(role: &str) -> String {
        let list = std::fs::read_to_string(top().join("qemu/kernels")).unwrap();
        let release = list.lines().find_map(|line| line.strip_prefix(role));
        let numbers = release.unwrap().trim().split('.').take(2);
        numbers.collect::<Vec<_>>().join(".")
    }

    /// What every cell must answer.
    pub fn all_right(matrix: &Matrix) -> Answers {
        let answers = matrix.group.iter().flat_map(|group| {
            let answer = match &group.answer {
                Answer::Works => "works".to_owned(),
                Answer::Refuses(reason) => format!("refuses {reason}"),
                Answer::Stock(reason) => format!("stock {reason}"),
                Answer::Rejected(_) => "rejected".to_owned(),
            };
            vec![answer; group.cells().len()]
        });
        answers.enumerate().collect()
    }

    #[test]
    fn the_tables_are_clear_at_100_columns() {
        let (_, matrix) = project();
        for line in tables(&matrix, &all_right(&matrix), &series).lines() {
            assert!(
                line.chars().count() <= WIDTH,
                "{} columns: {line}",
                line.chars().count()
            );
        }
    }

    #[test]
    fn no_two_rows_are_for_one_key() {
        let (_, matrix) = project();
        let mut keys = keys(&matrix, &series);
        keys.sort();
        assert!(keys.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("longer aa", 3), ["longer", "aa"]);
        assert!(wrap("", 3).is_empty());
    }
}
