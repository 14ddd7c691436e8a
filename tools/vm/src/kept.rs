//! The tables of the matrix as `docs/matrix.md` keeps them, like a golden file: compared with what was seen, or replaced by it.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};

use crate::matrix::Matrix;
use crate::project::Project;
use crate::table::{self, Answers, Key, Series};

const KEPT: &str = "docs/matrix.md";
/// Between these lines is what a run writes.
const BEGIN: &str = "<!-- make test-matrix writes from here -->";
const END: &str = "<!-- to here -->";
/// The answer of a machine that never was booted.
pub const NOT_BOOTED: &str = "not booted";

/// Compares what was `seen` with the kept tables, or replaces their answers if `SYNTH_BLESS=1` is set and all of it was `right`.
/// True if they are equal now. Machines that were not booted keep the answer that they have there.
pub fn keep(
    project: &Project,
    matrix: &Matrix,
    seen: &Answers,
    series: Series,
    right: bool,
) -> Result<bool> {
    keep_or(project, matrix, seen, series, right, blessed())
}

/// Whether what was seen is to replace what is kept.
pub fn blessed() -> bool {
    std::env::var_os("SYNTH_BLESS").is_some_and(|value| value == "1")
}

/// A text in three parts: before the first mark, between both, and behind the second.
pub fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<(&'t str, &'t str, &'t str)> {
    let (before, rest) = text.split_once(begin)?;
    let (page, after) = rest.split_once(end)?;
    Some((before, page, after))
}

fn keep_or(
    project: &Project,
    matrix: &Matrix,
    seen: &Answers,
    series: Series,
    right: bool,
    bless: bool,
) -> Result<bool> {
    let path = project.path(KEPT);
    let kept = std::fs::read_to_string(&path).with_context(|| format!("cannot read {KEPT}"))?;
    let new = renewed(&kept, matrix, seen, series)?;
    if new == kept {
        println!("the table is the one in {KEPT}");
        return Ok(true);
    }
    if bless && right {
        std::fs::write(&path, new)?;
        println!("{KEPT} is replaced");
        return Ok(true);
    }
    match bless {
        true => println!("{KEPT} stays as it is: cells failed"),
        false => println!("the table differs from {KEPT} (SYNTH_BLESS=1 accepts the change):"),
    }
    print!("{}", difference(&kept, &new));
    Ok(false)
}

/// The file with the tables of this matrix between the marks.
fn renewed(kept: &str, matrix: &Matrix, seen: &Answers, series: Series) -> Result<String> {
    let Some((before, page, after)) = between(kept, BEGIN, END) else {
        bail!("{KEPT} lacks the lines {BEGIN:?} and {END:?}");
    };
    let old = answers(page);
    let mut all = seen.clone();
    for (number, key) in table::keys(matrix, series).into_iter().enumerate() {
        let old = old.get(&key).map_or(NOT_BOOTED, String::as_str);
        all.entry(number).or_insert_with(|| old.to_owned());
    }
    let page = table::page(matrix, &all, series);
    Ok(format!("{before}{BEGIN}\n\n{page}\n{END}{after}"))
}

/// The answers in the tables of a page.
fn answers(page: &str) -> BTreeMap<Key, String> {
    let mut found: Vec<(Key, String)> = Vec::new();
    let mut title = "";
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("### ") {
            title = text;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells[..] {
            // A row goes on with more options.
            ["", "", "", "", more, "", ""] => {
                if let Some((key, _)) = found.last_mut() {
                    key.options = format!("{} {more}", key.options);
                }
            }
            ["", linux, cpu, cpus, options, answer, ""] => {
                let key = Key {
                    title: title.to_owned(),
                    linux: linux.to_owned(),
                    cpu: cpu.to_owned(),
                    cpus: cpus.to_owned(),
                    options: options.to_owned(),
                };
                found.push((key, answer.to_owned()));
            }
            _ => {}
        }
    }
    found.into_iter().collect()
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
    use crate::table::tests::{all_right, project, series};

    fn kept() -> String {
        std::fs::read_to_string(project().0.path(KEPT)).unwrap()
    }

    fn empty() -> String {
        format!("a\n{BEGIN}\nold\n{END}\nb\n")
    }

    /// A machine, or an answer, that was changed in `qemu/matrix.toml` and not booted since is no longer in the table.
    #[test]
    fn the_kept_table_is_that_of_the_projects_matrix() {
        let (_, matrix) = project();
        let (kept, right) = (kept(), all_right(&matrix));
        let right = renewed(&kept, &matrix, &right, &series).unwrap();
        assert!(
            kept == right,
            "SYNTH_BLESS=1 make test-matrix is to be run:\n{}",
            difference(&kept, &right)
        );
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let (_, matrix) = project();
        let new = renewed(&empty(), &matrix, &all_right(&matrix), &series).unwrap();
        assert!(new.starts_with(&format!("a\n{BEGIN}\n\n### ")));
        assert!(new.ends_with(&format!("\n\n{END}\nb\n")) && !new.contains("old"));
        assert!(renewed("nothing", &matrix, &Answers::new(), &series).is_err());
        assert_eq!(difference("a\nb\n", "a\nc\n"), "    - b\n    + c\n");
    }

    #[test]
    fn what_was_not_booted_keeps_its_answer() {
        let (_, matrix) = project();
        let right = all_right(&matrix);
        let all = renewed(&empty(), &matrix, &right, &series).unwrap();
        for number in (0..right.len()).step_by(7) {
            let one = |answer: &str| Answers::from([(number, answer.to_owned())]);
            let same = renewed(&all, &matrix, &one(&right[&number]), &series).unwrap();
            assert!(all == same, "machine {number}");
            let other = renewed(&all, &matrix, &one("other"), &series).unwrap();
            assert_eq!(other.matches("| other ").count(), 1, "machine {number}");
            let back = renewed(&other, &matrix, &one(&right[&number]), &series).unwrap();
            assert!(all == back, "machine {number}");
        }
        let none = renewed(&empty(), &matrix, &Answers::new(), &series).unwrap();
        assert_eq!(none.matches("| not booted ").count(), right.len());
    }

    #[test]
    fn only_a_right_table_is_kept_and_another_is_told() {
        let (_, matrix) = project();
        let top = std::env::temp_dir().join(format!("synthjit-kept-{}", std::process::id()));
        std::fs::create_dir_all(top.join("docs")).unwrap();
        let (file, project) = (top.join(KEPT), Project { top: top.clone() });
        let (right, mut other) = (all_right(&matrix), all_right(&matrix));
        other.insert(3, "other".to_owned());
        std::fs::write(&file, empty()).unwrap();
        let keep = |seen: &Answers, right, bless| {
            keep_or(&project, &matrix, seen, &series, right, bless).unwrap()
        };
        assert!(!keep(&right, false, true) && !keep(&right, true, false));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), empty());
        assert!(keep(&right, true, true) && keep(&right, true, false));
        assert!(!keep(&other, true, false));
        std::fs::remove_dir_all(top).unwrap();
    }
}
