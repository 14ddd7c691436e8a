//! Any text as the consoles of a guest: judged and counted without failing, and never better than it is.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use synthjit_fuzz::figures;
use synthjit_fuzz::judge::{judge, From, Line, Verdict, VERDICT};
use synthjit_fuzz::ktap::{self, Outcome};

#[derive(Arbitrary, Debug)]
struct Input {
    lines: Vec<AnyLine>,
    timed_out: bool,
    expect: Vec<String>,
}

#[derive(Arbitrary, Debug)]
enum AnyLine {
    Kernel(String),
    Guest(String),
    Verdict {
        exit: u8,
        taint: u8,
        rest: Option<String>,
    },
    Header(u8),
    Plan(u8, u8),
    Result {
        indent: u8,
        ok: bool,
        number: u8,
        rest: String,
    },
    Figure(String),
}

const WORD: &str = "w0rd";

impl AnyLine {
    fn line(&self) -> Line {
        let spaces = |n: &u8| " ".repeat(usize::from(n % 4) * 4);
        let text = match self {
            Self::Kernel(text) | Self::Guest(text) => text.clone(),
            Self::Verdict { exit, taint, rest } => {
                let (exit, taint) = (exit % 3, u64::from(taint % 8) << 11);
                let rest = rest.as_deref().unwrap_or_default();
                format!("{VERDICT} {WORD} exit={exit} taint={taint}{rest}")
            }
            Self::Header(indent) => format!("{}KTAP version 1", spaces(indent)),
            Self::Plan(indent, count) => format!("{}1..{count}", spaces(indent)),
            Self::Result {
                indent,
                ok,
                number,
                rest,
            } => {
                let not = if *ok { "" } else { "not " };
                format!("{}{not}ok {number} {rest}", spaces(indent))
            }
            Self::Figure(rest) => format!("BENCH {rest}"),
        };
        let from = match self {
            Self::Kernel(_) => From::Kernel,
            _ => From::Guest,
        };
        Line { from, text }
    }
}

fuzz_target!(|input: Input| {
    let lines: Vec<Line> = input.lines.iter().map(AnyLine::line).collect();
    let verdict = judge(&lines, WORD, input.timed_out, &input.expect);
    let guest = || {
        lines
            .iter()
            .filter(|l| l.from == From::Guest)
            .map(|l| l.text.as_str())
    };
    assert_eq!(verdict == Verdict::Clean, verdict.code() == 0);
    if verdict == Verdict::Clean {
        let good = guest().filter(|l| l.starts_with(VERDICT) && l.contains("exit=0 taint="));
        assert!(
            good.count() > 0 && !input.timed_out,
            "clean without a verdict"
        );
    }
    if let Some(tests) = ktap::parse(guest()) {
        let said = |what: &str| guest().filter(|l| l.trim_start().starts_with(what)).count();
        let is = |wanted: fn(&Outcome) -> bool| tests.iter().filter(|t| wanted(&t.outcome)).count();
        let passed = is(|o| *o == Outcome::Passed);
        assert!(passed <= said("ok "), "more passed than were reported");
        assert!(said("KTAP version") > 0);
        let failed = is(|o| *o == Outcome::Failed);
        assert!(!tests.is_empty() || failed == 0);
    }
    let pairs = figures::pairs(guest());
    let figures = guest().filter(|l| l.starts_with("BENCH ")).count();
    assert!(
        pairs.is_empty() || pairs.len() < figures,
        "a pair of one figure"
    );
});
