//! Boots a pinned kernel in QEMU with synthjit.ko and judges what the guest says.
//!
//! Exit codes: 0 all is well; 1 a test failed; 2 wrong usage or something is missing on this machine; 3 the guest's kernel
//! complained; 4 the guest did not end by itself.

#![forbid(unsafe_code)]

mod boots;
mod cells;
mod cover;
mod cpio;
mod emulator;
mod figures;
mod fuzz;
mod guest;
mod host;
mod initramfs;
mod judge;
mod kept;
mod ktap;
mod matrix;
mod oops;
mod programs;
mod project;
mod qemu;
mod report;
mod table;
mod told;
mod torture;
mod totals;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use boots::{Boot, Root};
use project::Project;
use qemu::Echo;
use totals::Totals;

#[derive(Parser)]
#[command(about = "Boots a pinned kernel in QEMU with synthjit.ko and judges what the guest says")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot once with a command of your own, showing everything
    Boot(BootArgs),
    /// Boot the benchmark, print its table, draw build/demo/pipe.svg
    Demo,
    /// Stream through pipes while everything is done to the processes that a machine can do, and check every byte
    Torture {
        /// Time under torture, of all boots together
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
        minutes: u64,
        /// What messages and choices depend on
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only this boot of qemu/boots.toml, with all of the time
        #[arg(long, value_name = "NAME")]
        boot: Option<String>,
    },
    /// Run the differential tester with random seeds until a sequence differs or the time is over
    Fuzz {
        /// How long; a fraction will do
        #[arg(long, default_value_t = 1.0)]
        hours: f64,
    },
    /// Run tests and print one line of counts
    Test {
        /// Those that need no QEMU
        #[arg(long)]
        host: bool,
        /// The boots
        #[arg(long)]
        guest: bool,
        /// Only this boot
        #[arg(long, value_name = "NAME")]
        boot: Option<String>,
        /// Other boots than those of qemu/boots.toml
        #[arg(long, value_name = "FILE", default_value = "qemu/boots.toml")]
        boots: String,
    },
    /// Run real programs stock and attached and compare the table of them with docs/programs.md
    Programs,
    /// Boot the machines of qemu/matrix.toml and compare what they answer with docs/matrix.md
    Matrix {
        /// Only cells whose name contains this
        #[arg(long, value_name = "PART")]
        cell: Option<String>,
    },
}

#[derive(Args)]
struct BootArgs {
    /// Name of the log below build/log
    #[arg(long, default_value = "boot")]
    name: String,
    /// Number of CPUs
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Threads of a core, of which each counts as a CPU
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// QEMU's CPU model
    #[arg(long, default_value = "max")]
    cpu: String,
    /// Let the clock count instructions
    #[arg(long)]
    icount: bool,
    /// More words for the kernel's command line
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Which kernel: run, or debug for that of `make test-debug`
    #[arg(long, default_value = "run")]
    kernel: String,
    /// A kernel module to put into /modules of the guest
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// One more program of the workspace, to be put at /NAME
    #[arg(long = "program", value_name = "NAME")]
    programs: Vec<String>,
    /// Run the program in Debian with tools (qemu/guest-root), not in the memory disk
    #[arg(long)]
    debian: bool,
    /// Which build of synthjit.ko to load: what is appended to the release in build/kmod
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    variant: String,
    /// Text that the kernel's log must contain
    #[arg(long, value_name = "TEXT")]
    expect: Vec<String>,
    /// Seconds after which the run has failed
    #[arg(long, default_value_t = 300)]
    time_limit: u64,
    /// Program in the guest and its arguments
    #[arg(last = true, required = true)]
    run: Vec<String>,
}

impl BootArgs {
    fn boot(self) -> Boot {
        Boot {
            smp: self.smp,
            threads: self.threads,
            cpu: self.cpu,
            icount: self.icount,
            append: self.append,
            kernel: self.kernel,
            variant: self.variant,
            modules: self.modules,
            programs: self.programs,
            root: if self.debian {
                Root::Debian
            } else {
                Root::Memory
            },
            expect: self.expect,
            time_limit: self.time_limit,
            ktap: false,
            ..Boot::new(&self.name, self.run)
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<u8> {
    let project = Project::find()?;
    match command {
        Command::Boot(args) => {
            qemu::check_version(&project)?;
            let boot = args.boot();
            let run = qemu::boot(
                &project,
                &project.kernel(&boot.kernel)?,
                &boot,
                Echo::Everything,
            )?;
            println!("boot {}: {:?} ({} s)", boot.name, run.verdict, run.seconds);
            Ok(run.verdict.code())
        }
        Command::Demo => guest::demo(&project),
        Command::Matrix { cell } => cells::run(&project, cell.as_deref()),
        Command::Programs => programs::run(&project),
        Command::Torture {
            minutes,
            seed,
            boot,
        } => torture::run(&project, minutes, seed, boot.as_deref()),
        Command::Fuzz { hours } => fuzz::run(&project, hours),
        Command::Test {
            host,
            guest,
            boot,
            boots,
        } => test(&project, host, guest, &boots, boot.as_deref()),
    }
}

fn test(project: &Project, host: bool, guest: bool, boots: &str, only: Option<&str>) -> Result<u8> {
    let mut totals = Totals::default();
    let mut code = 0;
    if host {
        let counts = host::cargo_tests(project)?;
        println!("host tests: {counts}");
        totals += counts;
        let counts = host::fuzz_targets(project)?;
        println!("fuzz targets compile: {counts}");
        totals += counts;
    }
    if host && guest {
        let counts = host::module_builds(project)?;
        println!("module builds: {counts}");
        totals += counts;
    }
    if guest {
        let (counts, worst) = guest::tests(project, boots, only)?;
        totals += counts;
        code = worst;
    }
    if totals.failed > 0 {
        code = code.max(1);
    }
    println!("{totals}");
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_boot_by_hand() {
        const BEGIN: &str = "build/target/debug/vm boot ";
        let text = include_str!("../../../docs/debug-kernel.md");
        let at = text.find(BEGIN).unwrap();
        let command = text[at..].split('`').next().unwrap();
        let cli = Cli::try_parse_from(command.split_whitespace()).unwrap();
        assert!(matches!(cli.command, Command::Boot(args) if args.kernel == "debug"));
    }
}
