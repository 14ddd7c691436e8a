//! synthctl on recorded machines.

mod bailouts;
mod command;
mod config;
mod doctor;
mod figures;
mod files;
mod listing;
mod recorded;
mod top;
