//! Reads every file of the module and what /proc says about those who stream.

use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::{sys, sysfs};
use std::path::Path;

pub const STRESSOR: Stressor = Stressor {
    name: "look",
    run,
    missing: nothing,
    module: true,
    goals: &[Count::Looks],
};

fn run(g: &mut Context) {
    while g.on() {
        tree(g, Path::new(sysfs::ROOT), 0);
        if let Some(pid) = g.carrier() {
            for file in ["stack", "syscall", "wchan", "io", "status", "smaps"] {
                let _ = sys::read_file(&format!("/proc/{pid}/{file}"));
            }
        }
        g.nap(150);
    }
}

fn tree(g: &Context, folder: &Path, depth: u32) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !g.on() {
            return;
        }
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < 8 => tree(g, &path, depth + 1),
            Ok(kind) if kind.is_file() && sys::read_file(&path.to_string_lossy()).is_ok() => {
                g.did(Count::Looks);
            }
            _ => {}
        }
    }
}
