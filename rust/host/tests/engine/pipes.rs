//! The paths, really executed, against the model.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use synthjit_engine::specs::{layout, Bail};
use synthjit_engine::target::Target;
use synthjit_engine::template::{tail, PathData, PathKind};
use synthjit_engine::worth;

use crate::facts::Form;
use crate::machine::{bytes, load32, store32, Hook, Left};
use crate::model::{
    Around, Buffer, File, Memory, Pipe, Seen, Spare, CAN_MERGE, KEEP, PACKET, PAGE, POOL, WHOLE,
};
use crate::oracle::{changed, check, check_as, pipe, Call, Place};
use crate::world::{World, FD, PAGES, USER};

fn buffers() -> impl Strategy<Value = Vec<Buffer>> {
    let buffer = (
        0..PAGES - POOL,
        1..=PAGE as u32,
        0..=PAGE as u32,
        prop::bool::weighted(0.9),
        select(vec![
            CAN_MERGE,
            CAN_MERGE,
            CAN_MERGE,
            0,
            PACKET,
            WHOLE | CAN_MERGE,
        ]),
        0..4u8,
    );
    let buffer = buffer.prop_map(|(page, len, offset, anon, flags, small)| {
        let len = if small == 0 { len } else { len % 70 + 1 };
        Buffer {
            page,
            len,
            offset: offset.min(PAGE as u32 - len),
            anon,
            flags,
        }
    });
    prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(buffer.clone(), 1), 2 => prop::collection::vec(buffer, 0..5)]
}

fn spares(form: Form) -> BoxedStrategy<Spare> {
    let (one, other) = (PAGES - 2, PAGES - 1);
    let places = |places| Just(Spare::Places(places));
    match form {
        Form::Places => prop_oneof![
            2 => places([Some(one), None]),
            4 => places([None, None]),
            1 => places([None, Some(other)]),
            1 => places([Some(one), Some(other)])
        ]
        .boxed(),
        Form::Pool => prop_oneof![2 => 0..1usize, 8 => 1..KEEP, 1 => KEEP..=POOL]
            .prop_map(|count| Spare::Pool((PAGES - count..PAGES).rev().collect()))
            .boxed(),
    }
}

fn pipes(form: Form) -> impl Strategy<Value = Pipe> {
    let spares = spares(form);
    let rare = || prop::bool::weighted(0.03);
    let start = prop_oneof![Just(0u32), Just(u32::MAX), Just(u32::MAX - 2), any::<u32>()];
    (
        buffers(),
        spares,
        select(vec![1u32, 2, 4, 16]),
        start,
        select(vec![1u32, 1, 1, 2, 1, 0]),
        (rare(), rare(), rare(), rare()),
        any::<u8>(),
        0..16u32,
    )
        .prop_map(
            move |(buffers, spare, ring, tail, readers, rare, seed, more)| {
                let ring_size = ring.max((buffers.len() as u32).next_power_of_two());
                let max_usage = (buffers.len() as u32 + more).clamp(1, ring_size);
                let mut model = pipe(form, 0);
                for (i, page) in model.pages.iter_mut().enumerate() {
                    page.bytes
                        .iter_mut()
                        .for_each(|b| *b = b.wrapping_mul(seed | 1));
                    page.references = if buffers.iter().filter(|b| b.page == i).count() > 1
                        || (seed == 7 && i == 0)
                    {
                        2
                    } else {
                        1
                    };
                }
                Pipe {
                    ring_size,
                    max_usage,
                    tail,
                    buffers,
                    spare,
                    readers,
                    owner: if rare.0 { 0xffff_8881_0000_0001 } else { 0 },
                    readers_wait: rare.1,
                    fasync_readers: rare.2,
                    fasync_writers: rare.3,
                    ..model
                }
            },
        )
}

fn memories() -> impl Strategy<Value = Memory> {
    let seen =
        prop_oneof![6 => Just(Seen::Ordinary), 1 => Just(Seen::Changed), 1 => Just(Seen::Device)];
    let left = prop_oneof![2 => Just(1u32), 1 => Just(2), 1 => Just(0), 1 => any::<u32>()];
    (seen, left).prop_map(|(seen, left)| Memory { seen, left })
}

fn arounds() -> impl Strategy<Value = Around> {
    let odd = (0..10u8, any::<u32>()).prop_map(|(what, n)| {
        let mut around = Around::quiet();
        match what {
            0 => around.thread_flags = 1 << (n % 32),
            1 => around.syscall_work = 1 << (n % 64),
            2 => around.user_flags |= 0x100,
            3 => around.user_flags |= 0x1_0000,
            4 => around.watched = true,
            5 => around.file = File::None,
            6 => around.file = File::OtherKind,
            7 => around.file = File::OtherMode,
            8 => around.direct = true,
            _ => around.user_flags = u64::from(n) & !0x1_0100,
        }
        around
    });
    let around = prop_oneof![3 => Just(Around::quiet()), 1 => odd];
    (around, memories()).prop_map(|(around, memory)| Around { memory, ..around })
}

fn calls() -> impl Strategy<Value = Call> {
    let count =
        prop_oneof![4 => 0..100u64, 2 => 0..=4097u64, 2 => 4090..4100u64, 1 => any::<u64>()];
    (select(PathKind::ALL.to_vec()), count, 0..12u8, any::<u64>()).prop_map(
        |(kind, count, odd, n)| {
            let room = count.min(USER as u64) as usize;
            let place = match odd {
                0 => Place::BeforeEnd((n % (USER as u64 + 1)) as usize),
                1 => Place::Kernel(n | 1 << 47),
                2 => Place::Kernel(0x7fff_ffff_f001 + (n & 0xffff)),
                // Ends before the limit, at it, beyond it, or begins there.
                3 | 4 => Place::AtLimit {
                    room,
                    below: n % 3 * (n >> 32 & 0xfff),
                },
                // The sum of address and count is small again.
                5 => Place::Kernel(u64::MAX - (n & 0xfff)),
                _ => Place::BeforeEnd(room),
            };
            Call { kind, count, place }
        },
    )
}

/// What holds for a path, on a kernel of each form.
macro_rules! for_each_form {
    ($($name:ident)*) => {
        mod of_each_form {
            use crate::facts::Form;
            $(
                #[test]
                fn $name() {
                    Form::ALL.into_iter().for_each(super::$name);
                }
            )*
        }
    };
}

for_each_form! {
    paths_agree_with_the_model
    each_obstacle_bails_out
    spare_pages_suit
    a_fault_at_each_copy_bails_out
    slow_copies_are_short
    short_copies_take_any_memory
    what_comes_late_is_left_to_the_tail
    waiters_at_a_failed_guard_are_woken
    a_used_up_budget_is_reported
}

fn paths_agree_with_the_model(form: Form) {
    random_calls(form, 8000);
}

/// This many random calls, each compared with the model.
pub fn random_calls(form: Form, cases: u32) {
    let world = World::new(form);
    let config = crate::random::config(cases);
    let mut done = [0u32; 2];
    let seen = std::cell::RefCell::new(&mut done);
    proptest!(config, |(pipe in pipes(form), around in arounds(), call in calls(), erms in prop::bool::weighted(0.9), traced: bool)| {
        let target = Target { erms, ..world.target };
        check_as(traced, &world, &target, &pipe, &around, &call).map_err(TestCaseError::fail)?;
        if changed(&world, &pipe) {
            seen.borrow_mut()[usize::from(call.kind == PathKind::PipeWrite)] += 1;
        }
    });
    assert!(
        done.iter().all(|&n| n > cases / 27),
        "too few calls were done by the paths themselves: {done:?}"
    );
}

/// Each single obstacle turns a call that is done into one that is bailed out.
pub fn each_obstacle_bails_out(form: Form) {
    type Change = fn(&mut Pipe, &mut Around, &mut Call);
    let obstacles: &[(&str, Bail, &[PathKind], Change)] = &[
        ("exit work", Bail::ExitWork, &PathKind::ALL, |_, a, _| {
            a.thread_flags = 1 << 4
        }),
        (
            "seccomp or a tracer",
            Bail::Observed,
            &PathKind::ALL,
            |_, a, _| a.syscall_work = 1,
        ),
        (
            "single-stepping",
            Bail::SingleStep,
            &PathKind::ALL,
            |_, a, _| a.user_flags |= 0x100,
        ),
        (
            "resume flag",
            Bail::SingleStep,
            &PathKind::ALL,
            |_, a, _| a.user_flags |= 0x1_0000,
        ),
        ("inotify", Bail::Watched, &PathKind::ALL, |_, a, _| {
            a.watched = true
        }),
        (
            "closed descriptor",
            Bail::Replaced,
            &PathKind::ALL,
            |_, a, _| a.file = File::None,
        ),
        ("another file", Bail::Replaced, &PathKind::ALL, |_, a, _| {
            a.file = File::OtherKind
        }),
        ("another mode", Bail::Replaced, &PathKind::ALL, |_, a, _| {
            a.file = File::OtherMode
        }),
        (
            "O_DIRECT",
            Bail::PacketMode,
            &[PathKind::PipeWrite],
            |_, a, _| a.direct = true,
        ),
        ("count 0", Bail::Count, &PathKind::ALL, |_, _, c| {
            c.count = 0
        }),
        (
            "count above a page",
            Bail::Count,
            &PathKind::ALL,
            |_, _, c| (c.count, c.place) = (4097, Place::BeforeEnd(4097)),
        ),
        ("negative count", Bail::Count, &PathKind::ALL, |_, _, c| {
            c.count = u64::MAX
        }),
        (
            "memory of a device",
            Bail::DeviceMemory,
            &PathKind::ALL,
            |_, a, c| {
                a.memory.seen = Seen::Device;
                (c.count, c.place) = (65, Place::BeforeEnd(65));
            },
        ),
        (
            "memory of a device, not to be looked at yet",
            Bail::DeviceMemory,
            &PathKind::ALL,
            |_, a, c| {
                (a.memory.seen, a.memory.left) = (Seen::Device, 2);
                (c.count, c.place) = (4096, Place::BeforeEnd(4096));
            },
        ),
        (
            "mappings that have changed",
            Bail::MemoryChanged,
            &PathKind::ALL,
            |_, a, c| {
                a.memory.seen = Seen::Changed;
                (c.count, c.place) = (65, Place::BeforeEnd(65));
            },
        ),
        (
            "kernel address",
            Bail::KernelAddress,
            &PathKind::ALL,
            |_, _, c| c.place = Place::Kernel(0xffff_8880_0000_1000),
        ),
        (
            "address beyond user space",
            Bail::KernelAddress,
            &PathKind::ALL,
            |_, _, c| c.place = Place::Kernel(0x7fff_ffff_f001),
        ),
        (
            "the last byte is beyond user space",
            Bail::KernelAddress,
            &PathKind::ALL,
            |_, _, c| c.place = Place::AtLimit { room: 10, below: 1 },
        ),
        (
            "address that the count takes back to zero",
            Bail::KernelAddress,
            &PathKind::ALL,
            |_, _, c| c.place = Place::Kernel(u64::MAX - 4),
        ),
        (
            "unmapped memory",
            Bail::PageMissing,
            &PathKind::ALL,
            |_, _, c| c.place = Place::BeforeEnd(0),
        ),
        (
            "memory mapped in part",
            Bail::PageMissing,
            &PathKind::ALL,
            |_, _, c| c.place = Place::BeforeEnd(3),
        ),
        (
            "a held mutex",
            Bail::MutexTaken,
            &PathKind::ALL,
            |p, _, _| p.owner = 0xffff_8881_0000_0000,
        ),
        (
            "SIGIO for data",
            Bail::Sigio,
            &[PathKind::PipeWrite],
            |p, _, _| p.fasync_readers = true,
        ),
        (
            "SIGIO for room",
            Bail::Sigio,
            &[PathKind::PipeRead],
            |p, _, _| p.fasync_writers = true,
        ),
        (
            "a waiting reader",
            Bail::ReaderWaits,
            &[PathKind::PipeWrite],
            |p, _, _| p.readers_wait = true,
        ),
        (
            "no reader",
            Bail::NoReaders,
            &[PathKind::PipeWrite],
            |p, _, _| p.readers = 0,
        ),
        (
            "spliced buffer",
            Bail::ForeignBuffer,
            &PathKind::ALL,
            |p, _, _| p.buffers.iter_mut().for_each(|b| b.anon = false),
        ),
        ("packet", Bail::Packet, &[PathKind::PipeRead], |p, _, _| {
            p.buffers.iter_mut().for_each(|b| b.flags |= PACKET)
        }),
        ("whole", Bail::Packet, &[PathKind::PipeRead], |p, _, _| {
            p.buffers.iter_mut().for_each(|b| b.flags |= WHOLE)
        }),
        (
            "no merging",
            Bail::NotMergeable,
            &[PathKind::PipeWrite],
            |p, _, _| p.buffers.iter_mut().for_each(|b| b.flags = 0),
        ),
        (
            "a byte more than the page has room for",
            Bail::NoRoom,
            &[PathKind::PipeWrite],
            |p, _, _| p.buffers[0].offset = 4077,
        ),
        (
            "shared page",
            Bail::PageShared,
            &[PathKind::PipeRead],
            |p, _, _| p.pages[0].references = 2,
        ),
        (
            "full pipe",
            Bail::PipeFull,
            &[PathKind::PipeRead],
            |p, _, _| p.max_usage = 1,
        ),
        (
            "a buffer without data",
            Bail::NoData,
            &[PathKind::PipeRead],
            |p, _, _| p.buffers[0].len = 0,
        ),
        (
            "empty pipe",
            Bail::PipeEmpty,
            &[PathKind::PipeRead],
            |p, _, _| p.buffers.clear(),
        ),
        (
            "more than the buffer has, and another behind",
            Bail::MoreBuffers,
            &[PathKind::PipeRead],
            |p, _, c| {
                p.buffers.push(Buffer {
                    page: 1,
                    ..p.buffers[0].clone()
                });
                (c.count, c.place) = (20, Place::BeforeEnd(20));
            },
        ),
    ];
    let world = World::new(form);
    let base = |kind| {
        (
            pipe(form, 10),
            Around::quiet(),
            Call {
                kind,
                count: 10,
                place: Place::BeforeEnd(10),
            },
        )
    };
    for kind in PathKind::ALL {
        let (pipe, around, call) = base(kind);
        check_as(true, &world, &world.target, &pipe, &around, &call).expect("nothing to report");
        check(&world, &world.target, &pipe, &around, &call).expect("nothing in the way");
        assert!(changed(&world, &pipe), "{kind:?} was not done");
        let call = Call {
            place: Place::AtLimit { room: 10, below: 0 },
            ..call
        };
        check(&world, &world.target, &pipe, &around, &call).expect("up to the end of user space");
        assert!(changed(&world, &pipe), "{kind:?} was not done");
    }
    let mut met: Vec<(PathKind, Bail)> = Vec::new();
    for (name, bail, kinds, change) in obstacles {
        for kind in *kinds {
            let (mut pipe, mut around, mut call) = base(*kind);
            change(&mut pipe, &mut around, &mut call);
            for traced in [false, true] {
                let mut expected = world.taken(*kind);
                check_as(traced, &world, &world.target, &pipe, &around, &call)
                    .unwrap_or_else(|why| panic!("{kind:?}, {name}: {why}"));
                assert_eq!(world.bailouts(), 1, "{kind:?}, {name}: not bailed out");
                expected[usize::from(kind.exits().number(*bail))] += 1;
                assert_eq!(world.taken(*kind), expected, "{kind:?}, {name}: {bail:?}");
            }
            if *bail != Bail::PageMissing && !matches!(call.place, Place::AtLimit { .. }) {
                let steps = steps(&world, &pipe, &around, &call);
                assert!(
                    steps <= worth::BAILED,
                    "{kind:?}, {name}: {steps} instructions"
                );
            }
            met.push((*kind, *bail));
        }
    }
    let (mut brimful, around, call) = base(PathKind::PipeWrite);
    brimful.buffers[0].offset = 4076;
    check(&world, &world.target, &brimful, &around, &call).expect("the last byte of the page");
    assert!(changed(&world, &brimful));
    for (name, kind, bail, pipe) in unsuited_spares(form) {
        let (_, around, call) = base(kind);
        for traced in [false, true] {
            let mut expected = world.taken(kind);
            expected[usize::from(kind.exits().number(bail))] += 1;
            check_as(traced, &world, &world.target, &pipe, &around, &call)
                .unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(!changed(&world, &pipe), "{name}");
            assert_eq!(world.taken(kind), expected, "{name}");
        }
        met.push((kind, bail));
    }
    // Each name of the specs was met, so each stands for something that can happen.
    for kind in PathKind::ALL {
        for bail in kind.spec().bails {
            assert!(met.contains(&(kind, *bail)), "{kind:?}: {bail:?}");
        }
    }
}

/// Instructions of a call that bails out; what comes before the path in the vector is not among them.
fn steps(world: &World, pipe: &Pipe, around: &Around, call: &Call) -> u64 {
    world.trace_bailouts(false);
    let code = world.install(call.kind, &world.instance());
    world.set(pipe, around);
    let address = match call.place {
        Place::BeforeEnd(room) | Place::AtLimit { room, .. } => world.user + (USER - room) as u64,
        Place::Kernel(address) => address,
    };
    let arguments = [u64::from(FD), address, call.count];
    let ran = world.call(
        code.entry,
        call.kind,
        arguments,
        around.user_flags,
        true,
        None,
    );
    ran.outcome.steps
}

/// Spare pages with which a call for ten bytes is bailed out.
fn unsuited_spares(form: Form) -> Vec<(&'static str, PathKind, Bail, Pipe)> {
    use PathKind::{PipeRead, PipeWrite};
    let with = |len, spare| Pipe {
        spare,
        ..pipe(form, len)
    };
    let places = |first, second| Spare::Places([first, second]);
    let pool = |count| Spare::Pool((PAGES - count..PAGES).collect());
    match form {
        Form::Places => vec![
            (
                "empty pipe, first place free",
                PipeWrite,
                Bail::NoSparePage,
                with(0, places(None, Some(2))),
            ),
            (
                "no place for the page",
                PipeRead,
                Bail::SparePages,
                with(10, places(Some(3), Some(4))),
            ),
        ],
        Form::Pool => vec![
            (
                "empty pipe, no page",
                PipeWrite,
                Bail::NoSparePage,
                with(0, pool(0)),
            ),
            (
                "one too many with the buffer's",
                PipeRead,
                Bail::SparePages,
                with(10, pool(KEEP)),
            ),
            (
                "a full pool",
                PipeRead,
                Bail::SparePages,
                with(10, pool(POOL)),
            ),
        ],
    }
}

/// The most and the fewest spare pages with which a path does the call itself.
fn spare_pages_suit(form: Form) {
    use PathKind::{PipeRead, PipeWrite};
    let world = World::new(form);
    let place = Some;
    let spares: Vec<(PathKind, u32, Spare)> = match form {
        Form::Places => vec![
            (PipeWrite, 0, Spare::Places([place(3), place(4)])),
            (PipeWrite, 10, Spare::Places([None, None])),
            (PipeRead, 10, Spare::Places([place(3), None])),
            (PipeRead, 11, Spare::Places([place(3), place(4)])),
        ],
        Form::Pool => vec![
            (PipeWrite, 0, Spare::Pool(vec![3])),
            (PipeWrite, 0, Spare::Pool((3..11).collect())),
            (PipeWrite, 10, Spare::Pool(vec![])),
            (PipeWrite, 10, Spare::Pool((3..11).collect())),
            (PipeRead, 10, Spare::Pool(vec![])),
            (PipeRead, 10, Spare::Pool(vec![3])),
            (PipeRead, 11, Spare::Pool((3..11).collect())),
        ],
    };
    for (kind, len, spare) in spares {
        let pipe = Pipe {
            spare,
            ..pipe(form, len)
        };
        let call = Call {
            kind,
            count: 10,
            place: Place::BeforeEnd(10),
        };
        check(&world, &world.target, &pipe, &Around::quiet(), &call)
            .unwrap_or_else(|why| panic!("{kind:?}, {len}, {:?}: {why}", pipe.spare));
        assert!(changed(&world, &pipe), "{kind:?}, {len}, {:?}", pipe.spare);
    }
}

/// A copy that does not come to its end, in each of the two cases of each path.
pub fn a_fault_at_each_copy_bails_out(form: Form) {
    let world = World::new(form);
    for (kind, filled) in [
        (PathKind::PipeWrite, 0),
        (PathKind::PipeWrite, 10),
        (PathKind::PipeRead, 11),
        (PathKind::PipeRead, 10),
    ] {
        for place in [0, 1, 9].map(Place::BeforeEnd) {
            let call = Call {
                kind,
                count: 10,
                place,
            };
            for traced in [false, true] {
                let mut expected = world.taken(kind);
                check_as(
                    traced,
                    &world,
                    &world.target,
                    &pipe(form, filled),
                    &Around::quiet(),
                    &call,
                )
                .unwrap_or_else(|why| panic!("{call:?}, {filled}: {why}"));
                assert_eq!(world.bailouts(), 1, "{call:?}, {filled}");
                expected[usize::from(kind.exits().number(Bail::PageMissing))] += 1;
                assert_eq!(world.taken(kind), expected, "{call:?}, {filled}");
            }
        }
    }
}

/// Without fast string copies, counts up to the limit are done and larger ones bailed out.
pub fn slow_copies_are_short(form: Form) {
    let world = World::new(form);
    for (count, done) in [
        (layout::COPY_MAX_SLOW as u64, true),
        (layout::COPY_MAX_SLOW as u64 + 1, false),
    ] {
        for (kind, filled) in [(PathKind::PipeWrite, 0), (PathKind::PipeRead, count as u32)] {
            let pipe = pipe(form, filled);
            let call = Call {
                kind,
                count,
                place: Place::BeforeEnd(count as usize),
            };
            let target = Target {
                erms: false,
                ..world.target
            };
            check(&world, &target, &pipe, &Around::quiet(), &call).expect("as the model says");
            assert_eq!(changed(&world, &pipe), done, "{kind:?} {count}");
        }
    }
}

/// Counts up to the limit are done whatever memory the process has.
pub fn short_copies_take_any_memory(form: Form) {
    let world = World::new(form);
    for (seen, count, done) in [
        (Seen::Device, 64, true),
        (Seen::Changed, 64, true),
        (Seen::Device, 65, false),
        (Seen::Changed, 65, false),
        (Seen::Ordinary, 65, true),
        (Seen::Ordinary, 4096, true),
    ] {
        for (kind, filled) in [(PathKind::PipeWrite, 0), (PathKind::PipeRead, count as u32)] {
            let around = Around {
                memory: Memory { seen, left: 1 },
                ..Around::quiet()
            };
            let pipe = pipe(form, filled);
            let call = Call {
                kind,
                count,
                place: Place::BeforeEnd(count as usize),
            };
            check(&world, &world.target, &pipe, &around, &call).expect("as the model says");
            assert_eq!(changed(&world, &pipe), done, "{kind:?} {seen:?} {count}");
        }
    }
}

/// Address behind the copy of the first case, in slot `kind`.
fn behind_copy(world: &World, kind: PathKind, site: usize) -> u64 {
    world.machine.path_slot(kind as usize) + site as u64 + 2
}

struct Late {
    kind: PathKind,
    filled: u32,
    site: usize,
    address: u64,
    value: u64,
    bits: u32,
}

/// Whoever comes while a path is at work is looked after by the tail; the call is complete all the same.
pub fn what_comes_late_is_left_to_the_tail(form: Form) {
    let world = World::new(form);
    let (f, pipe_at) = (world.facts, world.pipe());
    let (a, b) = (layout::COPY_SITE_A, layout::COPY_SITE_B);
    let waiters = (pipe_at + f.pipe_mutex_owner, world.task() | 1, tail::UNLOCK);
    let joined = (pipe_at + f.pipe_rd_wait_head, pipe_at, 0);
    let readers = (pipe_at + f.pipe_fasync_readers, 1, 0);
    let writers = (pipe_at + f.pipe_fasync_writers, 1, 0);
    let mut lates = Vec::new();
    for (kind, filled, site) in [
        (PathKind::PipeWrite, 0, a),
        (PathKind::PipeWrite, 10, b),
        (PathKind::PipeRead, 11, a),
        (PathKind::PipeRead, 10, b),
    ] {
        let writes = kind == PathKind::PipeWrite;
        let events = if writes {
            vec![waiters, joined, readers]
        } else {
            vec![waiters, writers]
        };
        for (address, value, bits) in events {
            let bits = bits | if writes { tail::WRITER } else { 0 };
            lates.push(Late {
                kind,
                filled,
                site,
                address,
                value,
                bits,
            });
        }
    }
    for late in lates {
        let code = world.install(late.kind, &world.instance());
        let before = pipe(form, late.filled);
        world.set(&before, &Around::quiet());
        let hook = Hook {
            at: behind_copy(&world, late.kind, late.site),
            address: late.address,
            value: late.value,
        };
        let ran = world.call(
            code.entry,
            late.kind,
            [u64::from(FD), world.user, 10],
            0x246,
            true,
            Some(hook),
        );
        ran.returned(10).expect("complete");
        assert_eq!(
            ran.outcome.tails,
            [(pipe_at, u64::from(late.bits))],
            "{:?} at {}",
            late.kind,
            late.site
        );
        let now = world.pipe_now(&before);
        assert_eq!(now.owner, 0, "mutex");
        assert!(world.faults_enabled());
        let moved = if late.kind == PathKind::PipeWrite {
            late.filled + 10
        } else {
            late.filled - 10
        };
        assert_eq!(now.buffers.iter().map(|b| b.len).sum::<u32>(), moved);
    }
}

/// A call that is bailed out under the mutex, for which somebody waits by then: only the unlock is left to the tail.
pub fn waiters_at_a_failed_guard_are_woken(form: Form) {
    let world = World::new(form);
    for kind in PathKind::ALL {
        let code = world.install(kind, &world.instance());
        let mut before = pipe(form, 10);
        before.buffers[0].anon = false;
        world.set(&before, &Around::quiet());
        let locked = crate::disasm::behind_lock(
            &bytes(world.machine.path_slot(kind as usize), layout::PATH_SLOT),
            world.machine.path_slot(kind as usize),
        );
        let hook = Hook {
            at: locked,
            address: world.pipe() + world.facts.pipe_mutex_owner,
            value: world.task() | 1,
        };
        let ran = world.call(
            code.entry,
            kind,
            [u64::from(FD), world.user, 10],
            0x246,
            true,
            Some(hook),
        );
        ran.untouched().expect("bailed out");
        let side = if kind == PathKind::PipeWrite {
            tail::WRITER
        } else {
            0
        };
        assert_eq!(
            ran.outcome.tails,
            [(
                world.pipe(),
                u64::from(tail::UNLOCK | tail::NOTHING_ELSE | side)
            )]
        );
        assert_eq!(ran.outcome.left, Left::Stock);
        assert!(world.faults_enabled());
    }
}

/// The call that finds a budget used up is reported after it was bailed out; faults have one of their own besides.
pub fn a_used_up_budget_is_reported(form: Form) {
    let world = World::new(form);
    for (kind, filled) in [(PathKind::PipeWrite, 0), (PathKind::PipeRead, 10)] {
        for (place, fault) in [(Place::BeforeEnd(0), 1), (Place::Kernel(0), 0)] {
            for (left, misses, no_faults) in [(1, 0, false), (0, 1, false), (1, 0, true)] {
                let code = world.install(kind, &world.instance());
                world.set(&pipe(form, filled), &Around::quiet());
                store32(world.data(PathData::BUDGET), left);
                let faults = load32(world.data(PathData::FAULTS));
                // A fault that there is no budget for is reported too.
                let reported = u64::from(fault > 0 && no_faults).max(misses);
                if no_faults {
                    store32(world.data(PathData::FAULTS), 0);
                }
                let address = match place {
                    Place::Kernel(_) => u64::MAX,
                    _ => world.user + USER as u64,
                };
                let ran = world.call(
                    code.entry,
                    kind,
                    [u64::from(FD), address, 1],
                    0x246,
                    false,
                    None,
                );
                ran.untouched()
                    .unwrap_or_else(|why| panic!("{kind:?}: {why}"));
                assert_eq!(ran.outcome.misses, reported, "{kind:?} {place:?} {left}");
                let counter = load32(world.data(PathData::BUDGET));
                assert_eq!(worth::left(counter), left as i32 - 1);
                if !no_faults {
                    assert_eq!(faults - load32(world.data(PathData::FAULTS)), fault);
                }
            }
        }
    }
}
