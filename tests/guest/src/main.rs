//! What runs inside the guest: benchmark, measurements, KTAP tests, differential tester, torture. One static program, run as root by PID 1.

mod benchmarks;
mod cell;
mod diff;
mod hostile;
mod ktap;
mod proc;
mod sys;
mod sysfs;
mod tests;
mod torture;
mod tutorial;

use benchmarks::{calls, measure, programs};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmark, tests and differential tester of synthjit, for the guest")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure calls without the module, with it, attached and beside an attached process
    Bench(calls::Args),
    /// Do all that an attached process can do to make its calls dear, and hold the price against stock
    Hostile(hostile::Args),
    /// What a hostile process becomes by exec
    #[command(hide = true)]
    HostileExec { left: u64 },
    /// Measure what make report shows, and print it for tools/report
    Measure(measure::Args),
    /// Run the KTAP tests
    Test(tests::Args),
    /// Run random calls in an attached process and in another one and compare
    Diff(diff::Args),
    /// Answer one cell of qemu/matrix.toml: does the module work on this machine, or why not
    Cell(cell::Args),
    /// Stream through pipes while everything is done to the processes, and check every byte
    Torture(torture::Args),
    /// What a streaming process becomes by exec
    #[command(hide = true)]
    TortureWorker { board: i32, desk: usize },
    /// What tools start and look at: writes its number to a file, then does a known mixture of calls
    #[command(hide = true)]
    Workload { attach: String },
    /// Run real programs without the module and attached, and compare what they cost and what comes out
    Programs(programs::Args),
    /// Run the commands of README.md and docs/tutorial.md and compare what they print
    Tutorial,
    /// Sends so many bytes through a pipe of its own, one by one
    #[command(hide = true)]
    Echoes { rounds: u32 },
    /// What an attached process becomes in the tests of exec
    #[command(hide = true)]
    ExecProbe {
        mode: String,
        #[arg(default_value_t = -1)]
        r: i32,
        #[arg(default_value_t = -1)]
        w: i32,
    },
}

fn main() {
    let code = match Cli::parse().command {
        Command::Bench(args) => calls::main(&args),
        Command::Hostile(args) => hostile::main(&args),
        Command::HostileExec { left } => hostile::again(left),
        Command::Measure(args) => measure::main(&args),
        Command::Test(args) => tests::main(&args),
        Command::Diff(args) => diff::main(&args),
        Command::Cell(args) => cell::main(&args),
        Command::Torture(args) => torture::main(&args),
        Command::TortureWorker { board, desk } => torture::resume(board, desk),
        Command::Workload { attach } => tests::tools::stream::main(&attach, tests::tools::WARM),
        Command::Programs(args) => programs::main(&args),
        Command::Tutorial => tutorial::main(),
        Command::Echoes { rounds } => tests::abi::synthctl::echoes(rounds),
        Command::ExecProbe { mode, r, w } => tests::support::exec_probe::main(&mode, r, w),
    };
    std::process::exit(code);
}
