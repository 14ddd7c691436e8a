//! `/proc/kallsyms`.

use super::lab::Res;
use crate::sys;

/// Addresses of symbols, as root reads them; 0 for one that is not there. Reading all of them takes a while.
pub fn addresses<const N: usize>(names: [&str; N]) -> Res<[u64; N]> {
    let text = sys::read_text("/proc/kallsyms")?;
    let mut found = [0; N];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (address, name) = (words.next(), words.nth(1));
        if let Some(at) = names.iter().position(|n| Some(*n) == name) {
            found[at] = address
                .and_then(|a| u64::from_str_radix(a, 16).ok())
                .unwrap_or(0);
        }
    }
    Ok(found)
}
