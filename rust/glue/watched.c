// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that paths stand for, and whether their text is as it was reviewed.
 *
 * Nobody has the text as the kernel's boot left it, so it is taken from the running
 * kernel when nothing is in it that does not belong there: no kprobe, each static key
 * as it was reviewed, and no call of a tracer or live patch at the function's entry,
 * whose place is known. Until then the function counts as changed. It may have been
 * probed before the module was loaded; who removes the probe writes text, so that
 * textwatch.c looks again. A breakpoint that kgdb set before that moment is not told from
 * the function's own text.
 */
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <asm/ibt.h>
#include <asm/nops.h>

#include "glue.h"

/* The most that a watched function may have; none of those listed comes near. */
#define MOST_BYTES SZ_64K

struct watched {
	const char *name;
	unsigned long addr;
	unsigned long size;
	unsigned long tracer_call;	/* 0: it cannot be traced */
	u8 *clean;			/* its text as reviewed, if it is known */
	bool known;
};

static struct watched *watched;
static unsigned int watched_count;
/* What all of them lie in. */
static unsigned long lowest = ULONG_MAX, highest;
struct mutex *synthjit_kernel_text_mutex;

/* Whether a path stands for any of the bytes. Any context. */
bool synthjit_watched(unsigned long addr, unsigned long len)
{
	unsigned int i;

	if (addr >= highest || addr + len <= lowest)
		return false;
	for (i = 0; i < watched_count; i++)
		if (addr < watched[i].addr + watched[i].size && addr + len > watched[i].addr)
			return true;
	return false;
}

/* Takes the function's text for the reviewed one if nothing foreign is in it. text_mutex is held. */
static void watched_take_reviewed(struct watched *w)
{
	static const u8 nop5[] = { BYTES_NOP5 };
	unsigned long end = w->addr + w->size;

	lockdep_assert_held(synthjit_kernel_text_mutex);
	if (synthjit_kprobe_within(w->addr, end) || !synthjit_keys_as_reviewed(w->addr, end))
		return;
	memcpy(w->clean, (void *)w->addr, w->size);
	/* It may be traced or live-patched at this moment: that is not its own. */
	if (w->tracer_call && w->tracer_call + sizeof(nop5) <= end)
		memcpy(w->clean + (w->tracer_call - w->addr), nop5, sizeof(nop5));
	w->known = true;
}

/* text_mutex is held. */
static bool watched_is_clean(struct watched *w)
{
	lockdep_assert_held(synthjit_kernel_text_mutex);
	if (!w->known)
		watched_take_reviewed(w);
	return w->known && !memcmp((void *)w->addr, w->clean, w->size);
}

/* Whether all text that paths stand for is as it was reviewed. text_mutex is held. */
bool synthjit_watched_clean(void)
{
	unsigned int i;
	bool clean = true;

	lockdep_assert_held(synthjit_kernel_text_mutex);
	for (i = 0; i < watched_count; i++)
		if (!watched_is_clean(&watched[i]))
			clean = false;
	return clean;
}

/* The size of the function at @addr as kallsyms has it; 0: unknown. */
static unsigned long watched_size(unsigned long addr)
{
	char text[KSYM_SYMBOL_LEN], *size;
	unsigned long bytes;

	sprint_symbol(text, addr);
	size = strstr(text, "+0x0/0x");
	if (!size)
		return 0;
	size[strcspn(size, " ")] = '\0';
	return kstrtoul(size + strlen("+0x0/"), 16, &bytes) ? 0 : bytes;
}

/* Where the function at @addr calls a tracer if it is traced; 0: it cannot be. */
static unsigned long tracer_call(unsigned long addr)
{
	struct ftrace_ops ops = {};
	int ret = ftrace_set_filter_ip(&ops, addr, 0, 1);

	ftrace_free_filter(&ops);
	if (ret)
		return 0;
	return IS_ENABLED(CONFIG_X86_KERNEL_IBT) && __is_endbr(*(u32 *)addr) ? addr + ENDBR_INSN_SIZE : addr;
}

/* -ENOENT: a function is missing that paths stand for; -ENOMEM. */
static int watched_add(const struct synthjit_watched_function *function)
{
	struct watched *w = &watched[watched_count];
	unsigned long addr = synthjit_symbol(function->symbol);
	unsigned long size = addr ? watched_size(addr) : 0;

	if (!addr && function->optional)
		return 0;
	if (!size || size > MOST_BYTES) {
		pr_err("this kernel has no function %s\n", function->symbol);
		return -ENOENT;
	}
	*w = (struct watched) {
		.name = function->symbol,
		.addr = addr,
		.size = size,
		.tracer_call = tracer_call(addr),
		.clean = kmalloc(size, GFP_KERNEL),
	};
	if (!w->clean)
		return -ENOMEM;
	lowest = min(lowest, addr);
	highest = max(highest, addr + size);
	watched_count++;
	return 0;
}

/* At load. -ENOENT: a function or a symbol that is needed is missing; -ENOMEM. */
int synthjit_watched_start(void)
{
	const struct synthjit_watched_function *function;
	unsigned int n = 0;
	int ret;

	synthjit_kernel_text_mutex = (void *)synthjit_symbol("text_mutex");
	if (!synthjit_kernel_text_mutex || !synthjit_kprobes_start() || !synthjit_keys_start())
		return -ENOENT;
	while (synthjit_watched_functions[n].symbol)
		n++;
	watched = kcalloc(n, sizeof(*watched), GFP_KERNEL);
	if (!watched)
		return -ENOMEM;
	for (function = synthjit_watched_functions; function->symbol; function++) {
		ret = watched_add(function);
		if (ret) {
			synthjit_watched_stop();
			return ret;
		}
	}
	return 0;
}

/* Nobody asks any more. */
void synthjit_watched_stop(void)
{
	while (watched_count)
		kfree(watched[--watched_count].clean);
	kfree(watched);
	watched = NULL;
}

/* One line for each function; for debugfs. Process context. None on a platform that is refused. */
void synthjit_watched_show(struct seq_file *m)
{
	unsigned int i;

	if (!watched)
		return;
	mutex_lock(synthjit_kernel_text_mutex);
	for (i = 0; i < watched_count; i++)
		seq_printf(m, "%s %s\n", watched[i].name, watched_is_clean(&watched[i]) ? "clean" : "changed");
	mutex_unlock(synthjit_kernel_text_mutex);
}
