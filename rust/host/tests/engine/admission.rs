//! Who is admitted: the decisions of `admit.rs`, each input on its own and against a table.

use proptest::prelude::*;
use synthjit_engine::admit::{descriptor, process, Descriptor, Process};
use synthjit_engine::specs::{Facts, Reason};
use synthjit_engine::syscall::Call;
use synthjit_engine::template::PathKind;

use crate::facts::facts;

fn admissible() -> Process {
    Process {
        platform: Reason::None,
        files_count: 1,
        threads: 1,
        compat: false,
        enabled: true,
        process_enabled: true,
    }
}

#[test]
fn each_obstacle_of_a_process_has_its_reason() {
    let ok = admissible();
    assert_eq!(process(&ok), Ok(()));
    let cases = [
        (
            Process {
                platform: Reason::Kpti,
                ..ok
            },
            Reason::Kpti,
        ),
        (
            Process {
                enabled: false,
                ..ok
            },
            Reason::Disabled,
        ),
        (
            Process {
                process_enabled: false,
                ..ok
            },
            Reason::ProcessDisabled,
        ),
        (Process { compat: true, ..ok }, Reason::NotNative),
        (Process { threads: 2, ..ok }, Reason::Threads),
        (Process { threads: 0, ..ok }, Reason::Threads),
        (
            Process {
                files_count: 2,
                ..ok
            },
            Reason::SharedFiles,
        ),
    ];
    for (seen, reason) in cases {
        assert_eq!(process(&seen), Err(reason), "{seen:?}");
    }
}

proptest! {
    #[test]
    fn only_a_process_without_any_obstacle_is_admitted(flags: [bool; 3], files_count in 0..3u32, threads in 0..3u32, refused: bool) {
        let [compat, enabled, process_enabled] = flags;
        let platform = if refused { Reason::Fred } else { Reason::None };
        let seen = Process { platform, files_count, threads, compat, enabled, process_enabled };
        let free = !refused && files_count == 1 && threads == 1 && !compat && enabled && process_enabled;
        prop_assert_eq!(process(&seen).is_ok(), free);
    }

    /// The mode must allow the call and must not have what is refused, whatever else it says.
    #[test]
    fn a_descriptor_gets_the_path_of_its_mode(f_mode: u32, writes: bool) {
        let facts = Facts { write_mode: 0x4_0002, read_mode: 0x2_0001, mode_refused: 0x4000, ..facts() };
        let call = if writes { Call::Write } else { Call::Read };
        let needed = if writes { 0x4_0002 } else { 0x2_0001 };
        let seen = Descriptor { f_op: facts.pipeanon_fops, f_mode };
        let kind = if writes { PathKind::PipeWrite } else { PathKind::PipeRead };
        let fits = f_mode & needed == needed && f_mode & 0x4000 == 0;
        prop_assert_eq!(descriptor(&seen, call, &facts), if fits { Ok(kind) } else { Err(Reason::WrongMode) });
        // Exactly the two bits, so that the property does not depend on luck.
        let exact = Descriptor { f_mode: needed, ..seen };
        prop_assert_eq!(descriptor(&exact, call, &facts), Ok(kind));
        let refused = Descriptor { f_mode: needed | 0x4000, ..seen };
        prop_assert_eq!(descriptor(&refused, call, &facts), Err(Reason::WrongMode));
    }
}

#[test]
fn other_objects_have_no_path() {
    let facts = facts();
    for call in [Call::Read, Call::Write] {
        let closed = Descriptor {
            f_op: 0,
            f_mode: u32::MAX,
        };
        assert_eq!(descriptor(&closed, call, &facts), Err(Reason::NotOpen));
        let other = Descriptor {
            f_op: facts.pipeanon_fops + 8,
            f_mode: u32::MAX,
        };
        assert_eq!(descriptor(&other, call, &facts), Err(Reason::UnknownObject));
    }
}

#[test]
fn calls_have_their_numbers_and_names() {
    let named = |number| Call::from_number(number).map(Call::name);
    assert_eq!(
        [named(0), named(1), named(2), named(u32::MAX)],
        [Some("read"), Some("write"), None, None]
    );
    for kind in PathKind::ALL {
        assert_eq!(named(kind.syscall()), Some(kind.spec().call));
    }
}
