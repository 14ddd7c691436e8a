//! What is measured: calls against the clock, instructions by function, and whole programs.

pub mod calls;
pub mod measure;
pub mod programs;
