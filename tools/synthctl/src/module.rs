//! The files of `/sys/kernel/synthjit` and the listings of debugfs (docs/sysfs.md), and what the kernel's error numbers mean there.

use std::io;

use crate::doctor::security;
use crate::error::{Error, Kind};
use crate::machine::Machine;
use crate::process;
use crate::reason;

/// Where the module's files are.
pub const ROOT: &str = "/sys/kernel/synthjit";

/// Where debugfs is usually mounted, and the module's listings in it.
const DEBUGFS: &str = "/sys/kernel/debug";
const LISTINGS: &str = "/sys/kernel/debug/synthjit";

// Numbers of include/uapi/asm-generic/errno-base.h and errno.h.
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;

/// What an attach or detach came to, if it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is so now.
    Done,
    /// It was so before.
    Already,
}

/// The module of a machine, which is loaded.
#[derive(Clone, Debug)]
pub struct Module<'a> {
    /// The machine.
    pub machine: &'a Machine,
}

impl<'a> Module<'a> {
    /// # Errors
    ///
    /// If the module is not loaded; the cure depends on what keeps modules out.
    pub fn open(machine: &'a Machine) -> Result<Self, Error> {
        if machine.has(ROOT) {
            return Ok(Self { machine });
        }
        Err(match security::keeps_modules_out(machine) {
            Some((what, cure)) => Error::new(
                Kind::Lockdown,
                format!("the module is not loaded, and {what}"),
                cure,
            ),
            None => Error::new(
                Kind::NotLoaded,
                "the module is not loaded",
                "insmod synthjit.ko, which `make` builds, or modprobe synthjit if its package is installed; synthctl doctor says whether this machine can",
            ),
        })
    }

    /// A file's text.
    pub fn text(&self, rest: &str) -> io::Result<String> {
        self.machine.text(format!("{ROOT}/{rest}"))
    }

    /// A file's number; 0 if there is none, since what it counts may be gone by now.
    pub fn number(&self, rest: &str) -> u64 {
        self.text(rest)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    /// Names in a folder.
    pub fn names(&self, rest: &str) -> Vec<String> {
        self.machine.names(format!("{ROOT}/{rest}"))
    }

    /// Numbers of the attached processes.
    pub fn attached(&self) -> Vec<i32> {
        self.machine.numbers(format!("{ROOT}/processes"))
    }

    /// Why no process can be specialized on this machine; `None` if it can.
    pub fn refusal(&self) -> Option<String> {
        let verdict = self.text("platform/trap_vector").unwrap_or_default();
        verdict.strip_prefix("refused: ").map(str::to_owned)
    }

    /// The code of a path, which tells addresses of the kernel.
    ///
    /// # Errors
    ///
    /// If it is not there, or not for this user.
    pub fn code(&self, pid: i32, path: &str) -> Result<Vec<u8>, Error> {
        let file = format!("{ROOT}/processes/{pid}/fds/{path}/code");
        self.machine
            .bytes(&file)
            .map_err(|error| self.hidden(&format!("cannot read {file}"), &error))
    }

    /// What an error means of a file that tells addresses of the kernel.
    fn hidden(&self, what: &str, error: &io::Error) -> Error {
        // Root is refused by lockdown and by kernel.kptr_restrict only (docs/sysfs.md).
        if error.kind() == io::ErrorKind::PermissionDenied && process::may_administer(self.machine)
        {
            return Error::new(
                Kind::Lockdown,
                "generated code holds kernel addresses, which this kernel hides from root too",
                "boot without lockdown=confidentiality; sysctl kernel.kptr_restrict=1",
            );
        }
        self.explain(what, None, error)
    }

    /// A listing of debugfs, which is for root.
    ///
    /// # Errors
    ///
    /// If it is not for this user, or there is no debugfs.
    pub fn listing(&self, name: &str) -> Result<String, Error> {
        let file = format!("{LISTINGS}/{name}");
        self.machine.text(&file).map_err(|error| {
            let what = format!("cannot read {file}");
            if error.kind() != io::ErrorKind::NotFound || !self.machine.has(ROOT) {
                return self.hidden(&what, &error);
            }
            let (why, cure) = if self.machine.names(DEBUGFS).is_empty() {
                (
                    "debugfs is not mounted",
                    "mount -t debugfs debugfs /sys/kernel/debug",
                )
            } else {
                (
                    "this kernel has no debugfs for the module",
                    "boot without debugfs=off, or with a kernel that has CONFIG_DEBUG_FS",
                )
            };
            Error::new(Kind::Other, format!("{what}: {why}"), cure)
        })
    }

    /// Writes to a file.
    pub fn set(&self, rest: &str, text: &str) -> Result<(), Error> {
        self.machine
            .write(format!("{ROOT}/{rest}"), text)
            .map_err(|error| self.explain(&format!("cannot write {ROOT}/{rest}"), None, &error))
    }

    /// Attaches a process.
    ///
    /// # Errors
    ///
    /// What the kernel said, explained.
    pub fn attach(&self, pid: i32) -> Result<Change, Error> {
        self.change("attach", pid, EEXIST)
    }

    /// Detaches a process.
    ///
    /// # Errors
    ///
    /// What the kernel said, explained.
    pub fn detach(&self, pid: i32) -> Result<Change, Error> {
        self.change("detach", pid, ENOENT)
    }

    /// `so_before` is the error number that says that there is nothing to do.
    fn change(&self, file: &str, pid: i32, so_before: i32) -> Result<Change, Error> {
        let path = format!("{ROOT}/{file}");
        match self.machine.write(&path, &pid.to_string()) {
            Ok(()) => Ok(Change::Done),
            Err(error) if error.raw_os_error() == Some(so_before) && self.machine.has(&path) => {
                Ok(Change::Already)
            }
            Err(error) => {
                Err(self.explain(&format!("cannot {file} process {pid}"), Some(pid), &error))
            }
        }
    }

    /// What an error of a file of the module means. `what` was tried, on process `pid`.
    pub fn explain(&self, what: &str, pid: Option<i32>, error: &io::Error) -> Error {
        let (kind, why, cure) = match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::PermissionDenied => (
                Kind::Rights,
                "the kernel lets only root do that".to_owned(),
                "run it as root: sudo synthctl ...".to_owned(),
            ),
            Some(ESRCH) => self.no_process(pid),
            Some(ENOENT) if !self.machine.has(ROOT) => (
                Kind::NotLoaded,
                "the module is not loaded any more".to_owned(),
                "insmod synthjit.ko, or modprobe synthjit if its package is installed".to_owned(),
            ),
            Some(ENOENT) => (
                Kind::NoProcess,
                "it is not attached".to_owned(),
                "synthctl status lists the attached processes; synthctl attach PID adds one"
                    .to_owned(),
            ),
            Some(EINVAL) if pid.is_some() => (
                Kind::NoProcess,
                "it is a thread of the kernel, which makes no system calls".to_owned(),
                "attach a process".to_owned(),
            ),
            Some(EBUSY) => (
                Kind::Other,
                "changes of kernel text would go unseen, since function tracing is switched off"
                    .to_owned(),
                "sysctl kernel.ftrace_enabled=1".to_owned(),
            ),
            Some(ENOSPC) => (
                Kind::Other,
                "as many processes are attached as the module takes".to_owned(),
                "synthctl status lists them; synthctl detach PID makes room".to_owned(),
            ),
            Some(EOPNOTSUPP) => {
                let reason = self.refusal().unwrap_or_default();
                let cure = reason::cure(&reason).to_owned();
                (
                    Kind::Refused,
                    format!("this machine is refused: {reason}"),
                    cure,
                )
            }
            _ => (
                Kind::Other,
                error.to_string(),
                "the kernel's log may say more: dmesg | grep synthjit".to_owned(),
            ),
        };
        Error::new(kind, format!("{what}: {why}"), cure)
    }

    fn no_process(&self, pid: Option<i32>) -> (Kind, String, String) {
        let group = pid.and_then(|pid| process::of_thread(self.machine, pid));
        match group {
            Some(group) => (
                Kind::NoProcess,
                format!("it is a thread of process {group}"),
                format!("give the number of the process: {group}"),
            ),
            None => (
                Kind::NoProcess,
                "there is no such process".to_owned(),
                "look for its number: pgrep -a NAME; or give a name: --comm NAME".to_owned(),
            ),
        }
    }
}

/// The lines of a listing that are about process `pid` and, unless it is empty, its `path` (`FD.CALL`), without that.
pub fn lines_about<'l>(
    listing: &'l str,
    pid: i32,
    path: &str,
) -> impl Iterator<Item = &'l str> + use<'l> {
    let about = match path {
        "" => format!("{pid} "),
        path => format!("{pid} {path} "),
    };
    listing
        .lines()
        .filter_map(move |line| line.strip_prefix(&about))
}
