// SPDX-License-Identifier: GPL-2.0
/*
 * Static keys that decide in watched functions.
 *
 * A path stands for the functions as they were reviewed, with each key as the source
 * initialises it, or as a spec says. What a key decides is read from the text itself: a
 * jump or no jump at each of its places (arch/x86/kernel/jump_label.c), since the key's
 * own count changes at another moment.
 */
#include <linux/jump_label.h>
#include <linux/kallsyms.h>
#include <linux/mutex.h>
#include <asm/text-patching.h>

#include "glue.h"

static const struct jump_entry *first_entry, *end_of_entries;

/* At load. False: this kernel does not tell where its static keys decide. */
bool synthjit_keys_start(void)
{
	first_entry = (void *)synthjit_symbol("__start___jump_table");
	end_of_entries = (void *)synthjit_symbol_end("__stop___jump_table");
	return first_entry && end_of_entries;
}

static bool key_symbol_matches(const char *pattern, const char *symbol)
{
	size_t len = strlen(pattern);

	if (len && pattern[len - 1] == '*')
		return !strncmp(pattern, symbol, len - 1);
	return !strcmp(pattern, symbol);
}

static enum synthjit_key_state key_reviewed_state(const struct static_key *key)
{
	const struct synthjit_reviewed_key *reviewed;
	char symbol[KSYM_SYMBOL_LEN];

	sprint_symbol_no_offset(symbol, (unsigned long)key);
	for (reviewed = synthjit_reviewed_keys; reviewed->symbol; reviewed++)
		if (key_symbol_matches(reviewed->symbol, symbol))
			return reviewed->state;
	return key->type & JUMP_TYPE_TRUE ? SYNTHJIT_KEY_ON : SYNTHJIT_KEY_OFF;
}

static bool key_jumps_at(unsigned long place)
{
	u8 opcode = *(u8 *)place;

	return opcode == JMP8_INSN_OPCODE || opcode == JMP32_INSN_OPCODE;
}

/* Whether each key decides between the two addresses as it was reviewed. text_mutex is held. */
bool synthjit_keys_as_reviewed(unsigned long start, unsigned long end)
{
	const struct jump_entry *entry;

	lockdep_assert_held(synthjit_kernel_text_mutex);
	for (entry = first_entry; entry < end_of_entries; entry++) {
		unsigned long place = jump_entry_code(entry);
		enum synthjit_key_state state;

		if (place < start || place >= end)
			continue;
		state = key_reviewed_state(jump_entry_key(entry));
		if (state == SYNTHJIT_KEY_BOOT)
			continue;
		if (key_jumps_at(place) != ((state == SYNTHJIT_KEY_ON) ^ jump_entry_is_branch(entry)))
			return false;
	}
	return true;
}
