//! PID 1 of the guest: mounts what programs expect, runs the one command of `/command`, gives one verdict, switches off.
//!
//! The verdict line carries the word of the kernel's command line, which the runner made up for this boot. Its form is known
//! to `tools/vm/src/judge.rs`.

mod disk;
mod systemd;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use rustix::mount::{mount, MountFlags};
use rustix::process::{wait, WaitOptions};
use rustix::system::{reboot, RebootCommand};

/// Console of the programs; the kernel has the first serial port for itself.
const CONSOLE: &str = "/dev/ttyS1";

/// Folder and type of each file system. Those that a kernel lacks are left out; the programs see that for themselves.
const MOUNTS: &[(&str, &str)] = &[
    ("/proc", "proc"),
    ("/sys", "sysfs"),
    ("/dev", "devtmpfs"),
    ("/tmp", "tmpfs"),
    ("/dev/pts", "devpts"),
    ("/dev/shm", "tmpfs"),
    ("/sys/kernel/debug", "debugfs"),
    ("/sys/kernel/tracing", "tracefs"),
    ("/sys/kernel/security", "securityfs"),
    ("/sys/fs/cgroup", "cgroup2"),
];

/// Exit status in the verdict if the command could not be run at all, as shells have it.
const NOT_RUN: i32 = 127;

fn main() {
    // A service of systemd has all but the console.
    let root = match std::process::id() {
        1 => prepare(),
        _ => Ok(()),
    };
    if let Err(error) = take_console() {
        note(&format!("init: no console at {CONSOLE}: {error}"));
    }
    let exit = match root.and_then(|()| run()) {
        Ok(status) => status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => {
            println!("init: cannot run the command of /command: {error}");
            NOT_RUN
        }
    };
    // Orphans of the command came to PID 1; those that have ended are nobody else's to collect.
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    tell_lockdep();
    println!("GUEST-VERDICT {} exit={exit} taint={}", word(), taint());
    switch_off();
}

/// Makes the root and mounts what programs expect. Does not return if systemd is to do that.
fn prepare() -> std::io::Result<()> {
    let root = disk::become_root().and_then(|()| systemd::become_it());
    for (folder, kind) in MOUNTS {
        // The folder may be there already.
        let _ = fs::create_dir(folder);
        if let Err(error) = mount(*kind, *folder, *kind, MountFlags::empty(), None) {
            note(&format!("init: no {kind} at {folder}: {error}"));
        }
    }
    root
}

/// Makes the second serial port the three standard streams, unbuffered by us and unchanged by the terminal layer.
fn take_console() -> std::io::Result<()> {
    let console = OpenOptions::new().read(true).write(true).open(CONSOLE)?;
    let mut settings = rustix::termios::tcgetattr(&console)?;
    settings.make_raw();
    rustix::termios::tcsetattr(&console, rustix::termios::OptionalActions::Now, &settings)?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)?;
    Ok(())
}

/// Runs the command: one word a line.
fn run() -> std::io::Result<ExitStatus> {
    let text = fs::read_to_string("/command")?;
    let mut words = text.lines();
    let program = words.next().unwrap_or_default();
    Command::new(program)
        .args(words)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .current_dir("/")
        .status()
}

/// The runner's word for this boot.
fn word() -> String {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let word = line
        .split_whitespace()
        .find_map(|option| option.strip_prefix("guest.word="));
    word.unwrap_or("unknown").to_owned()
}

/// The kernel's taint bits; all of them if they cannot be read, so that the run fails.
fn taint() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

/// Tells the kernel's log whether lockdep is still on, in a kernel that has it. It switches itself off for good at the first
/// complaint, and when its tables are full: what follows would be checked no more.
fn tell_lockdep() {
    let Ok(text) = fs::read_to_string("/proc/lockdep_stats") else {
        return;
    };
    let state = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("debug_locks:"))
        .map(str::trim);
    note(match state {
        Some("1") => "init: lockdep is on at the end",
        _ => "init: lockdep is off at the end",
    });
}

/// Tells the kernel's log: before there is a console, or what the log shall have.
fn note(text: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // Nothing is left to tell if this fails.
        let _ = writeln!(log, "{text}");
    }
}

fn switch_off() -> ! {
    // The port's buffer must be empty before the machine is gone.
    let _ = std::io::stdout().flush();
    let _ = rustix::termios::tcdrain(rustix::stdio::stdout());
    let error = reboot(RebootCommand::PowerOff);
    panic!("cannot switch off: {error:?}");
}
