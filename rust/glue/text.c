// SPDX-License-Identifier: GPL-2.0
/*
 * The one writer of the arena.
 *
 * Module text is read-only at its own address and stays so. For each batch of
 * edits the affected pages get a second, writable and non-executable address
 * (vmalloc_to_page, vm_map_ram) that exists only inside synthjit_text_edit(). All
 * edits are checked before the first is made; after the last each is read back
 * at the address where it will run.
 *
 * No CPU may execute a slot that is being edited: a slot is edited while it is
 * unreachable (never published, or withdrawn and quiesced). A CPU that ran older
 * bytes of the slot takes a WRMSR to MSR_LSTAR, which serialises, before it can
 * enter the slot again.
 */
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "glue.h"

#define INT3 0xcc
#define INT3_WORD 0xccccccccccccccccull
/* A slot is smaller than a page, so an edit touches two pages at most. */
#define MAX_PAGES (2 * SYNTHJIT_MAX_EDITS)

static DEFINE_MUTEX(edit_lock);

static bool inside_arena(const struct synthjit_edit *e)
{
	u64 start = (unsigned long)synthjit_arena_paths;
	u64 end = (unsigned long)synthjit_arena_end;

	return e->len && e->len <= PAGE_SIZE && e->addr >= start && e->addr < end &&
	       e->len <= end - e->addr;
}

static bool as_expected(const struct synthjit_edit *e)
{
	return !e->expect_int3 || !memchr_inv((void *)(unsigned long)e->addr, INT3, e->len);
}

/* Slots are aligned, so this goes by whole words: a third of the instructions that rep movsb takes. */
static void copy_code(u8 *to, const u8 *from, u32 len)
{
	for (; len >= 32; len -= 32, to += 32, from += 32)
		memcpy(to, from, 32);
	memcpy(to, from, len);
}

static void apply(const struct synthjit_edit *e, u8 *to)
{
	u32 words = e->len / 8;

	if (e->bytes) {
		copy_code(to, e->bytes, e->len);
		return;
	}
	/* Slots are aligned. */
	memset64((u64 *)to, INT3_WORD, words);
	memset(to + words * 8, INT3, e->len - words * 8);
}

static bool took_effect(const struct synthjit_edit *e)
{
	const void *at = (void *)(unsigned long)e->addr;

	return e->bytes ? !memcmp(at, e->bytes, e->len) : !memchr_inv(at, INT3, e->len);
}

/* The pages that a batch of edits touches, each once. */
struct batch {
	struct page *pages[MAX_PAGES];
	unsigned int used;
};

/*
 * Adds the pages of @e; returns the place of the first. An edit across two pages needs
 * them side by side in the alias, so then both are added even if one is there.
 */
static unsigned int pages_of(struct batch *batch, const struct synthjit_edit *e)
{
	unsigned long first = e->addr & PAGE_MASK;
	struct page *page = vmalloc_to_page((void *)first);
	unsigned int i;

	if (((e->addr + e->len - 1) & PAGE_MASK) == first) {
		for (i = 0; i < batch->used; i++)
			if (batch->pages[i] == page)
				return i;
		batch->pages[batch->used] = page;
		return batch->used++;
	}
	i = batch->used;
	batch->pages[batch->used++] = page;
	batch->pages[batch->used++] = vmalloc_to_page((void *)(first + PAGE_SIZE));
	return i;
}

/*
 * Makes all @count edits or none. -EINVAL: outside the arena or too many;
 * -EEXIST: a place that should be free is not; -ENOMEM: no alias could be made;
 * -EIO: the text does not show what was written (it must not be published).
 */
int synthjit_text_edit(const struct synthjit_edit *edits, synthjit_u32 count)
{
	unsigned int i, place[SYNTHJIT_MAX_EDITS];
	struct batch batch = { .used = 0 };
	u8 *alias;
	int ret = 0;

	if (!count || count > SYNTHJIT_MAX_EDITS)
		return -EINVAL;

	mutex_lock(&edit_lock);
	for (i = 0; i < count; i++) {
		const struct synthjit_edit *e = &edits[i];

		if (!inside_arena(e)) {
			ret = -EINVAL;
			goto unlock;
		}
		if (!as_expected(e)) {
			pr_err_ratelimited("the slot at %ps is not free\n", (void *)(unsigned long)e->addr);
			ret = -EEXIST;
			goto unlock;
		}
		place[i] = pages_of(&batch, e);
	}

	alias = vm_map_ram(batch.pages, batch.used, NUMA_NO_NODE);
	if (!alias) {
		ret = -ENOMEM;
		goto unlock;
	}
	for (i = 0; i < count; i++)
		apply(&edits[i], alias + place[i] * PAGE_SIZE + offset_in_page(edits[i].addr));
	vm_unmap_ram(alias, batch.used);

	for (i = 0; i < count; i++) {
		if (!took_effect(&edits[i])) {
			pr_err_ratelimited("writing the slot at %ps had no effect\n",
					   (void *)(unsigned long)edits[i].addr);
			ret = -EIO;
		}
	}
unlock:
	mutex_unlock(&edit_lock);
	return ret;
}
