//! A relay: takes bytes out of one pipe and puts them into another, by every call that can.

use super::board::{Lie, Role, PAGE};
use super::counts::Count;
use super::message::LONGEST;
use super::worker::{Step, Stop, Worker};
use crate::sys;

/// Passes some bytes on.
pub fn step(w: &mut Worker, splices: bool) -> Step {
    let state = w.state();
    if state.held > 0 {
        return pass_on(w);
    }
    // Behind the last message nothing comes.
    if state.checker.complete() {
        return Err(Stop::Done);
    }
    let way = match splices {
        true => w.random().below(8),
        // Rarely.
        false => w.random().below(200),
    };
    match way {
        0 | 1 if splices => splice(w),
        2 => tee(w),
        3 => vmsplice(w),
        _ => take(w).map(|_| ()),
    }
}

/// Bytes to move at once.
fn amount(w: &Worker) -> usize {
    1 + w.random().below(LONGEST)
}

/// Reads into the buffer; the bytes are held until they are passed on.
fn take(w: &mut Worker) -> Step<usize> {
    let state = w.state();
    let start = w.random().below(PAGE);
    let n = amount(w);
    let from = state.from;
    let Some(got) = w.retry("read", || sys::read_at(from, w.at + start, n))? else {
        return Ok(0);
    };
    if got == 0 || got > n {
        return Err(w.surprise(format!("a read of {n} bytes returned {got}")));
    }
    state.held_at = start as u32;
    state.held = got as u32;
    note(w, start, got)?;
    tell_lies(w);
    Ok(got)
}

/// A relay checks too, so that it knows the end of the stream, and on which side of it something went wrong.
fn note(w: &Worker, start: usize, n: usize) -> Step {
    let bytes = w.buffer().get(start..start + n).unwrap_or_default();
    w.state()
        .checker
        .feed(bytes)
        .map_err(|wrong| w.wrong(wrong))
}

/// Writes what is held, or a part of it.
fn pass_on(w: &mut Worker) -> Step {
    let state = w.state();
    let (at, n, to) = (w.at + state.held_at as usize, state.held as usize, state.to);
    if let Some(k) = w.retry("write", || sys::write_at(to, at, n))? {
        if k > n {
            return Err(w.surprise(format!("a write of {n} bytes returned {k}")));
        }
        state.held_at += k as u32;
        state.held -= k as u32;
        state.passed += k as u64;
    }
    Ok(())
}

/// From pipe to pipe without this process seeing the bytes: it looks at them by `tee` first, to know the end of the stream.
fn splice(w: &mut Worker) -> Step {
    let n = peek(w, amount(w))?;
    let state = w.state();
    let (from, to) = (state.from, state.to);
    let mut left = n;
    while left > 0 {
        let Some(k) = w.retry("splice", || sys::splice(from, to, left, 0))? else {
            continue;
        };
        if k == 0 || k > left {
            return Err(w.surprise(format!("a splice of {left} bytes returned {k}")));
        }
        w.board.did(Count::Splices);
        state.passed += k as u64;
        left -= k;
    }
    Ok(())
}

/// What is read must be what `tee` has shown before.
fn tee(w: &mut Worker) -> Step {
    let n = peek(w, amount(w))?;
    let seen = w.buffer().get(..n).unwrap_or_default().to_vec();
    let state = w.state();
    let start = PAGE;
    let mut have = 0;
    while have < n {
        let (from, at) = (state.from, w.at + start + have);
        have += w
            .retry("read", || sys::read_at(from, at, n - have))?
            .unwrap_or(0);
    }
    if w.buffer().get(start..start + n) != Some(&seen) {
        return Err(w.surprise(format!("{n} bytes are not those that tee showed")));
    }
    (state.held_at, state.held) = (start as u32, n as u32);
    tell_lies(w);
    Ok(())
}

/// Copies what waits in the pipe, at most `n` bytes, to the beginning of the buffer, and leaves it there. How many.
fn peek(w: &mut Worker, n: usize) -> Step<usize> {
    let Ok(aside) = sys::Pipe::new(0) else {
        return Ok(0);
    };
    let from = w.state().from;
    let Some(k) = w.retry("tee", || sys::tee(from, aside.w, n, 0))? else {
        return Ok(0);
    };
    w.board.did(Count::Tees);
    let mut have = 0;
    while have < k {
        let at = w.at + have;
        have += w
            .retry("read", || sys::read_at(aside.r, at, k - have))?
            .unwrap_or(0);
    }
    note(w, 0, k)?;
    Ok(k)
}

/// Gives pages of this process to the pipe: fresh ones, which nobody writes any more until the reader has them.
fn vmsplice(w: &mut Worker) -> Step {
    let n = take(w)?;
    let Ok(pages) = sys::map(2 * PAGE, 3, libc::MAP_PRIVATE) else {
        return Ok(());
    };
    let state = w.state();
    let held = state.held_at as usize;
    // Somewhere in the first page.
    let start = pages + w.random().below(PAGE);
    let source = w.buffer().get(held..held + n).unwrap_or_default();
    // SAFETY: two fresh pages; a start in the first one leaves room for a page.
    unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), start as *mut u8, source.len()) };
    let to = state.to;
    let mut done = 0;
    while done < n {
        let sent = w.retry("vmsplice", || sys::vmsplice(to, start + done, n - done, 0));
        match sent {
            Ok(Some(k)) => {
                w.board.did(Count::Vmsplices);
                done += k;
            }
            Ok(None) => {}
            Err(stop) => {
                let _ = sys::unmap(pages, 2 * PAGE);
                return Err(stop);
            }
        }
    }
    state.held = 0;
    state.passed += n as u64;
    let _ = sys::unmap(pages, 2 * PAGE);
    Ok(())
}

/// Spoils what is held, if that was planted.
fn tell_lies(w: &mut Worker) {
    let state = w.state();
    if state.role != Role::Relay as u32 || state.held < 64 {
        return;
    }
    let Some(lie) = w.lie() else { return };
    let (at, n) = (state.held_at as usize, state.held as usize);
    let held = w.buffer().get_mut(at..at + n).unwrap_or_default();
    let middle = held.len() / 2;
    match lie {
        Lie::Lost => {
            held.copy_within(middle + 1.., middle);
            state.held -= 1;
        }
        Lie::Duplicated => {
            let all = w.buffer();
            all.copy_within(at + middle..at + n, at + middle + 1);
            state.held += 1;
        }
        Lie::Swapped => {
            let (a, b) = held.split_at_mut(middle);
            a[..16].swap_with_slice(&mut b[..16]);
        }
        Lie::Flipped => held[middle] ^= 4,
        Lie::Stuck => loop {
            if w.board.aborted() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        },
    }
    w.state().lie = 0;
}
