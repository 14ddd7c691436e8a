// SPDX-License-Identifier: GPL-2.0

//! Which slots of the code arena are in use. Bookkeeping only: the bytes belong to the module.
//!
//! A slot goes free → reserved → free. It is handed out again as late as possible: the search begins behind the slot that
//! was handed out last, so stale addresses in branch predictors and in people's notes stay harmless for longer.

use super::specs::{layout, Reason};

/// Sizes of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// For one path.
    Path,
    /// For one trap vector.
    Vector,
}

impl Class {
    /// All classes.
    pub const ALL: [Self; 2] = [Self::Path, Self::Vector];

    /// Number of slots of this class.
    pub const fn slots(self) -> usize {
        match self {
            Self::Path => layout::PATH_SLOTS,
            Self::Vector => layout::VECTOR_SLOTS,
        }
    }

    /// Size of a slot of this class, in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Path => layout::PATH_SLOT,
            Self::Vector => layout::VECTOR_SLOT,
        }
    }
}

/// One reserved slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    class: Class,
    index: usize,
}

impl Slot {
    /// Its class.
    pub const fn class(self) -> Class {
        self.class
    }

    /// Its number within the class.
    pub const fn index(self) -> usize {
        self.index
    }

    /// Offset in bytes from the first slot of its class.
    pub const fn offset(self) -> usize {
        self.index.wrapping_mul(self.class.bytes())
    }
}

/// The slot was not reserved: it was released before, or never handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReserved(pub Slot);

const WORD: usize = u64::BITS as usize;

/// The slots of one class, a bit for each that is reserved.
struct Map<const WORDS: usize> {
    words: [u64; WORDS],
    next: usize,
}

impl<const WORDS: usize> Map<WORDS> {
    const fn new() -> Self {
        Self {
            words: [0; WORDS],
            next: 0,
        }
    }

    fn word(&mut self, index: usize) -> Option<(&mut u64, u64)> {
        let bit = 1u64.wrapping_shl((index % WORD) as u32);
        self.words.get_mut(index / WORD).map(|word| (word, bit))
    }

    fn reserve(&mut self, slots: usize) -> Option<usize> {
        let start = self.next;
        for index in (start..slots).chain(0..start) {
            if let Some((word, bit)) = self.word(index) {
                if *word & bit == 0 {
                    *word |= bit;
                    self.next = index.saturating_add(1);
                    return Some(index);
                }
            }
        }
        None
    }

    fn release(&mut self, index: usize) -> bool {
        match self.word(index) {
            Some((word, bit)) if *word & bit != 0 => {
                *word &= !bit;
                true
            }
            _ => false,
        }
    }

    fn used(&self) -> usize {
        self.words.iter().fold(0, |sum, word| {
            sum.saturating_add(word.count_ones() as usize)
        })
    }
}

/// All slots of the arena.
pub struct Arena {
    paths: Map<{ layout::PATH_SLOTS.div_ceil(WORD) }>,
    vectors: Map<{ layout::VECTOR_SLOTS.div_ceil(WORD) }>,
}

impl Arena {
    /// An arena with nothing reserved.
    pub const fn new() -> Self {
        Self {
            paths: Map::new(),
            vectors: Map::new(),
        }
    }

    /// Reserves a free slot, or says `ArenaFull`.
    pub fn reserve(&mut self, class: Class) -> Result<Slot, Reason> {
        let index = match class {
            Class::Path => self.paths.reserve(class.slots()),
            Class::Vector => self.vectors.reserve(class.slots()),
        };
        index
            .map(|index| Slot { class, index })
            .ok_or(Reason::ArenaFull)
    }

    /// Gives a slot back. The caller has made sure that no CPU can be in it, and poisoned it.
    pub fn release(&mut self, slot: Slot) -> Result<(), NotReserved> {
        let done = match slot.class {
            Class::Path => self.paths.release(slot.index),
            Class::Vector => self.vectors.release(slot.index),
        };
        if done {
            Ok(())
        } else {
            Err(NotReserved(slot))
        }
    }

    /// Number of reserved slots of a class.
    pub fn used(&self, class: Class) -> usize {
        match class {
            Class::Path => self.paths.used(),
            Class::Vector => self.vectors.used(),
        }
    }

    /// Bytes in reserved slots of all classes.
    pub fn bytes_used(&self) -> usize {
        Class::ALL.iter().fold(0, |sum: usize, class| {
            sum.saturating_add(self.used(*class).saturating_mul(class.bytes()))
        })
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}
