//! How many of the calls ran specialised: of those in quiet turns, and of those under abuse.

use super::board::Board;
use super::seen::Seen;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Least share of specialised calls, in percent, for a run that has tested something. In quiet turns what is left are calls that a
/// path gives back, because they would sleep or wake somebody, and those that have no path. Under abuse there are processes
/// besides that are left alone for a while after what was done to them.
const LEAST_QUIET: u64 = 30;
const LEAST_ABUSED: u64 = 10;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(200);
/// Abusers take a moment to put things right, which does not count as quiet.
const SETTLE: Duration = Duration::from_millis(500);

/// Calls after which a quiet turn has shown enough.
const ENOUGH: u64 = 2000;

/// Calls, and the specialised ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub calls: u64,
    pub hits: u64,
}

impl Share {
    pub fn percent(self) -> u64 {
        self.hits * 100 / self.calls.max(1)
    }
}

/// Looks at the module's counters and keeps account.
pub struct Shares {
    seen: Seen,
    last: Share,
    looked: Instant,
    /// Since when nobody has abused anybody.
    quiet_since: Option<Instant>,
    pub quiet: Share,
    pub abused: Share,
    /// Quiet calls before this turn.
    before: u64,
}

impl Shares {
    pub fn new() -> Shares {
        Shares {
            seen: Seen::default(),
            last: Share::default(),
            looked: Instant::now(),
            quiet_since: None,
            quiet: Share::default(),
            abused: Share::default(),
            before: 0,
        }
    }

    /// A turn begins.
    pub fn turn(&mut self, board: &Board, quiet: bool) {
        self.count(board);
        self.quiet_since = quiet.then(Instant::now);
        self.before = self.quiet.calls;
    }

    /// Whether a quiet turn has been long enough.
    pub fn quiet_enough(&self) -> bool {
        self.quiet.calls - self.before >= ENOUGH
    }

    /// Looks if it is time to.
    pub fn look(&mut self, board: &Board) {
        if self.looked.elapsed() >= LOOK {
            self.count(board);
        }
    }

    /// Adds up what came since the last look.
    pub fn count(&mut self, board: &Board) {
        let before = self.looked;
        self.looked = Instant::now();
        self.seen.look(board);
        let now = Share {
            calls: board.calls(),
            hits: board.hits.load(Ordering::Relaxed),
        };
        let sum = match self.quiet_since {
            None => &mut self.abused,
            Some(since) if before.duration_since(since) < SETTLE => &mut Share::default(),
            Some(_) => &mut self.quiet,
        };
        sum.calls += now.calls - self.last.calls;
        sum.hits += now.hits - self.last.hits;
        self.last = now;
    }

    /// What is wrong with the shares.
    pub fn complaint(&self) -> Option<String> {
        let checks = [
            ("in quiet turns", self.quiet, LEAST_QUIET),
            ("under abuse", self.abused, LEAST_ABUSED),
        ];
        let (what, share, least) = checks.into_iter().find(|(_, s, l)| s.percent() < *l)?;
        Some(format!(
            "{} % of the calls {what} ran specialised, which should be {least} %",
            share.percent()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_small_a_share_is_told() {
        let mut shares = Shares::new();
        let share = |hits| Share { calls: 1000, hits };
        (shares.quiet, shares.abused) = (share(300), share(100));
        assert_eq!(shares.complaint(), None);
        shares.abused = share(99);
        assert!(shares.complaint().unwrap().contains("under abuse"));
        shares.quiet = Share::default();
        assert!(shares.complaint().unwrap().contains("quiet"));
    }

    #[test]
    fn calls_are_quiet_once_abusers_have_settled() {
        let board = Board::new().unwrap();
        let mut shares = Shares::new();
        let mut streamed = |shares: &mut Shares, calls| {
            board.desks[0].progress.fetch_add(calls, Ordering::Relaxed);
            shares.count(board);
        };
        streamed(&mut shares, 5);
        shares.turn(board, true);
        streamed(&mut shares, 7);
        std::thread::sleep(SETTLE);
        streamed(&mut shares, 11);
        streamed(&mut shares, 13);
        assert!(!shares.quiet_enough());
        streamed(&mut shares, ENOUGH);
        assert!(shares.quiet_enough());
        shares.turn(board, false);
        streamed(&mut shares, 17);
        assert_eq!((shares.abused.calls, shares.quiet.calls), (22, ENOUGH + 13));
    }
}
