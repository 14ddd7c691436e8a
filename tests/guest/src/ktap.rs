//! KTAP version 1, the kernel's test report.

use std::io::Write;

/// Counts of one report.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Totals {
    pub pass: usize,
    pub fail: usize,
    pub skip: usize,
}

/// How one test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Pass,
    Fail(String),
    Skip(String),
}

/// Writes a report as tests end.
pub struct Report<W: Write> {
    out: W,
    number: usize,
    pub totals: Totals,
}

impl<W: Write> Report<W> {
    /// Begins a report of `plan` tests.
    pub fn begin(mut out: W, plan: usize) -> Self {
        let _ = writeln!(out, "KTAP version 1\n1..{plan}");
        Report {
            out,
            number: 0,
            totals: Totals::default(),
        }
    }

    /// One ended test; `note` is a remark for the line, such as how long it took.
    pub fn test(&mut self, name: &str, outcome: &Outcome, note: &str) {
        self.number += 1;
        let n = self.number;
        match outcome {
            Outcome::Pass => {
                self.totals.pass += 1;
                let _ = writeln!(
                    self.out,
                    "ok {n} {name}{}{note}",
                    if note.is_empty() { "" } else { " # " }
                );
            }
            Outcome::Skip(why) => {
                self.totals.skip += 1;
                let _ = writeln!(self.out, "ok {n} {name} # SKIP {}", why.replace('\n', " "));
            }
            Outcome::Fail(why) => {
                self.totals.fail += 1;
                for line in why.lines() {
                    let _ = writeln!(self.out, "# {line}");
                }
                let _ = writeln!(self.out, "not ok {n} {name}");
            }
        }
        let _ = self.out.flush();
    }

    /// The closing line; true when nothing failed.
    pub fn end(&mut self) -> bool {
        let t = &self.totals;
        let _ = writeln!(
            self.out,
            "# Totals: pass:{} fail:{} xfail:0 xpass:0 skip:{} error:0",
            t.pass, t.fail, t.skip
        );
        let _ = self.out.flush();
        t.fail == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_ktap() {
        let mut out = Vec::new();
        let mut r = Report::begin(&mut out, 3);
        r.test("a", &Outcome::Pass, "12 ms");
        r.test("b", &Outcome::Fail("one\ntwo".into()), "");
        r.test("c", &Outcome::Skip("no such\nthing".into()), "");
        assert!(!r.end());
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "KTAP version 1\n1..3\nok 1 a # 12 ms\n# one\n# two\nnot ok 2 b\nok 3 c # SKIP no such thing\n\
             # Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\n"
        );
    }
}
