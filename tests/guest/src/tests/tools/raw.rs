//! The tracepoints raw_syscalls:sys_enter and sys_exit, as text: what `trace-cmd`, `perf script` and tracefs print of them.

use super::events::{between, hide_addresses, whole};
use super::stream::{Stream, CALLS};
use crate::ensure;
use crate::tests::support::lab::Res;

/// Two events for each call of the mixture and the write behind it; the first mark, and the entry of the second one.
pub const EVENTS: usize = 2 * (CALLS + 1) + 3;

/// The mark's entry: closes -1000.
const MARK: &str = "sys_enter: NR 3 (fffffffffffffc18,";

/// The events of one process, one a line: name and what the tracepoint prints. `is_its` says whether a line is the process's.
pub fn events(text: &str, is_its: impl Fn(&str) -> bool) -> Vec<String> {
    let event = |line: &str| {
        let at = line.find("sys_enter").or_else(|| line.find("sys_exit"))?;
        let words: Vec<&str> = line[at..].split_whitespace().collect();
        Some(words.join(" "))
    };
    text.lines()
        .filter(|line| is_its(line))
        .filter_map(event)
        .collect()
}

/// More rounds than any stream does. The C library leaves larger numbers in the register of the fourth argument.
const MANY: u64 = 1 << 32;

/// Numbers of the rounds whose call `nr` was seen: the fourth argument of calls with eight bytes.
fn rounds(events: &[String], nr: u32) -> Vec<u64> {
    let head = format!("sys_enter: NR {nr} (");
    let serial = |event: &String| {
        let mut words = event.strip_prefix(head.as_str())?.split(", ").skip(2);
        let (count, word) = (words.next()?, words.next()?);
        u64::from_str_radix(word, 16)
            .ok()
            .filter(|n| count == "8" && (1..MANY).contains(n))
    };
    events.iter().filter_map(serial).collect()
}

/// Fails unless all rounds from `first` to `last` were seen, each call's entry followed by its exit.
pub fn complete(events: &[String], first: u64, last: u64) -> Res {
    whole(&rounds(events, 1), first, last)?;
    whole(&rounds(events, 0), first, last)?;
    // Entries and exits are two switches, so what is seen first may be an exit.
    let begin = events.iter().position(|e| e.starts_with("sys_enter"));
    for pair in events[begin.unwrap_or(0)..].chunks_exact(2) {
        let number = |event: &str| event.split_whitespace().nth(2).map(str::to_owned);
        ensure!(
            pair[0].starts_with("sys_enter")
                && pair[1].starts_with("sys_exit")
                && number(&pair[0]) == number(&pair[1]),
            "no pair of events: {pair:?}"
        );
    }
    Ok(())
}

/// The events from the entry of the write of round `first` to the exit of the read of round `last`; none if either is missing.
/// For tools that switch entries and exits, and the CPUs, one after the other: outside of what they promise there are gaps.
pub fn within(events: &[String], first: u64, last: u64) -> Vec<String> {
    let entry = |nr, round| {
        let is_it = |event: &String| rounds(std::slice::from_ref(event), nr) == [round];
        events.iter().position(is_it)
    };
    match (entry(1, first), entry(0, last)) {
        (Some(begin), Some(end)) => events.get(begin..=end + 1).unwrap_or_default().to_vec(),
        _ => Vec::new(),
    }
}

/// Has the stream run and do the mixture: what the calls returned, and the rounds that must be seen for it, first and last.
pub fn under_way(stream: &Stream) -> Res<(Vec<i64>, u64, u64)> {
    let first = stream.serial() + 1;
    stream.rounds(50)?;
    let results = stream.mixture()?;
    Ok((results, first, stream.serial() - 1))
}

/// The mixture's events.
pub fn mixture(events: &[String]) -> Res<Vec<String>> {
    let cut = between(events, |event| event.starts_with(MARK))?;
    Ok(cut.iter().map(|event| hide_addresses(event)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
           guest-123   [001] .....    29.26: sys_exit:             NR 0 = 9
           guest-124   [001] .....    29.26: sys_exit:             NR 0 = 9
           guest-123   [001] .....    29.27: sys_enter:            NR 1 (4, 7fc985a2e47a, 8, 1f, 0, 0)
           guest-123   [001] .....    29.28: sys_exit:             NR 1 = 8
           guest-123   [001] .....    29.27: sys_enter:            NR 0 (4, 7fc985a2e47a, 8, 1f, 0, 0)
           guest-123   [001] .....    29.28: sys_exit:             NR 0 = 8";

    #[test]
    fn one_process_is_picked() {
        let all = events(TEXT, |line| line.contains("-123 "));
        assert_eq!(all.len(), 5);
        assert_eq!(all[1], "sys_enter: NR 1 (4, 7fc985a2e47a, 8, 1f, 0, 0)");
        assert_eq!((rounds(&all, 1), rounds(&all, 0)), (vec![31], vec![31]));
        assert!(complete(&all, 31, 31).is_ok());
        assert!(complete(&all, 30, 31).is_err());
        assert_eq!(within(&all, 31, 31), all[1..]);
        assert!(within(&all, 31, 32).is_empty());
        let other = events("sys_enter: NR 0 (3, 7fc985a2e47a, 340, 1000, 0, 0)", |_| {
            true
        });
        assert_eq!(rounds(&other, 0), vec![]);
    }

    #[test]
    fn a_missing_exit_is_seen() {
        let mut all = events(TEXT, |line| line.contains("-123 "));
        all.remove(2);
        assert!(complete(&all, 31, 31).is_err());
    }
}
