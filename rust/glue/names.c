// SPDX-License-Identifier: GPL-2.0
/*
 * What generated code is called in /proc/kallsyms, stack traces and profiles.
 *
 * The kernel knows names of code from its own table, from the symbol tables of modules,
 * and from lists of its own for BPF, ftrace and kprobes, to which no module can add
 * (kernel/kallsyms.c, update_iter_mod; bpf_ksym_add() and the others are not exported).
 * What a module has is its symbol table, a copy in its own writable data
 * (kernel/module/kallsyms.c, add_kallsyms). So arena.S gives each slot a symbol whose name
 * is longer than it needs to be, and here the room is used: the slot's own name stands at
 * its beginning, what the slot was made for behind it, and the symbol's st_name tells which
 * of the two is shown.
 *
 * Readers take no lock but RCU (module_address_lookup). A name is written only while it is not
 * shown, and a grace period after it was shown last, so no reader sees half of one. A slot
 * bears the name of what it was made for last until it is made for something else, so
 * that a profile can be read after the process is gone.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "glue.h"

/* Where in the room the second name begins, and its size: arena.S has as much. */
#define NAME_AT 32
#define NAME_SIZE 64

static struct name {
	Elf_Sym *symbol;	/* NULL: there is none to rename */
	char *room;
	unsigned long since;	/* RCU's state when the second name was shown last */
	bool shown;		/* the second name is */
	bool due;		/* the slot was made for something that is not shown yet */
} names[SYNTHJIT_SLOTS];

static void show(struct name *n, size_t at)
{
	char *strtab = THIS_MODULE->core_kallsyms.strtab;

	/* Pairs with the address dependency of readers: what is pointed at is written. */
	smp_store_release(&n->symbol->st_name, n->room + at - strtab);
}

/* Slot @i is made for something else from now on. Under STATE (Rust). */
void synthjit_name_stale(u32 i)
{
	struct name *n = &names[i];

	if (!n->symbol)
		return;
	if (n->shown) {
		show(n, 0);
		n->since = get_state_synchronize_rcu();
		n->shown = false;
	}
	n->due = true;
}

static void write_name(char *to, const struct synthjit_made *made)
{
	if (made->class == SYNTHJIT_VECTOR)
		snprintf(to, NAME_SIZE, "synthjit_vector_pid%d", made->tgid);
	else
		snprintf(to, NAME_SIZE, "synthjit_path_%.*s_pid%d_fd%u", (int)made->spec_len,
			 (const char *)made->spec, made->tgid, made->fd);
}

/*
 * Shows what slots were made for. Boolean: some must wait for a while. Under STATE (Rust),
 * process context.
 */
synthjit_u32 synthjit_names_update(void)
{
	bool wait = false;
	u32 i;

	for (i = 0; i < SYNTHJIT_SLOTS; i++) {
		struct name *n = &names[i];

		if (!n->due)
			continue;
		if (!poll_state_synchronize_rcu(n->since)) {
			wait = true;
			continue;
		}
		write_name(n->room + NAME_AT, synthjit_made_in(i));
		show(n, NAME_AT);
		n->shown = true;
		n->due = false;
	}
	return wait;
}

/* The kernel makes this table ours to write: it is in the module's data. At load. */
void synthjit_names_start(void)
{
	struct mod_kallsyms *own = &THIS_MODULE->core_kallsyms;
	unsigned int i;

	for (i = 1; i < own->num_symtab; i++) {
		Elf_Sym *symbol = &own->symtab[i];
		char *room = own->strtab + symbol->st_name;
		u32 offset = 0;
		u32 slot = synthjit_slot_at(symbol->st_value, &offset);

		if (slot == SYNTHJIT_SLOTS || offset || !strstr(room, "_slot_") ||
		    strlen(room) < NAME_AT + NAME_SIZE - 1)
			continue;
		names[slot].symbol = symbol;
		names[slot].room = room;
		names[slot].since = get_state_synchronize_rcu();
		/* Up to here everybody saw the padding. */
		room[strcspn(room, ".")] = '\0';
	}
}
