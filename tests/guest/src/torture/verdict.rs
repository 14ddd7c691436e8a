//! The reckoning at the end of a run, and what is told of it.

use super::board::{Role, State};
use super::check::Kind;
use super::counts::table;
use super::message::{self, LONGEST};
use super::streams::Built;
use super::Run;
use crate::proc::poll_until;
use crate::{sys, sysfs};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What all writers of a stream wrote, or all readers read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    bytes: u64,
    messages: u64,
    digest: u64,
}

impl Run<'_> {
    fn states<'b>(&'b self, stream: &'b Built) -> impl Iterator<Item = &'b State> + 'b {
        let desks = stream.desks.iter().filter_map(|d| self.board.desks.get(*d));
        // SAFETY: all streaming processes have ended, or are about to be ended and their words are only shown.
        desks.map(|d| unsafe { &*d.state() })
    }

    /// Bytes that readers got, of all streams.
    fn bytes(&self) -> u64 {
        self.built.iter().map(|b| self.sums(b).1.bytes).sum()
    }

    /// Written and read.
    fn sums(&self, stream: &Built) -> (Sum, Sum) {
        let (mut written, mut read) = (Sum::default(), Sum::default());
        for state in self.states(stream) {
            if [Role::Writer as u32, Role::Both as u32].contains(&state.role) {
                written.bytes += state.written;
                written.messages += state.seq;
                written.digest = written.digest.wrapping_add(state.sum);
            }
            if [Role::Reader as u32, Role::Both as u32].contains(&state.role) {
                let checker = &state.checker;
                read.bytes += checker.bytes;
                read.messages += checker.messages;
                read.digest = read.digest.wrapping_add(checker.sum);
            }
        }
        (written, read)
    }

    /// What was written was read, and nothing else; nothing is left; everything was done that can be done here.
    pub fn reckon(&self) -> Result<(), String> {
        for stream in &self.built {
            let name = stream.name;
            let (written, read) = self.sums(stream);
            if written != read {
                return Err(format!("stream {name}: written {written:?}, read {read:?}"));
            }
            if written.messages == 0 {
                return Err(format!("stream {name}: nothing was written"));
            }
            for (r, _) in &stream.pipes {
                match left(*r) {
                    Ok(0) => {}
                    left => return Err(format!("stream {name}: bytes left in a pipe: {left:?}")),
                }
            }
        }
        if !self.args.stock {
            nothing_is_left()?;
        }
        if !self.complete() {
            return Ok(());
        }
        match self.undone()[..] {
            [] => Ok(()),
            ref left => Err(left.join("; ")),
        }
    }

    /// Prints the table and the line for machines.
    pub fn tell(&self, outcome: Result<(), String>) {
        let b = self.board;
        for stream in &self.built {
            let (written, read) = self.sums(stream);
            println!(
                "# stream {:<8} {} messages, {} bytes written; {} messages, {} bytes read",
                stream.name, written.messages, written.bytes, read.messages, read.bytes
            );
        }
        print!("{}", table(b, &self.missing));
        let (quiet, stressed) = (self.shares.quiet, self.shares.stressed);
        println!(
            "#   specialized: {} % of {} calls in quiet phases, {} % of {} calls under stress",
            quiet.percent(),
            quiet.calls,
            stressed.percent(),
            stressed.calls
        );
        let of = |kind: Kind| match b.told() {
            Some(wrong) if wrong.kind == kind => wrong.bytes.max(1),
            _ => 0,
        };
        // Bytes that nobody missed on the way are missed in the reckoning.
        let on_the_way = b.told().is_some() || outcome.is_err();
        let sums: Vec<_> = self.built.iter().map(|s| self.sums(s)).collect();
        let short: u64 = match on_the_way {
            true => 0,
            false => sums.iter().map(|(w, r)| w.bytes.abs_diff(r.bytes)).sum(),
        };
        println!(
            "TORTURE {} seed={} bytes={} lost={} duplicated={} reordered={} changed={} hits={} quiet={}% stressed={}% bailouts={} synthesized={} \
             dropped={} arena={} effects={} ms={}{}",
            if outcome.is_ok() { "ok" } else { "failed" },
            self.seed,
            self.bytes(),
            of(Kind::Lost) + short,
            of(Kind::Duplicated),
            of(Kind::Reordered),
            of(Kind::Changed),
            b.hits.load(Ordering::SeqCst),
            quiet.percent(),
            stressed.percent(),
            b.bails.load(Ordering::SeqCst),
            b.made.load(Ordering::SeqCst),
            b.dropped.load(Ordering::SeqCst),
            b.arena.load(Ordering::SeqCst),
            super::counts::ALL.iter().map(|c| b.count(*c)).sum::<u64>(),
            self.watch.started.elapsed().as_millis(),
            outcome.err().map_or(String::new(), |why| format!(": {why}")),
        );
    }
}

/// Everybody has ended, so the module must have nobody attached and all of its code memory back, a moment later.
fn nothing_is_left() -> Result<(), String> {
    let left =
        || ["attached", "arena_bytes_used"].map(|name| sysfs::counter(name).unwrap_or(u64::MAX));
    poll_until(Duration::from_secs(20), || (left() == [0, 0]).then_some(())).ok_or_else(|| {
        let [attached, bytes] = left();
        format!(
            "at the end {attached} processes are attached and {bytes} bytes of code memory in use"
        )
    })
}

/// Bytes left in a pipe, but for messages that told a reader to stop who had stopped already.
fn left(r: i32) -> sys::Sys<usize> {
    let (mut got, mut stopper) = ([0; LONGEST], [0; LONGEST]);
    let n = message::stopper(&mut stopper);
    let mut waiting = sys::fionread(r)? as usize;
    while waiting >= n {
        let k = sys::read(r, got.get_mut(..n).unwrap_or_default())?;
        if k != n || got.get(..n) != stopper.get(..n) {
            return Ok(waiting);
        }
        waiting -= n;
    }
    Ok(waiting)
}
