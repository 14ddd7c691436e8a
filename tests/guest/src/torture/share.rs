//! How many of the calls ran specialized: of those in quiet phases, and of those under stress.

use super::board::Board;
use super::seen::Seen;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Least share of specialized calls, in percent, for a run that has tested something. In quiet phases what is left are calls that
/// bail out, because they would sleep or wake somebody, and those that have no path. Under stress there are processes
/// besides that are left alone for a while after what was done to them.
const LEAST_QUIET: u64 = 30;
const LEAST_STRESSED: u64 = 10;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(200);
/// Stressors take a moment to put things right, which does not count as quiet.
const SETTLE: Duration = Duration::from_millis(500);

/// Calls after which a quiet phase has shown enough.
const ENOUGH: u64 = 2000;

/// Calls, and the specialized ones among them.
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
    /// Since when there has been no stressor.
    quiet_since: Option<Instant>,
    pub quiet: Share,
    pub stressed: Share,
    /// Quiet calls before this phase.
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
            stressed: Share::default(),
            before: 0,
        }
    }

    /// A phase begins.
    pub fn phase(&mut self, board: &Board, quiet: bool) {
        self.count(board);
        self.quiet_since = quiet.then(Instant::now);
        self.before = self.quiet.calls;
    }

    /// Whether a quiet phase has been long enough.
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
            None => &mut self.stressed,
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
            ("in quiet phases", self.quiet, LEAST_QUIET),
            ("under stress", self.stressed, LEAST_STRESSED),
        ];
        let (what, share, least) = checks.into_iter().find(|(_, s, l)| s.percent() < *l)?;
        Some(format!(
            "{} % of the calls {what} ran specialized, which should be {least} %",
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
        (shares.quiet, shares.stressed) = (share(300), share(100));
        assert_eq!(shares.complaint(), None);
        shares.stressed = share(99);
        assert!(shares.complaint().unwrap().contains("under stress"));
        shares.quiet = Share::default();
        assert!(shares.complaint().unwrap().contains("quiet"));
    }

    #[test]
    fn calls_are_quiet_once_stressors_have_settled() {
        let board = Board::new().unwrap();
        let mut shares = Shares::new();
        let streamed = |shares: &mut Shares, calls| {
            board.desks[0].progress.fetch_add(calls, Ordering::Relaxed);
            shares.count(board);
        };
        streamed(&mut shares, 5);
        shares.phase(board, true);
        streamed(&mut shares, 7);
        std::thread::sleep(SETTLE);
        streamed(&mut shares, 11);
        streamed(&mut shares, 13);
        assert!(!shares.quiet_enough());
        streamed(&mut shares, ENOUGH);
        assert!(shares.quiet_enough());
        shares.phase(board, false);
        streamed(&mut shares, 17);
        assert_eq!(
            (shares.stressed.calls, shares.quiet.calls),
            (22, ENOUGH + 13)
        );
    }
}
