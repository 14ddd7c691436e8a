// SPDX-License-Identifier: GPL-2.0
/*
 * What each slot of the arena was made for last.
 *
 * An entry is written by the process that is to run the slot, before it can, so whoever
 * finds itself in a live slot finds its own entry: no lock is taken, in any context.
 */
#include "glue.h"

static struct synthjit_made slots[SYNTHJIT_SLOTS];

static u32 index_of(u32 slot, bool is_vector)
{
	return slot + (is_vector ? SYNTHJIT_PATH_SLOTS : 0);
}

/* By the process that @made speaks of. @slot is the index within its class. */
void synthjit_slot_made(synthjit_u32 slot, synthjit_u32 is_vector, const struct synthjit_made *made)
{
	u32 i = index_of(slot, is_vector);

	if (i >= ARRAY_SIZE(slots))
		return;
	slots[i] = *made;
	slots[i].is_vector = is_vector;
	slots[i].pid = current->pid;
	synthjit_name_stale(i);
}

/* By the number that counts vectors behind paths. */
const struct synthjit_made *synthjit_made_in(u32 i)
{
	return &slots[i];
}

/* What the path slot @slot was made for; NULL if there is no such slot. */
const struct synthjit_made *synthjit_made_for(u32 slot)
{
	return slot < SYNTHJIT_PATH_SLOTS ? &slots[slot] : NULL;
}

/* The slot that @ip is in, and the offset in it; NULL outside of all slots. */
const struct synthjit_made *synthjit_made_at(unsigned long ip, u32 *offset)
{
	unsigned long at = ip - SYNTHJIT_PATHS;

	if (at < SYNTHJIT_PATHS_BYTES) {
		*offset = at % SYNTHJIT_PATH_SLOT;
		return &slots[index_of(at / SYNTHJIT_PATH_SLOT, false)];
	}
	at = ip - SYNTHJIT_VECTORS;
	if (at < SYNTHJIT_VECTORS_BYTES) {
		*offset = at % SYNTHJIT_VECTOR_SLOT;
		return &slots[index_of(at / SYNTHJIT_VECTOR_SLOT, true)];
	}
	return NULL;
}
