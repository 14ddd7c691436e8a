//! The machine, where its functions begin, what paths were made of.

use crate::sys;
use crate::sysfs::{self, Call};
use std::collections::BTreeMap;

/// What the CPU's weaknesses and the kernel's answers to them are.
const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

/// Kernel, CPU and mitigations.
pub fn machine() -> Result<(), String> {
    let read = |path: &str| sys::read_text(path).map_err(|e| format!("{path}: {e}"));
    println!("FACT kernel {}", read("/proc/sys/kernel/osrelease")?.trim());
    println!("FACT version {}", read("/proc/sys/kernel/version")?.trim());
    println!("FACT options {}", options(&read("/proc/cmdline")?));
    let cpu = read("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    println!(
        "FACT cpu {}",
        model
            .unwrap_or_default()
            .trim_start_matches(['\t', ' ', ':'])
    );
    let names =
        std::fs::read_dir(VULNERABILITIES).map_err(|e| format!("{VULNERABILITIES}: {e}"))?;
    let mut names: Vec<String> = names
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names {
        let text = read(&format!("{VULNERABILITIES}/{name}"))?;
        println!("FACT vulnerability {name} {}", text.trim());
    }
    Ok(())
}

/// The words of the command line that are the same in every boot.
fn options(line: &str) -> String {
    let kept = line
        .split_whitespace()
        .filter(|word| !word.starts_with("guest."));
    kept.collect::<Vec<_>>().join(" ")
}

/// One name for each address of the kernel's own text and of this module's.
pub fn symbols() -> Result<(), String> {
    let table = sys::read_text("/proc/kallsyms").map_err(|e| format!("kallsyms: {e}"))?;
    let mut out = String::new();
    for (address, name) in functions(&table) {
        out.push_str(&format!("SYMBOL {address:x} {name}\n"));
    }
    print!("{out}");
    Ok(())
}

/// Functions by address. The padding before a function, which bears a name of its own, is none.
fn functions(table: &str) -> BTreeMap<u64, &str> {
    let mut functions = BTreeMap::new();
    for line in table.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let ours = words.next().is_none_or(|module| module == "[synthjit]");
        let text = matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with("__pfx_");
        if let (true, Ok(address)) = (ours && text, u64::from_str_radix(address, 16)) {
            // Of several the first: the others are aliases.
            functions.entry(address).or_insert(name);
        }
    }
    functions
}

/// What a path was made of; nothing if there is none.
pub fn values(fd: i32, call: Call) {
    for line in sysfs::listed("values", sys::getpid(), fd, call).unwrap_or_default() {
        println!("VALUE {} {line}", call.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_one_name() {
        let table = "ffffffff81000010 T first\nffffffff81000010 T alias\nffffffff81000000 t __pfx_first\n\
                     ffffffff81000100 D data\nffffffffc0000000 t own\t[synthjit]\nffffffffc0001000 t other\t[kvm]\n";
        let found: Vec<_> = functions(table).into_iter().collect();
        assert_eq!(
            found,
            [
                (0xffff_ffff_8100_0010, "first"),
                (0xffff_ffff_c000_0000, "own")
            ]
        );
    }

    #[test]
    fn words_that_differ_from_boot_to_boot_are_left_out() {
        assert_eq!(options("nokaslr guest.word=12 x\n"), "nokaslr x");
    }
}
