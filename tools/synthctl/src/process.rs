//! What /proc says about processes.

use crate::machine::Machine;

/// Longest name that the kernel keeps of a process, in bytes (`TASK_COMM_LEN` less the final zero, include/linux/sched.h).
const NAME_MAX: usize = 15;

/// Name of a process; `None` if there is none.
pub fn name(machine: &Machine, pid: i32) -> Option<String> {
    machine.text(format!("/proc/{pid}/comm")).ok()
}

/// What a descriptor leads to, as /proc shows it: `pipe:[123]`.
pub fn object(machine: &Machine, pid: i32, fd: u32) -> Option<String> {
    machine.link(format!("/proc/{pid}/fd/{fd}"))
}

/// What the kernel keeps of a name.
pub fn kept(name: &str) -> &str {
    let mut end = name.len().min(NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// All processes of that name.
pub fn named(machine: &Machine, wanted: &str) -> Vec<i32> {
    machine
        .numbers("/proc")
        .into_iter()
        .filter(|pid| name(machine, *pid).as_deref() == Some(kept(wanted)))
        .collect()
}

/// Effective user of a process.
pub fn user(machine: &Machine, pid: i32) -> Option<u32> {
    let status = machine.text(format!("/proc/{pid}/status")).ok()?;
    // Real, effective, saved, of the file system.
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

/// Path of a process's cgroup (version 2), from the root of the cgroups.
pub fn cgroup(machine: &Machine, pid: i32) -> Option<String> {
    let text = machine.text(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_owned())
}

/// When a process began, in clock ticks after the machine: no two processes have both this and their number in common.
pub fn began(machine: &Machine, pid: i32) -> Option<u64> {
    let text = machine.text(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may contain anything. Behind it come field 3 and so on (proc_pid_stat(5)); the start is 22.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// The process that a thread number belongs to, if it is not one itself.
pub fn of_thread(machine: &Machine, tid: i32) -> Option<i32> {
    let status = machine.text(format!("/proc/{tid}/status")).ok()?;
    let tgid = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))?
        .trim()
        .parse()
        .ok()?;
    (tgid != tid).then_some(tgid)
}

/// Whether this program may change the module's state: `CAP_SYS_ADMIN` is among its effective capabilities.
pub fn may_administer(machine: &Machine) -> bool {
    const SYS_ADMIN: u32 = 21;
    let status = machine.text("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .is_some_and(|set| set >> SYS_ADMIN & 1 == 1)
}

/// Calls that read or wrote, by the kernel's own account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    pub read: u64,
    pub write: u64,
}

/// The calls of a process, its children not included; none if it is gone or not for this user to see.
pub fn calls(machine: &Machine, pid: i32) -> Calls {
    let text = machine.text(format!("/proc/{pid}/io")).unwrap_or_default();
    let of = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    Calls {
        read: of("syscr"),
        write: of("syscw"),
    }
}
