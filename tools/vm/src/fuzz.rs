//! `make fuzz`: the differential tester with random seeds, boot after boot, until the time is over or a sequence differs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, Result};

use crate::boots::Boot;
use crate::project::Project;
use crate::qemu::{self, Echo};

/// Seconds of one boot: each begins with a kernel and a module that nothing has happened to.
const ROUND: u64 = 600;
/// Seconds that a boot may take besides, on a busy host.
const BESIDES: u64 = 300;

/// The machines, in turn: name, CPUs, QEMU's CPU model.
const MACHINES: [(&str, u32, &str); 4] = [
    ("fuzz-smp1", 1, "max"),
    ("fuzz-smp2", 2, "max"),
    ("fuzz-no-erms", 1, "max,-erms,-fsrm"),
    ("fuzz-no-smap", 2, "max,-smap"),
];

/// What all rounds together did; the names are those of the tester's last line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    rounds: u64,
    sequences: u64,
    calls: u64,
    specialized: u64,
}

impl Counts {
    /// Adds what a tester said in its last line.
    fn add(&mut self, line: &str) {
        let of = |name: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
                .unwrap_or(0u64)
        };
        self.rounds += 1;
        self.sequences += of("sequences");
        self.calls += of("calls");
        self.specialized += of("specialized");
    }
}

/// Fuzzes for this many hours, which may be a fraction. Returns the exit code of the first round that went wrong, or 0.
pub fn run(project: &Project, hours: f64) -> Result<u8> {
    let limit = limit(hours)?;
    qemu::check_version(project)?;
    let kernel = project.boot_kernel()?;
    let start = Instant::now();
    let mut counts = Counts::default();
    for number in 0.. {
        let left = limit.saturating_sub(start.elapsed()).as_secs();
        if left == 0 {
            break;
        }
        let boot = round(number, left.min(ROUND), seed());
        println!("fuzz: {} for {} s", boot.name, left.min(ROUND));
        let run = qemu::boot(project, &kernel, &boot, Echo::Guest)?;
        if let Some(line) = run.guest_lines().filter(|l| l.starts_with("DIFF ")).last() {
            counts.add(line);
        }
        if run.verdict.code() != 0 {
            print!("{}", qemu::explain(&run, &boot.name));
            println!("FUZZ failed in {}: {}", boot.name, tell(&counts, start));
            return Ok(run.verdict.code());
        }
    }
    println!("FUZZ ok {}", tell(&counts, start));
    Ok(0)
}

fn limit(hours: f64) -> Result<Duration> {
    match Duration::try_from_secs_f64(hours * 3600.0) {
        Ok(limit) if limit.as_secs() > 0 => Ok(limit),
        _ => bail!("HOURS={hours} is no time to fuzz for: a second at least, such as HOURS=0.1"),
    }
}

/// The boot of a round.
fn round(number: usize, seconds: u64, seed: u64) -> Boot {
    let (name, smp, cpu) = MACHINES[number % MACHINES.len()];
    let command = format!("/guest diff --seed {seed} --seconds {seconds}");
    Boot {
        smp,
        cpu: cpu.to_owned(),
        time_limit: seconds + BESIDES,
        ktap: false,
        ..Boot::new(name, command.split(' ').map(str::to_owned).collect())
    }
}

/// Another one for each round.
fn seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64 & 0xffff_ffff
}

fn tell(counts: &Counts, start: Instant) -> String {
    let Counts {
        rounds,
        sequences,
        calls,
        specialized,
    } = counts;
    let seconds = start.elapsed().as_secs();
    format!("rounds={rounds} sequences={sequences} calls={calls} specialized={specialized} seconds={seconds}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_take_turns_on_the_machines() {
        let first = round(0, 9, 77);
        assert_eq!(
            first.run.join(" "),
            "/guest diff --seed 77 --seconds 9",
            "the seed must be told, or a difference could not be found again"
        );
        assert_eq!(
            (first.name.as_str(), first.smp, first.time_limit),
            ("fuzz-smp1", 1, 309)
        );
        assert_eq!(round(5, 9, 1).name, "fuzz-smp2");
        assert!((0..MACHINES.len()).all(|n| round(n, 1, 1).check().is_ok()));
    }

    #[test]
    fn counts_add_up() {
        let mut counts = Counts::default();
        counts.add("DIFF ok seed=1 sequences=10 mixed=5 calls=200 specialized=50 ms=3");
        counts.add("DIFF failed seed=2 sequences=1 mixed=0 calls=20 specialized=0 ms=3");
        assert_eq!(
            counts,
            Counts {
                rounds: 2,
                sequences: 11,
                calls: 220,
                specialized: 50
            }
        );
    }

    #[test]
    fn times_that_are_none_are_refused() {
        assert_eq!(limit(0.5).unwrap().as_secs(), 1800);
        for hours in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.0001] {
            assert!(limit(hours).is_err(), "{hours}");
        }
    }
}
