// SPDX-License-Identifier: GPL-2.0

//! The negative cache of a process: descriptors that are known to have no path for a call, for a while.
//!
//! It has a fixed size, and each descriptor is in it once for each call. What finds no room is not remembered; while the cache
//! is full the vector does not report misses, or it would meet the others again and again.

use super::specs::Reason;
use super::syscall::Call;

pub use super::tunables::CAPACITY;

/// A descriptor that has no path for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negative {
    /// The descriptor.
    pub fd: u32,
    /// The call.
    pub call: Call,
    /// Why.
    pub reason: Reason,
    /// When it is forgotten, in milliseconds since boot: by then it may be another object.
    pub until_ms: u64,
}

/// What a place holds that is not in use.
const NOTHING: Negative = Negative {
    fd: 0,
    call: Call::Read,
    reason: Reason::None,
    until_ms: 0,
};

/// Of one process. Making a path looks at it a few times, so what is in use comes first.
#[derive(Clone, Copy, Debug)]
pub struct NegativeCache {
    list: [Negative; CAPACITY],
    len: usize,
}

impl NegativeCache {
    /// Nothing is known.
    pub const fn new() -> Self {
        Self {
            list: [NOTHING; CAPACITY],
            len: 0,
        }
    }

    /// All entries, in no order.
    pub fn entries(&self) -> &[Negative] {
        self.list.get(..self.len).unwrap_or_default()
    }

    /// Whether this descriptor is known to have no path for this call.
    pub fn has(&self, fd: u32, call: Call) -> bool {
        self.entries().iter().any(|x| (x.fd, x.call) == (fd, call))
    }

    /// Whether there is room for no other.
    pub fn is_full(&self) -> bool {
        self.len >= CAPACITY
    }

    /// Adds an entry, in place of an older one for the same descriptor and call.
    pub fn insert(&mut self, new: Negative) {
        let same = |old: &Negative| (old.fd, old.call) == (new.fd, new.call);
        let at = self.entries().iter().position(same);
        if let Some(place) = self.list.get_mut(at.unwrap_or(self.len)) {
            *place = new;
            self.len = self.len.max(at.map_or(self.len.saturating_add(1), |at| at));
        }
    }

    /// Forgets what is due. Whether there was anything.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let before = self.len;
        let mut at = 0;
        while let Some(entry) = self.entries().get(at) {
            if entry.until_ms > now_ms {
                at = at.saturating_add(1);
                continue;
            }
            self.len = self.len.saturating_sub(1);
            let last = self.list.get(self.len).copied().unwrap_or(NOTHING);
            if let Some(place) = self.list.get_mut(at) {
                *place = last;
            }
        }
        self.len < before
    }

    /// When the next entry is due.
    pub fn next_due(&self) -> Option<u64> {
        self.entries().iter().map(|x| x.until_ms).min()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl Default for NegativeCache {
    fn default() -> Self {
        Self::new()
    }
}
