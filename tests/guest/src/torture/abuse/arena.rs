//! Attaches more processes with more descriptors than code memory has slots for.

use super::super::counts::Count;
use super::{nothing, Abuser, Ground};
use crate::proc::{nap, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use std::sync::atomic::Ordering;

pub const ABUSER: Abuser = Abuser {
    name: "arena",
    run,
    missing: nothing,
    module: true,
};

/// More than there are vectors (specs/arena.toml: 128), each with more than two paths.
const PROCESSES: usize = 140;
const PIPES: usize = 2;

fn run(g: &mut Ground) {
    while g.on() {
        let kids: Vec<Kid> = (0..PROCESSES)
            .map_while(|_| {
                let kid = g.on().then(|| Kid::spawn(use_pipes).ok())??;
                if sysfs::attach(kid.pid).is_ok() {
                    g.did(Count::Crowd);
                }
                Some(kid)
            })
            .collect();
        for _ in 0..20 {
            if g.on() {
                nap(20);
            }
        }
        for kid in &kids {
            if sysfs::state(kid.pid).is_ok_and(|s| s.contains("arena")) {
                g.did(Count::ArenaFull);
            }
        }
        if let Ok(n) = sysfs::counter("arena_bytes_used") {
            g.board.arena.fetch_max(n, Ordering::Relaxed);
        }
        for kid in kids {
            drop(kid);
            g.on();
        }
        for _ in 0..100 {
            if g.on() {
                g.nap(60);
            }
        }
    }
}

/// What each process of the crowd does: uses both ends of its pipes now and then.
fn use_pipes() -> i32 {
    let pipes: Vec<Pipe> = (0..PIPES).filter_map(|_| Pipe::new(0).ok()).collect();
    let mut byte = [0];
    loop {
        for p in &pipes {
            let _ = sys::write(p.w, b"c");
            let _ = sys::read(p.r, &mut byte);
        }
        nap(30);
    }
}
