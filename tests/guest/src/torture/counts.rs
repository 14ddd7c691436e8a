//! What was done, in counts: one list, so that the table and the rule "nothing may have been left undone" cannot differ.

use super::board::Board;
use std::sync::atomic::Ordering;

macro_rules! counts {
    ($($name:ident $text:literal $must:literal),+ $(,)?) => {
        /// One kind of thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count { $($name),+ }

        /// All of them, as the table shows them.
        pub const ALL: &[Count] = &[$(Count::$name),+];

        impl Count {
            /// Words for people.
            pub fn text(self) -> &'static str {
                match self { $(Count::$name => $text),+ }
            }

            /// Whether a run in which it stays zero has failed, where the kernel can do it at all.
            pub fn must(self) -> bool {
                match self { $(Count::$name => $must),+ }
            }
        }
    };
}

counts! {
    Attaches "attaches" true,
    Detaches "detaches" true,
    Switches "enabled switched" true,
    SwitchedOff "processes seen stock while it was off" true,
    ProcessSwitches "enabled switched for one process" true,
    Recompiles "switched on what is on" true,
    Insmods "module loaded" true,
    Rmmods "module removed" true,
    Looks "files of the module read" true,
    Crowd "processes attached to fill the arena" true,
    ArenaFull "processes that found the arena full" true,
    ArenaShort "processes that got too few paths for that" true,
    Resizes "pipes resized" true,
    Splices "splices" true,
    Tees "tees" true,
    Vmsplices "vmsplices" true,
    Polls "polls and epolls that waited" true,
    Fasyncs "O_ASYNC switched" true,
    Sigios "signals about a pipe (SIGIO)" true,
    Dups "descriptors moved" true,
    Threads "threads beside a stream" true,
    ThreadCarries "threads that went on with a stream" true,
    Forks "forks" true,
    ForkCarries "children that went on with a stream" true,
    Execs "execs" true,
    ThreadExecs "execs by a thread that was not the leader" true,
    Seccomps "seccomp filters" true,
    Filtered "calls that a filter refused" true,
    Urings "io_uring instances" true,
    UringWrites "messages through io_uring" true,
    Ptraces "ptrace attaches" true,
    TraceStops "stops for a tracer" true,
    Traces "system call tracing switched" true,
    Traced "calls that tracing saw" true,
    Signals "signals" true,
    Interrupted "calls that a signal interrupted" true,
    Stops "stops by SIGSTOP" true,
    Moves "moves to another CPU" true,
    Offlines "CPUs taken offline" true,
    Onlines "CPUs brought online" true,
    Protects "mprotects under a running call" true,
    Refused "buffers that a call found unreadable" true,
    Zaps "buffers dropped by madvise(DONTNEED)" true,
    ZapFaults "faults on them" true,
    UserFaults "faults served by userfaultfd" true,
    PageOuts "buffers sent to swap" true,
    SwapOuts "pages written to swap" true,
    SwapIns "pages read back from swap" true,
    Reclaims "memory reclaims" true,
    Reclaimed "pages reclaimed" true,
    Squeezes "calls slowed down by memory.high" true,
    Ooms "processes ended by the memory limit" true,
    Starved "bursts with failing allocations" true,
    StarvedCode "processes without code for want of memory" true,
    StarvedAttaches "attaches refused for want of memory" true,
    StarvedResizes "resizes refused for want of memory" true,
    NoMemory "calls that got ENOMEM" false,
}

impl Count {
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Why something cannot be done on this machine.
pub type Missing = Vec<(Count, String)>;

/// The table for people; things that cannot be done here have the reason instead of a number.
pub fn table(board: &Board, missing: &Missing) -> String {
    let mut text = String::new();
    for count in ALL {
        let value = match missing.iter().find(|(c, _)| c == count) {
            Some((_, why)) => format!("- ({why})"),
            None => board.count(*count).to_string(),
        };
        text += &format!("#   {:<42} {value}\n", count.text());
    }
    text
}

/// What could have been done and was not.
pub fn undone(board: &Board, missing: &Missing) -> Vec<Count> {
    ALL.iter()
        .filter(|c| c.must() && board.count(**c) == 0)
        .filter(|c| !missing.iter().any(|(m, _)| m == *c))
        .copied()
        .collect()
}

impl Board {
    pub fn count(&self, what: Count) -> u64 {
        self.counts
            .get(what.index())
            .map_or(0, |c| c.load(Ordering::Relaxed))
    }

    pub fn did(&self, what: Count) {
        self.did_many(what, 1);
    }

    pub fn did_many(&self, what: Count, times: u64) {
        if let Some(c) = self.counts.get(what.index()) {
            c.fetch_add(times, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_undone_is_told_unless_impossible() {
        let board = Board::new().unwrap();
        for c in ALL {
            board.did(*c);
        }
        assert!(undone(board, &Vec::new()).is_empty());
        let board = Board::new().unwrap();
        for c in ALL.iter().filter(|c| **c != Count::Offlines) {
            board.did(*c);
        }
        assert_eq!(undone(board, &Vec::new()), [Count::Offlines]);
        let missing = vec![(Count::Offlines, "one CPU".to_string())];
        assert!(undone(board, &missing).is_empty());
        assert!(table(board, &missing).contains("- (one CPU)"));
    }
}
