//! What hits save.
//!
//! How many instructions a call would have taken on the stock path cannot be known of a call that did not take it. What is known is
//! what `make demo` counts for each kind of call, on one kernel and one CPU model; the least of these differences holds for every hit
//! of that call there.

use crate::machine::Machine;

/// The kernel on which `make demo` counted.
const KERNEL: &str = "7.3.4+deb13-amd64";
/// Least difference of stock and specialized instructions of a read, of those that README.md tells.
pub const READ: u64 = 817;
/// The same of a write.
pub const WRITE: u64 = 851;

/// What so many hits saved, with the source of the figure.
pub fn text(machine: &Machine, read: u64, write: u64) -> String {
    let instructions = read * READ + write * WRITE;
    let here = machine
        .text("/proc/sys/kernel/osrelease")
        .is_ok_and(|release| release == KERNEL);
    let but = if here { "" } else { "; this kernel is another" };
    format!(
        "about {instructions} instructions or more: {READ} for each read and {WRITE} for each write, the least that make demo counted \
         on {KERNEL} in QEMU{but}"
    )
}
