//! The boots of `make test` and `make demo`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{bail, Context, Result};

use crate::boots::{Boot, Boots};
use crate::figures;
use crate::judge::{Verdict, VERDICT};
use crate::ktap::{self, Outcome, Test};
use crate::project::Project;
use crate::qemu::{self, Echo, Run};
use crate::report;
use crate::totals::Totals;

/// Exit code if a test failed; see [`Verdict::code`] for the others.
const FAILED: u8 = 1;

/// Boots the tests of `list`, a file like `qemu/boots.toml`, or the one boot that is named. Returns the counts and the worst exit
/// code.
///
/// Boots run side by side as far as this machine has CPUs for theirs.
pub fn tests(project: &Project, list: &str, only: Option<&str>) -> Result<(Totals, u8)> {
    qemu::check_version(project)?;
    let boots = Boots::load(&project.path(list))?;
    let chosen: Vec<_> = match only {
        Some(name) => boots.by_name().filter(|boot| boot.name == name).collect(),
        None => boots.test.iter().collect(),
    };
    if chosen.is_empty() {
        bail!("{list} has no boot {:?}", only.unwrap_or_default());
    }
    // Guests wait more than they run, so half as many again as there are CPUs keep these busy.
    let cpus = Cpus::new(std::thread::available_parallelism().map_or(1, usize::from) * 3 / 2);
    let counted = |boot: &Boot| {
        cpus.with(boot.smp as usize, || {
            let (_, report, totals, code) = one(project, boot)?;
            print!("{report}");
            Ok((totals, code))
        })
    };
    let results: Vec<Result<(Totals, u8)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = chosen
            .into_iter()
            .map(|boot| scope.spawn(|| counted(boot)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("vm itself failed, see above"))
            })
            .collect()
    });
    let mut totals = Totals::default();
    let mut worst = 0;
    for result in results {
        let (counts, code) = result?;
        totals += counts;
        worst = worst.max(code);
    }
    Ok((totals, worst))
}

/// The CPUs of this machine that no boot uses.
struct Cpus {
    all: usize,
    free: Mutex<usize>,
    given_back: Condvar,
}

impl Cpus {
    fn new(all: usize) -> Self {
        Cpus {
            all,
            free: Mutex::new(all),
            given_back: Condvar::new(),
        }
    }

    /// Does something while `wanted` CPUs (or all, if there are less) are set aside for it.
    fn with<T>(&self, wanted: usize, work: impl FnOnce() -> T) -> T {
        let wanted = wanted.min(self.all);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .given_back
            .wait_while(free, |free| *free < wanted)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= wanted;
        drop(free);
        let result = work();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += wanted;
        self.given_back.notify_all();
        result
    }
}

/// One boot: what it printed, what to tell about it, its counts, its exit code.
pub fn one(project: &Project, boot: &Boot) -> Result<(Run, String, Totals, u8)> {
    let run = qemu::boot(project, &project.kernel(&boot.kernel)?, boot, Echo::Nothing)?;
    let tests = results(boot, &run);
    let totals = Totals::of(&tests);
    let mut report = String::new();
    for test in &tests {
        match &test.outcome {
            Outcome::Passed | Outcome::Skipped(_) => {}
            Outcome::Failed => {
                writeln!(report, "FAILED {}: {}", boot.name, test.name)?;
                let first = test.notes.len().saturating_sub(20);
                test.notes[first..]
                    .iter()
                    .try_for_each(|note| writeln!(report, "    {note}"))?;
            }
        }
    }
    for (reason, names) in skips(&tests) {
        match names[..] {
            [name] => writeln!(report, "skipped {}: {name} ({reason})", boot.name)?,
            _ => writeln!(
                report,
                "skipped {}: {} tests ({reason})",
                boot.name,
                names.len()
            )?,
        }
    }
    if !told(boot, &run, &tests) {
        report.push_str(&qemu::explain(&run, &boot.name));
    }
    // A program that does not speak KTAP says in its last line what it did: seed and counts.
    if let (false, Some(line)) = (
        boot.ktap,
        run.guest_lines()
            .filter(|line| !line.starts_with(VERDICT))
            .last(),
    ) {
        writeln!(report, "boot {}: {line}", boot.name)?;
    }
    writeln!(report, "boot {}: {totals} ({} s)", boot.name, run.seconds)?;
    let code = run
        .verdict
        .code()
        .max(if totals.failed > 0 { FAILED } else { 0 });
    Ok((run, report, totals, code))
}

/// What a run counts as: its KTAP results, and one more test for the run itself, which fails unless verdict and log are good.
fn results(boot: &Boot, run: &Run) -> Vec<Test> {
    let test = |name: &str, passed| {
        let outcome = if passed {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        Test {
            name: name.to_owned(),
            outcome,
            notes: Vec::new(),
        }
    };
    let mut tests = Vec::new();
    if boot.ktap {
        let lines = run.guest_lines().filter(|line| !line.starts_with(VERDICT));
        tests = ktap::parse(lines).unwrap_or_else(|| vec![test("no KTAP was printed", false)]);
    }
    if !told(boot, run, &tests) {
        tests.push(test(
            "verdict and kernel log",
            run.verdict == Verdict::Clean,
        ));
    }
    tests
}

/// True for what the benchmark prints for people: not figures for machines, not the bars that are met.
fn for_people(line: &str) -> bool {
    let bar_met = line.starts_with("BAR ") && line.ends_with(" ok");
    !(line.starts_with("BENCH") || line.starts_with(VERDICT) || bar_met)
}

/// True if the program ended with 1 because tests failed, and has said which.
fn told(boot: &Boot, run: &Run, tests: &[Test]) -> bool {
    boot.ktap
        && run.verdict == Verdict::Exit(1)
        && tests.iter().any(|test| test.outcome == Outcome::Failed)
}

/// Names of the skipped tests by reason.
fn skips(tests: &[Test]) -> BTreeMap<&str, Vec<&str>> {
    let mut skips: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in tests {
        if let Outcome::Skipped(reason) = &test.outcome {
            skips.entry(reason).or_default().push(&test.name);
        }
    }
    skips
}

/// Boots the benchmark, prints what it prints for people, draws the picture. Returns the exit code.
pub fn demo(project: &Project) -> Result<u8> {
    qemu::check_version(project)?;
    let boots = Boots::load(&project.path("qemu/boots.toml"))?;
    let boot = boots.demo.context("qemu/boots.toml has no demo")?;
    let kernel = project.kernel(&boot.kernel)?;
    println!("booting {} in QEMU ...", kernel.release);
    let run = qemu::boot(project, &kernel, &boot, Echo::Nothing)?;
    run.guest_lines()
        .filter(|line| for_people(line))
        .for_each(|line| println!("{line}"));
    print!("{}", qemu::explain(&run, &boot.name));
    let pairs = figures::pairs(run.guest_lines());
    if !pairs.is_empty() {
        std::fs::create_dir_all(project.path("build/demo"))?;
        report::draw(
            &project.path("build/demo/pipe.svg"),
            &pairs,
            &kernel.release,
        )?;
        println!(
            "The same as a picture: build/demo/pipe.svg ({} s)",
            run.seconds
        );
    } else if run.verdict == Verdict::Clean {
        bail!(
            "the benchmark printed no BENCH lines: see build/log/{}.log",
            boot.name
        );
    }
    Ok(run.verdict.code())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{From, Line};

    fn run(text: &str, verdict: Verdict) -> Run {
        let lines = text
            .lines()
            .map(|text| Line {
                from: From::Guest,
                text: text.to_owned(),
            })
            .collect();
        Run {
            lines,
            verdict,
            seconds: 1,
        }
    }

    fn count(text: &str, verdict: Verdict, ktap: bool) -> String {
        let boot = Boot {
            ktap,
            ..Boot::new("x", vec!["/guest".to_owned()])
        };
        Totals::of(&results(&boot, &run(text, verdict))).to_string()
    }

    #[test]
    fn a_run_counts_itself() {
        assert_eq!(
            count("KTAP version 1\n1..1\nok 1 a\n", Verdict::Clean, true),
            "2 passed, 0 failed, 0 skipped"
        );
        assert_eq!(
            count(
                "KTAP version 1\n1..1\nok 1 a\n",
                Verdict::Complaint(0),
                true
            ),
            "1 passed, 1 failed, 0 skipped"
        );
        assert_eq!(
            count("KTAP version 1\n1..1\nok 1 a\n", Verdict::Exit(1), true),
            "1 passed, 1 failed, 0 skipped"
        );
        assert_eq!(
            count("table", Verdict::Exit(1), false),
            "0 passed, 1 failed, 0 skipped"
        );
        assert_eq!(
            count("table", Verdict::Clean, false),
            "1 passed, 0 failed, 0 skipped"
        );
    }

    #[test]
    fn cpus_are_never_given_twice() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (cpus, used, most) = (Cpus::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for wanted in [1, 2, 1, 1, 9, 2, 1] {
                let (cpus, used, most) = (&cpus, &used, &most);
                scope.spawn(move || {
                    cpus.with(wanted, || {
                        let now = used.fetch_add(wanted.min(2), Ordering::SeqCst) + wanted.min(2);
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(5));
                        used.fetch_sub(wanted.min(2), Ordering::SeqCst);
                    });
                });
            }
        });
        assert_eq!((most.into_inner(), used.into_inner()), (2, 0));
    }

    #[test]
    fn people_see_the_table_and_missed_bars() {
        for (line, shown) in [
            ("pipe write  1060  88", true),
            ("BAR a 9 8 missed", true),
            ("BAR a 7 8 ok", false),
            ("BENCHMIN a stock 1", false),
        ] {
            assert_eq!(for_people(line), shown, "{line}");
        }
    }

    #[test]
    fn silence_fails() {
        assert_eq!(
            count("", Verdict::Clean, true),
            "1 passed, 1 failed, 0 skipped"
        );
        assert_eq!(
            count("", Verdict::Silence, true),
            "0 passed, 2 failed, 0 skipped"
        );
    }

    #[test]
    fn a_failed_test_counts_once() {
        assert_eq!(
            count("KTAP version 1\n1..1\nnot ok 1 a\n", Verdict::Exit(1), true),
            "0 passed, 1 failed, 0 skipped"
        );
    }
}
