//! `synthctl daemon`: attaches the processes that match the rules of a file.
//!
//! It looks at all processes again and again. The kernel could tell of each exec (its process connector), but neither of a
//! process that changes its cgroup nor of one that changes its name, so looks would be needed besides; and a process that is
//! gone before the next look has no time to gain from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sd_notify::NotifyState;

use crate::config::Config;
use crate::error::{Error, Kind};
use crate::machine::Machine;
use crate::module::{Change, Module};
use crate::process;
use crate::reason;

/// Attaches until it is ended, or what is there now if `once`.
///
/// # Errors
///
/// What stands in the way of every process. What stands in the way of one is told.
pub fn daemon(machine: &Machine, config: &Path, once: bool) -> Result<u8, Error> {
    let rules = Config::read(machine, config)?;
    if rules.rules.is_empty() {
        anstream::println!(
            "{} has no [[attach]]: nothing will be attached",
            config.display()
        );
    }
    let mut daemon = Daemon {
        module: Module::open(machine)?,
        config: rules,
        done: BTreeMap::new(),
    };
    daemon.look()?;
    // Nobody listens unless systemd started this.
    let _ = sd_notify::notify(true, &[NotifyState::Ready]);
    while !once {
        std::thread::sleep(daemon.config.interval);
        daemon.look()?;
    }
    Ok(0)
}

struct Daemon<'m> {
    module: Module<'m>,
    config: Config,
    /// Processes that matched, with their time of beginning: what becomes of them later is not this program's business.
    done: BTreeMap<i32, u64>,
}

impl Daemon<'_> {
    /// Attaches what matches and was not there before.
    fn look(&mut self) -> Result<(), Error> {
        // Looked at even if nothing matches, so that a daemon without a module ends and says why.
        Module::open(self.module.machine)?;
        if let Some(reason) = self.module.refusal() {
            let what = format!("this machine is refused: {reason}");
            return Err(Error::new(Kind::Refused, what, reason::cure(&reason)));
        }
        let machine = self.module.machine;
        let pids: BTreeSet<i32> = machine.numbers("/proc").into_iter().collect();
        self.done.retain(|pid, _| pids.contains(pid));
        for pid in pids {
            let began = process::began(machine, pid).unwrap_or(0);
            if self.done.get(&pid) == Some(&began) {
                continue;
            }
            let Some(rule) = self.config.rule(machine, pid) else {
                continue;
            };
            let name = process::name(machine, pid).unwrap_or_default();
            match self.module.attach(pid) {
                Ok(Change::Done) => {
                    anstream::println!("{pid} {name}: attached (line {})", rule.line);
                }
                Ok(Change::Already) => {}
                // Gone by now, or a thread of the kernel.
                Err(error) if error.kind == Kind::NoProcess => {}
                Err(error) if error.kind == Kind::Other => crate::paint::error(&error),
                Err(error) => return Err(error),
            }
            self.done.insert(pid, began);
        }
        Ok(())
    }
}
