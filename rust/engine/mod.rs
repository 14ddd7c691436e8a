// SPDX-License-Identifier: GPL-2.0

//! What code to make: the trap vector of a process and the specialized paths of its descriptors.
//!
//! The engine turns facts about a running kernel into bytes. It knows no kernel API and touches no memory but the slices
//! it is given: addresses are plain numbers here. The kernel module and the host crate build these same files, so what the
//! tests run is what the kernel runs.
//!
//! Code that the kernel can reach never panics: a value that does not fit marks the emission as failed and the caller gets
//! a [`specs::Reason`] instead of code.
//!
//! The layers of emission, each calling only downwards: [`x86::buf`] (bytes), [`x86::asm`] (instructions), [`x86::masm`]
//! (ops), [`template`] and [`dispatch`].

#![forbid(unsafe_code)]

pub mod account;
pub mod admit;
pub mod arena;
pub mod backoff;
pub mod dispatch;
pub mod exit;
pub mod lifecycle;
pub mod negative;
pub mod specs;
pub mod syscall;
pub mod target;
pub mod template;
pub mod text;
pub mod tunables;
pub mod worth;
pub mod x86;
