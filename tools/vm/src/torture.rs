//! The boots of `make torture`: one after the other, so that each has the machine for itself.

use anyhow::{bail, Result};

use crate::boots::{Boot, Boots};
use crate::judge::{From, Line};
use crate::project::Project;
use crate::qemu;

/// Seconds that a boot may take beyond its time under torture: until everything has been done (at most 300 more, `LONGER` in
/// tests/guest/src/torture/mod.rs), to start, to end its streams, to be sure that it hangs.
const MARGIN: u64 = 600;

/// What lines begin with that are shown as they come, and what the line with the result begins with.
const SHOWN: [&str; 2] = ["# torture:", RESULT];
const RESULT: &str = "TORTURE ";

/// Boots what `qemu/boots.toml` lists, or the one that is named. Returns the worst exit code.
pub fn run(project: &Project, minutes: u64, seed: u64, only: Option<&str>) -> Result<u8> {
    qemu::check_version(project)?;
    let mut boots = Boots::load(&project.path("qemu/boots.toml"))?.torture;
    boots.retain(|boot| only.is_none_or(|name| boot.name == name));
    if boots.is_empty() {
        bail!(
            "qemu/boots.toml has no torture {:?}",
            only.unwrap_or_default()
        );
    }
    let kernel = project.boot_kernel()?;
    let seconds = minutes * 60 / boots.len() as u64;
    let mut worst = 0;
    for boot in &boots {
        let boot = with_time(boot, seconds, seed);
        println!(
            "torture {} on {}: {seconds} s, seed {seed} ...",
            boot.name, kernel.release
        );
        let run = qemu::boot_watched(project, &kernel, &boot, &|line| {
            if shown(line) {
                println!("{}", line.text);
            }
        })?;
        run.guest_lines()
            .filter(|line| line.starts_with("#   ") || line.starts_with("# stream"))
            .for_each(|line| println!("{line}"));
        print!("{}", qemu::explain(&run, &boot.name));
        let told = run
            .guest_lines()
            .any(|line| line.starts_with("TORTURE ok "));
        let code = match run.verdict.code() {
            // A program that says nothing has not tortured anybody.
            0 if !told => 1,
            code => code,
        };
        println!(
            "torture {}: {} ({} s)",
            boot.name,
            if code == 0 { "passed" } else { "FAILED" },
            run.seconds
        );
        worst = worst.max(code);
    }
    Ok(worst)
}

/// The boot with what is told to its program, and a time limit that fits.
fn with_time(boot: &Boot, seconds: u64, seed: u64) -> Boot {
    let mut boot = boot.clone();
    boot.run.extend([
        "--seconds".to_owned(),
        seconds.to_string(),
        "--seed".to_owned(),
        seed.to_string(),
    ]);
    boot.time_limit = seconds + MARGIN;
    boot
}

fn shown(line: &Line) -> bool {
    line.from == From::Guest && SHOWN.iter().any(|begin| line.text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_told_its_time() {
        let boot = Boot::new("x", vec!["/guest".to_owned(), "torture".to_owned()]);
        let boot = with_time(&boot, 40, 7);
        assert_eq!(boot.run.join(" "), "/guest torture --seconds 40 --seed 7");
        assert!(boot.time_limit > 40);
    }

    #[test]
    fn people_see_progress_and_result_of_the_guest_only() {
        let line = |from, text: &str| Line {
            from,
            text: text.to_owned(),
        };
        assert!(shown(&line(From::Guest, "# torture: 5 s, 10 calls")));
        assert!(shown(&line(From::Guest, "TORTURE ok seed=1")));
        assert!(!shown(&line(From::Kernel, "TORTURE ok seed=1")));
        assert!(!shown(&line(From::Guest, "#   forks   3")));
    }
}
