//! `synthctl` with the real module: what its commands do, and how it says what stands in the way.

use super::lab::{echo, noise, Lab, Res, Stop};
use crate::proc::{poll_until, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::{area, ensure, same};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::time::Duration;

area!("synthctl":
    doctor_finds_nothing, by_number, by_name, by_cgroup, status_for_people, status_for_programs, off_and_on, no_such_process,
    kernel_thread, thread_number, some_of_many, not_root, not_loaded, );

/// The same program on machines that the module refuses.
pub mod refused {
    use super::{fails, Lab, Res};
    use crate::area;

    area!("synthctl": doctor_says_why, attach_says_why, );

    fn doctor_says_why(_: &Lab) -> Res {
        fails(&["doctor"], 1, "refused: the kernel isolates")?;
        fails(&["doctor"], 1, "boot with pti=off")
    }

    fn attach_says_why(_: &Lab) -> Res {
        fails(&["attach", "1"], 5, "this machine is refused")?;
        fails(&["attach", "1"], 5, "boot with pti=off")
    }
}

const PROGRAM: &str = "/synthctl";
/// Whoever is not root.
const NOBODY: u32 = 65534;
const SOON: Duration = Duration::from_secs(10);

/// What it printed, white space made one, so that it does not matter where lines were broken.
fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(command: &mut Command, code: i32, text: &str) -> Res<String> {
    let output = command
        .output()
        .map_err(|e| Stop::Fail(format!("{PROGRAM}: {e}")))?;
    let said = said(&output);
    same!(
        output.status.code(),
        Some(code),
        "exit code; it said {said:?}"
    );
    ensure!(said.contains(text), "not {text:?}, but {said:?}");
    ensure!(
        !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
        "colour, but this is no terminal"
    );
    let wide = String::from_utf8_lossy(&output.stdout);
    ensure!(
        wide.lines().all(|line| line.chars().count() <= 80),
        "a line is wider than 80 columns: {wide}"
    );
    Ok(said)
}

/// Runs it; it must end with 0 and say `text`.
fn does(args: &[&str], text: &str) -> Res<String> {
    run(Command::new(PROGRAM).args(args), 0, text)
}

/// Runs it; it must end with `code` and say `text`.
fn fails(args: &[&str], code: i32, text: &str) -> Res {
    run(Command::new(PROGRAM).args(args), code, text).map(drop)
}

/// A process that echoes through a pipe of its own until it is ended.
struct Echoer(Kid);

impl Echoer {
    fn new(name: &str) -> Res<Echoer> {
        let name = format!("{name}\0");
        let kid = Kid::spawn(|| {
            // SAFETY: the name ends with a zero.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            let Ok(p) = Pipe::new(0) else { return 1 };
            loop {
                if echo(p.r, p.w, &noise(1, 20)).is_err() {
                    return 1;
                }
                crate::proc::nap(1);
            }
        })?;
        let named = format!("/proc/{}/comm", kid.pid);
        poll_until(SOON, || {
            let now = sys::read_text(&named).ok()?;
            (now.trim() == name.trim_end_matches('\0')).then_some(())
        })
        .ok_or(Stop::Fail("the process has no name".into()))?;
        Ok(Echoer(kid))
    }

    fn pid(&self) -> String {
        self.0.pid.to_string()
    }

    /// Both of its paths do calls.
    fn is_specialized(&self) -> Res {
        let both = poll_until(SOON, || {
            let paths = sysfs::list(&format!("processes/{}/fds", self.0.pid));
            (paths.len() == 2 && sysfs::sum(self.0.pid, "hits") > 10).then_some(())
        });
        ensure!(
            both.is_some(),
            "state {:?}, paths {:?}",
            sysfs::state(self.0.pid),
            sysfs::list(&format!("processes/{}/fds", self.0.pid))
        );
        Ok(())
    }

    fn is_detached(&self) -> Res {
        ensure!(sysfs::state(self.0.pid).is_err(), "still attached");
        Ok(())
    }
}

fn doctor_finds_nothing(_: &Lab) -> Res {
    let said = does(&["doctor"], "no problem found")?;
    for text in [
        "ok rights root",
        "ok module loaded",
        "ok platform available",
        "ok lockdown off",
        "not signed",
    ] {
        ensure!(said.contains(text), "not {text:?}, but {said:?}");
    }
    Ok(())
}

fn by_number(_: &Lab) -> Res {
    let (a, b) = (Echoer::new("one")?, Echoer::new("other")?);
    does(
        &["attach", &a.pid(), &b.pid()],
        &format!("{} one: attached", a.pid()),
    )?;
    a.is_specialized()?;
    b.is_specialized()?;
    does(&["attach", &a.pid()], "attached already")?;
    does(&["detach", &a.pid()], &format!("{} one: detached", a.pid()))?;
    a.is_detached()?;
    b.is_specialized()?;
    does(&["detach", &a.pid()], "one: not attached").map(drop)
}

fn by_name(_: &Lab) -> Res {
    // The kernel keeps 15 bytes of a name.
    let long = "a-name-that-is-too-long";
    let (a, b) = (Echoer::new(&long[..15])?, Echoer::new("a-name")?);
    does(&["attach", "--comm", long], "attached")?;
    a.is_specialized()?;
    b.is_detached()?;
    does(&["detach", "--comm", long], "detached")?;
    a.is_detached()?;
    fails(
        &["attach", "--comm", "nobody-has-this"],
        6,
        "no process is called",
    )
}

fn by_cgroup(_: &Lab) -> Res {
    let folder = "/sys/fs/cgroup/synthctl";
    let below = format!("{folder}/below");
    std::fs::create_dir_all(&below)?;
    let (a, b, c) = (Echoer::new("a")?, Echoer::new("b")?, Echoer::new("c")?);
    std::fs::write(format!("{folder}/cgroup.procs"), a.pid())?;
    std::fs::write(format!("{below}/cgroup.procs"), b.pid())?;
    // As /proc/PID/cgroup shows it.
    does(&["attach", "--cgroup", "/synthctl"], "attached")?;
    a.is_specialized()?;
    b.is_specialized()?;
    c.is_detached()?;
    does(&["detach", "--cgroup", &below], "b: detached")?;
    a.is_specialized()?;
    b.is_detached()?;
    fails(&["attach", "--cgroup", "/none-such"], 6, "is no cgroup")
}

fn status_for_people(_: &Lab) -> Res {
    let a = Echoer::new("people")?;
    does(&["attach", &a.pid()], "attached")?;
    a.is_specialized()?;
    let said = does(&["status"], "platform available")?;
    for text in [
        format!("{} people specialized", a.pid()),
        "read pipe:[".into(),
        "pipe_write".into(),
    ] {
        ensure!(said.contains(&text), "not {text:?}, but {said:?}");
    }
    sysfs::set(&format!("processes/{}/enabled", a.pid()), "0")?;
    does(
        &["status"],
        "people stock switched off for this process cure: write 1",
    )
    .map(drop)
}

fn status_for_programs(_: &Lab) -> Res {
    let a = Echoer::new("programs")?;
    does(&["attach", &a.pid()], "attached")?;
    a.is_specialized()?;
    let said = does(&["status", "--json"], "\"available\": true")?;
    for text in [
        format!("\"pid\": {}, \"comm\": \"programs\"", a.pid()),
        "\"state\": \"specialized\"".into(),
        "\"spec\": \"pipe_read\"".into(),
    ] {
        ensure!(said.contains(&text), "not {text:?}, but {said:?}");
    }
    Ok(())
}

fn off_and_on(_: &Lab) -> Res {
    let a = Echoer::new("a")?;
    does(&["attach", &a.pid()], "attached")?;
    a.is_specialized()?;
    does(&["off"], "off: everything is on the stock path")?;
    same!(sysfs::get("enabled")?, "0", "enabled");
    does(&["status"], "a stock switched off for all processes")?;
    does(&["on"], "on: 1 attached")?;
    a.is_specialized()
}

fn no_such_process(_: &Lab) -> Res {
    for what in ["attach", "detach"] {
        fails(&[what, "4194303"], 6, "there is no such process cure:")?;
    }
    Ok(())
}

fn kernel_thread(_: &Lab) -> Res {
    fails(&["attach", "2"], 6, "a thread of the kernel")
}

fn thread_number(_: &Lab) -> Res {
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // SAFETY: no arguments.
        let _ = tell.send(unsafe { libc::gettid() });
        let _ = ended.recv();
    });
    let tid = told.recv().map_err(|_| Stop::Fail("no thread".into()))?;
    fails(
        &["attach", &tid.to_string()],
        6,
        &format!("it is a thread of process {}", sys::getpid()),
    )?;
    drop(end);
    ensure!(thread.join().is_ok(), "the thread");
    Ok(())
}

/// One that cannot be attached does not keep the others from it, and shows in the exit code.
fn some_of_many(_: &Lab) -> Res {
    let a = Echoer::new("a")?;
    fails(
        &["attach", "2", &a.pid()],
        6,
        &format!("{} a: attached", a.pid()),
    )?;
    a.is_specialized()
}

fn not_root(_: &Lab) -> Res {
    let a = Echoer::new("a")?;
    let nobody = |args: &[&str], code, text: &str| {
        run(
            Command::new(PROGRAM).args(args).uid(NOBODY).gid(NOBODY),
            code,
            text,
        )
        .map(drop)
    };
    nobody(&["attach", &a.pid()], 4, "only root")?;
    nobody(&["off"], 4, "sudo synthctl")?;
    nobody(&["status"], 0, "platform available")?;
    nobody(&["doctor"], 1, "PROBLEM rights")
}

fn not_loaded(_: &Lab) -> Res {
    sys::rmmod(sysfs::MODULE)?;
    for args in [&["status"][..], &["attach", "1"], &["off"]] {
        fails(args, 3, "the module is not loaded cure: insmod")?;
    }
    fails(&["doctor"], 1, "PROBLEM module not loaded")
}
