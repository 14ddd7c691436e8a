//! Which calls a run made and how many of them went well: shows that the sequences do something.

use super::op::{Op, Outcome};
use std::collections::BTreeMap;
use std::fmt;

/// By name of the call: well, all.
#[derive(Default)]
pub struct Tally(BTreeMap<String, (u64, u64)>);

impl Tally {
    /// Adds the calls of a sequence.
    pub fn add(&mut self, ops: &[Op], outcomes: &[Outcome]) {
        for (op, outcome) in ops.iter().zip(outcomes) {
            let (well, all) = self.0.entry(name(op)).or_default();
            *well += u64::from(outcome.ret >= 0);
            *all += 1;
        }
    }
}

/// The call without its arguments, apart from what kind of helper is started.
pub fn name(op: &Op) -> String {
    if let Op::Start { how } = op {
        return format!("{how:?}");
    }
    let text = format!("{op:?}");
    let text = text.trim_start_matches("Mixed(");
    text.split([' ', ')'])
        .next()
        .unwrap_or_default()
        .to_string()
}

impl fmt::Display for Tally {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(name, (well, all))| format!("{name} {well}/{all}"))
            .collect();
        to.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::mixed::Mixed;
    use super::super::op::Helping;
    use super::*;

    #[test]
    fn calls_are_counted_by_name() {
        let failed = Outcome {
            ret: -9,
            ..Outcome::default()
        };
        let how = Helping::Thread;
        let ops = [
            Op::Close { fd: 3 },
            Op::Close { fd: 3 },
            Op::Mixed(Mixed::File),
            Op::Start { how },
        ];
        let mut tally = Tally::default();
        tally.add(&ops, &[Outcome::default(), failed, failed, failed]);
        assert_eq!(tally.to_string(), "Close 1/2, File 0/1, Thread 0/1");
    }
}
