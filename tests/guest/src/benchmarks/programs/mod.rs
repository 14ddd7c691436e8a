//! Real programs that use pipes, without the module and with every process of them attached: instructions and bytes compared.
//!
//! Needs the Debian root, and a clock that counts instructions. Each program runs on the stock kernel while probes count
//! its calls, which also brings it into memory; then it is measured; then, with the module, measured with each of its processes
//! attached from birth to end. Paths count what they do meanwhile, which is one instruction for each call.
//! The row of each program, for docs/programs.md, begins with [`ROW`].

mod births;
mod list;
mod look;
mod row;
mod run;

use crate::benchmarks::calls::clock::Clock;
use crate::ktap::{Outcome, Report};
use crate::sysfs;
use list::{Program, PROGRAMS};
use row::Seen;

/// What the lines for the table begin with; known to tools/vm/src/programs.rs.
const ROW: &str = "ROW ";

#[derive(clap::Args)]
pub struct Args {
    /// Only programs whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// Returns the exit code.
pub fn main(args: &Args) -> i32 {
    let wanted = |program: &&Program| {
        let part = args.only.as_ref();
        part.is_none_or(|part| program.name.contains(part))
    };
    let chosen: Vec<&Program> = PROGRAMS.iter().filter(wanted).collect();
    let mut report = Report::begin(std::io::stdout(), chosen.len());
    let seen = match look_at(&chosen) {
        Ok(seen) => seen,
        Err(why) => {
            println!("# {why}");
            return 1;
        }
    };
    for (program, seen) in chosen.iter().zip(seen) {
        let outcome = match seen {
            Ok(seen) => {
                println!("{ROW}{}", seen.row(program));
                match seen.wrong(program) {
                    wrong if wrong.is_empty() => Outcome::Pass,
                    wrong => Outcome::Fail(wrong.join("\n")),
                }
            }
            Err(why) => Outcome::Fail(why),
        };
        report.test(program.name, &outcome, "");
    }
    i32::from(!report.end())
}

/// Looks at all programs; first without the module, so that nothing of it is in what stock costs.
fn look_at(programs: &[&Program]) -> Result<Vec<Result<Seen, String>>, String> {
    if !Clock::new().counts_instructions() {
        return Err("this machine's clock does not count instructions".to_owned());
    }
    run::prepare()?;
    let stock = |program: &&Program| {
        let (ended, calls) =
            look::during(|| run::run(program, false)).map_err(|e| format!("probes: {e}"))?;
        ended?;
        let measured = run::middle(|| run::run(program, false), |done| done.instructions)?;
        Ok((calls, measured))
    };
    let stock: Vec<Result<_, String>> = programs.iter().map(stock).collect();
    crate::tests::load_if_missing()?;
    // The first attach switches the module's notifiers on, which is not for a program to pay.
    sysfs::attach(std::process::id() as i32)
        .and_then(|_| sysfs::detach(std::process::id() as i32))
        .map_err(|e| format!("attach: {e}"))?;
    let both = programs.iter().zip(stock).map(|(program, stock)| {
        let (calls, stock) = stock?;
        let (attached, served) =
            run::middle(|| run::attached(program), |(done, _)| done.instructions)?;
        Ok(Seen {
            calls,
            stock,
            attached,
            served,
        })
    });
    Ok(both.collect())
}
