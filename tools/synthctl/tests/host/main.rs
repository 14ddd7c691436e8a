//! synthctl on recorded machines.

mod command;
mod doctor;
mod figures;
mod listing;
mod recorded;
