//! What `tests/kmod/synthjit_lstar` has seen in `MSR_LSTAR`, and the guests that it acts.

use crate::ensure;
use crate::proc;
use crate::sys;
use crate::tests::support::lab::{Res, Stop};
use std::time::Duration;

const MODULE: &str = "synthjit_lstar";
const COUNTS: &str = "/sys/module/synthjit_lstar/parameters/counts";

/// The module while it is loaded; its counts begin at nought.
pub struct Lstar(());

/// Counts by name, as `tests/kmod/synthjit_lstar/main.c` prints them.
pub struct Counts {
    text: String,
}

impl Counts {
    pub fn get(&self, name: &str) -> u64 {
        let mut lines = self.text.lines().filter_map(|line| line.split_once(' '));
        let value = lines.find(|(key, _)| *key == name);
        value
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or_default()
    }

    /// What a test prints.
    pub fn show(&self) -> String {
        self.text.replace('\n', ", ")
    }
}

impl Lstar {
    /// Looks only.
    pub fn load() -> Res<Lstar> {
        Lstar::load_with("")
    }

    /// Acts guests too; not together with KVM.
    pub fn load_with_guests() -> Res<Lstar> {
        Lstar::load_with(" guests=1")
    }

    fn load_with(options: &str) -> Res<Lstar> {
        let kallsyms = sys::read_text("/proc/kallsyms")?;
        let entry = kallsyms.lines().find_map(|line| {
            let (address, rest) = line.split_once(' ')?;
            rest.ends_with(" entry_SYSCALL_64").then_some(address)
        });
        let Some(entry) = entry else {
            return Err(Stop::Fail("kallsyms has no entry_SYSCALL_64".into()));
        };
        // What a test that was ended has left behind.
        let _ = sys::rmmod(MODULE);
        sys::insmod(
            &format!("/modules/{MODULE}.ko"),
            &format!("stock=0x{entry}{options}"),
        )?;
        Ok(Lstar(()))
    }

    pub fn counts(&self) -> Res<Counts> {
        let text = sys::read_text(COUNTS)?;
        Ok(Counts { text })
    }

    /// Each of these counts is at least so high by now.
    pub fn has_seen(&self, least: &[(&str, u64)]) -> Res {
        let counts = self.counts()?;
        ensure!(
            least.iter().all(|(name, count)| counts.get(name) >= *count),
            "too little was seen for {least:?}: {}",
            counts.show()
        );
        Ok(())
    }

    /// Nothing wrong was seen, in at least `looks` looks at tasks that are not attached.
    pub fn is_right(&self, looks: u64) -> Res {
        let enough = || {
            let counts = self.counts().ok()?;
            (counts.get("looks_unattached") >= looks).then_some(())
        };
        let enough = proc::poll_until(Duration::from_secs(30), enough);
        let counts = self.counts()?;
        println!("# MSR_LSTAR: {}", counts.show());
        ensure!(enough.is_some(), "too few looks: {}", counts.show());
        ensure!(
            counts
                .text
                .lines()
                .all(|line| !line.starts_with("wrong") || line.ends_with(" 0")),
            "MSR_LSTAR was wrong: {}",
            counts.show()
        );
        Ok(())
    }
}

impl Drop for Lstar {
    fn drop(&mut self) {
        // Its device may still be closing.
        proc::poll_until(Duration::from_secs(10), || sys::rmmod(MODULE).ok());
    }
}

/// Lets a guest with this value in `MSR_LSTAR` run for so many slices.
pub fn run_acted_guest(value: u64, slices: u64) -> bool {
    let Ok(fd) = sys::open("/dev/synthjit_lstar", libc::O_WRONLY | libc::O_CLOEXEC, 0) else {
        return false;
    };
    let wish = [value, slices];
    let iov = [wish.as_ptr() as usize, std::mem::size_of_val(&wish)];
    let done = sys::sys(libc::SYS_writev, &[fd as usize, iov.as_ptr() as usize, 1]);
    let _ = sys::close(fd);
    done == Ok(16)
}
