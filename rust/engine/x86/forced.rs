// SPDX-License-Identifier: GPL-2.0

//! Faults on demand, for the tests of what happens after one. Paths have them only in a module that was built with
//! `--cfg synthjit_forced_faults` (`qemu/module-faults`), whose slots are larger. A count of [`COUNTS`] makes the path fault.

use super::masm::Masm;
use super::regs::COUNT;

/// Where a path faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All guards but those under the mutex have passed; nothing has changed yet.
    BeforeLock,
    /// The mutex is held.
    Locked,
}

/// How it faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// #UD
    InvalidOpcode,
    /// #BP, as a slot that was retired
    Breakpoint,
    /// #GP, from an address that is not canonical
    Protection,
    /// #PF, in a hole between the kernel's mappings
    PageFault,
}

/// `ud2`
const UD2: [u8; 2] = [0x0f, 0x0b];
/// No address has this form.
const NOT_CANONICAL: u64 = 1 << 63;
/// The lower end of a hole that is there with four and with five levels of page tables (`Documentation/arch/x86/x86_64/mm.rst`).
const NOT_MAPPED: u64 = 0xffff_fc00_0000_0000;

/// The counts that `tests/guest/src/tests/faults/recover.rs` uses.
const COUNTS: [(u64, Place, Kind); 5] = [
    (4001, Place::BeforeLock, Kind::InvalidOpcode),
    (4002, Place::BeforeLock, Kind::Breakpoint),
    (4003, Place::BeforeLock, Kind::Protection),
    (4004, Place::BeforeLock, Kind::PageFault),
    (4005, Place::Locked, Kind::InvalidOpcode),
];

impl Masm<'_> {
    /// Faults for each count that is to fault here. rax is lost then.
    pub fn forced_faults(&mut self, place: Place) {
        for (count, _, kind) in COUNTS.into_iter().filter(|c| c.1 == place) {
            let other = self.label();
            self.compare_constant(COUNT, count);
            self.different(other);
            match kind {
                // No instruction of `asm.rs`, since nothing else may have it.
                Kind::InvalidOpcode => self.asm.buf.extend(&UD2),
                Kind::Breakpoint => self.asm.int3(),
                Kind::Protection => self.load_rax(NOT_CANONICAL),
                Kind::PageFault => self.load_rax(NOT_MAPPED),
            }
            self.bind(other);
        }
    }
}
