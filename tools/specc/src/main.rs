//! The spec compiler's command line.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use specc::schema::{Mirror, ABSENT};
use specc::{source, Error, Kernel, Set};

/// Compiles synthjit's specs.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write specs.rs, synthjit_specs.h and synthjit_specs.c.
    Generate {
        /// Folder with the spec files.
        #[arg(long)]
        specs: PathBuf,
        /// Folder to write to; made if it is not there.
        #[arg(long)]
        out: PathBuf,
        /// Root of the source of the kernel to build for. Without it every mirror counts as known.
        #[arg(long)]
        kernel_source: Option<PathBuf>,
        /// Release of that kernel, as uname -r prints it.
        #[arg(long, default_value = "")]
        release: String,
    },
    /// Print each mirror's fingerprint in a kernel source and whether it has been reviewed.
    Fingerprint {
        /// Folder with the spec files.
        #[arg(long)]
        specs: PathBuf,
        /// Root of the kernel source.
        #[arg(long)]
        kernel_source: PathBuf,
        /// Print each mirror's text too, without comments and layout, to be compared with another kernel's.
        #[arg(long)]
        text: bool,
    },
    /// Check the specs and say nothing if they are right.
    Check {
        /// Folder with the spec files.
        #[arg(long)]
        specs: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("specc: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Error> {
    match command {
        Command::Generate {
            specs,
            out,
            kernel_source,
            release,
        } => {
            let kernel = kernel_source.as_deref().map(|source| Kernel {
                source,
                release: &release,
            });
            let report = specc::generate(&specs, &out, kernel)?;
            for line in report.unknown {
                eprintln!("specc: {line}");
            }
        }
        Command::Fingerprint {
            specs,
            kernel_source,
            text,
        } => {
            return Ok(fingerprints(&Set::read(&specs)?, &kernel_source, text));
        }
        Command::Check { specs } => drop(Set::load(&specs)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// One line per mirror: spec, name, fingerprint, state. Fails if one was not found.
fn fingerprints(set: &Set, root: &Path, with_text: bool) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (spec, mirror) in set
        .specs
        .iter()
        .flat_map(|s| s.mirror.iter().map(move |m| (s, m)))
    {
        let line = match source::fingerprint_in(root, mirror) {
            Some(print) => format!("{print} {}", reviewed(mirror, &print)),
            None if mirror.reviewed.values().any(|p| p == ABSENT) => {
                format!("{ABSENT:64} {}", reviewed(mirror, ABSENT))
            }
            None => {
                code = ExitCode::FAILURE;
                format!("{:64} not found in {}", "-", mirror.file)
            }
        };
        println!("{:16} {:36} {line}", spec.name, mirror.name);
        if let Some(text) = source::text_in(root, mirror).filter(|_| with_text) {
            println!("{text}");
        }
    }
    code
}

fn reviewed(mirror: &Mirror, print: &str) -> String {
    let series: Vec<&str> = mirror
        .reviewed
        .iter()
        .filter(|(_, p)| *p == print)
        .map(|(s, _)| s.as_str())
        .collect();
    if series.is_empty() {
        "NEW".to_owned()
    } else {
        format!("reviewed for {}", series.join(", "))
    }
}
