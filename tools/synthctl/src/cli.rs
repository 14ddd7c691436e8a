//! The command line. Completions and man pages are made from it too.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config;
use clap::{Args, Parser, Subcommand, ValueEnum};

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

/// What the man page of `run` says below the options.
const RUN_CODES: &str = "\
Exit codes:
  that of CMD; 128 and the signal's number if a signal ended it
  125  synthctl failed; the message says why
  126  CMD cannot be run
  127  there is no such program";

/// What the man page of `daemon` says below the options. A test of the package's example holds the two together.
const CONFIG_FILE: &str = "\
The file is TOML. Each [[attach]] says which processes to attach, by one or more
of these, all of which must be true of a process:
  comm    its name, as in /proc/PID/comm
  user    name or number of its effective user
  cgroup  its cgroup or one above it, from /sys/fs/cgroup on
`interval = SECONDS` is the time between two looks at the processes, 1 if it is
not given.

A process is attached once: one that is detached by hand stays so.";

/// Looks after synthjit: what can be specialized on this machine, what is, and why something is not
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
    /// Run a command that is attached before its first instruction; tell at its end what it did
    #[command(after_help = RUN_CODES)]
    Run {
        /// The command and its arguments
        #[arg(
            value_name = "CMD",
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        command: Vec<OsString>,
    },
    /// Attach processes by the rules of a file, those that begin later too, until it is ended
    #[command(after_help = CONFIG_FILE)]
    Daemon {
        /// The rules
        #[arg(long, value_name = "FILE", default_value = config::PLACE)]
        config: PathBuf,
        /// Attach those that are there now, and end
        #[arg(long)]
        once: bool,
    },
    /// Show what attached processes do now; keys switch processes and open paths
    Top,
    /// Explain a process, or the paths of one of its descriptors: spec, values, how each assumption is kept
    Explain {
        #[arg(value_parser = clap::value_parser!(i32).range(1..))]
        pid: i32,
        fd: Option<u32>,
    },
    /// Show a path's code, with the op that wrote each part and the names of what was baked in
    Disasm {
        #[arg(value_parser = clap::value_parser!(i32).range(1..))]
        pid: i32,
        fd: u32,
        /// If the descriptor has paths for both calls
        #[arg(long)]
        call: Option<Call>,
    },
    /// Put everything on the stock path, now; processes stay attached
    Off,
    /// Undo off
    On,
}

/// A system call that can have paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Call {
    Read,
    Write,
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
