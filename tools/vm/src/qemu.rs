//! Boots QEMU, collects both consoles, keeps the time limit.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::boots::{Boot, Root};
use crate::judge::{From, Line, Verdict};
use crate::project::{find_file, Kernel, Project};
use crate::{emulator, initramfs, judge, judge::VERDICT, oops};

/// What a boot's time limit is multiplied by: the lists say what is enough on an idle host, and no host need be idle.
const BUSY_HOST: u32 = 3;

/// Older ones run stale code after another CPU has patched it far more often (see [`emulator::stale_code`]).
const OLDEST: (u32, u32) = (8, 1);

/// So often a guest is booted until its clock is right. That is known in its first second.
const CLOCK_RUNS: usize = 6;
/// So often one is booted that QEMU ends with stale code. That takes as long as the run.
const STALE_RUNS: usize = 5;

/// The disk of each kind of root.
fn disk(root: Root) -> Option<&'static str> {
    match root {
        Root::Memory => None,
        Root::Debian => Some("build/guest-root.ext4"),
        Root::Packages => Some("build/deb-root.ext4"),
    }
}

/// The plugin of boots that count instructions; `qemu/count-plugin` builds it.
const COUNT_PLUGIN: &str = "build/target/release/libcount_plugin.so";

/// What came of one boot.
pub struct Run {
    pub lines: Vec<Line>,
    pub verdict: Verdict,
    pub seconds: u64,
}

impl Run {
    /// Lines that the guest's programs wrote, in order.
    pub fn guest_lines(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(|line| line.from == From::Guest)
            .map(|line| line.text.as_str())
    }
}

/// Fails with the cure if the build root's QEMU is too old.
pub fn check_version(project: &Project) -> Result<()> {
    let output = project
        .in_root()
        .args(["qemu-system-x86_64", "--version"])
        .output()
        .context("cannot run qemu/in-root")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = version(&text).with_context(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!(
            "the build root's QEMU does not tell its version: {}",
            error.trim()
        )
    })?;
    if version < OLDEST {
        let ((major, minor), (oldest, point)) = (version, OLDEST);
        bail!("QEMU {major}.{minor} is too old, {oldest}.{point} is needed: remove build/root and run make to get the right one");
    }
    Ok(())
}

/// Major and minor number out of what `--version` prints.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text
        .strip_prefix("QEMU emulator version ")?
        .split_whitespace()
        .next()?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What of a log is also shown while it grows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    Nothing,
    /// What the guest's program prints.
    Guest,
    Everything,
}

impl Echo {
    fn shows(self, line: &Line) -> bool {
        match self {
            Echo::Nothing => false,
            Echo::Guest => line.from == From::Guest && !line.text.starts_with(VERDICT),
            Echo::Everything => true,
        }
    }
}

/// Boots once. The whole log is in `build/log/NAME.log` whatever happens.
pub fn boot(project: &Project, kernel: &Kernel, boot: &Boot, echo: Echo) -> Result<Run> {
    boot_watched(project, kernel, boot, &|line| {
        if echo.shows(line) {
            let mark = if line.from == From::Kernel { "" } else { "> " };
            println!("{mark}{}", line.text);
        }
    })
}

/// The same; `watch` sees every line as it comes.
pub fn boot_watched(
    project: &Project,
    kernel: &Kernel,
    boot: &Boot,
    watch: &dyn Fn(&Line),
) -> Result<Run> {
    boot.check()?;
    let started = Instant::now();
    let word = format!("{:016x}", started_word());
    std::fs::create_dir_all(project.path("build/vm"))?;
    std::fs::create_dir_all(project.path("build/log"))?;
    let initrd = project.path(format!("build/vm/{}.cpio", boot.name));
    std::fs::write(&initrd, initramfs::build(project, kernel, boot)?)?;
    let mut command = project.in_root();
    command.args(arguments(
        project,
        kernel,
        boot,
        &project.inside(&initrd)?,
        &word,
    )?);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let file = project.path(format!("build/log/{}.log", boot.name));
    let limit = Duration::from_secs(boot.time_limit) * BUSY_HOST;
    let mut again = String::new();
    let (mut clock_runs, mut stale_runs) = (1, 1);
    let (lines, timed_out, status) = loop {
        let mut log = std::fs::File::create(&file)?;
        log.write_all(again.as_bytes())?;
        let mut child = command.spawn()?;
        let (lines, end) = collect(&mut child, limit, |line| {
            let mark = if line.from == From::Kernel { "" } else { "> " };
            writeln!(log, "{mark}{}", line.text)?;
            watch(line);
            Ok(clock_runs == CLOCK_RUNS || !emulator::tells_wrong_clock(line))
        })?;
        let status = child.wait()?;
        let why = match emulator::stale_code(&lines) {
            _ if end == End::Stopped => {
                clock_runs += 1;
                let told = lines.iter().find(|line| emulator::tells_wrong_clock(line));
                format!(
                    "the clock was wrong: {}",
                    told.map_or("", |line| &line.text)
                )
            }
            Some(why) if stale_runs < STALE_RUNS => {
                let kept = format!("build/log/{}.stale-{stale_runs}.log", boot.name);
                std::fs::rename(&file, project.path(&kept))?;
                stale_runs += 1;
                let why = format!("{why} ({kept})");
                println!("boot {}: booted again: {why}", boot.name);
                why
            }
            _ => break (lines, end == End::Limit, status),
        };
        again.push_str(&format!("vm: booted again: {why}\n"));
    };
    std::fs::remove_file(&initrd)?;
    if lines.is_empty() && !timed_out {
        bail!("QEMU printed nothing and ended with {status}");
    }
    let mut verdict = oops::judge(&lines, &word, timed_out, boot);
    if let Some(text) = &boot.complaint {
        verdict = judge::provoked(&lines, verdict, text);
    }
    Ok(Run {
        lines,
        verdict,
        seconds: started.elapsed().as_secs(),
    })
}

/// A number that no other run has.
fn started_word() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_nanos() as u64 ^ u64::from(std::process::id()) << 48
}

/// QEMU's command line. The kernel's console is the first serial port (stdout here), that of the guest's programs the second
/// (stderr here), so that neither tears the other's lines.
fn arguments(
    project: &Project,
    kernel: &Kernel,
    boot: &Boot,
    initrd: &str,
    word: &str,
) -> Result<Vec<String>> {
    let image = project.image(kernel);
    let vmlinuz = find_file(&image, &|name| {
        name == "vmlinuz" || name == format!("vmlinuz-{}", kernel.release)
    })
    .with_context(|| {
        format!(
            "there is no vmlinuz below {}: remove it and run make",
            image.display()
        )
    })?;
    // On a busy host the kernel's own check of its timer can fail, since it measures how fast QEMU runs.
    let mut append =
        format!("console=ttyS0 loglevel=7 panic=-1 oops=panic no_timer_check guest.word={word}");
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| word.to_string()));
    add(&[
        "qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-m",
        "1024",
    ]);
    add(&["-serial", "stdio", "-serial", "file:/proc/self/fd/2"]);
    let smp = match boot.threads {
        1 => boot.smp.to_string(),
        threads => format!("{},sockets=1,threads={threads}", boot.smp),
    };
    add(&["-cpu", &boot.cpu, "-smp", &smp]);
    if boot.icount {
        add(&[
            "-accel",
            "tcg,thread=single",
            "-icount",
            "shift=0,sleep=off",
        ]);
        append.push_str(" nokaslr");
    } else {
        let threads = if boot.smp > 1 { "multi" } else { "single" };
        add(&["-accel", &format!("tcg,thread={threads}")]);
    }
    if boot.count {
        let plugin = format!(
            "{},out={}",
            project.inside(&project.path(COUNT_PLUGIN))?,
            project.inside(&project.path(format!("build/log/{}.counts", boot.name)))?
        );
        add(&["-plugin", &plugin]);
    }
    if let Some(disk) = disk(boot.root) {
        let image = project.path(disk);
        if !image.is_file() {
            bail!("there is no {disk}: the make target of the test builds it");
        }
        // Boots share the image; what one writes is in a file of its own that is gone with it.
        let drive = format!(
            "file={},format=raw,if=virtio,snapshot=on,cache=unsafe",
            project.inside(&image)?
        );
        add(&["-drive", &drive]);
    }
    if boot.root == Root::Memory {
        // Memory of a device, for the tests of what paths do with it.
        add(&["-device", "bochs-display,vgamem=4M,romfile="]);
    }
    if boot.root == Root::Packages {
        // Its consoles are the kernel's and the test's.
        append.push_str(" systemd.show_status=no systemd.getty_auto=no");
    }
    if !boot.append.is_empty() {
        append.push(' ');
        append.push_str(&boot.append);
    }
    add(&[
        "-kernel",
        &project.inside(&vmlinuz)?,
        "-initrd",
        initrd,
        "-append",
        &append,
    ]);
    Ok(arguments)
}

/// Why there are no more lines of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It ended.
    Itself,
    /// It was killed at its time limit.
    Limit,
    /// It was killed because of a line.
    Stopped,
}

/// Reads both streams to their end, or kills the child at its time limit or after the first line for which `seen` is false.
fn collect(
    child: &mut Child,
    limit: Duration,
    mut seen: impl FnMut(&Line) -> Result<bool>,
) -> Result<(Vec<Line>, End)> {
    let (sender, receiver) = mpsc::channel();
    let kernel = child.stdout.take().context("stdout is a pipe")?;
    let guest = child.stderr.take().context("stderr is a pipe")?;
    forward(kernel, From::Kernel, sender.clone());
    forward(guest, From::Guest, sender);

    let deadline = Instant::now() + limit;
    let mut lines = Vec::new();
    let mut end = End::Itself;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(line) => {
                if !seen(&line)? && end == End::Itself {
                    end = End::Stopped;
                    child.kill()?;
                }
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok((lines, end)),
            Err(RecvTimeoutError::Timeout) if end != End::Itself => return Ok((lines, end)),
            Err(RecvTimeoutError::Timeout) => {
                end = End::Limit;
                child.kill()?;
            }
        }
    }
}

/// Sends a stream's lines from a thread of its own.
fn forward(stream: impl Read + Send + 'static, from: From, sender: mpsc::Sender<Line>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            bytes.clear();
            // Nobody listens any more after the time limit.
            if sender.send(Line { from, text }).is_err() {
                return;
            }
        }
    });
}

/// What is worth reading of a run that went wrong: the surroundings of the first complaint, or else the end.
pub fn explain(run: &Run, name: &str) -> String {
    let (title, middle) = match &run.verdict {
        Verdict::Clean => return String::new(),
        Verdict::Complaint(at) => ("the kernel complained".to_owned(), Some(*at)),
        Verdict::Exit(status) => (
            format!("the program in the guest ended with {status}"),
            None,
        ),
        Verdict::Tainted(bits) => (format!("the kernel is tainted by bits {bits:#x}"), None),
        Verdict::Silence => (format!("PID 1 gave no {VERDICT}"), None),
        Verdict::TimeLimit => ("the time limit was reached".to_owned(), None),
        Verdict::Missing(text) => (format!("the kernel's log lacks {text:?}"), None),
    };
    let (first, last) = match middle {
        Some(at) => (at.saturating_sub(5), (at + 40).min(run.lines.len())),
        None => (run.lines.len().saturating_sub(15), run.lines.len()),
    };
    let mut text = format!("boot {name}: {title}\n");
    for line in &run.lines[first..last] {
        text.push_str(&format!("    {}\n", line.text));
    }
    text + &format!("    (all of it: build/log/{name}.log)\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn versions() {
        assert_eq!(
            version("QEMU emulator version 10.0.13 (Debian 1:10.0.13)\nCopyright"),
            Some((10, 0))
        );
        assert_eq!(version("QEMU emulator version 7.2.19"), Some((7, 2)));
        assert_eq!(version("no such program"), None);
        assert!(version("QEMU emulator version 8.0.4").unwrap() < OLDEST);
        assert!(version("QEMU emulator version 8.1.0").unwrap() >= OLDEST);
    }

    fn shell(script: &str, limit: Duration) -> (Vec<Line>, End) {
        let mut command = Command::new("sh");
        let mut child = command
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let result = collect(&mut child, limit, |line| Ok(line.text != "stop")).unwrap();
        child.wait().unwrap();
        result
    }

    #[test]
    fn both_streams_are_read_to_the_end() {
        let (mut lines, end) = shell(
            "echo kernel; printf 'guest\\r\\nlast' >&2",
            Duration::from_secs(20),
        );
        lines.sort_by_key(|line| line.from == From::Guest);
        let short: Vec<_> = lines
            .iter()
            .map(|line| (line.from, line.text.as_str()))
            .collect();
        assert_eq!(
            short,
            [
                (From::Kernel, "kernel"),
                (From::Guest, "guest"),
                (From::Guest, "last")
            ]
        );
        assert_eq!(end, End::Itself);
    }

    #[test]
    fn a_run_that_hangs_is_killed() {
        let started = Instant::now();
        let (lines, end) = shell("echo up; exec sleep 60", Duration::from_millis(300));
        assert!(end == End::Limit && started.elapsed() < Duration::from_secs(30));
        assert_eq!(lines[0].text, "up");
    }

    #[test]
    fn a_line_can_stop_a_run() {
        let started = Instant::now();
        let (lines, end) = shell(
            "echo up; echo stop; exec sleep 60",
            Duration::from_secs(3600),
        );
        assert!(end == End::Stopped && started.elapsed() < Duration::from_secs(30));
        assert_eq!(lines[1].text, "stop");
    }
}
