// SPDX-License-Identifier: GPL-2.0

//! Exits as data: each way out of generated code into the stock kernel has a number, and one routine takes all of them.
//!
//! A guard that fails leads to the *pad* of its exit, which pushes the number and goes to the exit routine of the path's kind. The
//! routine counts the exit, reports it while somebody traces bail-outs, undoes what the path has done so far, and goes to the stock
//! entry. What is to be undone is declared with the exit ([`Exit::undo`]); exits are numbered in the order of [`Undo`], so the routine
//! tells them apart by comparing the number.

use super::specs::{layout, Bail};

/// What a path has done when a guard fails, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undo {
    /// A copy is incomplete; the rest as for `Locked`.
    Copied,
    /// The object's mutex is held and page faults are disabled; the rest as for `Entered`.
    Locked,
    /// The kernel was entered and registers were saved on the stack.
    Entered,
    /// As `Entered`. Another object is on the descriptor, which is looked at when the call is done.
    Object,
    /// As `Entered`. The process's memory is not known to be ordinary, and is looked at now and then.
    Memory,
}

impl Undo {
    const ALL: [Self; 5] = [
        Self::Copied,
        Self::Locked,
        Self::Entered,
        Self::Object,
        Self::Memory,
    ];
}

/// One exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Why it is taken.
    pub reason: Bail,
    /// What the exit routine undoes.
    pub undo: Undo,
}

/// In place of the number of an exit that a path has not.
const NONE: u8 = u8::MAX;

/// The exits of one kind of path, by number.
#[derive(Clone, Copy, Debug)]
pub struct Exits {
    list: [Exit; layout::EXITS],
    len: u8,
    /// By reason.
    numbers: [u8; Bail::ALL.len()],
}

impl Exits {
    /// Numbers the exits that `parts` declare, in the order of what they undo. At compile time, where one too many or one that is
    /// declared twice is an error.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
    pub const fn new(parts: &[&[Exit]]) -> Self {
        let mut exits = Self {
            list: [parts[0][0]; layout::EXITS],
            len: 0,
            numbers: [NONE; Bail::ALL.len()],
        };
        let mut rank = 0;
        while rank < Undo::ALL.len() {
            let mut part = 0;
            while part < parts.len() {
                let mut at = 0;
                while at < parts[part].len() {
                    let exit = parts[part][at];
                    if exit.undo as u8 == Undo::ALL[rank] as u8 {
                        assert!(exits.numbers[exit.reason as usize] == NONE);
                        exits.list[exits.len as usize] = exit;
                        exits.numbers[exit.reason as usize] = exits.len;
                        exits.len += 1;
                    }
                    at += 1;
                }
                part += 1;
            }
            rank += 1;
        }
        exits
    }

    /// All, by number.
    pub fn all(&self) -> &[Exit] {
        self.list.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The number of the exit for this reason; out of the range of all numbers if there is none.
    #[inline(always)]
    pub fn number(&self, reason: Bail) -> u8 {
        self.numbers.get(reason as usize).copied().unwrap_or(NONE)
    }

    /// The number of the first exit that undoes no more than `undo`.
    pub fn first(&self, undo: Undo) -> u8 {
        let before = self.all().iter().take_while(|exit| exit.undo < undo);
        before.fold(0, |number: u8, _| number.saturating_add(1))
    }
}
