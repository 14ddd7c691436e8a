//! Counts of a whole run and what of it is worth telling at its end.

use std::fmt;

use crate::ktap::{Outcome, Test};

/// Counts of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Totals {
    /// Counts one more test.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped(_) => self.skipped += 1,
        }
    }

    pub fn of(tests: &[Test]) -> Self {
        let mut totals = Totals::default();
        tests.iter().for_each(|test| totals.add(&test.outcome));
        totals
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let mut totals = Totals::default();
        for outcome in [
            Outcome::Passed,
            Outcome::Failed,
            Outcome::Skipped(String::new()),
            Outcome::Passed,
        ] {
            totals.add(&outcome);
        }
        totals += Totals {
            passed: 1,
            failed: 2,
            skipped: 3,
        };
        assert_eq!(totals.to_string(), "3 passed, 3 failed, 4 skipped");
    }
}
