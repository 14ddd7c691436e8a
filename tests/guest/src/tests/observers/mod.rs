//! Who looks at a process, or changes the kernel's text, sees each call as on a stock kernel.

pub mod names;
pub mod probes;
pub mod ptrace;
pub mod seccomp;
pub mod step;
pub mod told;
pub mod tracefs;
pub mod tracepoints;
pub mod unseen;
pub mod watch;
