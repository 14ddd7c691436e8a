//! When a process's memory is looked at, and what its paths are told.

use synthjit_engine::template::memory::{Seen, AHEAD_MS, SKIPPED, SPACED_MS};

/// The word is the number of changes as 32 bits, or none that these can be.
fn suits(seen: Seen, changes: u32) -> bool {
    seen.word == u64::from(changes)
}

#[test]
fn only_what_was_found_ordinary_suits() {
    for changes in [0, 2, 0x7fff_fffe, 0xffff_fffe] {
        assert!(!suits(Seen::NEVER, changes));
        let ordinary = Seen::NEVER.looked(5, Some(changes));
        assert!(suits(ordinary, changes) && !suits(ordinary, changes.wrapping_add(2)));
        let unsuited = ordinary.looked(6, None);
        // Whatever number it might be compared with.
        assert!(unsuited.word > u64::from(u32::MAX));
        assert!(!suits(unsuited.forgotten(), changes) && !suits(ordinary.forgotten(), changes));
    }
}

/// A path asks when it has counted down to zero: at once for the first time and after a look now and then.
#[test]
fn looks_are_asked_for_at_once_while_they_are_few() {
    assert_eq!(Seen::NEVER.left, 1);
    let mut seen = Seen::NEVER;
    for now in (0..100_000).step_by(SPACED_MS as usize) {
        seen = seen.looked(now, Some(2));
        assert_eq!((seen.left, seen.forgotten().left), (1, 1), "{now}");
    }
    let device = seen.looked(200_000, None);
    assert_eq!(device.left, SKIPPED, "a device");
    // A new path trusts nothing: the process may have executed another program meanwhile.
    for seen in [device, seen.looked(200_000, Some(2))] {
        let (anew, never) = (seen.anew(), Seen::NEVER);
        assert_eq!((anew.left, anew.word), (1, never.word));
    }
}

/// However often a process changes its mappings, in ten seconds it is looked at so often at once, and for other looks it must have
/// made many calls.
#[test]
fn looks_at_once_are_bounded() {
    let mut seen = Seen::NEVER;
    let mut at_once = 0;
    for now in 0..10_000 {
        for _ in 0..10 {
            at_once += u64::from(seen.left == 1);
            seen = seen.looked(now, Some(2)).forgotten();
            assert!([1, SKIPPED].contains(&seen.left));
        }
    }
    assert!(at_once <= 1 + (10_000 + AHEAD_MS) / SPACED_MS, "{at_once}");
    assert!(at_once >= AHEAD_MS / SPACED_MS, "{at_once}");
    // It is forgiven when it has been quiet.
    assert_eq!(seen.looked(11_000, Some(2)).left, 1);
}
