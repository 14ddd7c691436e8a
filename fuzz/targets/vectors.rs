//! A vector for any lists of descriptors, executed for descriptors in and around them.
#![no_main]

use std::cell::OnceCell;
use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use synthjit_engine::target::Target;
use synthjit_fuzz::facts::Form;
use synthjit_fuzz::feedback;
use synthjit_fuzz::vector_oracle::{check, stubs, Fds};
use synthjit_fuzz::world::World;

#[derive(Arbitrary, Debug)]
struct Input {
    ibt: bool,
    report: bool,
    write: [(u8, Option<u8>); MOST],
    read: [(u8, Option<u8>); MOST],
    /// So many of each list count.
    lengths: [u8; 2],
    /// Added to each descriptor of the first list.
    far: u32,
    seed: u64,
}

/// Most descriptors of one call.
const MOST: usize = 24;

thread_local!(static WORLD: OnceCell<(World, Vec<u64>)> = const { OnceCell::new() });

fuzz_target!(|input: Input| {
    WORLD.with(|world| {
        let (world, stubs) = world.get_or_init(|| {
            feedback::start();
            let world = World::new(Form::Pool);
            let stubs = stubs(&world);
            (world, stubs)
        });
        let target = Target {
            ibt: input.ibt,
            ..world.target
        };
        let fds = |list: &[(u8, Option<u8>)], length: u8, far: u32| -> Fds {
            let list: BTreeMap<u8, Option<u8>> = list
                .iter()
                .take(usize::from(length) % (MOST + 1))
                .copied()
                .collect();
            let one = |(fd, stub): (&u8, &Option<u8>)| {
                let fd = u32::from(*fd).saturating_add(far).min(i32::MAX as u32);
                (fd, stub.map(|n| usize::from(n) % stubs.len()))
            };
            list.iter().map(one).collect()
        };
        let (write, read) = (
            fds(&input.write, input.lengths[0], input.far),
            fds(&input.read, input.lengths[1], 0),
        );
        let done = check(
            world,
            &target,
            stubs,
            input.report,
            &write,
            &read,
            input.seed,
        );
        if let Err(why) = done {
            panic!("{why}\n{target:?}\nwrite {write:?}\nread {read:?}");
        }
    });
});
