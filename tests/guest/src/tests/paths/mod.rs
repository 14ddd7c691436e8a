//! What a served call does: all that the stock call does, and nothing else that can be seen.

pub mod account;
pub mod calls;
pub mod fast;
pub mod memory;
pub mod regs;
pub mod share;
pub mod signals;
