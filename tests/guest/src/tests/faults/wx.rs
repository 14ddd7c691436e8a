//! No page of the kernel is writable and executable, at any moment: all of its page tables are looked through, by a module that
//! is for tests only, before, during and after the making of code. `docs/security.md` rests on what is seen here.

use crate::proc::{Board, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::kallsyms::addresses;
use crate::tests::support::lab::{echo, Lab, Res, Stop};
use crate::{area, ensure, same, skip};
use std::time::{Duration, Instant};

area!("wx":
    a_bait_is_seen = 200, nothing_without_the_module = 200, arena_at_rest = 200, while_code_is_made = 200, after_unload = 200,
);

const TEST_MODULE: &str = "synthjit_wx";

fn parameter(name: &str) -> String {
    format!("/sys/module/{TEST_MODULE}/parameters/{name}")
}

/// What mappings there are, by what they allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    read_only: u64,
    writable: u64,
    executable: u64,
    both: u64,
}

/// One look through all page tables.
#[derive(Clone, Debug, Default)]
struct Scan {
    /// Mappings of the kernel, large ones counting one.
    leaves: u64,
    /// Those that are writable and executable.
    both: u64,
    /// Pages of the arena; where they are mapped: at their place, in the direct map, elsewhere.
    pages: u64,
    own: Kinds,
    direct: Kinds,
    other: Kinds,
}

impl Scan {
    fn now() -> Res<Scan> {
        let text = sys::read_text(&parameter("scan"))?;
        let mut scan = Scan::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| {
                words
                    .get(i)
                    .and_then(|w| w.parse().ok())
                    .unwrap_or(u64::MAX)
            };
            let kinds = || Kinds {
                read_only: number(2),
                writable: number(4),
                executable: number(6),
                both: number(8),
            };
            match words.first().copied().unwrap_or_default() {
                "leaves" => scan.leaves = number(1),
                "wx" => scan.both = number(1),
                "pages" => scan.pages = number(1),
                "own" => scan.own = kinds(),
                "direct" => scan.direct = kinds(),
                "other" => scan.other = kinds(),
                other => return Err(Stop::Fail(format!("{other:?} in {text:?}"))),
            }
        }
        ensure!(
            scan.leaves > 1000,
            "only {} mappings: {text:?}",
            scan.leaves
        );
        Ok(scan)
    }

    /// Nothing at all in the kernel is writable and executable.
    fn is_clean(&self) -> Res {
        same!(
            (self.both, self.own.both, self.direct.both, self.other.both),
            (0, 0, 0, 0),
            "writable and executable mappings"
        );
        // Seen by two instructions of one walk, the pages can be neither more nor executable anywhere else.
        same!(
            self.direct.executable + self.other.executable,
            0,
            "executable aliases of the arena"
        );
        same!(self.own.writable, 0, "writable pages of the arena itself");
        Ok(())
    }
}

/// The test module, with the arena as the range if synthjit is loaded.
fn ready() -> Res {
    if !std::path::Path::new(&parameter("scan")).exists() {
        sys::insmod(&format!("/modules/{TEST_MODULE}.ko"), "")?;
    }
    let [top, start, end] =
        addresses(["init_top_pgt", "synthjit_arena_paths", "synthjit_arena_end"])?;
    ensure!(top != 0, "/proc/kallsyms does not tell init_top_pgt");
    same!(
        start != 0 && end > start,
        sysfs::present(),
        "the arena is in /proc/kallsyms"
    );
    for (name, value) in [("pgd", top), ("start", start), ("end", end)] {
        sys::write_text(&parameter(name), &value.to_string())?;
    }
    Ok(())
}

/// The walk sees what it is to see: otherwise the other tests would say nothing.
fn a_bait_is_seen(_: &Lab) -> Res {
    ready()?;
    for (bait, want) in [("1", 1), ("0", 0), ("1", 1), ("0", 0)] {
        sys::write_text(&parameter("bait"), bait)?;
        same!(
            Scan::now()?.both,
            want,
            "writable and executable pages with the bait {bait}"
        );
    }
    Ok(())
}

fn unload() -> Res {
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
    Ok(())
}

fn nothing_without_the_module(_: &Lab) -> Res {
    unload()?;
    ready()?;
    let scan = Scan::now()?;
    println!("# without the module: {} mappings", scan.leaves);
    scan.is_clean()
}

/// The arena is mapped executable once, and where else is what the kernel does with the text of any module.
fn arena_at_rest(lab: &Lab) -> Res {
    ready()?;
    for attached in [false, true, false] {
        let rig = attached.then(|| lab.rig()).transpose()?;
        // A worker may be poisoning what was retired.
        crate::proc::nap(100);
        let scan = Scan::now()?;
        println!("# arena at rest: {scan:?}");
        scan.is_clean()?;
        ensure!(scan.pages > 60, "{} pages", scan.pages);
        same!(
            scan.own.executable,
            scan.pages,
            "executable pages of the arena"
        );
        same!(
            scan.other,
            Kinds::default(),
            "mappings of the arena elsewhere"
        );
        same!(
            scan.direct.writable,
            0,
            "writable pages in the direct map, as docs/security.md says"
        );
        drop(rig);
    }
    Ok(())
}

/// Code is compiled and retired without end, on another CPU if there is one, while the tables are read.
fn while_code_is_made(lab: &Lab) -> Res {
    ready()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let board = Board::new()?;
    let mut maker = Kid::spawn(|| -> Res {
        while board.flag(0) == 0 {
            let p = Pipe::new(0)?;
            for i in 0..8u8 {
                // Each end gets its path, and each new descriptor a new vector.
                let _me = lab.attach()?;
                for _ in 0..6 {
                    echo(p.r, p.w, &[i])?;
                }
            }
            board.add(0, 8);
        }
        Ok(())
    })?;
    let begin = Instant::now();
    let (mut scans, mut window) = (0u64, 0u64);
    let made = lab.stat("synthesized")?;
    // Long enough to see the window where that is possible, and some time in any case.
    while (scans < 100 || (cpus > 1 && window == 0)) && begin.elapsed() < Duration::from_secs(60) {
        let scan = Scan::now()?;
        scan.is_clean()?;
        scans += 1;
        window += u64::from(scan.other.writable > 0);
    }
    let made = lab.stat("synthesized")?.wrapping_sub(made);
    board.raise(0, 1);
    same!(
        maker.wait(Duration::from_secs(20)),
        Some(crate::proc::Ended::Exit(0)),
        "the process whose code is made"
    );
    println!(
        "# {scans} walks, {made} paths made meanwhile, the writable alias seen in {window} walks"
    );
    ensure!(made > 20, "only {made} paths were made");
    ensure!(scans > 20, "only {scans} walks");
    if cpus > 1 && window == 0 {
        skip!(
            "{scans} walks saw nothing wrong, nor the writable alias: too slow a machine to tell"
        );
    }
    Ok(())
}

fn after_unload(_: &Lab) -> Res {
    ready()?;
    unload()?;
    ready()?;
    Scan::now()?.is_clean()
}
