//! What tests have at hand: the module, attached processes, and what looks at them.

pub mod exec_probe;
pub mod lab;
pub mod perf;
