//! Long copies take memory that is known to be fast: interrupts are off meanwhile, and each access to a device's may take long.

use crate::proc::{poll_until, Board};
use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, needs_module, noise, Lab, Res, Rig, Stop, SOON};
use crate::tests::support::reasons::once;
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::sync::atomic::{AtomicU8, Ordering};

area!("memory":
    of_a_device, that_was_mapped_since, that_is_shared, of_the_vdso_is_ordinary, changing_all_the_time, );

/// Longest copy from or to any memory (specs/arena.toml, COPY_MAX_SLOW).
const SHORT: usize = 64;
/// Long calls that bail out until memory is looked at again (rust/engine/tunables.rs, SKIPPED).
const SKIPPED: usize = 2048;
const PAGE: usize = 4096;

/// A page that is unmapped when dropped.
struct Mapped(usize);

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = sys::unmap(self.0, PAGE);
    }
}

impl Mapped {
    fn anonymous() -> Res<Self> {
        Ok(Self(sys::map(PAGE, 3, libc::MAP_PRIVATE)?))
    }

    /// Of the first PCI device that has a page of memory: what `file` in its folder maps.
    fn device(file: &str) -> Res<Self> {
        for folder in std::fs::read_dir("/sys/bus/pci/devices")?.flatten() {
            let path = folder.path().join(file);
            if !path.exists() {
                continue;
            }
            let fd = sys::open(&path.to_string_lossy(), libc::O_RDWR, 0)?;
            let (nr, shared) = (libc::SYS_mmap, libc::MAP_SHARED as usize);
            let at = sys::sys(nr, &[0, PAGE, 3, shared, fd as usize, 0]);
            sys::close(fd)?;
            if let Ok(at) = at {
                return Ok(Self(at));
            }
        }
        skip!("no PCI device has a {file}")
    }

    /// Its bytes, one access each.
    fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: mapped, readable and writable until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.0 as *const AtomicU8, PAGE) }
    }

    fn fill(&self, data: &[u8]) {
        for (to, from) in self.bytes().iter().zip(data) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    fn holds(&self, data: &[u8]) -> bool {
        let mut pairs = self.bytes().iter().zip(data);
        pairs.all(|(is, should)| is.load(Ordering::Relaxed) == *should)
    }
}

/// A pipe whose paths have looked at the memory as it is.
fn rig(lab: &Lab) -> Res<Rig> {
    let rig = lab.rig()?;
    long_copies_are_fast(lab, &rig)?;
    Ok(rig)
}

/// As soon as the paths have looked, which takes one call each or many.
fn long_copies_are_fast(lab: &Lab, rig: &Rig) -> Res {
    let data = noise(1, SHORT + 1);
    let fast = || {
        let before = (lab.hits(rig.p.w, Write), lab.hits(rig.p.r, Read));
        for _ in 0..4 {
            if let Err(e) = echo(rig.p.r, rig.p.w, &data) {
                return Some(Err(e));
            }
        }
        let after = (lab.hits(rig.p.w, Write), lab.hits(rig.p.r, Read));
        (after.0 > before.0 && after.1 > before.1).then_some(Ok(()))
    };
    for _ in 0..=SKIPPED / 4 {
        if let Some(done) = fast() {
            return done;
        }
    }
    poll_until(SOON, fast).unwrap_or_else(|| {
        Err(Stop::Fail(format!(
            "long copies stay slow; state {:?}",
            lab.state_of(sys::getpid())
        )))
    })
}

/// Uncached and, where the device has that, write-combining.
fn of_a_device(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = rig(lab)?;
    let (w, r) = (rig.p.w, rig.p.r);
    let data = noise(2, PAGE);
    for file in ["resource0", "resource0_wc"] {
        let device = Mapped::device(file)?;
        device.fill(&data);
        // The first long call finds that mappings have changed, and looks.
        once(w, Write, "device_memory", || {
            same!(
                sys::write_at(w, device.0, SHORT + 1),
                Ok(SHORT + 1),
                "{file}"
            );
            expect(r, &data[..=SHORT])
        })?;
        once(r, Read, "device_memory", || {
            echo(r, w, b"#")?;
            same!(sys::write(w, &data), Ok(PAGE), "write");
            device.fill(&noise(3, PAGE));
            same!(sys::read_at(r, device.0, PAGE), Ok(PAGE), "{file}");
            ensure!(device.holds(&data), "{file}: wrong bytes");
            Ok(())
        })?;
        // Short ones are served, from and to the device.
        lab.fast(&[(w, Write, 1), (r, Read, 1)], || {
            same!(sys::write_at(w, device.0, SHORT), Ok(SHORT), "{file}");
            same!(
                sys::read_at(r, device.0 + PAGE - SHORT, SHORT),
                Ok(SHORT),
                "{file}"
            );
            let moved = noise(2, SHORT);
            let end = &device.bytes()[PAGE - SHORT..];
            let same = end
                .iter()
                .zip(&moved)
                .all(|(a, b)| a.load(Ordering::Relaxed) == *b);
            ensure!(same, "{file}: wrong bytes");
            Ok(())
        })?;
        drop(device);
        long_copies_are_fast(lab, &rig)?;
    }
    lab.fast_again(&rig.p)
}

/// The first long call after a change of the mappings bails out and looks; the next is served.
fn that_was_mapped_since(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = rig(lab)?;
    let data = noise(4, PAGE);
    once(rig.p.w, Write, "memory_changed", || {
        let page = Mapped::anonymous()?;
        page.fill(&data);
        same!(sys::write_at(rig.p.w, page.0, PAGE), Ok(PAGE), "write");
        expect(rig.p.r, &data)
    })?;
    long_copies_are_fast(lab, &rig)?;
    let page = Mapped::anonymous()?;
    page.fill(&data);
    long_copies_are_fast(lab, &rig)?;
    lab.fast(&[(rig.p.w, Write, 1), (rig.p.r, Read, 1)], || {
        same!(sys::write_at(rig.p.w, page.0, PAGE), Ok(PAGE), "write");
        same!(sys::read_at(rig.p.r, page.0, PAGE), Ok(PAGE), "read");
        ensure!(page.holds(&data), "wrong bytes");
        Ok(())
    })
}

/// Body of a process that shares the memory. No call that touches `errno` may be made here.
extern "C" fn sharer(board: *mut libc::c_void) -> i32 {
    // SAFETY: the test lends its board until this process has ended.
    let board = unsafe { &*(board as *const Board) };
    while board.flag(0) == 0 {
        std::hint::spin_loop();
        let _ = sys::sys(libc::SYS_sched_yield, &[]);
    }
    0
}

/// Another process that shares the memory could map a device while a path copies.
fn that_is_shared(lab: &Lab) -> Res {
    const STACK: usize = 16 * 1024;
    needs_module(lab)?;
    let (board, stack) = (Board::new()?, sys::map(STACK, 3, libc::MAP_PRIVATE)?);
    let rig = rig(lab)?;
    let before = lab.hits(rig.p.w, Write);
    // SAFETY: a new process with a stack of its own; what it is given outlives it.
    let pid = unsafe {
        libc::clone(
            sharer,
            (stack + STACK) as *mut libc::c_void,
            libc::CLONE_VM | libc::SIGCHLD,
            std::ptr::from_ref(board).cast_mut().cast(),
        )
    };
    ensure!(pid > 0, "clone: {}", Errno::last());
    let data = noise(5, SHORT + 1);
    let shared = (0..8).try_for_each(|_| echo(rig.p.r, rig.p.w, &data));
    let hits = lab.hits(rig.p.w, Write) - before;
    let short = lab.fast_again(&rig.p);
    board.raise(0, 1);
    let mut status = 0;
    // SAFETY: `status` is ours; the stack is in use until the process has ended.
    let ended = unsafe { libc::waitpid(pid, &mut status, 0) };
    shared.and(short)?;
    same!((ended, status), (pid, 0), "the sharer");
    same!(hits, 0, "long copies while the memory was shared");
    long_copies_are_fast(lab, &rig)
}

/// Every process has the pages of the vDSO's data, which are marked as a device's are. They are RAM.
fn of_the_vdso_is_ordinary(lab: &Lab) -> Res {
    needs_module(lab)?;
    let maps = sys::read_text("/proc/self/maps")?;
    ensure!(maps.contains("[vvar"), "{maps}");
    drop(maps);
    let rig = rig(lab)?;
    lab.fast_again(&rig.p)
}

/// Who changes its mappings before each call is looked at now and then only.
fn changing_all_the_time(lab: &Lab) -> Res {
    const CALLS: usize = 20_000;
    needs_module(lab)?;
    let rig = rig(lab)?;
    let data = noise(6, SHORT + 1);
    let (mut last, mut hits) = (lab.hits(rig.p.w, Write), 0);
    for i in 0..CALLS {
        drop(Mapped::anonymous()?);
        echo(rig.p.r, rig.p.w, &data)?;
        if i % 50 == 0 {
            // A path that is not worth its cost goes, and the one after it counts from nought.
            let now = lab.hits(rig.p.w, Write);
            hits += if now < last { now } else { now - last };
            last = now;
        }
    }
    ensure!(hits < CALLS as u64 / 50, "{hits} long copies were served");
    long_copies_are_fast(lab, &rig)
}
