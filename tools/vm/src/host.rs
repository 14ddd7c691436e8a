//! The tests that need no QEMU: those of the cargo workspace, that the fuzz targets compile, and that each module build was clean.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::project::Project;
use crate::totals::Totals;

/// What the test of the engine's branches begins its lines with, which tell what was covered.
const COVERAGE: &str = "engine branches: ";

/// Runs every test of the workspace. What cargo prints goes to `build/log/host.log` and, if a test fails, to the screen.
///
/// Tests find the prepared sources of the kernels in `SYNTHJIT_KERNEL_SOURCES`, a list like that of `PATH`.
pub fn cargo_tests(project: &Project) -> Result<Totals> {
    let kernels = project.kernels()?;
    let sources = kernels.iter().map(|kernel| project.source(kernel));
    let sources = std::env::join_paths(sources).context("a folder has a colon in its name")?;
    let mut child = Command::new("cargo")
        .args(["test", "--locked", "--workspace", "--no-fail-fast"])
        .args(["--", "--show-output"])
        .current_dir(&project.top)
        .env("SYNTHJIT_KERNEL_SOURCES", sources)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(
            project.path("build/log/host-build.log"),
        )?)
        .spawn()
        .context("cannot run cargo")?;
    let output = BufReader::new(child.stdout.take().context("stdout is a pipe")?);
    let mut log = std::fs::File::create(project.path("build/log/host.log"))?;
    let mut text = String::new();
    for line in output.lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    text.lines()
        .filter(|line| line.starts_with(COVERAGE))
        .for_each(|line| println!("{line}"));
    let mut totals = Totals::default();
    text.lines()
        .filter_map(summary)
        .for_each(|part| totals += part);
    if !status.success() {
        print_failures(&text);
        if totals.failed == 0 {
            // It did not compile, or a test program died.
            let build = std::fs::read_to_string(project.path("build/log/host-build.log"))?;
            let last: Vec<_> = build.lines().rev().take(60).collect();
            last.iter().rev().for_each(|line| println!("    {line}"));
            totals.failed += 1;
        }
        println!("    (all of it: build/log/host.log, build/log/host-build.log)");
    }
    if totals == Totals::default() {
        println!("cargo test ran nothing");
        totals.failed += 1;
    }
    Ok(totals)
}

/// The numbers of a line `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn summary(line: &str) -> Option<Totals> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut totals = Totals::default();
    for count in counts.split("; ") {
        let (number, what) = count.split_once(' ')?;
        match what {
            "passed" => totals.passed = number.parse().ok()?,
            "failed" => totals.failed = number.parse().ok()?,
            "ignored" => totals.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(totals)
}

/// Prints the sections in which the test programs tell about failures.
fn print_failures(text: &str) {
    let mut inside = false;
    for line in text.lines() {
        if line == "failures:" {
            inside = true;
        } else if line.starts_with("test result: ") {
            inside = false;
        } else if inside {
            println!("    {line}");
        }
    }
}

/// Compiles the fuzz targets, without instrumentation and without a run: they use the host tests' modules, and are no part of the
/// workspace. What cargo prints goes to `build/log/fuzz-check.log` and, if it fails, to the screen.
pub fn fuzz_targets(project: &Project) -> Result<Totals> {
    let log = project.path("build/log/fuzz-check.log");
    let status = Command::new("cargo")
        .args(["check", "--quiet", "--locked", "--manifest-path"])
        .arg("fuzz/Cargo.toml")
        .current_dir(&project.top)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .status()
        .context("cannot run cargo")?;
    let mut totals = Totals::default();
    if status.success() {
        totals.passed += 1;
        return Ok(totals);
    }
    totals.failed += 1;
    println!("the fuzz targets do not compile:");
    let text = std::fs::read_to_string(&log)?;
    text.lines()
        .take(60)
        .for_each(|line| println!("    {line}"));
    Ok(totals)
}

/// Checks for each kernel in `build/kernels` that its module was built without a word from compiler, objtool or modpost.
pub fn module_builds(project: &Project) -> Result<Totals> {
    let mut totals = Totals::default();
    for kernel in project.kernels()? {
        let folder = format!("build/kmod/{}", kernel.release);
        let log = project.read(&format!("{folder}/build.log"), "run make module-all")?;
        let log = String::from_utf8_lossy(&log);
        let built = project.path(format!("{folder}/synthjit.ko")).is_file();
        if built && log.trim().is_empty() {
            totals.passed += 1;
            continue;
        }
        totals.failed += 1;
        println!(
            "the module for {} {}",
            kernel.release,
            if built {
                "builds with warnings:"
            } else {
                "was not built:"
            }
        );
        log.lines().take(60).for_each(|line| println!("    {line}"));
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            summary(line),
            Some(Totals {
                passed: 12,
                failed: 1,
                skipped: 2
            })
        );
        assert_eq!(summary("test engine::works ... ok"), None);
    }
}
