// SPDX-License-Identifier: GPL-2.0

//! Which op wrote which instructions. Host builds only: for people who read what was made.

/// Most ops in one piece of code.
const OPS: usize = 256;
/// Most places with a name in one piece of code.
const NAMES: usize = 64;

/// Words at offsets in the code, in the order in which they came.
#[derive(Clone, Debug)]
struct Words<const N: usize> {
    list: [(usize, &'static str); N],
    len: usize,
}

impl<const N: usize> Words<N> {
    const fn new() -> Self {
        Self {
            list: [(0, ""); N],
            len: 0,
        }
    }

    /// Those that are too many are lost.
    fn add(&mut self, at: usize, word: &'static str) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = (at, word);
            self.len = self.len.wrapping_add(1);
        }
    }

    fn slide(&mut self, start: usize, by: usize) {
        let all = self.list.get_mut(..self.len).unwrap_or_default();
        for (at, _) in all.iter_mut().filter(|(at, _)| *at >= start) {
            *at = at.wrapping_add(by);
        }
    }

    fn all(&self) -> &[(usize, &'static str)] {
        self.list.get(..self.len).unwrap_or_default()
    }
}

/// The ops of one piece of code, and the places in it that have names.
#[derive(Clone, Debug)]
pub struct OpLog {
    ops: Words<OPS>,
    names: Words<NAMES>,
}

impl OpLog {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            ops: Words::new(),
            names: Words::new(),
        }
    }

    /// What is written from offset `at` on is the work of `op`.
    pub fn note(&mut self, at: usize, op: &'static str) {
        self.ops.add(at, op);
    }

    /// The place at offset `at` is called `name`.
    pub fn name(&mut self, at: usize, name: &'static str) {
        self.names.add(at, name);
    }

    /// What was written since offset `start` moves up by `by` bytes.
    pub fn slide(&mut self, start: usize, by: usize) {
        self.ops.slide(start, by);
        self.names.slide(start, by);
    }

    /// Offset in the code and name of each op.
    pub fn all(&self) -> &[(usize, &'static str)] {
        self.ops.all()
    }

    /// Offset in the code and name of each place that has one.
    pub fn names(&self) -> &[(usize, &'static str)] {
        self.names.all()
    }
}

impl Default for OpLog {
    fn default() -> Self {
        Self::new()
    }
}
