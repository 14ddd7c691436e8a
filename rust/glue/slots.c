// SPDX-License-Identifier: GPL-2.0
/*
 * What each slot of the arena was made for last.
 *
 * An entry is written by the process that is to run the slot, before it can, so whoever
 * finds itself in a live slot finds its own entry: no lock is taken, in any context.
 */
#include "glue.h"

static struct synthjit_made slots[SYNTHJIT_SLOTS];

static const struct {
	u32 first;
	u32 size;
	u32 bytes;
	u8 *symbol;
} classes[] = {
	[SYNTHJIT_PATH] = {
		0, SYNTHJIT_PATH_SLOT, SYNTHJIT_PATHS_BYTES, synthjit_arena_paths },
	[SYNTHJIT_VECTOR] = {
		SYNTHJIT_FIRST_VECTOR, SYNTHJIT_VECTOR_SLOT, SYNTHJIT_VECTORS_BYTES, synthjit_arena_vectors },
};

/* By the process that @made speaks of. @slot is the index within its class. */
void synthjit_slot_made(synthjit_u32 slot, synthjit_u32 class, const struct synthjit_made *made)
{
	u32 i;

	if (class >= ARRAY_SIZE(classes) || slot >= classes[class].bytes / classes[class].size)
		return;
	i = classes[class].first + slot;
	slots[i] = *made;
	slots[i].class = class;
	slots[i].pid = current->pid;
	synthjit_name_stale(i);
}

/* By the number that counts slots of all classes. */
const struct synthjit_made *synthjit_made_in(u32 i)
{
	return &slots[i];
}

/* What the path slot @slot was made for; NULL if there is no such slot. */
const struct synthjit_made *synthjit_made_for(u32 slot)
{
	return slot < SYNTHJIT_PATH_SLOTS ? &slots[slot] : NULL;
}

/* The number of the slot that @ip is in, and the offset in it; SYNTHJIT_SLOTS outside of all slots. */
u32 synthjit_slot_at(unsigned long ip, u32 *offset)
{
	u32 class;

	for (class = 0; class < ARRAY_SIZE(classes); class++) {
		unsigned long at = ip - ((unsigned long)classes[class].symbol + SYNTHJIT_SLOTS_AT);

		if (at < classes[class].bytes) {
			*offset = at % classes[class].size;
			return classes[class].first + at / classes[class].size;
		}
	}
	return SYNTHJIT_SLOTS;
}

/* What the slot that @ip is in was made for, and the offset in it; NULL outside of all slots. */
const struct synthjit_made *synthjit_made_at(unsigned long ip, u32 *offset)
{
	u32 i = synthjit_slot_at(ip, offset);

	return i < SYNTHJIT_SLOTS ? &slots[i] : NULL;
}
