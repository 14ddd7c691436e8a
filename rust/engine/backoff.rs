// SPDX-License-Identifier: GPL-2.0

//! When to try again with something that keeps breaking its assumptions: twice as late each time, then not for long.
//!
//! A random part keeps many that broke together from trying again together.

pub use super::tunables::{FIRST_MS, GIVE_UP_MS, TRIES};

/// What to do after an assumption broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Try again after this many milliseconds.
    Again(u32),
    /// Leave it alone for this many milliseconds, and say that it is left alone.
    GiveUp(u32),
}

/// How often something has broken its assumptions lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    broken: u32,
}

impl Backoff {
    /// Nothing broken yet.
    pub const fn new() -> Self {
        Self { broken: 0 }
    }

    /// Counts a broken assumption. `random` may be any number; the wait grows by up to a half with it. Once it gives up,
    /// the next break gives up at once: only [`Backoff::forgive`] starts anew.
    pub fn penalise(&mut self, random: u32) -> Wait {
        if self.broken >= TRIES {
            return Wait::GiveUp(GIVE_UP_MS);
        }
        let wait = FIRST_MS.checked_shl(self.broken).unwrap_or(GIVE_UP_MS);
        self.broken = self.broken.saturating_add(1);
        let more = random.checked_rem(wait / 2).unwrap_or(0);
        Wait::Again(wait.saturating_add(more))
    }

    /// Forgets all: the assumptions held for long enough, or the process runs another program.
    pub fn forgive(&mut self) {
        self.broken = 0;
    }
}
