//! What tests have at hand: the module, attached processes, and what looks at them.

pub mod epoll;
pub mod exec_probe;
pub mod kallsyms;
pub mod lab;
pub mod listener;
pub mod looper;
pub mod perf;
pub mod reasons;
pub mod signals;
pub mod tracefs;
pub mod tracer;
