//! Everything that synthctl does. It reads a machine's files below a root folder, so that a recorded machine can be looked at
//! like the one it runs on.

#![deny(unsafe_code)]

pub mod cli;
mod command;
pub mod config;
pub mod doctor;
pub mod error;
pub mod exited;
pub mod listing;
pub mod machine;
pub mod module;
#[allow(unsafe_code)]
pub mod os;
pub mod paint;
pub mod process;
pub mod reason;
pub mod saved;
pub mod status;
pub mod target;
pub mod text;
pub mod top;
pub mod values;

use cli::{Cli, Command};
use error::Error;
use machine::Machine;
use module::Module;

/// Does what the command line asks for. Returns the exit code.
///
/// # Errors
///
/// What stood in the way, with a cure and an exit code of its own.
pub fn run(cli: Cli) -> Result<u8, Error> {
    let machine = Machine::at(&cli.root);
    match cli.command {
        Command::Doctor => Ok(command::doctor(&machine)),
        Command::Attach(target) => command::attach(&Module::open(&machine)?, &target),
        Command::Detach(target) => command::detach(&Module::open(&machine)?, &target),
        Command::Status { json } => command::status(&Module::open(&machine)?, json),
        Command::Run { command } => command::run(&Module::open(&machine)?, &command),
        Command::Daemon { config, once } => command::daemon(&machine, &config, once),
        Command::Explain { pid, fd } => command::explain(&Module::open(&machine)?, pid, fd),
        Command::Disasm { pid, fd, call } => {
            command::disasm(&Module::open(&machine)?, pid, fd, call)
        }
        Command::Top => top::run(&Module::open(&machine)?),
        Command::Off => command::switch(&Module::open(&machine)?, false),
        Command::On => command::switch(&Module::open(&machine)?, true),
    }
}
