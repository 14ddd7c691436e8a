//! `synthctl` with the real module: what its commands do, and how it says what stands in the way.

use crate::proc::{poll_until, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, noise, Lab, Res, Stop, SOON};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

area!("synthctl":
    doctor_finds_nothing, by_number, by_name, by_cgroup, status_for_people, status_for_programs, off_and_on, no_such_process,
    kernel_thread, thread_number, some_of_many, not_root, run_counts, run_ends_like_the_command, run_attaches_first, explain_process,
    explain_descriptor, explain_stock_descriptor, explain_unattached, disasm_names_everything, disasm_is_refused, top_on_a_terminal, top_without_terminal, not_loaded, );

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
    // What is for programs may have long lines.
    let for_programs = command.get_args().any(|word| word == "--json");
    let wide = String::from_utf8_lossy(&output.stdout);
    ensure!(
        for_programs || wide.lines().all(|line| line.chars().count() <= 80),
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
        let kid = Kid::spawn(|| -> Res {
            // SAFETY: the name ends with a zero.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            let p = Pipe::new(0)?;
            loop {
                echo(p.r, p.w, &noise(1, 20))?;
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

/// Reads of an empty pipe at its end.
const EMPTY_READS: u64 = 40;

/// What the tests of `run` run.
pub fn echoes(rounds: u32) -> i32 {
    // Numbers that nothing had when the program started: what had no path is remembered for a while.
    let high = |fd, to| sys::dup2(fd, to).map(|_| to);
    let fds = Pipe::new(0).and_then(|p| Ok((high(p.r, 20)?, high(p.w, 21)?)));
    let Ok((r, w)) = fds else { return 1 };
    let all = (0..rounds).all(|i| echo(r, w, &[i as u8]).is_ok());
    // What has no path to go: the pipe is empty.
    let asked = sys::set_flag(r, libc::O_NONBLOCK, true).is_ok()
        && (0..EMPTY_READS).all(|_| sys::read(r, &mut [0]) == Err(Errno::EAGAIN));
    i32::from(!(all && asked))
}

/// The number behind the words `before`.
fn number(said: &str, before: &str) -> Res<u64> {
    let rest = said.split_once(before).map_or("", |(_, rest)| rest);
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .map_err(|_| Stop::Fail(format!("no number behind {before:?} in {said:?}")))
}

fn run_counts(_: &Lab) -> Res {
    let said = does(&["run", "--", "/guest", "echoes", "5000"], "calls read")?;
    let (read, write) = (number(&said, "hits read ")?, number(&said, "%), write ")?);
    // The first calls teach the vector, and a timer sends some to the stock path.
    for hits in [read, write] {
        ensure!(
            (4500..5000).contains(&hits),
            "{hits} hits of 5000: {said:?}"
        );
    }
    ensure!(number(&said, "calls read ")? >= 5000, "calls: {said:?}");
    let saved = number(&said, "saved about ")?;
    let empty = number(&said, "all attached processes while it ran ")?;
    let doc = format!("{empty} read pipe_empty: The pipe is empty.");
    ensure!(said.contains(&doc), "not {doc:?}, but {said:?}");
    ensure!((30..=EMPTY_READS).contains(&empty), "{said:?}");
    ensure!(number(&said, "bail-outs read ")? >= empty, "{said:?}");
    same!(saved, read * 817 + write * 851, "saved");
    Ok(())
}

fn run_ends_like_the_command(_: &Lab) -> Res {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        run(
            Command::new(PROGRAM).args(["run", "/bin/sh", "-c", script]),
            code,
            "hits",
        )?;
    }
    fails(&["run", "/none-such"], 127, "cannot run /none-such")?;
    fails(&["run", "/proc"], 126, "cannot run /proc")?;
    let mut nobody = Command::new(PROGRAM);
    run(
        nobody.args(["run", "/bin/true"]).uid(NOBODY).gid(NOBODY),
        125,
        "only root",
    )
    .map(drop)
}

fn run_attaches_first(_: &Lab) -> Res {
    let script = "read state </sys/kernel/synthjit/processes/$$/state && echo it is $state";
    does(&["run", "/bin/sh", "-c", script], "it is specialized").map(drop)
}

/// An attached process, specialized, and the descriptors of its pipe.
fn specialized(name: &str) -> Res<(Echoer, String, String)> {
    let a = Echoer::new(name)?;
    does(&["attach", &a.pid()], "attached")?;
    a.is_specialized()?;
    let paths = sysfs::list(&format!("processes/{}/fds", a.pid()));
    let fd = |call: &str| {
        let name = paths.iter().find_map(|path| path.strip_suffix(call));
        name.unwrap_or_default().to_owned()
    };
    Ok((a, fd(".read"), fd(".write")))
}

fn explain_process(_: &Lab) -> Res {
    let (a, r, w) = specialized("plain")?;
    let said = does(&["explain", &a.pid()], "plain: specialized")?;
    for text in [
        format!("{r} read: pipe_read"),
        format!("{w} write: pipe_write"),
    ] {
        ensure!(said.contains(&text), "not {text:?}, but {said:?}");
    }
    sysfs::set("enabled", "0")?;
    does(
        &["explain", &a.pid()],
        "stock path switched off for all processes cure:",
    )
    .map(drop)
}

fn explain_descriptor(_: &Lab) -> Res {
    let (a, r, _) = specialized("plain")?;
    let said = does(&["explain", &a.pid(), &r], "pipe_read")?;
    let fd: u32 = r.parse().map_err(|_| Stop::Fail(r.clone()))?;
    for text in [
        "1 seen to be constant",
        &format!("fd = {fd:#x}"),
        "2 constant, but only the kernel knows it",
        "pipe_head = 0x",
        "3 likely constant, and kept so",
        "pipeanon_fops = 0xffffffff",
        "[guard: looked at on each call]",
        "[watch: task_newtask",
        "4 dynamic",
        "The mutex is taken",
    ] {
        ensure!(said.contains(text), "not {text:?}, but {said:?}");
    }
    Ok(())
}

fn explain_stock_descriptor(_: &Lab) -> Res {
    let kid = Kid::spawn(|| -> Res {
        let fd = sys::open("/dev/null", libc::O_WRONLY, 0).and_then(|fd| sys::dup2(fd, 9))?;
        loop {
            sys::write(fd as i32, b"x")?;
            crate::proc::nap(1);
        }
    })?;
    let pid = kid.pid.to_string();
    does(&["attach", &pid], "attached")?;
    let why = "9 write: stock path there is no path for this kind of file cure:";
    let told = poll_until(SOON, || does(&["explain", &pid, "9"], why).ok());
    ensure!(
        told.is_some(),
        "explain says {:?}",
        does(&["explain", &pid, "9"], "")
    );
    does(
        &["explain", &pid, "0"],
        "descriptor 0 has not been looked at",
    )?;
    fails(&["explain", &pid, "77"], 6, "has no descriptor 77")
}

fn explain_unattached(_: &Lab) -> Res {
    fails(&["explain", "1"], 6, "process 1 is not attached")?;
    fails(&["explain", "4194303"], 6, "no such process")
}

fn disasm_names_everything(_: &Lab) -> Res {
    let (a, r, w) = specialized("plain")?;
    for (fd, copied) in [(&r, "add rsi, [page_bias]"), (&w, "add rdi, [page_bias]")] {
        let said = does(
            &["disasm", &a.pid(), fd],
            "entry: enter_kernel swapgs mov gs:[tss_sp2], rsp mov rsp, kernel_stack",
        )?;
        for text in [
            "guard_eq cmp qword ptr [rdi+file_f_op], pipeanon_fops jne replaced",
            "guard_user_buffer sub rdi, [user_ptr_max] add rdi, rsi jb kernel_address",
            "clamp_user_pointer cmp rsi, [user_ptr_max] cmova rsi, [user_ptr_max]",
            copied,
            "copy rep movsb",
            "return_to_user sysretq",
            "page_missing: exit_pad push 0 jmp short",
            "go_external jmp exit_held",
            "go_external jmp exit_entered",
        ] {
            ensure!(said.contains(text), "not {text:?}, but {said}");
        }
    }
    fails(&["disasm", &a.pid(), "77"], 6, "has no path")
}

fn disasm_is_refused(_: &Lab) -> Res {
    let (a, r, _) = specialized("plain")?;
    let mut nobody = Command::new(PROGRAM);
    run(
        nobody
            .args(["disasm", &a.pid(), &r])
            .uid(NOBODY)
            .gid(NOBODY),
        4,
        "only root",
    )?;
    let rule = "/proc/sys/kernel/kptr_restrict";
    let before = sys::read_text(rule)?;
    sys::write_text(rule, "2")?;
    let refused = fails(&["disasm", &a.pid(), &r], 7, "hides from root too");
    sys::write_text(rule, &before)?;
    refused
}

/// A terminal of 80 columns and 24 lines: our end, and the program's.
fn terminal() -> Res<(File, OwnedFd)> {
    let (mut ours, mut its) = (-1, -1);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: places for two descriptors and a size; no name and no settings are given.
    let failed = unsafe {
        libc::openpty(
            &mut ours,
            &mut its,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    same!(failed, 0, "openpty");
    // SAFETY: both were just opened and are nobody else's.
    let (ours, its) = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
    sys::set_flag(ours.as_raw_fd(), libc::O_NONBLOCK, true)?;
    Ok((ours.into(), its))
}

/// Waits until all of `texts` were written to the terminal.
fn sees(screen: &mut File, texts: &[&str]) -> Res {
    let mut seen = Vec::new();
    let all = poll_until(SOON, || {
        let mut part = [0; 4096];
        while let Ok(n) = screen.read(&mut part) {
            seen.extend_from_slice(part.get(..n)?);
        }
        let text = String::from_utf8_lossy(&seen);
        texts.iter().all(|t| text.contains(t)).then_some(())
    });
    ensure!(
        all.is_some(),
        "not {texts:?}, but {:?}",
        String::from_utf8_lossy(&seen)
    );
    Ok(())
}

fn top_on_a_terminal(_: &Lab) -> Res {
    let (a, _, _) = specialized("busy")?;
    let (mut screen, its) = terminal()?;
    let mut top = Command::new(PROGRAM)
        .arg("top")
        .stdin(its.try_clone()?)
        .stdout(its.try_clone()?)
        .stderr(its)
        .spawn()?;
    // A space is no cell that has to be drawn, so words come one by one.
    sees(&mut screen, &["COMMAND", &a.pid(), "busy", "read", "fast"])?;
    screen.write_all(b" ")?;
    let file = format!("processes/{}/enabled", a.pid());
    let off = poll_until(SOON, || (sysfs::get(&file).ok()? == "0").then_some(()));
    ensure!(off.is_some(), "the key does not switch the process off");
    sees(&mut screen, &["stock"])?;
    screen.write_all(b" ")?;
    a.is_specialized()?;
    sees(&mut screen, &["fast"])?;
    screen.write_all(b"\r")?;
    sees(&mut screen, &["descriptor", "user_flags:", "neither"])?;
    screen.write_all(b"q")?;
    sees(&mut screen, &["COMMAND"])?;
    screen.write_all(b"q")?;
    let ended = poll_until(SOON, || top.try_wait().ok().flatten());
    same!(ended.and_then(|status| status.code()), Some(0), "its end");
    Ok(())
}

fn top_without_terminal(_: &Lab) -> Res {
    // Not even one to be found by name.
    let mut top = Command::new(PROGRAM);
    // SAFETY: no arguments, and nothing but this call.
    unsafe {
        top.pre_exec(|| {
            if libc::setsid() < 0 {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        })
    };
    run(
        top.arg("top").stdin(std::process::Stdio::null()),
        8,
        "top needs a terminal",
    )
    .map(drop)
}

fn not_loaded(_: &Lab) -> Res {
    sys::rmmod(sysfs::MODULE)?;
    for args in [&["status"][..], &["attach", "1"], &["off"]] {
        fails(args, 3, "the module is not loaded cure: insmod")?;
    }
    fails(&["doctor"], 1, "PROBLEM module not loaded")
}
