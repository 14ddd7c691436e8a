//! The account of a process, and whether code is worth what it costs.

use proptest::prelude::*;
use synthjit_engine::account::{Account, BURST_NS, RESUME_NS, SHARE, WORK_MOST_NS};
use synthjit_engine::negative::{Negative, NegativeCache, CAPACITY};
use synthjit_engine::specs::Reason;
use synthjit_engine::syscall::Call;
use synthjit_engine::worth;

const SECOND: u64 = 1_000_000_000;

proptest! {
    /// Whatever is asked for when: what was allowed stays within the share, the burst and one work more.
    #[test]
    fn an_account_keeps_to_its_share(
        asked in prop::collection::vec((0u64..50_000_000, 0u64..600_000), 1..400)
    ) {
        let (mut account, mut ran, mut spent) = (Account::new(), 0, 0);
        for (pause, cost) in asked {
            ran += pause;
            account.fill(ran);
            if account.allows() {
                account.charge(cost);
                spent += cost;
            }
        }
        prop_assert!(spent <= BURST_NS + ran / SHARE + 600_000, "{spent} of {ran}");
    }
}

proptest! {
    /// However often which descriptor is added: each is there once for each call, the first ones for as long as they last.
    #[test]
    fn a_negative_cache_has_each_descriptor_once(
        added in prop::collection::vec((0u32..40, any::<bool>(), 0u64..100), 1..200),
        now in 0u64..120,
    ) {
        let mut cache = NegativeCache::new();
        let mut known = std::collections::BTreeMap::new();
        for (fd, read, until_ms) in added {
            let call = if read { Call::Read } else { Call::Write };
            let full = cache.is_full();
            prop_assert_eq!(full, known.len() == CAPACITY);
            cache.insert(Negative { fd, call, reason: Reason::UnknownObject, until_ms });
            if !full || known.contains_key(&(fd, read)) {
                known.insert((fd, read), until_ms);
            }
        }
        prop_assert_eq!(cache.next_due(), known.values().min().copied());
        let before = known.len();
        known.retain(|_, until| *until > now);
        prop_assert_eq!(cache.expire(now), known.len() < before);
        let mut left: Vec<_> = cache.entries().iter().map(|x| ((x.fd, x.call == Call::Read), x.until_ms)).collect();
        left.sort_unstable();
        prop_assert_eq!(left, known.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_overdrawn_account_waits_until_there_is_something_to_spend() {
    let mut account = Account::new();
    assert!(account.allows());
    account.charge(BURST_NS + 1);
    assert!(!account.allows());
    let wait = u64::from(account.wait_ms());
    assert!(wait >= RESUME_NS * SHARE / 1_000_000, "{wait}");
    account.fill((RESUME_NS / 2) * SHARE);
    assert!(!account.allows(), "half of it is there");
    account.fill((RESUME_NS + 1) * SHARE);
    assert!(account.allows());
}

#[test]
fn a_full_account_does_not_grow() {
    let mut account = Account::new();
    account.fill(1000 * SECOND);
    account.charge(BURST_NS + 1);
    assert!(!account.allows());
}

/// A thread that took its leader's place has run for less than the leader had.
#[test]
fn time_that_goes_back_fills_nothing() {
    let mut account = Account::new();
    account.fill(10 * SECOND);
    account.charge(BURST_NS + 1);
    account.fill(SECOND);
    assert!(!account.allows());
    account.fill(SECOND + 2 * RESUME_NS * SHARE);
    assert!(account.allows());
}

/// A work that was preempted for long cannot cost the process its account.
#[test]
fn one_work_is_not_charged_for_what_others_did() {
    let mut account = Account::new();
    account.charge_work(10 * SECOND);
    let mut works = 1;
    while account.allows() {
        account.charge_work(10 * SECOND);
        works += 1;
    }
    assert!(works > BURST_NS / WORK_MOST_NS, "{works}");
}

#[test]
fn what_earns_twice_its_cost_is_worth_it() {
    let ns = worth::of_path(100, 0);
    assert_eq!(worth::loss(0, 0), 0);
    assert_eq!(worth::loss(0, ns), ns);
    let enough = (2 * ns).div_ceil(worth::SERVED);
    assert_eq!(worth::loss(enough, ns), 0);
    assert!(worth::loss(enough / 2, ns) > 0);
    assert!(
        worth::of_path(100, 1) > ns + 4096,
        "a page was copied in vain"
    );
}

/// A counter is read right with and without the mark that it is to be looked at.
#[test]
fn a_marked_budget_keeps_its_number() {
    for left in [worth::BAILS, 1, 0, -1, -5] {
        for mark in [0, 1 << 31] {
            let counter = left as u32 | mark;
            assert_eq!(worth::left(counter), left);
            assert_eq!(
                worth::used(worth::BAILS, counter),
                (worth::BAILS - left) as u64
            );
        }
    }
}
