//! Colours; `anstream` leaves them out where the output is no terminal.

use anstyle::{AnsiColor, Style};

use crate::error::Error;
use crate::text::wrap;

/// Headings and what matters.
pub const STRONG: Style = Style::new().bold();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Worth knowing.
pub const NOTE: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Tells a failure and its cure on standard error.
pub fn error(error: &Error) {
    const NAME: &str = "synthctl: ";
    const CURE: &str = "    cure: ";
    anstream::eprintln!("{BAD}{NAME}{BAD:#}{}", wrap(&error.what, NAME.len()));
    if !error.cure.is_empty() {
        anstream::eprintln!("{STRONG}{CURE}{STRONG:#}{}", wrap(&error.cure, CURE.len()));
    }
}
