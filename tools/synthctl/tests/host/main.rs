//! synthctl on recorded machines.

mod command;
mod doctor;
mod recorded;
