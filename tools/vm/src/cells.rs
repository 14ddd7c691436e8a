//! `make test-matrix`: boots the cells of `qemu/matrix.toml`, two at a time, and holds what each answers against what it must.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Result};

use crate::boots::Boot;
use crate::judge::Verdict;
use crate::kept;
use crate::ktap::Outcome;
use crate::matrix::{Cell, Group, Matrix, Reasons};
use crate::project::{find_file, Kernel, Project};
use crate::qemu;
use crate::table;
use crate::told::Told;
use crate::totals::Totals;

/// Guests at a time, if this machine has as many CPUs.
const SIDE_BY_SIDE: usize = 2;
/// Seconds for one cell. An idle machine needs about fifteen; one with other work to do can need many times that. More than any
/// one limit inside the guest (`PATIENCE` in tests/guest/src/cell.rs), so that a test that hangs is told by name.
const TIME_LIMIT: u64 = 1800;

/// What came of one cell.
pub struct Seen {
    /// What it answered, for the table.
    pub answer: String,
    /// Whether that and everything else was as it must be.
    pub right: bool,
    /// The archive has no image of its kernel.
    pub not_booted: bool,
}

/// A cell, the group that it comes from, and its number in the whole matrix.
struct Job<'a> {
    number: usize,
    cell: Cell,
    group: &'a Group,
}

/// Boots all cells, or those whose name contains `only`, prints the table, and compares it with the kept one. Returns the exit
/// code.
pub fn run(project: &Project, only: Option<&str>) -> Result<u8> {
    qemu::check_version(project)?;
    let reasons = Reasons::load(&project.path("specs/reasons.toml"))?;
    let matrix = Matrix::load(&project.path("qemu/matrix.toml"), &reasons)?;
    let jobs: Vec<Job> = jobs(&matrix);
    let all = jobs.len();
    let chosen: Vec<&Job> = jobs
        .iter()
        .filter(|job| only.is_none_or(|part| job.cell.name().contains(part)))
        .collect();
    if chosen.is_empty() {
        bail!(
            "no cell of qemu/matrix.toml has {:?} in its name",
            only.unwrap_or_default()
        );
    }
    let seen = side_by_side(&chosen, |job| one(project, &matrix, &reasons, job))?;

    let mut totals = Totals::default();
    for cell in seen.values() {
        totals.add(&match (cell.not_booted, cell.right) {
            (true, _) => Outcome::Skipped("no image".to_owned()),
            (_, true) => Outcome::Passed,
            _ => Outcome::Failed,
        });
    }
    let kernels = project.kernels()?;
    let series = |role: &str| {
        let kernel = kernels.iter().find(|kernel| kernel.role == role);
        kernel
            .map_or(role, |kernel| kernel.series.as_str())
            .to_owned()
    };
    let answers = seen.into_iter().map(|(number, seen)| (number, seen.answer));
    let answers = answers.collect();
    println!("\n{}", table::tables(&matrix, &answers, &series));
    let kept = kept::keep(project, &matrix, &answers, &series, totals.failed == 0)?;
    let code = u8::from(totals.failed > 0 || !kept);
    println!("matrix: {totals} of {all} cells");
    Ok(code)
}

fn jobs(matrix: &Matrix) -> Vec<Job<'_>> {
    let cells = matrix
        .group
        .iter()
        .flat_map(|group| group.cells().into_iter().map(move |cell| (cell, group)));
    cells
        .enumerate()
        .map(|(number, (cell, group))| Job {
            number,
            cell,
            group,
        })
        .collect()
}

/// Does every job, some at a time, and prints what each has to say when it ends. By the jobs' numbers.
fn side_by_side<'a>(
    jobs: &[&Job<'a>],
    one: impl Fn(&Job<'a>) -> Result<(Seen, String)> + Sync,
) -> Result<BTreeMap<usize, Seen>> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new((0, BTreeMap::new(), Ok(())));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = one(job);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.0 += 1;
            match result {
                Ok((seen, text)) => {
                    print!("[{:3}/{}] {text}", done.0, jobs.len());
                    done.1.insert(job.number, seen);
                }
                Err(error) => done.2 = Err(error),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(cpus) {
            scope.spawn(work);
        }
    });
    let (_, seen, error) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map(|()| seen)
}

/// Boots one cell: what came of it, and what to print.
fn one(project: &Project, matrix: &Matrix, reasons: &Reasons, job: &Job) -> Result<(Seen, String)> {
    let name = job.cell.name();
    let Some(kernel) = kernel(project, &job.cell)? else {
        let seen = Seen {
            answer: kept::NOT_BOOTED.to_owned(),
            right: false,
            not_booted: true,
        };
        return Ok((
            seen,
            format!("not booted {name}: the archive has no image\n"),
        ));
    };
    let mut command = vec!["/guest".to_owned(), "cell".to_owned()];
    for module in &job.cell.modules {
        command.extend(["--load".to_owned(), module.clone()]);
    }
    let boot = Boot {
        modules: job.cell.modules.clone(),
        smp: job.cell.smp,
        threads: job.group.threads,
        cpu: matrix.model(&job.cell.cpu).to_owned(),
        append: job.cell.options.clone(),
        time_limit: TIME_LIMIT,
        ktap: false,
        ..Boot::new(&log_name(&name), command)
    };
    // A QEMU that does not start is this cell's failure, not the end of all.
    let run = match qemu::boot(project, &kernel, &boot, qemu::Echo::Nothing) {
        Ok(run) => run,
        Err(error) => {
            let seen = Seen {
                answer: "FAILED: no boot".to_owned(),
                right: false,
                not_booted: false,
            };
            return Ok((seen, format!("FAILED {name}\n    {error:#}\n")));
        }
    };
    let told = Told::of(&run);
    let wrong = told.wrong(&job.cell, job.group, reasons, &run);
    let answer = told.name(reasons);
    let mut text = format!(
        "{} {name}: {answer} ({} s)\n",
        if wrong.is_empty() { "ok" } else { "FAILED" },
        run.seconds
    );
    for line in &wrong {
        writeln!(text, "    {line}")?;
    }
    // Tests that failed end the program with 1 and have been told already.
    if !wrong.is_empty() && !matches!(run.verdict, Verdict::Exit(1)) {
        text.push_str(&qemu::explain(&run, &boot.name));
    }
    let right = wrong.is_empty();
    let answer = if right {
        answer
    } else {
        format!("FAILED: {answer}")
    };
    let seen = Seen {
        answer,
        right,
        not_booted: false,
    };
    Ok((seen, text))
}

/// The cell's kernel, if there is an image to boot.
fn kernel(project: &Project, cell: &Cell) -> Result<Option<Kernel>> {
    let kernels = project.kernels()?;
    let Some(kernel) = kernels
        .into_iter()
        .find(|kernel| kernel.role == cell.kernel)
    else {
        bail!("qemu/kernels names no kernel for {:?}", cell.kernel);
    };
    let image = find_file(&project.image(&kernel), &|name| name.starts_with("vmlinuz"));
    Ok(image.map(|_| kernel))
}

/// A file name for a cell's log.
fn log_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "+-.=".contains(c) {
            c
        } else {
            '_'
        }
    };
    format!("matrix-{}", name.chars().map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_files() {
        assert_eq!(
            log_name("run max smp1 a=b,c/d"),
            "matrix-run_max_smp1_a=b_c_d"
        );
    }
}
