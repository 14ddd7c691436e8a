//! Allocations of the module fail: on the debug kernel, which can have them fail.

use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, Lab, Res, Stop, SOON};
use crate::torture::starvation::{self, Starvation};
use crate::{area, ensure, same};

area!("starved":
    code_memory_comes_back = 120,
);

const PROBABILITY: &str = "/sys/kernel/debug/failslab/probability";

/// Twice as many paths as one batch of edits takes (`SYNTHJIT_MAX_EDITS` in rust/glue/synthjit.h).
const PIPES: usize = 8;
const PATH_BYTES: u64 = 896;
/// Mapping pages takes memory only when the CPU's block of addresses is used up (`vm_map_ram()` in mm/vmalloc.c), once in some
/// tens of batches.
const ROUNDS: u32 = 80;

/// Retired code cannot be poisoned while there is no memory to map it; it must be later.
fn code_memory_comes_back(lab: &Lab) -> Res {
    if lab.stock {
        return Err(Stop::Skip("without the module".into()));
    }
    starvation::prepare().map_err(Stop::Skip)?;
    let probability = |percent| sys::write_text(PROBABILITY, percent);
    probability("100")?;
    let (starvation, board) = (Starvation::open()?, Board::new()?);
    let pipes = (0..PIPES)
        .map(|_| Pipe::new(0))
        .collect::<sys::Sys<Vec<_>>>()?;
    let before = lab.stat("arena_bytes_used")?;
    let me = lab.attach()?;
    // All paths go whenever somebody else switches on what is on, at the process's own next way out of the kernel.
    let mut kid = Kid::spawn(|| -> Res {
        let switch = |round: u32| -> Res {
            board.await_flag(0, round);
            let done = sysfs::set("enabled", "1");
            board.raise(1, round);
            done?;
            Ok(())
        };
        (1..=ROUNDS).try_for_each(switch)
    })?;
    for round in 1..=ROUNDS {
        // What failed last time is tried again after a while.
        let made = poll_until(SOON, || {
            let echoes = pipes.iter().cycle().take(3 * PIPES);
            let failed = echoes.map(|p| echo(p.r, p.w, b"x")).find(Result::is_err);
            failed.or_else(|| all_made(lab, before).then_some(Ok(())))
        });
        match made {
            Some(result) => result?,
            None => ensure!(false, "round {round}: the paths are not recompiled"),
        }
        let switched = starvation.during(|| {
            board.raise(0, round);
            board.await_flag(1, round)
        });
        ensure!(switched, "nothing was switched");
    }
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "who switches");
    drop(me);
    probability("0")?;
    let left = || lab.stat("arena_bytes_used").unwrap_or(u64::MAX);
    let back = poll_until(SOON, || (left() == before).then_some(()));
    ensure!(
        back.is_some(),
        "{} bytes of code memory do not come back",
        left() - before
    );
    Ok(())
}

fn all_made(lab: &Lab, before: u64) -> bool {
    let used = lab.stat("arena_bytes_used");
    used.is_ok_and(|used| used >= before + 2 * PIPES as u64 * PATH_BYTES)
}
