// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel text that paths stand for: no byte of it changes unnoticed.
 *
 * Function tracing, kprobes, live patches, BPF programs, static keys and static calls
 * all change kernel text through __text_poke() (arch/x86/kernel/alternative.c). A path
 * is right as long as each function that the stock call would have passed is as it was
 * when the module was loaded, so __text_poke() is traced: before the first byte of such
 * a function is written, text counts as changed, and every CPU is taken off generated
 * code by an interrupt. Whoever patched the text finds each call that begins afterwards
 * in the stock kernel.
 *
 * The way back is a work: with text_mutex held nobody is in the midst of patching, so if
 * all bytes are as they were, text is unchanged until the next call of __text_poke().
 *
 * text_poke_early() is not seen: it patches modules that are being loaded and what is
 * patched once at boot. kgdb patches through __text_poke() without text_mutex while all
 * other CPUs are stopped, where they cannot be interrupted: their turn comes when the
 * work runs, at once when the machine goes on.
 */
#include <linux/ftrace.h>
#include <linux/irq_work.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/ibt.h>
#include <asm/nops.h>

#include "glue.h"

/* The most that a watched function may have; none of those listed comes near. */
#define MOST_BYTES SZ_64K

struct watched {
	unsigned long addr;
	unsigned long size;
	u8 *clean;		/* the bytes as they are when nobody patches them */
};

static struct watched *watched;
static unsigned int watched_count;
/* What all of them lie in. */
static unsigned long lowest = ULONG_MAX, highest;
static struct mutex *kernel_text_mutex;
static bool hooked;

/*
 * How often a byte of a watched function was about to be written, and how often it had
 * been when all of them were last seen to be clean. No vector may be loaded while the two
 * differ. At first nobody has looked.
 */
static atomic_long_t pokes = ATOMIC_LONG_INIT(1);
static long clean_at;

bool synthjit_text_changed(void)
{
	return READ_ONCE(clean_at) != atomic_long_read(&pokes);
}

/* Boolean, for Rust: published vectors are not in use at this moment. */
synthjit_u32 synthjit_mirrors_traced(void)
{
	return synthjit_text_changed();
}

static bool text_is_clean(void)
{
	unsigned int i;

	lockdep_assert_held(kernel_text_mutex);
	for (i = 0; i < watched_count; i++)
		if (memcmp((void *)watched[i].addr, watched[i].clean, watched[i].size))
			return false;
	return true;
}

/* Looks whether text is as it was. Process context. */
static void look_at_text(void)
{
	long seen;

	mutex_lock(kernel_text_mutex);
	seen = atomic_long_read(&pokes);
	if (text_is_clean())
		WRITE_ONCE(clean_at, seen);
	mutex_unlock(kernel_text_mutex);
	/* Text may change again by now; then each CPU sees that when it looks. */
	synthjit_lstar_refresh_all();
}

static void look_now(struct work_struct *work)
{
	look_at_text();
}

static DECLARE_DELAYED_WORK(looking, look_now);

/* Text was changed where other CPUs could not be interrupted. */
static bool late;

/* A tick later, since one change of text is several calls of __text_poke(). */
static void look_soon(struct irq_work *work)
{
	schedule_delayed_work(&looking, xchg(&late, false) ? 0 : 1);
}

static struct irq_work look_irq = IRQ_WORK_INIT_HARD(look_soon);

static bool concerns_paths(unsigned long addr, unsigned long len)
{
	unsigned int i;

	if (addr >= highest || addr + len <= lowest)
		return false;
	for (i = 0; i < watched_count; i++)
		if (addr < watched[i].addr + watched[i].size && addr + len > watched[i].addr)
			return true;
	return false;
}

/*
 * static void *__text_poke(text_poke_f func, void *addr, const void *src, size_t len)
 *
 * Called at its entry, before it has done anything. Its callers hold text_mutex in process
 * context with interrupts on, but for kgdb.
 */
static void notrace before_text_poke(unsigned long ip, unsigned long parent, struct ftrace_ops *op,
				     struct ftrace_regs *fregs)
{
	unsigned long addr = ftrace_regs_get_argument(fregs, 1);
	unsigned long len = ftrace_regs_get_argument(fregs, 3);

	if (!concerns_paths(addr, len))
		return;
	atomic_long_inc(&pokes);
	if (irqs_disabled()) {
		WRITE_ONCE(late, true);
		synthjit_lstar_refresh();
	} else {
		synthjit_lstar_refresh_all();
	}
	irq_work_queue(&look_irq);
}

/* Permanent: kernel.ftrace_enabled cannot switch it off. */
static struct ftrace_ops poke_ops = {
	.func = before_text_poke,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

/*
 * From the first attached process until unload. -EBUSY: function tracing is switched
 * off; -ENOENT: this kernel's __text_poke() cannot be traced.
 */
int synthjit_textwatch_on(void)
{
	unsigned long addr = synthjit_symbol("__text_poke");
	int ret;

	if (hooked)
		return 0;
	if (!addr)
		return -ENOENT;
	ret = ftrace_set_filter_ip(&poke_ops, addr, 0, 1);
	if (ret) {
		pr_err("changes of kernel text cannot be traced (%d)\n", ret);
		return -ENOENT;
	}
	ret = register_ftrace_function(&poke_ops);
	if (ret) {
		pr_info("cannot hear of changes of kernel text (%d)%s\n", ret,
			ret == -EBUSY ? ": function tracing is switched off, kernel.ftrace_enabled=1 allows it" : "");
		ftrace_free_filter(&poke_ops);
		return ret;
	}
	hooked = true;
	/* What changed before was not heard. */
	look_at_text();
	return 0;
}

static void textwatch_off(void)
{
	if (!hooked)
		return;
	unregister_ftrace_function(&poke_ops);
	ftrace_free_filter(&poke_ops);
	irq_work_sync(&look_irq);
	cancel_delayed_work_sync(&looking);
	hooked = false;
}

/* The size of the function at @addr as kallsyms has it; 0: unknown. */
static unsigned long function_size(unsigned long addr)
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
	struct ftrace_ops ops = { .func = before_text_poke };
	int ret = ftrace_set_filter_ip(&ops, addr, 0, 1);

	ftrace_free_filter(&ops);
	if (ret)
		return 0;
	return IS_ENABLED(CONFIG_X86_KERNEL_IBT) && __is_endbr(*(u32 *)addr) ? addr + ENDBR_INSN_SIZE : addr;
}

static bool take(struct watched *w, const char *name)
{
	static const u8 nop5[] = { BYTES_NOP5 };
	unsigned long entry;

	w->addr = synthjit_symbol(name);
	w->size = w->addr ? function_size(w->addr) : 0;
	if (!w->size || w->size > MOST_BYTES) {
		pr_err("this kernel has no function %s\n", name);
		return false;
	}
	entry = tracer_call(w->addr);
	mutex_lock(kernel_text_mutex);
	w->clean = kmemdup((void *)w->addr, w->size, GFP_KERNEL);
	mutex_unlock(kernel_text_mutex);
	if (!w->clean)
		return false;
	/* If it is traced or live-patched already, this makes paths wait until that ends. */
	if (entry && entry + sizeof(nop5) <= w->addr + w->size)
		memcpy(w->clean + (entry - w->addr), nop5, sizeof(nop5));
	lowest = min(lowest, w->addr);
	highest = max(highest, w->addr + w->size);
	return true;
}

/* At load. -ENOENT: a function or a symbol that is needed is missing; -ENOMEM. */
int synthjit_textwatch_start(void)
{
	unsigned int n = 0;
	int ret = 0;

	kernel_text_mutex = (void *)synthjit_symbol("text_mutex");
	if (!kernel_text_mutex || !synthjit_symbol("__text_poke"))
		return -ENOENT;
	while (synthjit_watched_mirrors[n])
		n++;
	watched = kcalloc(n, sizeof(*watched), GFP_KERNEL);
	if (!watched)
		return -ENOMEM;
	for (watched_count = 0; watched_count < n && !ret; watched_count++)
		if (!take(&watched[watched_count], synthjit_watched_mirrors[watched_count]))
			ret = -ENOENT;
	if (ret)
		synthjit_textwatch_stop();
	return ret;
}

/* No vector can be loaded any more. */
void synthjit_textwatch_stop(void)
{
	textwatch_off();
	while (watched_count)
		kfree(watched[--watched_count].clean);
	kfree(watched);
	watched = NULL;
}
