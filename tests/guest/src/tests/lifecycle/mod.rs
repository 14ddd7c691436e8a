//! From loading and attaching to exit and unloading: what comes, changes and goes, and what it may cost.

pub mod bounds;
pub mod left_out;
pub mod module;
pub mod refused;
pub mod starved;
pub mod switch;
pub mod task;
pub mod task_life;
pub mod unstopped;
