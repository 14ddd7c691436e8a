// SPDX-License-Identifier: GPL-2.0

//! Making x86-64 machine code, layer by layer.

pub mod asm;
pub mod buf;
pub mod door;
#[cfg(synthjit_forced_faults)]
pub mod forced;
mod guard;
pub mod masm;
pub mod mitigation;
#[cfg(synthjit_ops)]
pub mod ops;
pub mod regs;
