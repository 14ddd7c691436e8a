//! The command line. Completions and man pages are made from it too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What the man page says below the options.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  doctor found a problem
  2  wrong usage
  3  the module is not loaded
  4  not root
  5  the platform is refused
  6  no such process, or it is not attached
  7  the kernel is locked down
  8  anything else; the message says what";

/// Looks after synthjit: what can be specialised on this machine, what is, and why something is not
#[derive(Debug, Parser)]
#[command(name = "synthctl", version, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Cli {
    /// Folder below which /sys, /proc and /boot of the machine are; another than / is a recorded machine
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "/",
        hide = true,
        global = true
    )]
    pub root: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look whether this machine can build, load and use the module; each problem comes with its cure
    Doctor,
    /// Attach processes: from their next passage through the kernel on they get paths of their own
    Attach(Target),
    /// Detach processes: they are on the stock path when this returns
    Detach(Target),
    /// Show the platform's verdict, counters, attached processes and their paths
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Put everything on the stock path, now; processes stay attached
    Off,
    /// Undo off
    On,
}

/// Which processes are meant.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// Process numbers
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub pids: Vec<i32>,
    /// All processes of this name, as in /proc/PID/comm
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// All processes of this cgroup and of those below it; a relative path counts from /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
}
