//! Which stressors run in which phase.
//!
//! All stressors at all times would leave no call specialized and, on a slow machine, would keep each one from the effects it is to
//! have. So the time is divided into phases: a quiet one, without a stressor; one in which those who stream only act on
//! themselves; one for each stressor alone; some for a few at a time and one for all. When all have passed, they come again in another order.

use super::actions;
use super::counts::Count;
use super::stressors;
use crate::diff::rng::Rng;
use std::time::Duration;

/// The bit of [`super::board::Board::phase`] that lets streaming processes act; the others are numbers of stressors.
pub const ACTIONS: u32 = 1 << 31;

/// How long a phase lasts at least, and how long one goes on at most whose stressor has not had all of its effects.
const LEAST: Duration = Duration::from_millis(1000);
const MOST: Duration = Duration::from_secs(40);
const TOGETHER: Duration = Duration::from_millis(2500);
const QUIET: Duration = Duration::from_millis(2500);
/// Phases of a few stressors, between two of all, and how many these few are.
const FEWS: usize = 6;
const FEW: usize = 3;

/// One stretch of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Stressors, as bits, and [`ACTIONS`]; nothing: streams are left in peace.
    pub set: u32,
    pub least: Duration,
    /// It goes on until these have been counted in it, but not for longer than `most`.
    pub goals: Vec<Count>,
    pub most: Duration,
}

impl Phase {
    fn quiet() -> Phase {
        Phase {
            set: 0,
            least: QUIET,
            goals: Vec::new(),
            most: MOST,
        }
    }

    fn together(stressors: &[usize]) -> Phase {
        Phase {
            set: stressors.iter().fold(ACTIONS, |set, n| set | 1 << n),
            least: TOGETHER,
            goals: Vec::new(),
            most: TOGETHER,
        }
    }

    /// Streaming processes do what they do to themselves, and nobody else does anything.
    fn actions() -> Phase {
        Phase {
            set: ACTIONS,
            least: TOGETHER,
            goals: actions::GOALS.to_vec(),
            most: 3 * TOGETHER,
        }
    }

    /// For as long as it takes to reach the goals.
    fn until(set: u32, goals: Vec<Count>) -> Phase {
        Phase {
            set: set | ACTIONS,
            least: LEAST,
            goals,
            most: MOST,
        }
    }

    fn alone(number: usize) -> Phase {
        let goals = stressors::ALL.get(number).map_or(&[][..], |s| s.goals);
        Phase::until(1 << number, goals.to_vec())
    }

    /// Its stressors, by name.
    pub fn names(&self) -> String {
        let named = stressors::ALL.iter().enumerate();
        let names: Vec<&str> = named
            .filter(|(n, _)| self.set & 1 << n != 0)
            .map(|(_, s)| s.name)
            .collect();
        match names[..] {
            [] if self.is_quiet() => "no stressor".into(),
            [] => "actions only".into(),
            _ => names.join(", "),
        }
    }

    pub fn is_quiet(&self) -> bool {
        self.set == 0
    }
}

/// The phases of a run, one after the other.
pub struct Phases {
    rng: Rng,
    /// Numbers of the stressors of the run.
    stressors: Vec<usize>,
    /// Those of this lap that are still to come, the last one first.
    left: Vec<Phase>,
}

impl Phases {
    pub fn new(seed: u64, stressors: Vec<usize>) -> Phases {
        Phases {
            rng: Rng::new(seed, 0x7012),
            stressors,
            left: Vec::new(),
        }
    }

    /// The next phase.
    pub fn next(&mut self) -> Phase {
        if self.left.is_empty() {
            self.left = self.lap();
            self.left.reverse();
        }
        self.left.pop().unwrap_or_else(Phase::quiet)
    }

    /// The phase that is wanted once the time is over and an effect is missing: one of a stressor that has it.
    pub fn for_undone(&mut self, undone: &[Count]) -> Phase {
        let owns = |number: &usize| {
            let goals = stressors::ALL.get(*number).map_or(&[][..], |s| s.goals);
            goals.iter().any(|goal| undone.contains(goal))
        };
        let owners: Vec<usize> = self.stressors.iter().copied().filter(owns).collect();
        match self.rng.pick(&owners) {
            Some(number) => Phase::alone(number),
            // Effects of those who stream; or too few calls were specialized.
            None if undone.is_empty() => Phase::quiet(),
            None => Phase::until(0, undone.to_vec()),
        }
    }

    fn lap(&mut self) -> Vec<Phase> {
        let mut phases = vec![Phase::quiet()];
        if self.stressors.is_empty() {
            return phases;
        }
        phases.push(Phase::actions());
        phases.extend(
            self.some(self.stressors.len())
                .into_iter()
                .map(Phase::alone),
        );
        for _ in 0..FEWS {
            let few = self.some(FEW);
            phases.push(Phase::together(&few));
        }
        phases.push(Phase::quiet());
        phases.push(Phase::together(&self.stressors));
        phases
    }

    /// So many of the stressors, in random order.
    fn some(&mut self, n: usize) -> Vec<usize> {
        let mut left = self.stressors.clone();
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
    fn each_stressor_has_phases_alone_and_with_others() {
        let all: Vec<usize> = (0..stressors::ALL.len()).collect();
        let mut phases = Phases::new(1, all.clone());
        let lap: Vec<Phase> = phases.lap();
        for number in all {
            let bit = 1 << number;
            assert!(lap.iter().any(|p| p.set == bit | ACTIONS));
            assert!(lap
                .iter()
                .any(|p| p.set & bit != 0 && p.set.count_ones() > 2));
        }
        assert_eq!(lap.iter().filter(|p| p.is_quiet()).count(), 2);
    }

    #[test]
    fn what_must_be_done_is_somebodys_goal() {
        for count in counts::ALL.iter().filter(|c| c.must()) {
            let owned = stressors::ALL.iter().any(|s| s.goals.contains(count));
            assert_ne!(owned, actions::GOALS.contains(count), "{count:?}");
        }
    }

    #[test]
    fn a_stressor_whose_effect_is_missing_gets_the_phase() {
        let mut phases = Phases::new(1, (0..stressors::ALL.len()).collect());
        let phase = phases.for_undone(&[Count::Offlines]);
        let name = |p: &Phase| stressors::ALL[p.set.trailing_zeros() as usize].name;
        assert_eq!(name(&phase), "hotplug");
        assert_eq!(phases.for_undone(&[Count::Urings]).set, ACTIONS);
        assert!(phases.for_undone(&[]).is_quiet());
    }
}
