//! Removes the module and loads it again, whatever is attached.

use super::super::counts::Count;
use super::{attach, nothing, Context, Stressor};
use crate::proc::poll_until;
use crate::{sys, sysfs};
use std::time::Duration;

pub const STRESSOR: Stressor = Stressor {
    name: "module",
    run,
    missing: nothing,
    module: true,
    goals: &[Count::Rmmods, Count::Insmods],
};

fn run(g: &mut Context) {
    while g.on() {
        if remove(g) {
            g.nap(30);
            load(g);
            attach::everybody(g);
        }
        g.rest(1500);
    }
}

fn remove(g: &Context) -> bool {
    // Somebody may have a file of the module open for a moment.
    let gone = poll_until(Duration::from_secs(5), || sys::rmmod(sysfs::MODULE).ok());
    if gone.is_some() {
        g.did(Count::Rmmods);
    }
    gone.is_some()
}

fn load(g: &Context) {
    let file = std::env::var(crate::tests::MODULE_VAR).unwrap_or_default();
    // Allocations may be made to fail.
    let loaded = poll_until(Duration::from_secs(10), || sys::insmod(&file, "").ok());
    if loaded.is_some() {
        g.did(Count::Insmods);
    }
}
