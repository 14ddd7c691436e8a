// SPDX-License-Identifier: GPL-2.0

//! What a long copy rests on: that the process's memory is fast.
//!
//! Interrupts are off during a copy. From or to a device each access may take a microsecond, so a path copies more than
//! `COPY_MAX_SLOW` bytes only while all memory of the process is known to be ordinary. Whether it is takes a look at each
//! mapping, which the process makes in its own context; the path compares the number of changes of the address space since.

pub use super::super::tunables::{AHEAD_MS, MOST_MAPPINGS, SKIPPED, SPACED_MS};

/// What the last look at a process's memory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// As a path compares it.
    pub word: u64,
    /// As a path counts it down.
    pub left: u32,
    /// When the next look would come if all came [`SPACED_MS`] apart, in milliseconds since boot.
    due: u64,
}

impl Seen {
    /// Nobody has looked: the first long call asks.
    pub const NEVER: Self = Self {
        word: Self::UNKNOWN,
        left: 1,
        due: 0,
    };

    /// The number of changes is even whenever nobody changes mappings, so it is never this.
    const UNKNOWN: u64 = 1;
    const UNSUITED: u64 = 1 << 32;

    /// After a look at `now`, which found the memory ordinary at this number of changes, or not.
    #[must_use]
    pub fn looked(self, now: u64, ordinary: Option<u32>) -> Self {
        let latest = now.saturating_add(AHEAD_MS);
        let due = self.due.clamp(now, latest).saturating_add(SPACED_MS);
        Self {
            word: ordinary.map_or(Self::UNSUITED, u64::from),
            left: match ordinary {
                Some(_) if due <= latest => 1,
                _ => SKIPPED,
            },
            due,
        }
    }

    /// For a path that is new: its first long call asks for a look. What was seen before may be of another program, since nothing is
    /// noted of a process that has no code and waits; and paths that bail out too often go before they have bailed out
    /// [`SKIPPED`], so the one in such a path's place must not wait for that many.
    #[must_use]
    pub fn anew(self) -> Self {
        Self {
            left: 1,
            ..self.forgotten()
        }
    }

    /// It may be shared by now, which changes no mapping.
    #[must_use]
    pub fn forgotten(self) -> Self {
        Self {
            word: Self::UNKNOWN,
            ..self
        }
    }
}
