//! Reads KTAP, the text in which kernel tests report (Documentation/dev-tools/ktap.rst in the kernel source).
//!
//! Only leaves are counted: a result line that follows indented results sums these up. A sum that is worse than its parts,
//! a plan that is not kept and a number out of order are failures of their own, so a test that dies silently is seen.

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

/// One counted result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// Names of the enclosing tests and its own, joined by `/`.
    pub name: String,
    pub outcome: Outcome,
    /// The diagnostic lines since the result before, for people to read.
    pub notes: Vec<String>,
}

/// A nesting level: results seen so far at one indentation.
struct Level {
    indent: usize,
    plan: Option<usize>,
    seen: usize,
    /// Index into the results where this level began.
    first: usize,
}

/// Reads the lines of a whole run. Lines that are no KTAP are taken as notes.
///
/// Returns nothing if no KTAP header was there.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Vec<Test>> {
    let mut tests: Vec<Test> = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for line in lines {
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let text = text.trim_end();
        if text.starts_with("KTAP version") {
            levels.push(Level {
                indent,
                plan: None,
                seen: 0,
                first: tests.len(),
            });
        } else if let (Some(plan), Some(level)) = (plan(text), levels.last_mut()) {
            level.plan = Some(plan);
        } else if let (Some(result), false) = (result(text), levels.is_empty()) {
            // A result further left ends the levels to the right of it: it is their sum.
            let mut children = None;
            while levels.len() > 1 && levels.last().is_some_and(|level| level.indent > indent) {
                let level = levels.pop()?;
                missing(&level, &mut tests, result.name);
                children = Some(level.first);
            }
            let level = levels.last_mut()?;
            level.seen += 1;
            let in_order = result.number == level.seen;
            let parts = children
                .map(|first| &mut tests[first..])
                .unwrap_or_default();
            for test in parts.iter_mut() {
                test.name = format!("{}/{}", result.name, test.name);
            }
            let hidden_failure = result.outcome == Outcome::Failed
                && parts.iter().all(|test| test.outcome != Outcome::Failed);
            if children.is_none() || parts.is_empty() || hidden_failure {
                tests.push(Test {
                    name: result.name.to_owned(),
                    outcome: result.outcome,
                    notes: std::mem::take(&mut notes),
                });
            }
            if !in_order {
                let name = format!(
                    "{} (its number is {}, expected {})",
                    result.name, result.number, level.seen
                );
                tests.push(Test {
                    name,
                    outcome: Outcome::Failed,
                    notes: Vec::new(),
                });
            }
        } else if !text.is_empty() && !levels.is_empty() {
            notes.push(text.trim_start_matches("# ").to_owned());
        }
    }
    let ended = levels.first().map(|level| level.plan == Some(level.seen))?;
    while let Some(level) = levels.pop() {
        missing(&level, &mut tests, "the run");
    }
    // What came after the last result explains a run that ended early.
    if let (Some(last), false) = (tests.last_mut(), ended) {
        last.notes.append(&mut notes);
    }
    Some(tests)
}

/// Adds a failure if a level's plan was not kept.
fn missing(level: &Level, tests: &mut Vec<Test>, name: &str) {
    let name = match level.plan {
        Some(plan) if plan == level.seen => return,
        Some(plan) => format!("{name} (planned {plan}, {} reported)", level.seen),
        None => format!("{name} (no plan)"),
    };
    tests.push(Test {
        name,
        outcome: Outcome::Failed,
        notes: Vec::new(),
    });
}

/// `1..N`
fn plan(text: &str) -> Option<usize> {
    let count = text.strip_prefix("1..")?;
    count.split_whitespace().next()?.parse().ok()
}

struct ResultLine<'a> {
    number: usize,
    name: &'a str,
    outcome: Outcome,
}

/// `ok N [- name] [# DIRECTIVE text]`, or the same with `not ok`.
fn result(text: &str) -> Option<ResultLine<'_>> {
    let (passed, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = number.parse().ok()?;
    let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let name = name.trim().trim_start_matches("- ").trim();
    let directive = directive.trim();
    let outcome = match directive.strip_prefix("SKIP") {
        Some(reason) => Outcome::Skipped(reason.trim().to_owned()),
        None if passed => Outcome::Passed,
        None => Outcome::Failed,
    };
    Some(ResultLine {
        number,
        name: if name.is_empty() { "unnamed" } else { name },
        outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(text: &str) -> Vec<(String, char)> {
        let tests = parse(text.lines()).expect("a KTAP header");
        tests
            .into_iter()
            .map(|test| {
                let letter = match test.outcome {
                    Outcome::Passed => 'p',
                    Outcome::Failed => 'f',
                    Outcome::Skipped(_) => 's',
                };
                (test.name, letter)
            })
            .collect()
    }

    fn expect(text: &str, wanted: &[(&str, char)]) {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, letter)| (name.to_string(), *letter))
            .collect();
        assert_eq!(short(text), wanted);
    }

    #[test]
    fn flat() {
        expect(
            "noise\nKTAP version 1\n1..3\n# a note\nok 1 one\nnot ok 2 - two\nok 3 three # SKIP not here\n",
            &[("one", 'p'), ("two", 'f'), ("three", 's')],
        );
    }

    #[test]
    fn nested_counts_leaves() {
        expect(
            "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n  ok 1 a\n  not ok 2 b\nnot ok 1 outer\nok 2 plain\n",
            &[("outer/a", 'p'), ("outer/b", 'f'), ("plain", 'p')],
        );
    }

    #[test]
    fn nested_twice() {
        expect(
            "KTAP version 1\n1..1\n    KTAP version 1\n    1..1\n        KTAP version 1\n        1..1\n        ok 1 c\n    ok 1 b\nok 1 a\n",
            &[("a/b/c", 'p')],
        );
    }

    #[test]
    fn a_sum_worse_than_its_parts_fails() {
        expect(
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 a\nnot ok 1 outer\n",
            &[("outer/a", 'p'), ("outer", 'f')],
        );
    }

    #[test]
    fn a_plan_not_kept_fails() {
        expect(
            "KTAP version 1\n1..3\nok 1 a\n",
            &[("a", 'p'), ("the run (planned 3, 1 reported)", 'f')],
        );
        expect("KTAP version 1\n", &[("the run (no plan)", 'f')]);
        expect(
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\nok 1 outer\n",
            &[
                ("outer/a", 'p'),
                ("outer/outer (planned 2, 1 reported)", 'f'),
            ],
        );
    }

    #[test]
    fn a_run_that_dies_in_a_subtest_fails() {
        let tests = short("KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\n");
        assert_eq!(
            tests.iter().filter(|(_, letter)| *letter == 'f').count(),
            2,
            "{tests:?}"
        );
    }

    #[test]
    fn numbers_out_of_order_fail() {
        assert_eq!(short("KTAP version 1\n1..2\nok 1 a\nok 3 b\n")[2].1, 'f');
    }

    #[test]
    fn an_empty_subtest_is_counted_itself() {
        expect(
            "KTAP version 1\n1..1\n  KTAP version 1\n  1..0\nok 1 outer # SKIP nothing to do\n",
            &[("outer", 's')],
        );
    }

    #[test]
    fn notes_belong_to_the_next_result() {
        let tests =
            parse("KTAP version 1\n1..2\n# why\n# twice\nnot ok 1 a\nok 2 b\n".lines()).unwrap();
        assert_eq!(tests[0].notes, ["why", "twice"]);
        assert!(tests[1].notes.is_empty());
    }

    #[test]
    fn no_header_is_no_ktap() {
        assert_eq!(parse("ok 1 a\n1..1\n".lines()), None);
    }
}
