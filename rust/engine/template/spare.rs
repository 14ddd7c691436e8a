// SPDX-License-Identifier: GPL-2.0

//! The pages that a pipe keeps for its next writes. Kernels have them in one of two forms, and the facts say in which.
//!
//! Before 7.3 (`fs/pipe.c`, `anon_pipe_get_page` and `anon_pipe_put_page`):
//!
//! ```c
//!     struct page *tmp_page[2];       /* a write of at most a page takes the first that is there, */
//!                                     /* an emptied buffer leaves its page in the first free place */
//! ```
//!
//! From 7.3 on (`anon_pipe_prefill_and_lock`, `anon_pipe_prealloc_pop` and `_push`, `anon_pipe_trim_and_unlock`):
//!
//! ```c
//!     struct { struct page *pages[8]; unsigned int count; } prealloc;         /* a stack */
//!     write:  if (!count) push(alloc_page());  lock;  ...  while (count > KEEP) put_page(pop());  unlock;
//!     read:   lock;  ...  while (count > KEEP) put_page(pop());  unlock;
//! ```
//!
//! A path allocates and frees no page: it takes one that is there, and adds one only up to `KEEP`. What the stock write
//! allocates without needing it is for later writes, and is left to the next stock write. Above `KEEP` is what others have
//! left (splice releases buffers and does not trim); it is given back when a buffer is emptied next, on the stock path.
//!
//! The pipe's mutex is held from the first look at the pages to the last store.

use super::super::specs::{pipe, Bail};
use super::super::x86::buf::Label;
use super::super::x86::masm::Masm;
use super::super::x86::regs::{DEST, PAGE, RING, ZERO};
use super::pipe::Pipe;

/// Size of a pointer to a page.
const POINTER: u64 = 8;

/// In which form a pipe has spare pages; offsets are in the pipe.
#[derive(Clone, Copy)]
enum Form {
    /// `tmp_page`: two places from this offset on.
    Places(u64),
    /// `prealloc`: a stack of pages, their number in 32 bits, and the most that are kept between two calls.
    Pool { pages: u64, count: u64, keep: u64 },
}

/// What `write` does with spare pages.
pub(super) struct ForWrite(Form);

/// What `read` does with spare pages.
pub(super) struct ForRead {
    form: Form,
    /// The first place for a spare page is taken.
    second_place: Label,
    /// There is a place for the page.
    placed: Label,
    /// The page goes to the second place.
    keep_second: Label,
    /// The page was kept.
    kept: Label,
}

/// A kernel has one of the two, and the facts of the other are zero.
fn form(k: &pipe::Known) -> Form {
    match k.pipe_pool_keep {
        0 => Form::Places(k.pipe_tmp_page),
        keep => Form::Pool {
            pages: k.pipe_pool_pages,
            count: k.pipe_pool_count,
            keep,
        },
    }
}

impl ForWrite {
    /// In the kernel's form.
    pub(super) fn new(k: &pipe::Known) -> Self {
        Self(form(k))
    }

    /// The page that a write into an empty pipe takes: [`PAGE`] becomes its `struct page`, [`DEST`] its address.
    ///
    /// ```c
    ///     places: page = tmp_page[0];  if (!page) bail;
    ///     pool:   if (!count) bail;  page = pages[count - 1];
    /// ```
    pub(super) fn look(&self, m: &mut Masm<'_>, p: &Pipe<'_>) {
        match self.0 {
            Form::Places(first) => {
                m.load64(PAGE, p.pipe(first));
                m.guard_not_null(PAGE, p.bail(Bail::NoSparePage));
            }
            Form::Pool { pages, count, .. } => {
                m.load32(DEST, p.pipe(count));
                m.guard_not_null(DEST, p.bail(Bail::NoSparePage));
                m.load64_element(PAGE, p.pipe(pages.wrapping_sub(POINTER)), DEST);
            }
        }
        p.address_of_page(m, DEST, PAGE);
    }

    /// That page is spare no more. [`ZERO`] is zero.
    ///
    /// ```c
    ///     places: tmp_page[0] = NULL;
    ///     pool:   count--;
    /// ```
    pub(super) fn take(&self, m: &mut Masm<'_>, p: &Pipe<'_>) {
        match self.0 {
            Form::Places(first) => m.store64(p.pipe(first), ZERO),
            Form::Pool { count, .. } => m.dec32(p.pipe(count)),
        }
    }
}

impl ForRead {
    /// Makes the labels.
    pub(super) fn new(m: &mut Masm<'_>, k: &pipe::Known) -> Self {
        Self {
            form: form(k),
            second_place: m.label(),
            placed: m.label(),
            keep_second: m.label(),
            kept: m.label(),
        }
    }

    /// What a read demands that leaves a page: room for it.
    ///
    /// ```c
    ///     places: if (tmp_page[0] && tmp_page[1]) bail;
    ///     pool:   if (count > KEEP - 1) bail;
    /// ```
    pub(super) fn guard_room(&self, m: &mut Masm<'_>, p: &Pipe<'_>) {
        match self.form {
            Form::Places(first) => {
                m.guard_eq(p.pipe(first), 0, self.second_place.into());
                m.bind_as(self.placed, "placed");
            }
            Form::Pool { count, keep, .. } => {
                let most = keep.wrapping_sub(1);
                m.guard_at_most32(p.pipe(count), most, p.bail(Bail::SparePages));
            }
        }
    }

    /// The `struct page` in [`DEST`] is spare from now on. [`RING`] is lost.
    ///
    /// ```c
    ///     places: tmp_page[tmp_page[0] ? 1 : 0] = page;
    ///     pool:   pages[count++] = page;
    /// ```
    pub(super) fn keep(&self, m: &mut Masm<'_>, p: &Pipe<'_>) {
        match self.form {
            Form::Places(first) => {
                m.guard_eq(p.pipe(first), 0, self.keep_second.into());
                m.store64(p.pipe(first), DEST);
                m.bind_as(self.kept, "kept");
            }
            Form::Pool { pages, count, .. } => {
                m.load32(RING, p.pipe(count));
                m.store64_element(p.pipe(pages), RING, DEST);
                m.inc32(p.pipe(count));
            }
        }
    }

    /// Code that seldom runs: the second of the two places.
    pub(super) fn cold(&self, m: &mut Masm<'_>, p: &Pipe<'_>) {
        if let Form::Places(first) = self.form {
            let second = p.pipe(first.wrapping_add(POINTER));
            m.bind_as(self.second_place, "second_place");
            m.guard_eq(second, 0, p.bail(Bail::SparePages));
            m.go(self.placed);
            m.bind_as(self.keep_second, "keep_second");
            m.store64(second, DEST);
            m.go(self.kept);
        }
    }
}
