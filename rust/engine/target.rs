// SPDX-License-Identifier: GPL-2.0

//! What code has to know of the machine that it is for: `specs/target.toml`, from which the glue's `struct synthjit_target`
//! is made too.

pub use super::specs::Target;
