//! Calls that a path does not finish: it bails out or takes a fault, and the stock path does what it always did.

pub mod bail;
pub mod buffers;
pub mod ends;
pub mod fault;
pub mod tail;
pub mod why;
