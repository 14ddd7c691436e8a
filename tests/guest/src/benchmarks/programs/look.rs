//! What a program does with pipes, counted by probes of the kernel's functions: why its calls can be served or not.

use crate::sys::{self, Sys};

const TRACING: &str = "/sys/kernel/tracing";
/// Largest count that a path serves, in bytes: one page.
const PAGE: u64 = 4096;

/// The probes: name, function with the value that is counted, and the key of its histogram.
const PROBES: [(&str, &str, &str); 4] = [
    ("read", "anon_pipe_read count=to->count", "count"),
    ("write", "anon_pipe_write count=from->count", "count"),
    ("named", "fifo_pipe_read count=to->count", "count"),
    // A pipe has no function of its own that waits, so it is asked who does.
    ("wait", "prepare_to_wait_event caller=$stack0", "caller.sym"),
];

/// Reads and writes of pipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All, those of named pipes included.
    pub all: u64,
    /// Those of exactly a page.
    pub page: u64,
    /// Those of more than a page.
    pub more: u64,
    /// Reads of named pipes.
    pub named: u64,
    /// Times that one slept.
    pub waits: u64,
}

fn file(name: &str, file: &str) -> String {
    format!("{TRACING}/events/pipes/{name}/{file}")
}

/// Does something while calls are counted.
pub fn during<T>(work: impl FnOnce() -> T) -> Sys<(T, Calls)> {
    for (name, probe, key) in PROBES {
        let line = format!("p:pipes/{name} {probe}\n");
        sys::append_text(&format!("{TRACING}/kprobe_events"), &line)?;
        sys::write_text(
            &file(name, "trigger"),
            &format!("hist:keys={key}:size=4096"),
        )?;
    }
    let result = work();
    let mut calls = Calls::default();
    for (name, _, key) in PROBES {
        let counts = sys::read_text(&file(name, "hist"))?;
        match name {
            "wait" => calls.waits = sum(&counts, |caller| caller.contains("anon_pipe_")),
            "named" => calls.named = sum(&counts, |_| true),
            _ => {
                let of =
                    |wanted: fn(u64) -> bool| sum(&counts, |count| count.parse().is_ok_and(wanted));
                calls.all += of(|_| true);
                calls.page += of(|count| count == PAGE);
                calls.more += of(|count| count > PAGE);
            }
        }
        sys::write_text(&file(name, "trigger"), &format!("!hist:keys={key}"))?;
        sys::append_text(
            &format!("{TRACING}/kprobe_events"),
            &format!("-:pipes/{name}\n"),
        )?;
    }
    Ok((result, calls))
}

/// Sums what a histogram has for the keys that are wanted.
fn sum(histogram: &str, wanted: impl Fn(&str) -> bool) -> u64 {
    let counts = histogram.lines().filter_map(|line| {
        // { count:       4096 } hitcount:         41
        let (key, count) = line.strip_prefix("{ ")?.split_once("} hitcount:")?;
        let (_, key) = key.split_once(':')?;
        wanted(key.trim()).then(|| count.trim().parse::<u64>().ok())?
    });
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_read() {
        let text = "# trigger info: hist:keys=count\n{ count:       4096 } hitcount:         41\n\
                    { count:       8192 } hitcount:          2\n\nTotals:\n    Hits: 43\n";
        assert_eq!(sum(text, |_| true), 43);
        assert_eq!(sum(text, |key| key == "8192"), 2);
        let text = "{ caller: [ffffffff817bcaa2] anon_pipe_write     } hitcount:   65\n";
        assert_eq!(sum(text, |key| key.contains("anon_pipe_")), 65);
    }
}
