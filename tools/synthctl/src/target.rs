//! Which processes a command means.

use std::path::{Path, PathBuf};

use crate::cli::Target;
use crate::error::{Error, Kind};
use crate::machine::Machine;
use crate::process;

/// Where cgroups are (version 2).
const CGROUPS: &str = "/sys/fs/cgroup";

/// The processes that `target` means, rising, each once.
///
/// # Errors
///
/// If there is none, or no such cgroup.
pub fn pids(machine: &Machine, target: &Target) -> Result<Vec<i32>, Error> {
    let mut pids = match (&target.comm, &target.cgroup) {
        (Some(name), _) => process::named(machine, name),
        (_, Some(path)) => of_cgroup(machine, path)?,
        _ => target.pids.clone(),
    };
    pids.sort_unstable();
    pids.dedup();
    if pids.is_empty() {
        let (what, cure) = match (&target.comm, &target.cgroup) {
            (Some(name), _) => (
                format!("no process is called {name:?}"),
                "the name is that of /proc/PID/comm: ps -eo pid,comm",
            ),
            _ => (
                "no process is in that cgroup".to_owned(),
                "see which processes are where: systemd-cgls, or /proc/PID/cgroup",
            ),
        };
        return Err(Error::new(Kind::NoProcess, what, cure));
    }
    Ok(pids)
}

fn of_cgroup(machine: &Machine, path: &Path) -> Result<Vec<i32>, Error> {
    // What /proc/PID/cgroup shows begins with a slash and counts from there too.
    let folder = if path.starts_with(CGROUPS) {
        path.to_owned()
    } else {
        Path::new(CGROUPS).join(path.strip_prefix("/").unwrap_or(path))
    };
    if !machine.has(folder.join("cgroup.procs")) {
        return Err(Error::new(
            Kind::NoProcess,
            format!("{} is no cgroup", folder.display()),
            "give the path that /proc/PID/cgroup shows, or one below /sys/fs/cgroup",
        ));
    }
    let mut pids = Vec::new();
    let mut folders: Vec<PathBuf> = vec![folder];
    while let Some(folder) = folders.pop() {
        // The kernel writes a 0 for a process of another pid namespace.
        let text = machine
            .text(folder.join("cgroup.procs"))
            .unwrap_or_default();
        pids.extend(
            text.lines()
                .filter_map(|line| line.parse().ok())
                .filter(|pid: &i32| *pid > 0),
        );
        let below = machine.names(&folder).into_iter();
        folders.extend(
            below
                .map(|name| folder.join(name))
                .filter(|sub| machine.has(sub.join("cgroup.procs"))),
        );
    }
    Ok(pids)
}
