//! `synthctl run`: a command that is attached before its first instruction, and what it did.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind};
use crate::exited::Exited;
use crate::module::{Module, ROOT};
use crate::os;
use crate::paint::STRONG;
use crate::process::{self, Calls};
use crate::saved;
use crate::status::Bailed;
use crate::text::wrap;

// As env(1) has them.
const FAILED: u8 = 125;
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How long the module may take to notice an end, which is a matter of milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command; what it did goes to standard error. Returns its exit code, or one of this program's own.
pub fn run(module: &Module<'_>, command: &[OsString]) -> Result<u8, Error> {
    match attempt(module, command) {
        Ok(code) => Ok(code),
        Err((code, error)) => {
            crate::paint::error(&error);
            Ok(code)
        }
    }
}

fn attempt(module: &Module<'_>, command: &[OsString]) -> Result<u8, (u8, Error)> {
    let own = |error| (FAILED, error);
    let bailouts = module.number("stats/bailouts");
    let mut child = start(module, command)?;
    let pid = i32::try_from(child.id()).unwrap_or(0);
    os::leave_interrupts_to_the_command();
    // It is not reaped yet, so /proc still has its counters and its number is not used again.
    os::wait_for_end(pid).map_err(|error| own(other("cannot wait for the command", &error)))?;
    let calls = process::calls(module.machine, pid);
    let exited = exited(module, pid);
    let status = child
        .wait()
        .map_err(|error| own(other("cannot wait for the command", &error)))?;
    let bailouts = module.number("stats/bailouts").saturating_sub(bailouts);
    report(module, &calls, exited, bailouts);
    Ok(code(status))
}

/// Starts the command. The child attaches itself between fork and exec.
fn start(module: &Module<'_>, command: &[OsString]) -> Result<Child, (u8, Error)> {
    let [program, arguments @ ..] = command else {
        return Err((FAILED, Error::new(Kind::Other, "no command", "")));
    };
    let attach = std::fs::OpenOptions::new()
        .write(true)
        .open(module.machine.path(format!("{ROOT}/attach")))
        .map_err(|error| (FAILED, module.explain("cannot attach", None, &error)))?;
    if let Some(reason) = module.refusal() {
        let cure = crate::reason::cure(&reason);
        let what = format!("this machine is refused: {reason}");
        return Err((FAILED, Error::new(Kind::Refused, what, cure)));
    }
    let mut command = Command::new(program);
    command.args(arguments);
    os::attach_itself(&mut command, attach);
    command.spawn().map_err(|error| {
        let name = program.to_string_lossy();
        let code = match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => CANNOT_RUN,
        };
        (code, other(&format!("cannot run {name}"), &error))
    })
}

fn other(what: &str, error: &io::Error) -> Error {
    Error::new(Kind::Other, format!("{what}: {error}"), "")
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(FAILED)
}

/// What the module remembers of a process that has ended; `None` if it was detached before.
fn exited(module: &Module<'_>, pid: i32) -> Result<Option<Exited>, Error> {
    let start = Instant::now();
    while module.machine.has(format!("{ROOT}/processes/{pid}")) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(Exited::find(&module.listing("exited")?, pid))
}

fn report(
    module: &Module<'_>,
    calls: &Calls,
    exited: Result<Option<Exited>, Error>,
    bailouts: u64,
) {
    let line = |name: &str, text: String| {
        anstream::eprintln!("{STRONG}{name:12}{STRONG:#}{}", wrap(&text, 12));
    };
    line(
        "calls",
        format!("read {}, write {}", calls.read, calls.write),
    );
    let Exited { read, write } = match exited {
        Ok(Some(exited)) => exited,
        Ok(None) => {
            line("hits", "the command was detached before its end".to_owned());
            return;
        }
        Err(error) => {
            line("hits", format!("not known: {}; {}", error.what, error.cure));
            return;
        }
    };
    line(
        "hits",
        format!(
            "read {} ({}), write {} ({})",
            read.hits,
            percent(read.hits, calls.read),
            write.hits,
            percent(write.hits, calls.write)
        ),
    );
    line(
        "bail-outs",
        format!(
            "read {}, write {}; {bailouts} of all attached processes while it ran",
            read.bailed_out(),
            write.bailed_out()
        ),
    );
    for (call, did) in [("read", &read), ("write", &write)] {
        for Bailed {
            name, count, doc, ..
        } in &did.bailouts
        {
            line("", format!("{count} {call} {name}: {doc}"));
        }
    }
    line("saved", saved::text(module.machine, read.hits, write.hits));
}

fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / all as f64)
}
