//! What tools wrote, as lists of events that can be compared.

use crate::ensure;
use crate::tests::support::lab::{Res, Stop};

/// The lines from the first mark to the last one, both included.
///
/// # Errors
///
/// There are not exactly two marks.
pub fn between(lines: &[String], mark: impl Fn(&str) -> bool) -> Res<Vec<String>> {
    let marks: Vec<usize> = (0..lines.len()).filter(|i| mark(&lines[*i])).collect();
    match marks[..] {
        [first, last] => Ok(lines[first..=last].to_vec()),
        _ => Err(Stop::Fail(format!(
            "{} marks in {} events:\n{}",
            marks.len(),
            lines.len(),
            lines[lines.len().saturating_sub(10)..].join("\n")
        ))),
    }
}

/// Fails unless both lists are the same to the letter and have `count` events.
pub fn equal(stock: &[String], attached: &[String], count: usize) -> Res {
    ensure!(
        stock.len() == count,
        "{} events of the stock process, want {count}:\n{}",
        stock.len(),
        stock.join("\n")
    );
    if let Some(n) =
        (0..stock.len().max(attached.len())).find(|n| stock.get(*n) != attached.get(*n))
    {
        return Err(Stop::Fail(format!(
            "event {n} of {} (stock) and {} (attached)\nstock    {:?}\nattached {:?}",
            stock.len(),
            attached.len(),
            stock.get(n),
            attached.get(n)
        )));
    }
    Ok(())
}

/// Replaces addresses, words of at least nine hexadecimal digits: they differ from process to process.
pub fn hide_addresses(line: &str) -> String {
    let address = |word: &str| {
        let digits = word.trim_start_matches("0x");
        digits.len() >= 9 && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let mut out = String::new();
    for part in line.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        out.push_str(if address(word) { "*" } else { word });
        out.push_str(&part[word.len()..]);
    }
    out
}

/// Fails unless the numbers count up by one and begin at `first` at the latest.
pub fn whole(serials: &[u64], first: u64, last: u64) -> Res {
    let (Some(begin), Some(end)) = (serials.first(), serials.last()) else {
        return Err(Stop::Fail("no round was seen".into()));
    };
    ensure!(
        *begin <= first && *end >= last,
        "rounds {begin} to {end} were seen, want {first} to {last}"
    );
    for pair in serials.windows(2) {
        ensure!(pair[1] == pair[0] + 1, "after {} came {}", pair[0], pair[1]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_lies_between_two_marks() {
        let cut = between(&list("a\nm\nb\nm\nc"), |l| l == "m").unwrap();
        assert_eq!(cut, list("m\nb\nm"));
        assert!(between(&list("a\nm"), |l| l == "m").is_err());
        assert!(between(&list("m\nm\nm"), |l| l == "m").is_err());
    }

    #[test]
    fn lists_that_differ_are_not_equal() {
        assert!(equal(&list("a\nb"), &list("a\nb"), 2).is_ok());
        assert!(equal(&list("a\nb"), &list("a\nb"), 3).is_err());
        assert!(equal(&list("a\nb"), &list("a"), 2).is_err());
        assert!(equal(&list("a\nb"), &list("a\nb\nc"), 2).is_err());
        assert!(equal(&list("a\nb"), &list("b\na"), 2).is_err());
    }

    #[test]
    fn addresses_are_hidden() {
        assert_eq!(
            hide_addresses("NR 1 (5, 7ffd00112233, 8, 4d2) buf: 0x7ffe37f0dab0, 0x10"),
            "NR 1 (5, *, 8, 4d2) buf: *, 0x10"
        );
    }

    #[test]
    fn a_gap_is_seen() {
        assert!(whole(&[3, 4, 5], 4, 5).is_ok());
        assert!(whole(&[3, 5], 4, 5).is_err());
        assert!(whole(&[5, 6], 4, 5).is_err());
        assert!(whole(&[3, 4], 4, 5).is_err());
        assert!(whole(&[4, 4, 5], 4, 5).is_err());
        assert!(whole(&[], 4, 5).is_err());
    }
}
