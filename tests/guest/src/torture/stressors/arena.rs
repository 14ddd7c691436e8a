//! Attaches more processes with more descriptors than code memory has slots for.

use super::super::board::Board;
use super::super::counts::Count;
use super::{nothing, Context, Stressor};
use crate::proc::{nap, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use std::sync::atomic::Ordering;

pub const STRESSOR: Stressor = Stressor {
    name: "arena",
    run,
    missing: nothing,
    module: true,
    goals: &[Count::Crowd, Count::ArenaFull, Count::ArenaShort],
};

/// More than there are vectors (specs/arena.toml: 128), each with more than two paths of 256.
const PROCESSES: usize = 140;
const PIPES: usize = 2;
const PATHS: usize = 2 * PIPES;

fn run(g: &mut Context) {
    while g.on() {
        let board = g.board;
        board.crowd.store(0, Ordering::Relaxed);
        let kids: Vec<Kid> = (0..PROCESSES)
            .map_while(|_| g.on().then(|| Kid::spawn(|| use_pipes(board)).ok())?)
            .collect();
        while g.on() && (board.crowd.load(Ordering::Relaxed) as usize) < kids.len() {
            g.nap(20);
        }
        // Others still stream and attach, and directories follow paths.
        g.rest(300);
        for kid in &kids {
            look(g, kid.pid);
        }
        if let Ok(n) = sysfs::counter("arena_bytes_used") {
            g.board.arena.fetch_max(n, Ordering::Relaxed);
        }
        for kid in &kids {
            kid.signal(libc::SIGKILL);
        }
        drop(kids);
        g.rest(1000);
    }
}

/// What one of the crowd got.
fn look(g: &Context, pid: i32) {
    let Ok(state) = sysfs::state(pid) else {
        return;
    };
    g.did(Count::Crowd);
    if state.contains("no free slot") {
        g.did(Count::ArenaFull);
    }
    let paths = sysfs::list(&format!("processes/{pid}/fds")).len();
    if state == "specialized" && paths < PATHS {
        g.did(Count::ArenaShort);
    }
}

/// What each process of the crowd does: attaches itself, uses both ends of its pipes, and keeps what it got.
fn use_pipes(board: &Board) -> i32 {
    let pipes: Vec<Pipe> = (0..PIPES).filter_map(|_| Pipe::new(0).ok()).collect();
    let _ = sysfs::attach(sys::getpid());
    let mut byte = [0];
    for _ in 0..3 {
        for p in &pipes {
            let _ = sys::write(p.w, b"c");
            let _ = sys::read(p.r, &mut byte);
        }
    }
    board.crowd.fetch_add(1, Ordering::Relaxed);
    loop {
        nap(60_000);
    }
}
