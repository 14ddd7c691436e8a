//! What a cell told, held against what its group has it answer.

use std::collections::BTreeMap;

use crate::judge::{From, Verdict, VERDICT};
use crate::ktap::{self, Outcome};
use crate::matrix::{Answer, Cell, Group, Reasons};
use crate::qemu::Run;

/// What the kernel logs about options that it does not take, so that the cell shows nothing of them: setup_preempt_mode() in
/// kernel/sched/core.c, do_early_param() in init/main.c, the parsers in arch/x86/kernel/cpu/bugs.c.
const NOT_TAKEN: &[&str] = &[
    "Dynamic Preempt: unsupported mode",
    "Malformed early option",
    "Ignoring unknown ",
    "Mitigation disabled at compile time",
];
/// The same by name, in quotes: print_unknown_bootoptions() in init/main.c.
const UNKNOWN: &str = "Unknown kernel command line parameters \"";
/// Options that the kernel calls unknown because arch/x86/boot/compressed has already done what they say.
const TAKEN_EARLY: &[&str] = &["no5lvl", "nokaslr"];

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
    pub fn wrong(&self, cell: &Cell, group: &Group, reasons: &Reasons, run: &Run) -> Vec<String> {
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
        wrong.extend(not_taken(cell, group, run));
        let told_cpus = self.facts.get("cpus").copied().unwrap_or_default();
        let online = group.online.unwrap_or(cell.smp);
        if cpus(told_cpus) != Some(online) {
            wrong.push(format!("CPUs {told_cpus:?} are on, must be {online}"));
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

/// What the kernel's log says about options of the cell that it does not take, and which of them it takes though it must not.
fn not_taken(cell: &Cell, group: &Group, run: &Run) -> Vec<String> {
    let log = run.lines.iter().filter(|line| line.from == From::Kernel);
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for line in log {
        let names = line.text.split_once(UNKNOWN);
        let names = names.and_then(|(_, rest)| Some(rest.split_once('"')?.0));
        unknown.extend(names.unwrap_or_default().split_whitespace());
        if NOT_TAKEN.iter().any(|text| line.text.contains(text)) {
            wrong.push(format!("an option is not taken: {}", line.text));
        }
    }
    for option in cell.options.split_whitespace() {
        let taken = TAKEN_EARLY.contains(&option) || !unknown.contains(&option);
        match (taken, group.ignored.iter().any(|own| own == option)) {
            (false, false) => wrong.push(format!("the option {option} is not taken")),
            (true, true) => wrong.push(format!("the option {option} must not be taken")),
            _ => {}
        }
    }
    wrong
}

/// How many CPUs a list of the kernel's names: `0-2,5` names four.
fn cpus(list: &str) -> Option<u32> {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(count).sum()
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

    /// What is wrong with a run in which guest and kernel say this, on a machine with one CPU, which is on.
    fn wrong(group: &Group, guest: &str, kernel: &str, verdict: Verdict) -> String {
        let guest = format!("CELL cpus: 0\n{guest}");
        wrong_with("", 1, group, &guest, kernel, verdict)
    }

    fn wrong_with(
        options: &str,
        smp: u32,
        group: &Group,
        guest: &str,
        kernel: &str,
        verdict: Verdict,
    ) -> String {
        let cell = Cell {
            kernel: "run".to_owned(),
            cpu: "max".to_owned(),
            smp,
            options: options.to_owned(),
            modules: Vec::new(),
        };
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
        Told::of(&run)
            .wrong(&cell, group, &reasons(), &run)
            .join("; ")
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

    #[test]
    fn options_must_be_taken() {
        let works = group("\"works\"", "");
        let guest = format!("CELL cpus: 0\nCELL answer: works\n{PASSED}");
        let found =
            |options: &str, log: &str| wrong_with(options, 1, &works, &guest, log, Verdict::Clean);
        let unknown = "[    0.04] Unknown kernel command line parameters \"nokaslr a=1\", will be";
        assert_eq!(found("nokaslr", unknown), "");
        assert_eq!(found("a=2", unknown), "");
        assert!(found("nokaslr a=1", unknown).contains("not taken"));
        let ignored = group("\"works\"", "ignored = [\"a=1\"]");
        let found_of = |log: &str| wrong_with("a=1", 1, &ignored, &guest, log, Verdict::Clean);
        assert_eq!(found_of(unknown), "");
        assert!(found_of("").contains("must not be taken"));
        let mode = "[    0.04] Dynamic Preempt: unsupported mode: none";
        assert!(found("preempt=none", mode).contains("not taken"));
    }

    #[test]
    fn all_cpus_must_be_on() {
        let works = group("\"works\"", "");
        let one_off = group("\"works\"", "online = 1");
        let found = |group: &Group, list: &str| {
            let guest = format!("CELL cpus: {list}\nCELL answer: works\n{PASSED}");
            wrong_with("", 4, group, &guest, "", Verdict::Clean)
        };
        assert_eq!(found(&works, "0-3"), "");
        assert_eq!(found(&works, "0-1,4-5"), "");
        for list in ["0-2", "0", "0-4", "", "3-0"] {
            assert!(found(&works, list).contains("are on"), "{list:?}");
        }
        assert_eq!(found(&one_off, "0"), "");
        assert!(found(&one_off, "0-3").contains("are on"));
    }
}
