// SPDX-License-Identifier: GPL-2.0

//! What people write into files of `/sys/kernel/synthjit`: any bytes at all, so all that is made of them is decided here. And
//! what they read there: one value, which must fit.

use core::fmt;

/// The text without white space around it, or `None` if it is not UTF-8.
fn trimmed(bytes: &[u8]) -> Option<&str> {
    core::str::from_utf8(bytes).ok().map(str::trim)
}

/// `1` is on, `0` is off, anything else nothing.
pub fn switch(bytes: &[u8]) -> Option<bool> {
    match trimmed(bytes)? {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// A process number: decimal digits only, at most `i32::MAX`.
pub fn process_number(bytes: &[u8]) -> Option<i32> {
    let text = trimmed(bytes)?;
    // `parse` would take a sign.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A place for a text that must fit. [`fmt::Error`] from writing: it does not, and what is there so far is not to be shown.
pub struct Bounded<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Bounded<'a> {
    /// An empty text that can be as long as `bytes`.
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    /// Length of the text, in bytes.
    pub fn length(&self) -> usize {
        self.len
    }
}

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let end = self.len.checked_add(s.len()).ok_or(fmt::Error)?;
        let place = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        place.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The first of some texts, and how many more there are: short, however many there are.
pub struct First<'a>(pub &'a [&'a str]);

impl fmt::Display for First<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [only] => f.write_str(only),
            [first, rest @ ..] => write!(f, "{first}; and {} more", rest.len()),
        }
    }
}
