//! Who abuses when.
//!
//! All abuse at all times would leave no call specialised and, on a slow machine, would keep every abuser from what it is to bring
//! about. So the time is divided into turns: a quiet one, in which nobody abuses anybody; one in which those who stream abuse only
//! themselves; one for each abuser alone; some for a few at a time and one for all. When all have passed, they begin anew in another order.

use super::abuse;
use super::counts::Count;
use super::deeds;
use crate::diff::rng::Rng;
use std::time::Duration;

/// The bit of [`super::board::Board::turn`] that lets streaming processes do deeds; the others are numbers of abusers.
pub const DEEDS: u32 = 1 << 31;

/// How long a turn lasts at least, and how long one goes on at most whose abuser has not brought about what it must.
const LEAST: Duration = Duration::from_millis(1000);
const MOST: Duration = Duration::from_secs(40);
const TOGETHER: Duration = Duration::from_millis(2500);
const QUIET: Duration = Duration::from_millis(2500);
/// Turns of a few abusers, between two of all, and how many these few are.
const FEWS: usize = 6;
const FEW: usize = 3;

/// One stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Abusers, as bits, and [`DEEDS`]; nothing: streams are left in peace.
    pub set: u32,
    pub least: Duration,
    /// It goes on until these have been counted in it, but not for longer than `most`.
    pub goals: Vec<Count>,
    pub most: Duration,
}

impl Turn {
    fn quiet() -> Turn {
        Turn {
            set: 0,
            least: QUIET,
            goals: Vec::new(),
            most: MOST,
        }
    }

    fn together(abusers: &[usize]) -> Turn {
        Turn {
            set: abusers.iter().fold(DEEDS, |set, n| set | 1 << n),
            least: TOGETHER,
            goals: Vec::new(),
            most: TOGETHER,
        }
    }

    /// Streaming processes do what they do to themselves, and nobody else does anything.
    fn deeds() -> Turn {
        Turn {
            set: DEEDS,
            least: TOGETHER,
            goals: deeds::GOALS.to_vec(),
            most: 3 * TOGETHER,
        }
    }

    /// For as long as it takes to reach the goals.
    fn until(set: u32, goals: Vec<Count>) -> Turn {
        Turn {
            set: set | DEEDS,
            least: LEAST,
            goals,
            most: MOST,
        }
    }

    fn alone(number: usize) -> Turn {
        let goals = abuse::ALL.get(number).map_or(&[][..], |a| a.goals);
        Turn::until(1 << number, goals.to_vec())
    }

    /// Who abuses in it.
    pub fn names(&self) -> String {
        let named = abuse::ALL.iter().enumerate();
        let names: Vec<&str> = named
            .filter(|(n, _)| self.set & 1 << n != 0)
            .map(|(_, a)| a.name)
            .collect();
        match names[..] {
            [] if self.is_quiet() => "nobody".into(),
            [] => "deeds only".into(),
            _ => names.join(", "),
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.set == 0
    }
}

/// The turns of a run, one after the other.
pub struct Turns {
    rng: Rng,
    /// Numbers of those who take part.
    abusers: Vec<usize>,
    /// Those of this lap that are still to come, the last one first.
    left: Vec<Turn>,
}

impl Turns {
    pub fn new(seed: u64, abusers: Vec<usize>) -> Turns {
        Turns {
            rng: Rng::new(seed, 0x7012),
            abusers,
            left: Vec::new(),
        }
    }

    /// The next turn.
    pub fn next(&mut self) -> Turn {
        if self.left.is_empty() {
            self.left = self.lap();
            self.left.reverse();
        }
        self.left.pop().unwrap_or_else(Turn::quiet)
    }

    /// The turn that is wanted once the time is over and something has not been done: for those who can do it.
    pub fn for_undone(&mut self, undone: &[Count]) -> Turn {
        let owns = |number: &usize| {
            let goals = abuse::ALL.get(*number).map_or(&[][..], |a| a.goals);
            goals.iter().any(|goal| undone.contains(goal))
        };
        let owners: Vec<usize> = self.abusers.iter().copied().filter(owns).collect();
        match self.rng.pick(&owners) {
            Some(number) => Turn::alone(number),
            // Deeds of those who stream; or too few calls were specialised.
            None if undone.is_empty() => Turn::quiet(),
            None => Turn::until(0, undone.to_vec()),
        }
    }

    fn lap(&mut self) -> Vec<Turn> {
        let mut turns = vec![Turn::quiet()];
        if self.abusers.is_empty() {
            return turns;
        }
        turns.push(Turn::deeds());
        turns.extend(self.some(self.abusers.len()).into_iter().map(Turn::alone));
        for _ in 0..FEWS {
            let few = self.some(FEW);
            turns.push(Turn::together(&few));
        }
        turns.push(Turn::quiet());
        turns.push(Turn::together(&self.abusers));
        turns
    }

    /// So many of the abusers, in random order.
    fn some(&mut self, n: usize) -> Vec<usize> {
        let mut left = self.abusers.clone();
        (0..n.min(left.len()))
            .map(|_| left.swap_remove(self.rng.below(left.len())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::counts;
    use super::*;

    #[test]
    fn each_abuser_has_turns_alone_and_with_others() {
        let all: Vec<usize> = (0..abuse::ALL.len()).collect();
        let mut turns = Turns::new(1, all.clone());
        let lap: Vec<Turn> = turns.lap();
        for number in all {
            let bit = 1 << number;
            assert!(lap.iter().any(|t| t.set == bit | DEEDS));
            assert!(lap
                .iter()
                .any(|t| t.set & bit != 0 && t.set.count_ones() > 2));
        }
        assert_eq!(lap.iter().filter(|t| t.is_quiet()).count(), 2);
    }

    #[test]
    fn what_must_be_done_is_somebodys_goal() {
        for count in counts::ALL.iter().filter(|c| c.must()) {
            let owned = abuse::ALL.iter().any(|a| a.goals.contains(count));
            assert_ne!(owned, deeds::GOALS.contains(count), "{count:?}");
        }
    }

    #[test]
    fn who_can_do_what_is_undone_gets_the_turn() {
        let mut turns = Turns::new(1, (0..abuse::ALL.len()).collect());
        let turn = turns.for_undone(&[Count::Offlines]);
        let name = |t: &Turn| abuse::ALL[t.set.trailing_zeros() as usize].name;
        assert_eq!(name(&turn), "hotplug");
        assert_eq!(turns.for_undone(&[Count::Urings]).set, DEEDS);
        assert!(turns.for_undone(&[]).is_quiet());
    }
}
