//! Swap on a disk in memory (which costs less time than compressing), and everything of those who stream sent there by force.

use super::super::counts::{Count, Missing};
use super::{Context, Stressor};
use crate::sys::{self, Sys};
use std::ffi::CString;
use std::path::Path;

pub const STRESSOR: Stressor = Stressor {
    name: "swap",
    run,
    missing,
    module: false,
    goals: &[Count::PageOuts, Count::SwapOuts, Count::SwapIns],
};

const DEVICE: &str = "/dev/ram0";
/// Enough for all that streaming processes have.
const BYTES: usize = 64 << 20;

fn missing() -> Missing {
    match on() {
        Ok(()) => Vec::new(),
        Err(why) => {
            let goals = STRESSOR.goals.iter();
            goals.map(|c| (*c, why.clone())).collect()
        }
    }
}

/// Switches swap on, unless it is.
pub fn on() -> Result<(), String> {
    let active = || sys::read_text("/proc/swaps").is_ok_and(|t| t.lines().count() > 1);
    if active() {
        return Ok(());
    }
    if !Path::new("/proc/swaps").exists() {
        return Err("the kernel has no swap".into());
    }
    let options = format!("rd_nr=1 rd_size={}", BYTES >> 10);
    let _ = sys::insmod("/modules/brd.ko", &options);
    if !Path::new(DEVICE).exists() {
        return Err("no disk in memory for swap".into());
    }
    let failed = |what: &'static str| move |e| format!("{what}: {e}");
    format().map_err(failed(DEVICE))?;
    let device = CString::new(DEVICE).map_err(|e| e.to_string())?;
    sys::sys(libc::SYS_swapon, &[device.as_ptr() as usize, 0]).map_err(failed("swapon"))?;
    Ok(())
}

/// Writes the header of swap space (`union swap_header` in include/linux/swap.h).
fn format() -> Sys {
    let mut page = [0u8; 4096];
    let last = (BYTES / 4096 - 1) as u32;
    page[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    let fd = sys::open(DEVICE, libc::O_WRONLY | libc::O_CLOEXEC, 0)?;
    let done = sys::pwrite(fd, &page, 0);
    let _ = sys::close(fd);
    done
}

fn run(g: &mut Context) {
    while g.on() {
        let before = [moved("pswpout"), moved("pswpin")];
        if let Some(pid) = g.carrier() {
            for (at, len) in mappings(pid) {
                if page_out(pid, at, len).is_ok() {
                    g.did(Count::PageOuts);
                }
            }
        }
        // Whoever goes on needs them again.
        g.nap(200);
        let now = [moved("pswpout"), moved("pswpin")];
        g.board
            .did_many(Count::SwapOuts, now[0].saturating_sub(before[0]));
        g.board
            .did_many(Count::SwapIns, now[1].saturating_sub(before[1]));
    }
}

/// Pages that went to swap, or came from it, since boot (`/proc/vmstat`).
fn moved(name: &str) -> u64 {
    let text = sys::read_text("/proc/vmstat").unwrap_or_default();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value).unwrap_or(0)
}

/// Writable memory of a process.
fn mappings(pid: i32) -> Vec<(usize, usize)> {
    let text = sys::read_text(&format!("/proc/{pid}/maps")).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (from, to) = words.next()?.split_once('-')?;
            let number = |t| usize::from_str_radix(t, 16).ok();
            let (from, to) = (number(from)?, number(to)?);
            words.next()?.starts_with("rw").then_some((from, to - from))
        })
        .collect()
}

fn page_out(pid: i32, at: usize, len: usize) -> Sys {
    let pidfd = sys::sys(libc::SYS_pidfd_open, &[pid as usize, 0])?;
    let range = [at, len];
    let args = [
        pidfd,
        range.as_ptr() as usize,
        1,
        libc::MADV_PAGEOUT as usize,
        0,
    ];
    let done = sys::sys(libc::SYS_process_madvise, &args);
    let _ = sys::close(pidfd as i32);
    done
}
