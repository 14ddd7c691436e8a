//! Machines that host guests, and such as have CPUs without a tick: CPUs and processes that keep the kernel's own entry, beside others.

mod beside;
mod kvm;
mod lstar;
mod nohz;
pub mod traffic;
mod user_return;
mod vm;

use super::Test;

pub const AREAS: &[&[Test]] = &[kvm::TESTS, user_return::TESTS, nohz::TESTS];
