// SPDX-License-Identifier: GPL-2.0

//! `read` from a pipe: all of the first buffer, whose page is kept for a later write, or its first part. It does what
//! `anon_pipe_read` does in these cases; everything else is left to it.

use super::super::exit::{Exits, Undo};
use super::super::specs::{layout, pipe, pipe_read, Bail, Facts};
use super::super::x86::buf::Label;
use super::super::x86::masm::{field, Masm};
use super::super::x86::regs::{COUNT, DEST, LEFT, PIPE, RING, SOURCE, USER, ZERO};
use super::exits::{exit, COMMON};
use super::pipe::{Pipe, Side};
use super::spare::ForRead;
use super::{Instance, PathKind};

/// Where the guards of the two cases meet.
#[derive(Clone, Copy)]
struct Cases {
    /// The user does not want less than the buffer has.
    not_part: Label,
    /// The user wants more.
    more: Label,
    /// The buffer will be empty.
    all: Label,
}

/// Its exits.
pub(super) const EXITS: Exits = Exits::new(&[
    COMMON,
    &[
        exit(Bail::PipeEmpty, Undo::Locked),
        exit(Bail::Packet, Undo::Locked),
        exit(Bail::NoData, Undo::Locked),
        exit(Bail::MoreBuffers, Undo::Locked),
        exit(Bail::PipeFull, Undo::Locked),
        exit(Bail::PageShared, Undo::Locked),
        exit(Bail::SparePages, Undo::Locked),
    ],
]);

/// In what it differs from the other call.
pub(super) fn side(facts: &Facts) -> Side {
    let k = pipe_read::Known::new(facts);
    Side {
        kind: PathKind::PipeRead,
        refused_file_flags: 0,
        fasync: k.pipe_fasync_writers,
        bytes: k.task_rchar,
        calls: k.task_syscr,
        done: SOURCE,
        writes: false,
    }
}

/// Emits the path.
pub(super) fn emit(m: &mut Masm<'_>, facts: &Facts, instance: &Instance) -> u64 {
    let (k, common) = (pipe_read::Known::new(facts), pipe::Known::new(facts));
    let p = Pipe::new(m, facts, &common, instance, side(facts));
    let spare = ForRead::new(m, &common);
    let cases = Cases {
        not_part: m.label(),
        more: m.label(),
        all: m.label(),
    };

    let start = m.offset();
    part_of_buffer(m, &p, &k, cases);
    let entry = p.copy_at(m, start, layout::COPY_SITE_A);
    m.add32_to(field(RING, k.buf_offset), COUNT);
    m.sub32_from(field(RING, k.buf_len), COUNT);
    m.copy_reg(SOURCE, COUNT);
    m.go(p.end_of_cases());

    m.bind_as(cases.more, "more");
    more_than_buffer(m, &p, cases.all);
    spare.cold(m, &p);
    p.exits(m);

    let start = m.offset();
    m.bind_as(cases.not_part, "not_part");
    all_of_buffer(m, &p, &k, &spare, cases);
    p.copy_at(m, start, layout::COPY_SITE_B);
    commit_empty_buffer(m, &p, &k, &spare);
    p.end(
        m,
        // Writers wait for room only while the pipe is full, and a full pipe was left to the stock path.
        |m| m.compare_zero64(field(PIPE, k.pipe_fasync_writers)),
        |m| m.restore(USER),
    );
    p.tails(m);
    entry
}

/// Up to the copy of the first bytes of the buffer at tail.
fn part_of_buffer(m: &mut Masm<'_>, p: &Pipe<'_>, k: &pipe_read::Known, cases: Cases) {
    p.enter(m);
    m.copy_reg(DEST, USER);
    p.lock(m);
    m.load32(SOURCE, p.pipe(k.pipe_head));
    m.sub32(SOURCE, p.pipe(k.pipe_tail));
    m.equal(p.bail(Bail::PipeEmpty));
    p.ring(m, RING, k.pipe_tail);
    m.guard_eq(
        field(RING, k.buf_ops),
        k.anon_pipe_buf_ops,
        p.bail(Bail::ForeignBuffer),
    );
    m.guard_clear(
        field(RING, k.buf_flags),
        k.buf_packet_or_whole,
        p.bail(Bail::Packet),
    );
    m.load32(LEFT, field(RING, k.buf_len));
    m.compare(COUNT, LEFT);
    m.above_or_equal(cases.not_part);
    m.load64(SOURCE, field(RING, k.buf_page));
    p.source(m);
    m.copy_count();
}

/// Up to the copy of all of the buffer. The comparison of the count with its length still stands, the number of buffers
/// is in [`SOURCE`], the length in [`LEFT`].
fn all_of_buffer(
    m: &mut Masm<'_>,
    p: &Pipe<'_>,
    k: &pipe_read::Known,
    spare: &ForRead,
    cases: Cases,
) {
    m.above(cases.more);
    m.bind_as(cases.all, "all");
    // A pipe that is full no more wakes its writers: stock path.
    m.compare32(SOURCE, p.pipe(k.pipe_max_usage));
    m.above_or_equal(p.bail(Bail::PipeFull));
    // A page that somebody else holds, or for which there is no room, would have to be freed.
    m.load64(SOURCE, field(RING, k.buf_page));
    m.guard_eq32(field(SOURCE, k.page_refcount), 1, p.bail(Bail::PageShared));
    spare.guard_room(m, p);
    p.source(m);
}

/// The commit of a buffer that was read wholly. Its length stays in the dead buffer and is the result.
fn commit_empty_buffer(m: &mut Masm<'_>, p: &Pipe<'_>, k: &pipe_read::Known, spare: &ForRead) {
    m.load32(SOURCE, field(RING, k.buf_len));
    m.store64(field(RING, k.buf_ops), ZERO);
    m.load64(DEST, field(RING, k.buf_page));
    spare.keep(m, p);
    m.inc32(p.pipe(k.pipe_tail));
}

/// The user wants more than the buffer has: that is all there is, or the next buffer would have to follow.
fn more_than_buffer(m: &mut Masm<'_>, p: &Pipe<'_>, all: Label) {
    m.guard_not_null(LEFT, p.bail(Bail::NoData));
    m.compare_constant(SOURCE, 1);
    m.different(p.bail(Bail::MoreBuffers));
    m.go(all);
}
