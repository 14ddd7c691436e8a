//! What the module's thunk calls before it calls C, as the kernel has patched it on this machine.
//!
//! Read from the kernel's memory (`/proc/kcore`): mitigations at entry show there, and nowhere else from outside.

use crate::sys;

/// The thunk that the vector calls for a descriptor that it does not know (rust/glue/entry.S).
const THUNK: &str = "synthjit_miss_thunk";
/// More bytes than the thunk has before it calls this function.
const LENGTH: usize = 96;
const LAST: &str = "synthjit_miss";

/// Names of the functions that the thunk calls, in order, as words with spaces around them.
pub fn calls() -> Result<String, String> {
    let symbols = sys::read_text("/proc/kallsyms").map_err(|error| format!("kallsyms: {error}"))?;
    let start = address(&symbols, THUNK).ok_or("the thunk is not in kallsyms")?;
    let code = memory(start, LENGTH)?;
    let mut names = Vec::new();
    for target in targets(start, &code) {
        if let Some(name) = name_at(&symbols, target) {
            names.push(name);
            if name == LAST {
                return Ok(super::as_words(&names.join(" ")));
            }
        }
    }
    Err(format!("no call of {LAST} after {names:?}"))
}

fn fields(line: &str) -> Option<(u64, &str)> {
    let mut fields = line.split_whitespace();
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    Some((address, fields.nth(1)?))
}

fn address(symbols: &str, name: &str) -> Option<u64> {
    let mut found = symbols.lines().filter_map(fields);
    found.find(|symbol| symbol.1 == name).map(|symbol| symbol.0)
}

/// A function at exactly this address. Of several names the one that tells most: kernel text begins with a function that
/// shares its address with marks.
fn name_at(symbols: &str, address: u64) -> Option<&str> {
    let here = symbols
        .lines()
        .filter_map(fields)
        .filter(|symbol| symbol.0 == address);
    here.map(|symbol| symbol.1).max_by_key(|name| name.len())
}

/// Where each `call rel32` (0xe8) leads whose bytes begin anywhere in the code. What only looks like one leads to no symbol.
fn targets(start: u64, code: &[u8]) -> Vec<u64> {
    let calls = code
        .windows(5)
        .enumerate()
        .filter(|(_, bytes)| bytes[0] == 0xe8);
    calls
        .map(|(at, bytes)| {
            let offset = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            start
                .wrapping_add(at as u64 + 5)
                .wrapping_add_signed(i64::from(offset))
        })
        .collect()
}

/// Bytes of kernel memory. `/proc/kcore` is an ELF file whose segments are the memory's parts.
fn memory(at: u64, length: usize) -> Result<Vec<u8>, String> {
    let told = |error| format!("kcore: {error}");
    let core = sys::open("/proc/kcore", libc::O_RDONLY, 0).map_err(told)?;
    let read = |offset: u64, length: usize| -> Result<Vec<u8>, String> {
        let mut bytes = vec![0u8; length];
        let n = sys::pread(core, &mut bytes, offset as usize).map_err(told)?;
        if n == length {
            Ok(bytes)
        } else {
            Err(format!("kcore: {n} of {length} bytes"))
        }
    };
    let word = |bytes: &[u8], at: usize| {
        let eight = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
        eight.map(u64::from_le_bytes).unwrap_or_default()
    };
    let found = (|| {
        // Elf64_Ehdr: e_phoff at 32, e_phentsize at 54, e_phnum at 56.
        let head = read(0, 64)?;
        let (table, size) = (word(&head, 32), u64::from(head[54]));
        let count = u64::from(head[56]) | u64::from(head[57]) << 8;
        for n in 0..count {
            // Elf64_Phdr: p_offset at 8, p_vaddr at 16, p_filesz at 32.
            let segment = read(table + n * size, 56)?;
            let (offset, start) = (word(&segment, 8), word(&segment, 16));
            if at >= start && at - start < word(&segment, 32) {
                return read(offset + (at - start), length);
            }
        }
        Err("kcore has no such address".to_owned())
    })();
    let _ = sys::close(core);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffffffff81000000 T _text\nffffffff81000000 T srso_alias_untrain_ret\n\
                           ffffffff81000100 t f\t[synthjit]\n";

    #[test]
    fn calls_are_found_by_where_they_lead() {
        let code = [0x90, 0xe8, 0xfa, 0xfe, 0xff, 0xff, 0xe8];
        let start = 0xffff_ffff_8100_0100;
        assert_eq!(targets(start, &code), [0xffff_ffff_8100_0000]);
        assert_eq!(
            name_at(SYMBOLS, 0xffff_ffff_8100_0000),
            Some("srso_alias_untrain_ret")
        );
        assert_eq!(address(SYMBOLS, "f"), Some(start));
        assert_eq!(name_at(SYMBOLS, 7), None);
    }
}
