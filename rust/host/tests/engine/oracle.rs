//! One call on one pipe: set up, made by the path, compared with the model.

use synthjit_engine::specs::{layout, Facts};
use synthjit_engine::target::Target;
use synthjit_engine::template::{PathData, PathKind};

use crate::facts::Form;
use crate::machine::{bytes, load64, store};
use crate::model::{self, Around, Buffer, Limits, Must, Page, Pipe, Spare, CAN_MERGE, PAGE};
use crate::world::{World, FD, PAGES, USER};

/// A pipe with data in its first page, or with that page spare, nobody around.
pub fn pipe(form: Form, len: u32) -> Pipe {
    let pages = (0..PAGES)
        .map(|i| Page {
            bytes: (0..PAGE).map(|b| (b * 7 + i) as u8).collect(),
            references: 1,
        })
        .collect();
    let full = Buffer {
        page: 0,
        offset: 0,
        len,
        anon: true,
        flags: CAN_MERGE,
    };
    Pipe {
        ring_size: 16,
        max_usage: 16,
        tail: 0xffff_ffff,
        buffers: if len == 0 { vec![] } else { vec![full] },
        spare: Spare::of(form, if len == 0 { &[0] } else { &[] }),
        readers: 1,
        pages,
        owner: 0,
        readers_wait: false,
        fasync_readers: false,
        fasync_writers: false,
    }
}

/// Where the user's buffer begins.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// This many bytes before the end of accessible memory.
    BeforeEnd(usize),
    /// An address that user space can't have.
    Kernel(u64),
    /// So many bytes before the end of accessible memory, while user space ends so many before it.
    AtLimit { room: usize, below: u64 },
}

/// The stock call's look at the buffer, as one sum without overflow: `arch/x86/include/asm/uaccess_64.h`, `__access_ok`.
fn access_ok(address: u64, count: u64, user_ptr_max: u64) -> bool {
    u128::from(address) + u128::from(count) <= u128::from(user_ptr_max)
}

/// A call on the descriptor.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: PathKind,
    pub count: u64,
    pub place: Place,
}

/// Sets everything up, makes the call and compares all that can be told with the model.
///
/// # Errors
///
/// What differs.
pub fn check(
    world: &World,
    target: &Target,
    pipe: &Pipe,
    around: &Around,
    call: &Call,
) -> Result<(), String> {
    check_as(false, world, target, pipe, around, call)
}

/// [`check`] while bail-outs are traced, or not.
pub fn check_as(
    traced: bool,
    world: &World,
    target: &Target,
    pipe: &Pipe,
    around: &Around,
    call: &Call,
) -> Result<(), String> {
    let instance = world.instance();
    world.trace_bailouts(traced);
    let end = world.user + USER as u64;
    let facts = match call.place {
        Place::AtLimit { below, .. } => Facts {
            user_ptr_max: end - below,
            ..world.facts
        },
        _ => world.facts,
    };
    let code = world
        .install_for(&facts, target, call.kind, &instance)
        .map_err(|reason| reason.text().to_owned())?;
    world.set(pipe, around);
    let user: Vec<u8> = (0..USER).map(|i| (i * 13 + 5) as u8).collect();
    store(world.user, &user);

    let (address, room) = match call.place {
        Place::BeforeEnd(room) | Place::AtLimit { room, .. } => (end - room as u64, room),
        Place::Kernel(address) => (address, 0),
    };
    let limits = Limits {
        count: if target.erms {
            PAGE as u64
        } else {
            layout::COPY_MAX_SLOW as u64
        },
        short: layout::COPY_MAX_SLOW as u64,
        exit_work: world.facts.exit_work_mask as u32,
    };
    let writes = call.kind == PathKind::PipeWrite;
    let must = if !access_ok(address, call.count, facts.user_ptr_max) {
        Must::BailOut
    } else if writes {
        model::write(pipe, around, call.count, &user[USER - room..], limits)
    } else {
        model::read(pipe, around, call.count, room, limits)
    };

    let (bailouts, hits, accounts) = (
        world.bailouts(),
        load64(world.data(PathData::HITS)),
        world.accounts(),
    );
    let taken = world.taken(call.kind);
    let ran = world.call(
        code.entry,
        call.kind,
        [u64::from(FD), address, call.count],
        around.user_flags,
        false,
        None,
    );
    let hits = load64(world.data(PathData::HITS)) - hits;
    let taken: Vec<u64> = (0u64..)
        .zip(taken.into_iter().zip(world.taken(call.kind)))
        .flat_map(|(number, (before, now))| std::iter::repeat_n(number, (now - before) as usize))
        .collect();
    let same = |what: &str, is: bool| if is { Ok(()) } else { Err(what.to_owned()) };
    same("faults stay disabled", world.faults_enabled())?;
    let changed = around.shows_another_object(limits.exit_work);
    let minds = around.minds_memory(pipe, writes, call.count, limits);
    let asks = minds && around.memory.left == 1;
    same(
        "whether the descriptor or memory is looked at",
        ran.outcome.misses == u64::from(changed || asks),
    )?;
    same(
        "calls until memory is looked at",
        world.left() == around.memory.left.wrapping_sub(u32::from(minds)),
    )?;
    same("a tail ran", ran.outcome.tails.is_empty())?;
    let now = world.pipe_now(pipe);
    let mut expected_user = user.clone();
    match must {
        Must::BailOut => {
            ran.untouched()?;
            same(
                "not counted as bailed out",
                world.bailouts() == bailouts + 1,
            )?;
            same("counted as hit", hits == 0)?;
            let &[number] = &taken[..] else {
                return Err(format!("exits taken: {taken:?}"));
            };
            let reports = match traced {
                true => vec![(instance.data.0, number)],
                false => vec![],
            };
            same("what was reported", ran.outcome.reported == reports)?;
            // A copy that faulted has written to memory that holds nothing yet: behind the data, or in a spare page.
            let mut now = now;
            if ran.outcome.faults > 0 && writes {
                now.pages.clone_from(&pipe.pages);
            }
            same("pages changed", now == *pipe)?;
            if ran.outcome.faults > 0 {
                return Ok(());
            }
        }
        Must::Do {
            pipe: after,
            result,
            data,
        } => {
            ran.returned(result)?;
            same("counted as bailed out", world.bailouts() == bailouts)?;
            same("reported as bailed out", ran.outcome.reported.is_empty())?;
            same("not counted as hit", hits == 1)?;
            same("an exit that was taken", taken.is_empty())?;
            if now != after {
                return Err(format!("pipe {now:?}\ninstead of {after:?}"));
            }
            if after.tail != pipe.tail {
                same(
                    "the empty buffer kept its operations",
                    world.ring_ops(pipe, pipe.tail) == 0,
                )?;
            }
            let mut expected = accounts;
            expected[usize::from(writes)] += result;
            expected[2 + usize::from(writes)] += 1;
            same("accounts", world.accounts() == expected)?;
            expected_user[USER - room..USER - room + data.len()].copy_from_slice(&data);
        }
    }
    same("user memory", bytes(world.user, USER) == expected_user)
}

/// True if the pipe is not what it was.
pub fn changed(world: &World, before: &Pipe) -> bool {
    world.pipe_now(before) != *before
}
