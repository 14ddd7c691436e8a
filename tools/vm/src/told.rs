//! What a cell told, held against what its group has it answer.

use std::collections::BTreeMap;

use crate::judge::{From, Verdict, VERDICT};
use crate::ktap::{self, Outcome};
use crate::matrix::{Answer, Group, Reasons};
use crate::qemu::Run;

/// What the guest of a cell told.
pub struct Told<'a> {
    facts: BTreeMap<&'a str, &'a str>,
    passed: usize,
    failed: Vec<String>,
}

impl<'a> Told<'a> {
    pub fn of(run: &'a Run) -> Self {
        let fact = |line: &'a str| line.strip_prefix("CELL ")?.split_once(": ");
        let lines = run.guest_lines().filter(|line| !line.starts_with(VERDICT));
        let tests = ktap::parse(lines).unwrap_or_default();
        let passed = tests.iter().filter(|test| test.outcome == Outcome::Passed);
        let failed = tests.iter().filter(|test| test.outcome == Outcome::Failed);
        Told {
            facts: run.guest_lines().filter_map(fact).collect(),
            passed: passed.count(),
            failed: failed
                .map(|test| {
                    let first = test.notes.len().saturating_sub(5);
                    format!("{}: {}", test.name, test.notes[first..].join(" / "))
                })
                .collect(),
        }
    }

    /// The answer in short, with the reason's name.
    pub fn name(&self, reasons: &Reasons) -> String {
        let Some(answer) = self.facts.get("answer") else {
            return "no answer".to_owned();
        };
        match answer.split_once(": ") {
            Some((kind @ ("refuses" | "stock"), text)) => {
                format!("{kind} {}", reasons.name(text).unwrap_or(text))
            }
            Some(("rejected", _)) => "rejected".to_owned(),
            _ => (*answer).to_owned(),
        }
    }

    /// Everything that is not as the group has it; empty if all is well.
    pub fn wrong(&self, group: &Group, reasons: &Reasons, run: &Run) -> Vec<String> {
        let mut wrong = Vec::new();
        let name = self.name(reasons);
        let (wanted, tested) = match &group.answer {
            Answer::Works => ("works".to_owned(), true),
            Answer::Refuses(reason) => (format!("refuses {reason}"), true),
            Answer::Stock(reason) => (format!("stock {reason}"), false),
            Answer::Rejected(_) => ("rejected".to_owned(), false),
        };
        if name != wanted {
            wrong.push(format!("answers {name:?}, must answer {wanted:?}"));
        } else if tested && self.passed == 0 {
            wrong.push("no test passed".to_owned());
        }
        wrong.extend(
            self.failed
                .iter()
                .map(|test| format!("test failed: {test}")),
        );
        if let Answer::Rejected(text) = &group.answer {
            let mut kernel = run.lines.iter().filter(|line| line.from == From::Kernel);
            if !kernel.any(|line| line.text.contains(text.as_str())) {
                wrong.push(format!("the kernel's log lacks {text:?}"));
            }
        }
        for (fact, text, there) in group
            .shows
            .iter()
            .map(|(fact, text)| (fact, text, true))
            .chain(group.lacks.iter().map(|(fact, text)| (fact, text, false)))
        {
            let told = self.facts.get(fact.as_str());
            // A fact that is not told shows nothing and lacks nothing.
            if told.is_none_or(|told| told.contains(text.as_str()) != there) {
                let must = if there {
                    "must contain"
                } else {
                    "must not contain"
                };
                wrong.push(format!("{fact} {must} {text:?}, is {told:?}"));
            }
        }
        if run.verdict != Verdict::Clean && wrong.is_empty() {
            wrong.push(format!("the run: {:?}", run.verdict));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Line;

    fn reasons() -> Reasons {
        toml::from_str(
            "[[reason]]\nname = \"kpti\"\nkind = \"platform\"\ntext = \"isolates its tables\"\n",
        )
        .unwrap()
    }

    fn group(answer: &str, more: &str) -> Group {
        toml::from_str(&format!("title = \"t\"\nanswer = {answer}\n{more}")).unwrap()
    }

    /// What is wrong with a run in which guest and kernel say this.
    fn wrong(group: &Group, guest: &str, kernel: &str, verdict: Verdict) -> String {
        let line = |from| {
            move |text: &str| Line {
                from,
                text: text.to_owned(),
            }
        };
        let lines = kernel.lines().map(line(From::Kernel));
        let run = Run {
            lines: lines.chain(guest.lines().map(line(From::Guest))).collect(),
            verdict,
            seconds: 1,
        };
        Told::of(&run).wrong(group, &reasons(), &run).join("; ")
    }

    const PASSED: &str = "KTAP version 1\n1..1\nok 1 a\n";

    #[test]
    fn what_is_as_written_is_right() {
        let works = group(
            "\"works\"",
            "shows = { mds = \"Clear\" }\nlacks = { code = \"stac\" }",
        );
        let guest = format!("CELL mds: Clear CPU\nCELL code: verw\nCELL answer: works\n{PASSED}");
        assert_eq!(wrong(&works, &guest, "", Verdict::Clean), "");
        let refuses = group("{ refuses = \"kpti\" }", "");
        let guest = format!("CELL answer: refuses: isolates its tables\n{PASSED}");
        assert_eq!(wrong(&refuses, &guest, "", Verdict::Clean), "");
        let rejected = group("{ rejected = \"Lockdown:\" }", "");
        let log = "[1] Lockdown: insmod: unsigned";
        assert_eq!(
            wrong(
                &rejected,
                "CELL answer: rejected: EPERM\n",
                log,
                Verdict::Clean
            ),
            ""
        );
    }

    #[test]
    fn everything_else_is_noticed() {
        let works = group("\"works\"", "");
        let answer = "CELL answer: works\n";
        let good = format!("{answer}{PASSED}");
        let cases = [
            (
                &works,
                PASSED.to_owned(),
                Verdict::Clean,
                "answers \"no answer\"",
            ),
            (&works, answer.to_owned(), Verdict::Clean, "no test passed"),
            (&works, good.clone(), Verdict::Complaint(0), "the run"),
            (
                &works,
                format!("{answer}KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n"),
                Verdict::Exit(1),
                "test failed: b",
            ),
            (
                &works,
                format!("CELL answer: refuses: isolates its tables\n{PASSED}"),
                Verdict::Clean,
                "answers \"refuses kpti\"",
            ),
            (
                &works,
                "CELL answer: neither: x\n".to_owned(),
                Verdict::Exit(1),
                "answers \"neither: x\"",
            ),
            (
                &group("{ rejected = \"Lockdown:\" }", ""),
                "CELL answer: rejected: x\n".to_owned(),
                Verdict::Clean,
                "log lacks",
            ),
            (
                &group("{ refuses = \"kpti\" }", ""),
                format!("CELL answer: refuses: else\n{PASSED}"),
                Verdict::Clean,
                "answers \"refuses else\"",
            ),
            (
                &group("\"works\"", "shows = { mds = \"x\" }"),
                good.clone(),
                Verdict::Clean,
                "mds must contain",
            ),
            (
                &group("\"works\"", "lacks = { mds = \"x\" }"),
                good,
                Verdict::Clean,
                "mds must not contain",
            ),
        ];
        for (group, guest, verdict, text) in cases {
            let found = wrong(group, &guest, "", verdict);
            assert!(found.contains(text), "{found:?} does not tell {text:?}");
        }
    }
}
