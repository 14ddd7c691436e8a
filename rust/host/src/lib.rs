// SPDX-License-Identifier: GPL-2.0

//! The engine of synthjit for tests and tools on the host: the same files that the kernel module builds.

#![forbid(unsafe_code)]
#![no_std]

#[path = "../../engine/mod.rs"]
pub mod engine;

pub use engine::*;
