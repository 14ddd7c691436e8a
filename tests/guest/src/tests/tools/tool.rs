//! Tools as subprocesses: started, awaited, stopped, and what they wrote.

use crate::ensure;
use crate::proc::nap;
use crate::tests::support::lab::{Res, Stop};
use std::ffi::CString;
use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a tool may take for one thing. They are large programs on an emulated machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `f` until it answers, as long as patience lasts. Less often than [`crate::proc::poll_until`]: tools need the CPU too.
pub fn wait_for<T>(mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = f() {
            return Some(answer);
        }
        if start.elapsed() > crate::proc::patient(PATIENCE) {
            return None;
        }
        nap(5);
    }
}

/// A tool that runs; ended when dropped.
pub struct Tool {
    child: Child,
    /// What it writes to its standard streams.
    output: String,
}

impl Tool {
    /// Starts a program; `args` are its arguments.
    pub fn start(program: &str, args: &[&str]) -> Res<Tool> {
        let output = format!("/tmp/{program}.output");
        let file = File::create(&output)?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|e| Stop::Fail(format!("cannot run {program}: {e}")))?;
        Ok(Tool { child, output })
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        text(&self.output)
    }

    /// Waits until it has said `what`.
    pub fn says(&mut self, what: &str) -> Res {
        let said = wait_for(|| {
            let said = self.output().contains(what);
            (said || self.child.try_wait().is_ok_and(|s| s.is_some())).then_some(said)
        });
        ensure!(
            said == Some(true),
            "{} does not say {what:?} but\n{}",
            self.output,
            self.output()
        );
        Ok(())
    }

    /// Waits for its end: how it ended, and what it has written in all.
    pub fn end(mut self) -> Res<(ExitStatus, String)> {
        match wait_for(|| self.child.try_wait().transpose()) {
            Some(status) => Ok((status?, self.output())),
            None => Err(Stop::Fail(format!("{} does not end", self.output))),
        }
    }

    /// Interrupts it as Ctrl-C does and waits for its end, whatever its status.
    pub fn interrupt(self) -> Res<String> {
        self.signal(libc::SIGINT)
    }

    /// Has it end by a signal, whatever its status.
    pub fn signal(self, signal: i32) -> Res<String> {
        // SAFETY: takes numbers only; the child is not reaped yet.
        unsafe { libc::kill(self.pid(), signal) };
        Ok(self.end()?.1)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a tool to its good end: what it wrote.
pub fn run(program: &str, args: &[&str]) -> Res<String> {
    let (status, output) = Tool::start(program, args)?.end()?;
    ensure!(status.success(), "{program} {args:?}: {status}\n{output}");
    Ok(output)
}

/// A text file; empty if it is not there.
pub fn text(path: &str) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |b| String::from_utf8_lossy(&b).into_owned(),
    )
}

/// Removes what an earlier run has left.
pub fn forget(path: &str) {
    // It may not be there.
    let _ = fs::remove_file(path);
}

/// Makes a named pipe in the place of what an earlier run has left.
pub fn named_pipe(path: &str) -> Res {
    forget(path);
    let name = CString::new(path).unwrap_or_default();
    // SAFETY: reads a terminated string.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    ensure!(made == 0, "no named pipe {path}");
    Ok(())
}
