// SPDX-License-Identifier: GPL-2.0

//! `write` to a pipe: into an empty one, with a page that an earlier reader left, or behind the data of the last buffer. It does what `anon_pipe_write` does in these cases; everything else is left to it.

use super::super::exit::{Exits, Undo};
use super::super::specs::{layout, pipe, pipe_write, Bail, Facts};
use super::super::x86::buf::Label;
use super::super::x86::masm::{field, Masm};
use super::super::x86::regs::{Reg, COUNT, DEST, LEFT, PAGE, PIPE, RING, SOURCE, ZERO};
use super::exits::{exit, COMMON};
use super::pipe::{Pipe, Side};
use super::spare::ForWrite;
use super::{Instance, PathKind};

/// Its exits.
pub(super) const EXITS: Exits = Exits::new(&[
    COMMON,
    &[
        exit(Bail::PacketMode, Undo::Entered),
        exit(Bail::ReaderWaits, Undo::Entered),
        exit(Bail::NoReaders, Undo::Locked),
        exit(Bail::NoSparePage, Undo::Locked),
        exit(Bail::NotMergeable, Undo::Locked),
        exit(Bail::NoRoom, Undo::Locked),
    ],
]);

/// In what it differs from the other call.
pub(super) fn side(facts: &Facts) -> Side {
    let k = pipe_write::Known::new(facts);
    Side {
        kind: PathKind::PipeWrite,
        refused_file_flags: k.o_direct,
        fasync: k.pipe_fasync_readers,
        bytes: k.task_wchar,
        calls: k.task_syscw,
        done: COUNT,
        writes: true,
    }
}

/// Emits the path.
pub(super) fn emit(m: &mut Masm<'_>, facts: &Facts, instance: &Instance) -> u64 {
    let (k, common) = (pipe_write::Known::new(facts), pipe::Known::new(facts));
    let p = Pipe::new(m, facts, &common, instance, side(facts));
    let spare = ForWrite::new(&common);
    let merge = m.label();

    let start = m.offset();
    into_empty(m, &p, &k, &spare, merge);
    let entry = p.copy_at(m, start, layout::COPY_SITE_A);
    commit_new_buffer(m, &p, &k, &spare);
    p.end(
        m,
        |m| {
            m.list_difference(DEST, field(PIPE, k.pipe_rd_wait_head));
            m.or64(DEST, field(PIPE, k.pipe_fasync_readers));
        },
        |m| m.sub_reg(SOURCE, COUNT),
    );

    let start = m.offset();
    m.bind_as(merge, "merge");
    behind_last(m, &p, &k);
    p.copy_at(m, start, layout::COPY_SITE_B);
    m.add32_to(field(RING, k.buf_len), COUNT);
    m.go(p.end_of_cases());

    p.exits(m);
    p.tails(m);
    entry
}

/// Up to the copy into a page that nobody uses: nothing of the pipe has changed but its mutex.
fn into_empty(
    m: &mut Masm<'_>,
    p: &Pipe<'_>,
    k: &pipe_write::Known,
    spare: &ForWrite,
    merge: Label,
) {
    p.enter(m);
    // Whoever waits for data is woken by the stock path.
    m.guard_list_empty(
        field(PIPE, k.pipe_rd_wait_head),
        DEST,
        p.bail(Bail::ReaderWaits),
    );
    p.lock(m);
    m.guard_not_zero32(p.pipe(k.pipe_readers), p.bail(Bail::NoReaders));
    m.load32(Reg::Rax, p.pipe(k.pipe_head));
    m.compare32(Reg::Rax, p.pipe(k.pipe_tail));
    m.different(merge);
    spare.look(m, p);
    m.copy_count();
}

/// The commit of a new buffer. The mutex is held; a poller without it looks at head and tail alone, so head moves last.
fn commit_new_buffer(m: &mut Masm<'_>, p: &Pipe<'_>, k: &pipe_write::Known, spare: &ForWrite) {
    // The copy is done with it.
    let buffer = DEST;
    spare.take(m, p);
    p.ring(m, buffer, k.pipe_head);
    m.store64(field(buffer, k.buf_page), PAGE);
    m.store32(field(buffer, k.buf_offset), ZERO);
    m.store32(field(buffer, k.buf_len), COUNT);
    m.store_address(field(buffer, k.buf_ops), k.anon_pipe_buf_ops);
    m.store_constant32(field(buffer, k.buf_flags), k.buf_can_merge);
    m.inc32(p.pipe(k.pipe_head));
}

/// Up to the copy behind the data of the last buffer; head is in rax.
fn behind_last(m: &mut Masm<'_>, p: &Pipe<'_>, k: &pipe_write::Known) {
    m.ring_element_before(
        RING,
        DEST,
        p.pipe(k.pipe_ring_size),
        k.buf_size,
        p.pipe(k.pipe_bufs),
    );
    m.guard_eq(
        field(RING, k.buf_ops),
        k.anon_pipe_buf_ops,
        p.bail(Bail::ForeignBuffer),
    );
    m.guard_set(
        field(RING, k.buf_flags),
        k.buf_can_merge,
        p.bail(Bail::NotMergeable),
    );
    m.load32(LEFT, field(RING, k.buf_offset));
    m.add32(LEFT, field(RING, k.buf_len));
    m.load64(DEST, field(RING, k.buf_page));
    p.page(m, DEST);
    m.add_reg(DEST, LEFT);
    m.add_reg(LEFT, COUNT);
    m.compare_constant(LEFT, k.page_size);
    m.above(p.bail(Bail::NoRoom));
    m.copy_count();
}
