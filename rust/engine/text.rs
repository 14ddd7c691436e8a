// SPDX-License-Identifier: GPL-2.0

//! What people write into files of `/sys/kernel/synthjit`: any bytes at all, so all that is made of them is decided here.

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
