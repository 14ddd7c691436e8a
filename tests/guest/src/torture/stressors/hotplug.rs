//! Takes CPUs offline and brings them back.

use super::super::counts::{Count, Missing};
use super::{Context, Stressor};
use crate::sys;

pub const STRESSOR: Stressor = Stressor {
    name: "hotplug",
    run,
    missing,
    module: false,
    goals: &[Count::Offlines, Count::Onlines],
};

/// Files that switch CPUs other than the first one.
pub fn others() -> Vec<String> {
    (1..64)
        .map(|n| format!("/sys/devices/system/cpu/cpu{n}/online"))
        .take_while(|file| std::path::Path::new(file).exists())
        .collect()
}

fn missing() -> Missing {
    match others().is_empty() {
        false => Vec::new(),
        true => [Count::Offlines, Count::Onlines]
            .map(|c| (c, "one CPU, or none can be switched".to_string()))
            .to_vec(),
    }
}

fn run(g: &mut Context) {
    let files = others();
    while g.on() {
        if let Some(file) = g.rng.pick(&files.iter().collect::<Vec<_>>()) {
            for (value, what) in [("0", Count::Offlines), ("1", Count::Onlines)] {
                if sys::write_text(file, value).is_ok() {
                    g.did(what);
                }
                g.nap(60);
            }
        }
        g.rest(300);
    }
    for file in files {
        let _ = sys::write_text(&file, "1");
    }
}
