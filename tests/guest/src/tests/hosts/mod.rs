//! Machines that host guests, and such as have CPUs without a tick: CPUs and processes that keep the kernel's own entry, beside others.

mod beside;
mod kvm;
mod lstar;
mod nohz;
pub mod traffic;
mod user_return;
mod vm;

use crate::tests::support::lab::{Res, Stop};
use crate::tests::Test;
use crate::{same, sys, sysfs};

pub const AREAS: &[&[Test]] = &[kvm::TESTS, user_return::TESTS, nohz::TESTS];

/// The module goes and comes back, and finds the machine good.
fn load_anew() -> Res {
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    same!(
        sysfs::get("platform/trap_vector")?,
        "available",
        "what the platform says"
    );
    Ok(())
}
