//! Who may do what with the files of sysfs, held against the table of `docs/sysfs.md`; what they tell of the kernel's addresses;
//! and pointers that no user may give.

use crate::proc::{Ended, Kid};
use crate::sys;
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("rights":
    the_table_is_complete, another_user, root_of_a_user_namespace, root_without_capabilities, handed_descriptor, code_is_hidden,
    no_addresses_are_told = 200, forbidden_pointers = 200,
);

const DOC: &str = include_str!("../../../../../docs/sysfs.md");
const NOBODY: u32 = 65534;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYSLOG: u32 = 34;

/// Names and modes of the files in the document's table.
fn table() -> Vec<(String, u32)> {
    let mut files = Vec::new();
    for line in DOC.lines().filter(|l| l.starts_with("| `")) {
        let mut cells = line.split('|').skip(1);
        let names = cells.next().unwrap_or_default();
        let mode = cells
            .next()
            .and_then(|c| c.split_whitespace().last())
            .and_then(|c| u32::from_str_radix(c, 8).ok())
            .unwrap_or(0);
        for name in names.split('`').skip(1).step_by(2) {
            files.push((name.to_owned(), mode));
        }
    }
    files
}

/// The files of the table as they are for this process and its pipe.
fn files(r: i32, w: i32) -> Vec<(String, u32)> {
    let me = sys::getpid().to_string();
    let mut all = Vec::new();
    for (name, mode) in table() {
        let name = name.replace("TGID", &me);
        if name.contains("KIND") {
            all.extend(["pipe_read", "pipe_write"].map(|kind| (name.replace("KIND", kind), mode)));
            continue;
        }
        if name.contains("FD.CALL") {
            for fd in [format!("{r}.read"), format!("{w}.write")] {
                all.push((name.replace("FD.CALL", &fd), mode));
            }
        } else {
            all.push((name, mode));
        }
    }
    all
}

/// Every file below a directory of the module.
pub fn walk(rest: &str, into: &mut Vec<String>) {
    for name in sysfs::list(rest) {
        let path = if rest.is_empty() {
            name
        } else {
            format!("{rest}/{name}")
        };
        if std::path::Path::new(&sysfs::path(&path)).is_dir() {
            walk(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn the_table_is_complete(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let mut there = Vec::new();
    walk("", &mut there);
    walk(sysfs::LISTINGS, &mut there);
    there.sort();
    let mut told: Vec<String> = files(rig.p.r, rig.p.w).into_iter().map(|f| f.0).collect();
    told.sort();
    same!(there, told, "files, and those of docs/sysfs.md");
    Ok(())
}

/// Runs `f` in a child; what it answers must be nothing.
fn in_child(f: impl FnOnce() -> Result<(), String>) -> Res {
    let mut kid = Kid::spawn(|| f().map_err(Stop::Fail))?;
    same!(
        kid.wait(Duration::from_secs(60)),
        Some(Ended::Exit(0)),
        "the child"
    );
    Ok(())
}

/// Reads and writes each file; the mode's last digit, or first for `owner`, says what must work.
fn try_all(files: &[(String, u32)]) -> Result<(), String> {
    for (file, mode) in files {
        let path = sysfs::path(file);
        let (read, write) = (sys::read_file(&path), sys::write_text(&path, "1"));
        if read.is_ok() != (mode & 4 != 0) || (read.is_err() && read != Err(Errno::EACCES)) {
            return Err(format!(
                "{file} ({mode:o}): read {:?}",
                read.map(|b| b.len())
            ));
        }
        // No file of the module is for others to write.
        if write != Err(Errno::EACCES) {
            return Err(format!("{file} ({mode:o}): write {write:?}"));
        }
    }
    Ok(())
}

fn become_nobody() -> Result<(), String> {
    let id = NOBODY;
    // SAFETY: numbers only; in a child that ends soon.
    let failed = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0
            || libc::setresgid(id, id, id) != 0
            || libc::setresuid(id, id, id) != 0
    };
    if failed {
        return Err("cannot become another user".into());
    }
    Ok(())
}

fn another_user(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let files = files(rig.p.r, rig.p.w);
    in_child(|| become_nobody().and_then(|()| try_all(&files)))?;
    lab.fast_again(&rig.p)
}

fn root_of_a_user_namespace(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let files = files(rig.p.r, rig.p.w);
    in_child(|| {
        become_nobody()?;
        let told = |what: &str, e: Errno| format!("{what}: {e}");
        // A process that has changed its user may not write its own maps unless it can be dumped.
        sys::sys(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE as usize, 1])
            .map_err(|e| told("prctl", e))?;
        sys::sys(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize])
            .map_err(|e| told("unshare", e))?;
        sys::write_text("/proc/self/uid_map", &format!("0 {NOBODY} 1"))
            .map_err(|e| told("uid_map", e))?;
        // SAFETY: takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            return Err("it is not root there".into());
        }
        try_all(&files)
    })?;
    lab.fast_again(&rig.p)
}

/// Takes a capability from this process for good.
fn without(cap: u32) -> Result<(), String> {
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    let (h, d) = (header.as_ptr() as usize, data.as_mut_ptr() as usize);
    sys::sys(libc::SYS_capget, &[h, d]).map_err(|e| format!("capget: {e}"))?;
    let half = (cap / 32) as usize * 3;
    for set in data.iter_mut().skip(half).take(3) {
        *set &= !(1 << (cap % 32));
    }
    let d = data.as_ptr() as usize;
    sys::sys(libc::SYS_capset, &[h, d]).map_err(|e| format!("capset: {e}"))?;
    Ok(())
}

/// The files that take something, by what they are given.
fn switches() -> Vec<(String, String)> {
    let me = sys::getpid().to_string();
    vec![
        ("attach".into(), me.clone()),
        ("detach".into(), me.clone()),
        ("enabled".into(), "0".into()),
        (format!("processes/{me}/enabled"), "0".into()),
    ]
}

fn refused<T: std::fmt::Debug + PartialEq>(
    what: &str,
    got: Result<T, Errno>,
) -> Result<(), String> {
    match got {
        Err(Errno::EPERM) => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    }
}

fn root_without_capabilities(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let switches = switches();
    in_child(|| {
        without(CAP_SYS_ADMIN)?;
        switches
            .iter()
            .try_for_each(|(file, text)| refused(file, sysfs::set(file, text)))
    })?;
    lab.fast_again(&rig.p)
}

/// Root opens the file and another user writes: what counts is who writes.
fn handed_descriptor(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let mut open = Vec::new();
    for (file, text) in switches() {
        let fd = sys::open(&sysfs::path(&file), libc::O_WRONLY, 0)?;
        open.push((file, text, fd));
    }
    let code = sysfs::fd_file(sys::getpid(), rig.p.w, Call::Write, "code");
    let code = sys::open(&sysfs::path(&code), libc::O_RDONLY, 0)?;
    let values = format!("{}/values", sysfs::LISTINGS);
    let values = sys::open(&values, libc::O_RDONLY, 0)?;
    in_child(|| {
        become_nobody()?;
        for (file, text, fd) in &open {
            refused(file, sys::pwrite(*fd, text.as_bytes(), 0))?;
        }
        refused("code", sys::pread(code, &mut [0; 64], 0))?;
        refused("values", sys::pread(values, &mut [0; 64], 0))
    })?;
    for fd in open.iter().map(|o| o.2).chain([code, values]) {
        sys::close(fd)?;
    }
    lab.fast_again(&rig.p)
}

/// Code has kernel addresses in it, and follows the rules for them.
fn code_is_hidden(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    is_hidden(&sysfs::fd_file(sys::getpid(), rig.p.w, Call::Write, "code"))?;
    is_hidden(&format!("{}/values", sysfs::LISTINGS))
}

fn is_hidden(file: &str) -> Res {
    let code = sysfs::path(file);
    ensure!(sys::read_file(&code).is_ok(), "root reads {file}");
    in_child(|| without(CAP_SYSLOG).and_then(|()| refused(file, sys::read_file(&code))))?;
    let rule = "/proc/sys/kernel/kptr_restrict";
    let before = sys::read_text(rule)?;
    let mut seen = Vec::new();
    for level in ["0", "1", "2"] {
        sys::write_text(rule, level)?;
        seen.push(sys::read_file(&code).map(|b| !b.is_empty()));
    }
    sys::write_text(rule, &before)?;
    same!(
        seen,
        [Ok(true), Ok(true), Err(Errno::EPERM)],
        "{file} for root, by kptr_restrict"
    );
    Ok(())
}

/// A number in the kernel's half of the address space, in hexadecimal or decimal.
fn is_address(word: &str) -> bool {
    let digits = word.trim_start_matches("0x");
    let value = u64::from_str_radix(digits, 16)
        .ok()
        .filter(|_| digits.len() > 11)
        .or_else(|| word.parse().ok());
    value.is_some_and(|v| v >> 47 != 0)
}

fn no_addresses_are_told(lab: &Lab) -> Res {
    needs_module(lab)?;
    ensure!(
        is_address("ffffffffc0401000") && is_address("18446744072635809792") && !is_address("1052"),
        "addresses are not recognised"
    );
    let rig = lab.rig()?;
    let files = files(rig.p.r, rig.p.w);
    in_child(|| {
        become_nobody()?;
        for (file, _) in files.iter().filter(|(_, mode)| mode & 4 != 0) {
            let text = sysfs::get(file).map_err(|e| format!("{file}: {e}"))?;
            let words = || text.split(|c: char| !c.is_ascii_alphanumeric());
            if let Some(word) = words().find(|w| is_address(w)) {
                return Err(format!("{file} tells {word}"));
            }
        }
        // The kernel hides where the arena is.
        let symbols = sys::read_text("/proc/kallsyms").map_err(|e| format!("kallsyms: {e}"))?;
        let arena = symbols
            .lines()
            .find(|l| l.contains("synthjit_arena_paths"))
            .unwrap_or_default();
        match arena.split(' ').next() {
            Some("0000000000000000") => Ok(()),
            _ => Err(format!("kallsyms: {arena:?}")),
        }
    })
}

/// Each kind of address that no user may give with each kind of count: refused, nothing moves, and nobody complains. The tests
/// `fault.*` look closer at some of them. Without the module the same holds.
fn forbidden_pointers(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let end = 0x7fff_ffff_f000usize;
    let addresses = [
        end,
        end + 1,
        0x7fff_ffff_ffff,
        0x0000_8000_0000_0000,
        0x0001_0000_0000_0000,
        0x00ff_ffff_ffff_f000,
        0x0100_0000_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x8000_0000_0000_0000,
        0xff00_0000_0000_0000,
        0xffff_7fff_ffff_ffff,
        0xffff_8000_0000_0000,
        0xffff_8880_0000_0000,
        0xffff_c900_0000_0000,
        0xffff_ea00_0000_0000,
        0xffff_ffff_8000_0000,
        0xffff_ffff_c000_0000,
        usize::MAX - 4095,
        usize::MAX,
    ];
    let straddling = [1usize, 2, 63, 4095].map(|k| end - k);
    let counts = [
        1,
        2,
        8,
        63,
        64,
        65,
        4095,
        4096,
        4097,
        65536,
        1 << 31,
        1 << 62,
    ];
    let mut tried = 0;
    for (at, counts) in addresses
        .iter()
        .map(|at| (*at, &counts[..]))
        // Only counts that reach beyond the end.
        .chain(straddling.iter().map(|at| (*at, &counts[6..])))
    {
        for &n in counts {
            same!(
                sys::write_at(rig.p.w, at, n),
                Err(Errno::EFAULT),
                "write of {n} from {at:#x}"
            );
            same!(sys::write(rig.p.w, b"kept"), Ok(4), "write");
            same!(
                sys::read_at(rig.p.r, at, n),
                Err(Errno::EFAULT),
                "read of {n} to {at:#x}"
            );
            let mut all = [0; 8];
            same!(sys::read(rig.p.r, &mut all), Ok(4), "what was kept");
            tried += 2;
        }
        // Nothing is asked for, so nothing is wrong with the address unless the kernel looks at it.
        let zero = sys::write_at(rig.p.w, at, 0);
        ensure!(
            matches!(zero, Ok(0) | Err(Errno::EFAULT)),
            "write of 0 from {at:#x}: {zero:?}"
        );
        same!(sys::fionread(rig.p.r), Ok(0), "bytes in the pipe");
    }
    ensure!(tried > 400, "{tried} calls");
    echo(rig.p.r, rig.p.w, b"all is well")?;
    lab.fast_again(&rig.p).map_err(|e| match e {
        Stop::Fail(text) => Stop::Fail(format!("after {tried} forbidden calls: {text}")),
        other => other,
    })
}
