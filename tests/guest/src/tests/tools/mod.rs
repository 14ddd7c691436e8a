//! Transparency: what the tools of a Debian system see of an attached process is what they see of any other.
//!
//! Each test has a process do the same calls twice, beside the module and attached, under a tool that is switched on in
//! mid-stream or was there from the start, and compares what the tool wrote: not one event more, less or different.
//! These tests need the Debian root (`root = "debian"` in `qemu/boots.toml`).

mod apparmor;
mod auditd;
mod events;
mod gdb;
mod own;
mod perf;
mod raw;
mod seccomp;
mod strace;
pub mod stream;
mod tool;
mod trace_cmd;

use crate::same;
use crate::tests::support::lab::{Lab, Res};
use crate::tests::Test;
use stream::Stream;

/// All areas. `auditd` comes last: once auditing was on, the kernel has work at each call of every process that begins later, so
/// that none of them is specialized any more, rightly.
pub const AREAS: &[&[Test]] = &[
    strace::TESTS,
    seccomp::TESTS,
    trace_cmd::TESTS,
    perf::TESTS,
    gdb::TESTS,
    own::TESTS,
    apparmor::TESTS,
    auditd::TESTS,
];

/// Rounds of its stream that the program `guest workload` does before the mixture.
pub const WARM: u64 = 300;

/// Where the program `guest workload` writes its number, in the stock run and in the other one.
fn attach_files(lab: &Lab) -> [&'static str; 2] {
    let attach = "/sys/kernel/synthjit/attach";
    ["/dev/null", if lab.stock { "/dev/null" } else { attach }]
}

/// Looks at a stock stream, then at an attached one, which must run specialized before and afterwards, and compares: `look`
/// returns the tool's events, `events` in number, and what the calls returned.
fn compare_runs(
    lab: &Lab,
    events: usize,
    look: impl Fn(&Stream) -> Res<(Vec<String>, Vec<i64>)>,
) -> Res {
    let stock = {
        let stream = Stream::beside()?;
        let seen = look(&stream)?;
        stream.finish()?;
        seen
    };
    let stream = Stream::attached(lab)?;
    let attached = look(&stream)?;
    stream.fast_again(lab)?;
    stream.finish()?;
    same!(attached.1, stock.1, "results");
    events::equal(&stock.0, &attached.0, events)
}
