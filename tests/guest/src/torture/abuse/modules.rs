//! Removes the module and loads it again, whatever is attached. Adds up its counters, which begin again each time.

use super::super::counts::Count;
use super::super::seen::Seen;
use super::{nothing, Abuser, Ground};
use crate::proc::poll_until;
use crate::{sys, sysfs};
use std::time::{Duration, Instant};

pub const ABUSER: Abuser = Abuser {
    name: "module",
    run,
    missing: nothing,
    module: true,
};

fn run(g: &mut Ground) {
    let mut seen = Seen::default();
    let mut next = Instant::now() + Duration::from_secs(2);
    while g.on() {
        seen.look(g.board);
        if Instant::now() < next {
            g.nap(80);
            continue;
        }
        if remove(g) {
            seen.forget();
            g.nap(30);
            load(g);
        }
        // Removing takes seconds on a machine that is abused; most of the time the module is there.
        next = Instant::now() + Duration::from_millis(6000 + g.rng.below(8000) as u64);
    }
    seen.look(g.board);
}

fn remove(g: &Ground) -> bool {
    // Somebody may have a file of the module open for a moment.
    let gone = poll_until(Duration::from_secs(5), || sys::rmmod(sysfs::MODULE).ok());
    if gone.is_some() {
        g.did(Count::Rmmods);
    }
    gone.is_some()
}

fn load(g: &Ground) {
    let file = std::env::var(crate::tests::MODULE_VAR).unwrap_or_default();
    // Allocations may be made to fail.
    let loaded = poll_until(Duration::from_secs(10), || sys::insmod(&file, "").ok());
    if loaded.is_some() {
        g.did(Count::Insmods);
        let _ = sysfs::set("profile", "1");
    }
}
