//! Switches specialization off and on, for all and for one process; and on when it is on, which has everybody recompile.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::sysfs;

pub const STRESSOR: Stressor = Stressor {
    name: "switch",
    run,
    missing: nothing,
    module: true,
    goals: &[
        Count::Switches,
        Count::SwitchedOff,
        Count::Recompiles,
        Count::ProcessSwitches,
    ],
};

fn run(g: &mut Context) {
    while g.on() {
        match g.round(3) {
            0 => {
                set(g, "enabled", "0", Count::Switches);
                g.nap(6);
                for pid in g.board.carriers() {
                    if sysfs::state(pid).is_ok_and(|state| state.starts_with("stock")) {
                        g.did(Count::SwitchedOff);
                    }
                }
                set(g, "enabled", "1", Count::Switches);
            }
            1 => set(g, "enabled", "1", Count::Recompiles),
            _ => {
                if let Some(pid) = g.carrier() {
                    let file = format!("processes/{pid}/enabled");
                    set(g, &file, "0", Count::ProcessSwitches);
                    g.nap(4);
                    set(g, &file, "1", Count::ProcessSwitches);
                }
            }
        }
        g.nap(80);
    }
    set(g, "enabled", "1", Count::Switches);
}

fn set(g: &Context, file: &str, value: &str, what: Count) {
    if sysfs::set(file, value).is_ok() {
        g.did(what);
    }
}
