//! The reasons for which paths bail out, as they are counted.

use super::lab::{until_right, Res, Round, TICK};
use crate::sys;
use crate::sysfs::{self, Call};

/// Reasons and counts of the path of a descriptor; `None` while they are not counted.
pub fn reasons(fd: i32, call: Call) -> Option<Vec<(String, u64)>> {
    let lines = sysfs::listed("bailouts", sys::getpid(), fd, call).ok()?;
    let line = |line: &String| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    let counts: Vec<_> = lines.iter().filter_map(line).collect();
    // The file of sysfs has their sum.
    let sum: u64 = counts.iter().map(|c: &(String, u64)| c.1).sum();
    let file = sysfs::fd_file(sys::getpid(), fd, call, "bailouts");
    (sysfs::number(&file) == Ok(sum)).then_some(counts)
}

/// Runs `f` (repeatable) until in one run the path of that descriptor bailed out exactly once, for `reason`. A tick may come in
/// between, which is a reason of its own.
pub fn once(fd: i32, call: Call, reason: &str, mut f: impl FnMut() -> Res) -> Res {
    until_right(|| {
        let before = reasons(fd, call);
        f()?;
        let (Some(before), Some(after)) = (before, reasons(fd, call)) else {
            return Ok(Round::Wrong("not counted".to_owned()));
        };
        let pairs = before.iter().zip(&after);
        let seen: Vec<&str> = pairs
            .flat_map(|(a, b)| std::iter::repeat_n(a.0.as_str(), b.1.wrapping_sub(a.1) as usize))
            .collect();
        let told = format!("{fd}.{} for {seen:?}, not {reason}", call.name());
        Ok(match () {
            () if seen == [reason] => Round::Right,
            () if seen.contains(&TICK) => Round::Disturbed(told),
            () => Round::Wrong(told),
        })
    })
}
