// SPDX-License-Identifier: GPL-2.0

//! What the code of one path reads and writes besides the kernel's objects: an object of its own, [`PathData::SIZE`] bytes at a fixed
//! address. C has the same as `struct synthjit_path_data` (`rust/glue/synthjit.h`):
//!
//! ```c
//!     u64 hits;          /* calls that it served */
//!     u32 budget;        /* counts down with each exit; negative: the path reports itself */
//!     u32 faults;        /* counts down with each exit after a copy that faulted; negative: likewise */
//!     u64 memory_seen;   /* as super::memory::Seen */
//!     u32 memory_left;
//!     u32 fd;
//!     u64 task;
//!     u64 exits[EXITS];  /* how often each exit was taken */
//! ```
//!
//! `hits`, `budget` and `faults` say whether the path is worth its cost ([`super::super::worth`]).

use super::super::specs::layout;

/// Address of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathData(pub u64);

impl PathData {
    /// Offset of `hits`, 64 bits.
    pub const HITS: u64 = 0;
    /// Offset of `budget`, 32 bits.
    pub const BUDGET: u64 = 8;
    /// Offset of `faults`, 32 bits.
    pub const FAULTS: u64 = 12;
    /// Offset of `memory_seen`, 64 bits: the sequence number with the upper half zero, or something else.
    pub const MEMORY_SEEN: u64 = 16;
    /// Offset of `memory_left`, 32 bits: exits that are taken until one asks for a look at the memory.
    pub const MEMORY_LEFT: u64 = 24;
    /// Offset of `fd`, 32 bits.
    pub const FD: u64 = 28;
    /// Offset of `task`, 64 bits.
    pub const TASK: u64 = 32;
    /// Offset of `exits`, 64 bits each.
    pub const EXITS: u64 = 40;
    /// Bytes of the object. CAST: exits are few.
    pub const SIZE: u64 = Self::EXITS.saturating_add((layout::EXITS as u64).saturating_mul(8));

    /// Address of the field at this offset.
    pub const fn at(self, offset: u64) -> u64 {
        self.0.wrapping_add(offset)
    }

    /// Address of the count of exit `number`.
    pub fn exit(self, number: u8) -> u64 {
        self.at(Self::EXITS)
            .wrapping_add(u64::from(number).wrapping_mul(8))
    }
}
