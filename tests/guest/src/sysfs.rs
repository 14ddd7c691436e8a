//! The module's files as seen from user space (docs/sysfs.md): values in sysfs, listings in debugfs.

use crate::sys::{self, Sys};

pub const ROOT: &str = "/sys/kernel/synthjit";
/// Where the listings are.
pub const LISTINGS: &str = "/sys/kernel/debug/synthjit";
/// Name that `delete_module(2)` wants.
pub const MODULE: &str = "synthjit";

/// A system call that has paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Call::Read => "read",
            Call::Write => "write",
        }
    }
}

/// Whether the module is loaded and has put up its directory.
pub fn present() -> bool {
    std::path::Path::new(ROOT).is_dir()
}

/// Path of a file below the module's directory; what is a path already stays so.
pub fn path(rest: &str) -> String {
    match rest.starts_with('/') {
        true => rest.to_owned(),
        false => format!("{ROOT}/{rest}"),
    }
}

/// The lines of a listing, whole.
pub fn listing(name: &str) -> Sys<String> {
    get(&format!("{LISTINGS}/{name}"))
}

/// The lines of a listing that are about a path, without what says so.
pub fn listed(name: &str, tgid: i32, fd: i32, call: Call) -> Sys<Vec<String>> {
    let about = format!("{tgid} {fd}.{} ", call.name());
    let text = listing(name)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix(&about));
    Ok(lines.map(str::to_owned).collect())
}

pub fn get(rest: &str) -> Sys<String> {
    sys::read_text(&path(rest))
}

pub fn set(rest: &str, text: &str) -> Sys {
    sys::write_text(&path(rest), text)
}

/// A counter `stats/NAME`; a text that is no number is an `EINVAL`.
pub fn counter(name: &str) -> Sys<u64> {
    number(&format!("stats/{name}"))
}

/// The number in a file below the module's directory.
pub fn number(rest: &str) -> Sys<u64> {
    get(rest)?.parse().map_err(|_| nix::errno::Errno::EINVAL)
}

pub fn attach(tgid: i32) -> Sys {
    set("attach", &tgid.to_string())
}

pub fn detach(tgid: i32) -> Sys {
    set("detach", &tgid.to_string())
}

/// `processes/TGID/state`.
pub fn state(tgid: i32) -> Sys<String> {
    get(&format!("processes/{tgid}/state"))
}

/// File of one specialized path.
pub fn fd_file(tgid: i32, fd: i32, call: Call, file: &str) -> String {
    format!("processes/{tgid}/fds/{fd}.{}/{file}", call.name())
}

/// Calls the path of a descriptor has done; `None` when there is no such path now.
pub fn hits(tgid: i32, fd: i32, call: Call) -> Option<u64> {
    number(&fd_file(tgid, fd, call, "hits")).ok()
}

/// Names of a directory, sorted; empty when it is not there.
pub fn list(rest: &str) -> Vec<String> {
    let Ok(dir) = std::fs::read_dir(path(rest)) else {
        return Vec::new();
    };
    let mut names: Vec<String> = dir
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Sum over all paths of a process of the number in `file` (`size`, `hits`).
pub fn sum(tgid: i32, file: &str) -> u64 {
    list(&format!("processes/{tgid}/fds"))
        .iter()
        .filter_map(|name| number(&format!("processes/{tgid}/fds/{name}/{file}")).ok())
        .sum()
}
