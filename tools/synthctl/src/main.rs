//! The command line of synthctl; docs/synthctl.md says what its exit codes mean.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use synthctl::cli::Cli;

fn main() -> ExitCode {
    synthctl::os::end_when_nobody_reads();
    match synthctl::run(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            synthctl::paint::error(&error);
            ExitCode::from(error.code())
        }
    }
}
