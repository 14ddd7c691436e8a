//! Which processes stream through which pipes.

use super::actions::{self, Action};
use super::board::{Board, Role, State, DESKS};
use super::check::Checker;
use super::message::Rules;
use crate::sys::{self, Sys};
use std::sync::atomic::Ordering;

/// A chain of pipes: writers, relays, readers.
pub struct Stream {
    pub name: &'static str,
    /// Flags of its pipes, for `pipe2(2)`.
    flags: i32,
    writers: u32,
    relay: Option<Role>,
    readers: u32,
    /// One process is writer and reader.
    both: bool,
    actions: &'static [&'static [Action]],
}

/// All streams of a run.
///
/// Processes that get threads, io_uring or another program are left on the stock path for longer and longer, rightly. So such
/// actions are done in some streams only, and the others stay specialized.
pub const STREAMS: &[Stream] = &[
    Stream {
        name: "own",
        // A full pipe must not put its only reader to sleep.
        flags: libc::O_NONBLOCK,
        writers: 1,
        relay: None,
        readers: 0,
        both: true,
        actions: &[actions::CALM],
    },
    Stream {
        name: "plain",
        flags: libc::O_NONBLOCK,
        writers: 1,
        relay: None,
        readers: 1,
        both: false,
        actions: &[actions::CALM, actions::FORKING],
    },
    Stream {
        name: "crowd",
        flags: 0,
        writers: 3,
        relay: None,
        readers: 1,
        both: false,
        actions: &[actions::CALM, actions::FORKING, actions::WILD],
    },
    Stream {
        name: "shared",
        flags: 0,
        writers: 2,
        relay: None,
        readers: 2,
        both: false,
        actions: &[actions::CALM, actions::FORKING],
    },
    Stream {
        name: "relay",
        flags: 0,
        writers: 1,
        relay: Some(Role::Relay),
        readers: 1,
        both: false,
        actions: &[actions::CALM, actions::FORKING, actions::WILD],
    },
    Stream {
        name: "splice",
        flags: 0,
        writers: 1,
        relay: Some(Role::Splicer),
        readers: 1,
        both: false,
        actions: &[actions::CALM, actions::WILD],
    },
];

/// One pipe of a stream: (read end, write end).
pub type Ends = (i32, i32);

/// A stream as it was set up: its pipes in order and its desks.
pub struct Built {
    pub name: &'static str,
    pub pipes: Vec<Ends>,
    pub desks: Vec<usize>,
    pub shared: bool,
}

/// Makes the pipes and fills in the desks of all streams.
pub fn build(board: &Board, seed: u64, calm: bool) -> Sys<Vec<Built>> {
    let mut next = 0;
    STREAMS
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let pipes = (0..1 + usize::from(stream.relay.is_some()))
                .map(|_| sys::pipe2(stream.flags))
                .collect::<Sys<Vec<Ends>>>()?;
            let first = pipes.first().copied().unwrap_or((-1, -1));
            let last = pipes.last().copied().unwrap_or((-1, -1));
            let shared = stream.readers > 1;
            let rules = Rules {
                seed: seed ^ index as u64,
                fixed: u32::from(shared),
                writers: stream.writers,
            };
            let mut desks = Vec::new();
            let mut add = |role: Role, writer: u32, from: i32, to: i32| {
                let at = next;
                next += 1;
                if at >= DESKS {
                    return;
                }
                let kinds = stream.actions;
                let actions = match calm {
                    true => 0,
                    false => actions::set(
                        kinds
                            .get(at % kinds.len().max(1))
                            .copied()
                            .unwrap_or_default(),
                    ),
                };
                let state = State {
                    role: role as u32,
                    stream: index as u32,
                    from,
                    to,
                    from_home: from,
                    to_home: to,
                    actions,
                    random: seed ^ (at as u64) << 32,
                    due: 0,
                    writer,
                    ended: 0,
                    seq: 0,
                    written: 0,
                    sum: 0,
                    held_at: 0,
                    held: 0,
                    passed: 0,
                    lie: 0,
                    exec: 0,
                    checker: Checker::new(rules, shared),
                };
                // SAFETY: nobody streams yet.
                unsafe { *board.desks[at].state() = state };
                board.desks[at].uffd.store(-1, Ordering::SeqCst);
                desks.push(at);
            };
            if stream.both {
                add(Role::Both, 0, first.0, first.1);
            } else {
                (0..stream.writers).for_each(|w| add(Role::Writer, w, -1, first.1));
            }
            if let Some(role) = stream.relay {
                add(role, 0, first.0, last.1);
            }
            (0..stream.readers).for_each(|_| add(Role::Reader, 0, last.0, -1));
            Ok(Built {
                name: stream.name,
                pipes,
                desks,
                shared,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_fit_and_all_actions_are_done_somewhere() {
        let board = Board::new().unwrap();
        let built = build(board, 3, false).unwrap();
        let desks: Vec<usize> = built.iter().flat_map(|b| b.desks.clone()).collect();
        assert_eq!(desks, (0..desks.len()).collect::<Vec<_>>());
        assert!(desks.len() <= DESKS);
        // SAFETY: nobody streams in this test.
        let done = desks
            .iter()
            .fold(0, |all, d| all | unsafe { board.desks[*d].state() }.actions);
        assert_eq!(done, actions::set(actions::ALL));
    }
}
