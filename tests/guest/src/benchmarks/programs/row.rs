//! A program's row in the table of docs/programs.md, and whether it is as it must be.

use super::list::{Effect, Has, Program, Same};
use super::look::Calls;
use super::run::{Done, Served};

/// A change of less than this is nothing, in tenths of a percent: so much comes and goes with who runs when.
const NOISE: i64 = 50;

/// What was seen of a program.
pub struct Seen {
    pub calls: Calls,
    pub stock: Done,
    pub attached: Done,
    pub served: Served,
}

impl Seen {
    /// By how much the instructions change when the processes are attached, in tenths of a percent.
    fn change(&self) -> i64 {
        let (stock, attached) = (self.stock.instructions, self.attached.instructions);
        (attached as i64 - stock as i64) * 1000 / stock.max(1) as i64
    }

    fn effect(&self) -> Effect {
        match self.change() {
            change if change <= -NOISE => Effect::Helps,
            change if change >= NOISE => Effect::Costs,
            _ => Effect::Nothing,
        }
    }

    /// The part that some of the pipe calls are, in percent. At most 100: in the run in which they were counted there may have
    /// been a few less.
    fn part(&self, calls: u64) -> u64 {
        (calls * 100 / self.calls.all.max(1)).min(100)
    }

    /// The row.
    pub fn row(&self, program: &Program) -> String {
        let millions = |n: u64| format!("{}.{}", n / 1_000_000, n / 100_000 % 10);
        let effect = match self.effect() {
            Effect::Helps => "helps",
            Effect::Nothing => "nothing",
            Effect::Costs => "costs",
        };
        let sign = if self.change() < 0 { "-" } else { "+" };
        let change = self.change().abs();
        let cells = [
            program.name.to_owned(),
            self.served.processes.to_string(),
            self.calls.all.to_string(),
            self.calls.page.to_string(),
            self.calls.more.to_string(),
            self.calls.waits.to_string(),
            format!("{} %", self.part(self.served.hits)),
            format!("{} %", self.part(self.served.bailouts)),
            millions(self.stock.instructions),
            millions(self.attached.instructions),
            format!("{sign}{}.{} %", change / 10, change % 10),
            effect.to_owned(),
            program.why.to_owned(),
        ];
        format!("| {} |", cells.join(" | "))
    }

    /// What is not as it must be.
    pub fn wrong(&self, program: &Program) -> Vec<String> {
        let mut wrong = Vec::new();
        let same = match program.same {
            Same::Output => self.stock.output == self.attached.output,
            Same::Written => self.stock.written == self.attached.written,
        };
        if !same {
            wrong.push(format!(
                "other bytes: {} written of which {} to the output, attached {} and {}",
                self.stock.written,
                self.stock.output.len(),
                self.attached.written,
                self.attached.output.len()
            ));
        }
        if self.stock.output.is_empty() || self.calls.all == 0 {
            wrong.push("it prints nothing, or uses no pipe".to_owned());
        }
        if self.served.processes == 0 {
            wrong.push("none of its processes was attached".to_owned());
        }
        let [least, most] = program.served;
        if !(least..=most).contains(&self.part(self.served.hits))
            || (least > 0 && self.served.hits == 0)
        {
            let part = self.part(self.served.hits);
            wrong.push(format!(
                "{part} % of its calls were served, not {least} to {most}"
            ));
        }
        for (has, seen) in [
            (Has::Threads, self.served.dropped > 0),
            (Has::NamedPipe, self.calls.named > 0),
        ] {
            if program.has.contains(&has) != seen {
                wrong.push(format!("{has:?}: {seen}, which the list denies"));
            }
        }
        if self.effect() != program.effect {
            let (is, must) = (self.effect(), program.effect);
            wrong.push(format!("attaching it {is:?}, not {must:?}"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(same: Same, effect: Effect, served: [u64; 2]) -> Program {
        Program {
            name: "`a`",
            script: "",
            same,
            effect,
            served,
            has: &[],
            why: "so",
        }
    }

    fn seen(attached: u64, hits: u64) -> Seen {
        let done = |instructions| Done {
            instructions,
            output: b"x".to_vec(),
            written: 7,
        };
        let calls = Calls {
            all: 200,
            page: 3,
            more: 4,
            named: 0,
            waits: 5,
        };
        Seen {
            calls,
            stock: done(10_000_000),
            attached: done(attached),
            served: Served {
                processes: 2,
                hits,
                bailouts: 6,
                dropped: 0,
            },
        }
    }

    #[test]
    fn a_row_has_it_all() {
        let program = program(Same::Output, Effect::Helps, [50, 100]);
        let seen = seen(6_160_000, 150);
        assert_eq!(
            seen.row(&program),
            "| `a` | 2 | 200 | 3 | 4 | 5 | 75 % | 3 % | 10.0 | 6.1 | -38.4 % | helps | so |"
        );
        assert_eq!(seen.wrong(&program), Vec::<String>::new());
    }

    #[test]
    fn each_thing_can_be_wrong() {
        let helps = program(Same::Output, Effect::Helps, [50, 100]);
        let count = |seen: &Seen, program: &Program| seen.wrong(program).len();
        assert_eq!(count(&seen(9_900_000, 150), &helps), 1);
        assert_eq!(count(&seen(6_000_000, 0), &helps), 1);
        let nothing = program(Same::Written, Effect::Nothing, [0, 5]);
        assert_eq!(count(&seen(9_900_000, 0), &nothing), 0);
        assert_eq!(count(&seen(9_900_000, 150), &nothing), 1);
        assert_eq!(count(&seen(10_600_000, 0), &nothing), 1);
        let mut other = seen(6_000_000, 150);
        other.attached.output = b"y".to_vec();
        assert_eq!(count(&other, &helps), 1);
        let mut less = seen(9_900_000, 0);
        less.attached.written = 6;
        assert_eq!(count(&less, &nothing), 1);
        let mut threads = seen(9_900_000, 0);
        threads.served.dropped = 1;
        threads.calls.named = 1;
        assert_eq!(count(&threads, &nothing), 2);
        let mut nobody = seen(9_900_000, 0);
        nobody.served.processes = 0;
        nobody.calls.all = 0;
        assert_eq!(count(&nobody, &nothing), 2);
    }
}
