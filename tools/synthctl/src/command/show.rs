//! `synthctl status` for people.

use crate::paint::{BAD, GOOD, NOTE, STRONG};
use crate::status::{Path, Process, State, Status, Why};
use crate::text::{cut, wrap};

/// Columns before a wrapped reason.
const INDENT: usize = 10;

/// Prints everything.
pub fn status(status: &Status) {
    let style = if status.available { GOOD } else { BAD };
    let word = if status.available {
        "available"
    } else {
        "refused"
    };
    let on = if status.enabled {
        "on"
    } else {
        "off (synthctl on)"
    };
    anstream::println!("{STRONG}kernel{STRONG:#}    {}", status.kernel);
    anstream::println!("{STRONG}platform{STRONG:#}  {style}{word}{style:#}");
    status.refused.iter().for_each(why);
    anstream::println!("{STRONG}switch{STRONG:#}    {on}");
    let mut first = "paths";
    for kind in &status.paths {
        let verdict = kind.left_out.as_ref().map_or_else(
            || "available".to_owned(),
            |why| format!("left out: {}", wrap(why, INDENT)),
        );
        anstream::println!(
            "{STRONG}{first:10}{STRONG:#}{}",
            wrap(&format!("{}: {verdict}", kind.name), INDENT)
        );
        first = "";
    }
    let stats: Vec<String> = status
        .stats
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    anstream::println!(
        "{STRONG}counters{STRONG:#}  {}",
        wrap(&stats.join(", "), INDENT)
    );
    for process in &status.processes {
        anstream::println!();
        self::process(process);
    }
}

/// Prints a process and its paths.
fn process(process: &Process) {
    let (style, state) = match process.state {
        State::Pending => (NOTE, "pending"),
        State::Specialized => (GOOD, "specialized"),
        State::Stock => (BAD, "stock"),
    };
    anstream::println!(
        "{STRONG}{:<7}{STRONG:#} {:15} {style}{state}{style:#}",
        process.pid,
        process.comm
    );
    process.stock.iter().for_each(why);
    if !process.paths.is_empty() {
        anstream::println!(
            "{:>10} {:6}{:20}{:15}{:>6}{:>12}",
            "FD",
            "CALL",
            "OBJECT",
            "SPEC",
            "BYTES",
            "HITS"
        );
    }
    for path in &process.paths {
        anstream::println!(
            "{:>10} {:6}{:20}{:15}{:>6}{:>12}",
            path.fd,
            path.call,
            cut(&path.object, 19),
            path.spec,
            path.size,
            path.hits
        );
        if let Some(text) = bailed_out(path) {
            anstream::println!("{:11}{}", "", wrap(&text, 11));
        }
    }
}

/// What bailed out of a path, and why if that can be seen; `None` if nothing.
fn bailed_out(path: &Path) -> Option<String> {
    let Some(bailouts) = &path.bailouts else {
        let count = path.bailed_out.filter(|count| *count > 0)?;
        return Some(format!("bailed out: {count}, root sees why"));
    };
    let happened = bailouts.iter().filter(|b| b.count > 0);
    let reasons: Vec<String> = happened
        .map(|b| format!("{} {}", b.name, b.count))
        .collect();
    (!reasons.is_empty()).then(|| format!("bailed out: {}", reasons.join(", ")))
}

/// Prints a reason and its cure.
fn why(why: &Why) {
    anstream::println!("{:INDENT$}{}", "", wrap(&why.reason, INDENT));
    if !why.cure.is_empty() {
        anstream::println!(
            "{:INDENT$}{STRONG}cure:{STRONG:#} {}",
            "",
            wrap(&why.cure, INDENT + 6)
        );
    }
}
