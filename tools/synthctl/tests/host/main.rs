//! synthctl on recorded machines.

mod command;
mod doctor;
mod figures;
mod files;
mod listing;
mod recorded;
mod top;
