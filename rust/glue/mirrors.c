// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors at run time: does anybody trace, probe or live-patch a kernel function
 * that a path stands in for?
 *
 * Function tracing, BPF fentry, kprobes at function entry and live patches all
 * replace the call site of __fentry__ at the function's entry, which is a 5-byte
 * NOP otherwise (Documentation/trace/ftrace.rst). The first bytes of each mirror
 * are compared whenever an attached process is scheduled in. A process that is
 * never scheduled out is caught by a periodic look that, on a change, makes every
 * CPU schedule once.
 */
#include <linux/stop_machine.h>
#include <linux/unaligned.h>
#include <linux/workqueue.h>
#include <asm/ibt.h>
#include <asm/nops.h>

#include "glue.h"

#define ENTRY_BYTES 16
#define PERIOD_MS 4

struct mirror {
	unsigned long addr;
	u8 clean[ENTRY_BYTES];
};

static struct mirror *mirrors;
static unsigned int mirror_count;
static bool seen_intact = true;
static void look(struct work_struct *work);
static DECLARE_DELAYED_WORK(looking, look);
static const u8 nop5[] = { BYTES_NOP5 };

/* Any context. */
bool synthjit_mirrors_intact(void)
{
	unsigned int i;

	for (i = 0; i < mirror_count; i++) {
		const struct mirror *m = &mirrors[i];
		const void *now = (const void *)m->addr;

		if (get_unaligned((u64 *)now) != get_unaligned((u64 *)m->clean) ||
		    get_unaligned((u64 *)(now + 8)) != get_unaligned((u64 *)(m->clean + 8)))
			return false;
	}
	return true;
}

/* Boolean, for Rust: published vectors are not in use at this moment. */
synthjit_u32 synthjit_mirrors_traced(void)
{
	return !synthjit_mirrors_intact();
}

static void look(struct work_struct *work)
{
	bool intact = synthjit_mirrors_intact();

	if (intact != seen_intact) {
		seen_intact = intact;
		synthjit_quiesce();
	}
	schedule_delayed_work(&looking, msecs_to_jiffies(PERIOD_MS));
}

/* Looks every PERIOD_MS while @on: while any process has a vector. */
void synthjit_mirrors_watch(bool on)
{
	if (on)
		schedule_delayed_work(&looking, msecs_to_jiffies(PERIOD_MS));
	else
		cancel_delayed_work_sync(&looking);
}

static bool take(struct mirror *m, const char *name)
{
	u8 *fentry = m->clean;

	m->addr = synthjit_symbol(name);
	if (!m->addr) {
		pr_err("this kernel has no function %s\n", name);
		return false;
	}
	memcpy(m->clean, (void *)m->addr, ENTRY_BYTES);
	if (IS_ENABLED(CONFIG_X86_KERNEL_IBT) && __is_endbr(*(u32 *)m->clean))
		fentry += ENDBR_INSN_SIZE;
	/* If it is traced already, this makes it wait until that ends. */
	memcpy(fentry, nop5, sizeof(nop5));
	return true;
}

/* -ENOENT: a mirror is not a function of this kernel; -ENOMEM. */
int synthjit_mirrors_start(void)
{
	unsigned int n = 0;

	while (synthjit_watched_mirrors[n])
		n++;
	mirrors = kcalloc(n, sizeof(*mirrors), GFP_KERNEL);
	if (!mirrors)
		return -ENOMEM;
	for (mirror_count = 0; mirror_count < n; mirror_count++) {
		if (!take(&mirrors[mirror_count], synthjit_watched_mirrors[mirror_count])) {
			synthjit_mirrors_stop();
			return -ENOENT;
		}
	}
	return 0;
}

void synthjit_mirrors_stop(void)
{
	mirror_count = 0;
	kfree(mirrors);
	mirrors = NULL;
}
