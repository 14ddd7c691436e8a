//! The parts of the engine that make no code: the arena's slots, waiting, and the life of a process.

use std::collections::BTreeSet;

use proptest::prelude::*;
use synthjit_engine::arena::{Arena, Class, NotReserved, Slot};
use synthjit_engine::backoff::{Backoff, Wait, FIRST_MS, GIVE_UP_MS, TRIES};
use synthjit_engine::lifecycle::{Event, NotAllowed, State};
use synthjit_engine::specs::{layout, Reason};

#[test]
fn an_arena_gives_each_slot_once() {
    for class in Class::ALL {
        let mut arena = Arena::new();
        let slots: Vec<Slot> = (0..class.slots())
            .map(|_| arena.reserve(class).expect("free slots are left"))
            .collect();
        let offsets: BTreeSet<usize> = slots.iter().map(|s| s.offset()).collect();
        assert_eq!(offsets.len(), class.slots());
        assert!(offsets
            .iter()
            .all(|o| o % class.bytes() == 0 && o + class.bytes() <= class.slots() * class.bytes()));
        assert_eq!(arena.reserve(class), Err(Reason::ArenaFull));
        assert_eq!(arena.used(class), class.slots());
        assert_eq!(arena.bytes_used(), class.slots() * class.bytes());
        for other in Class::ALL.into_iter().filter(|other| *other != class) {
            assert!(arena.reserve(other).is_ok(), "classes are apart");
        }
        let freed = slots[3];
        assert_eq!(arena.release(freed), Ok(()));
        assert_eq!(arena.release(freed), Err(NotReserved(freed)));
        assert_eq!(arena.reserve(class), Ok(freed));
    }
}

#[test]
fn slots_are_reused_as_late_as_possible() {
    let mut arena = Arena::new();
    let first = arena.reserve(Class::Path).expect("empty arena");
    arena.release(first).expect("reserved");
    let rest: Vec<Slot> = (1..layout::PATH_SLOTS)
        .map(|_| arena.reserve(Class::Path).expect("free"))
        .collect();
    assert!(!rest.contains(&first));
    assert_eq!(arena.reserve(Class::Path), Ok(first));
}

proptest! {
    #[test]
    fn an_arena_agrees_with_a_set(steps in prop::collection::vec((any::<bool>(), prop::sample::select(Class::ALL.to_vec()), any::<prop::sample::Index>()), 0..600)) {
        let mut arena = Arena::new();
        let mut reserved: Vec<Slot> = Vec::new();
        for (reserve, class, which) in steps {
            if reserve || reserved.is_empty() {
                match arena.reserve(class) {
                    Ok(slot) => {
                        prop_assert_eq!(slot.class(), class);
                        prop_assert!(slot.index() < class.slots() && !reserved.contains(&slot));
                        reserved.push(slot);
                    }
                    Err(_) => prop_assert_eq!(reserved.iter().filter(|s| s.class() == class).count(), class.slots()),
                }
            } else {
                let slot = reserved.swap_remove(which.index(reserved.len()));
                prop_assert_eq!(arena.release(slot), Ok(()));
                prop_assert_eq!(arena.release(slot), Err(NotReserved(slot)));
            }
            for class in Class::ALL {
                prop_assert_eq!(arena.used(class), reserved.iter().filter(|s| s.class() == class).count());
            }
        }
    }

    #[test]
    fn waits_double_and_end(random in prop::collection::vec(any::<u32>(), TRIES as usize + 3)) {
        let mut backoff = Backoff::new();
        let mut shortest = FIRST_MS;
        for (i, random) in random.into_iter().enumerate() {
            match backoff.penalise(random) {
                Wait::Again(ms) => {
                    prop_assert!(i < TRIES as usize);
                    prop_assert!((shortest..shortest + shortest / 2).contains(&ms), "{} after {} tries", ms, i);
                    shortest *= 2;
                }
                Wait::GiveUp(ms) => {
                    prop_assert!(i >= TRIES as usize);
                    prop_assert_eq!(ms, GIVE_UP_MS);
                }
            }
        }
        backoff.forgive();
        prop_assert_eq!(backoff, Backoff::new());
    }
}

#[test]
fn random_bits_spread_the_waits() {
    let waits: BTreeSet<_> = (0..FIRST_MS / 2)
        .map(|random| match Backoff::new().penalise(random) {
            Wait::Again(ms) => ms,
            Wait::GiveUp(_) => panic!("at the first try"),
        })
        .collect();
    assert_eq!(waits.len() as u32, FIRST_MS / 2);
}

fn states() -> Vec<State> {
    let stock = Reason::ALL.iter().map(|&reason| State::Stock(reason));
    [State::Pending, State::Specialized, State::Detached]
        .into_iter()
        .chain(stock)
        .collect()
}

fn events() -> Vec<Event> {
    let lost = Reason::ALL.iter().map(|&reason| Event::Lost(reason));
    [Event::Ready, Event::Retry, Event::Renew, Event::Detach]
        .into_iter()
        .chain(lost)
        .collect()
}

/// The whole table, written down a second time.
#[test]
fn every_move_is_in_the_table() {
    for state in states() {
        for event in events() {
            let expected = match (state, event) {
                (State::Detached, _) => None,
                (_, Event::Detach) => Some(State::Detached),
                (_, Event::Lost(reason)) => Some(State::Stock(reason)),
                (State::Pending, Event::Ready) => Some(State::Specialized),
                (State::Pending, Event::Renew) | (State::Specialized, Event::Renew) => {
                    Some(State::Pending)
                }
                (State::Stock(reason), Event::Renew) => Some(State::Stock(reason)),
                (State::Stock(_), Event::Retry) => Some(State::Pending),
                (State::Pending | State::Specialized, Event::Retry) => None,
                (State::Specialized | State::Stock(_), Event::Ready) => None,
            };
            assert_eq!(
                state.after(event),
                expected.ok_or(NotAllowed { state, event })
            );
        }
    }
}

#[test]
fn only_a_specialized_process_enters_its_vector() {
    for state in states() {
        assert_eq!(state.is_live(), state == State::Specialized);
        // It becomes live by the one event that says so.
        for event in events() {
            if state.after(event).is_ok_and(State::is_live) {
                assert_eq!((state, event), (State::Pending, Event::Ready));
            }
        }
    }
}

#[test]
fn states_are_shown_with_their_reason() {
    assert_eq!(State::Pending.text(), ("pending", None));
    assert_eq!(State::Specialized.text(), ("specialized", None));
    for &reason in Reason::ALL {
        assert_eq!(State::Stock(reason).text(), ("stock", Some(reason.text())));
        assert!(!reason.text().is_empty());
    }
}
