// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel text that paths stand for: no byte of it changes unnoticed.
 *
 * Function tracing, kprobes, live patches, BPF programs, static keys and static calls
 * all change kernel text through __text_poke() (arch/x86/kernel/alternative.c). A path
 * is right as long as each function that the stock call would have passed is as it was
 * reviewed (watched.c), so __text_poke() is traced: before the first byte of such a
 * function is written, text counts as changed, and every CPU is taken off generated
 * code by an interrupt. Whoever patched the text finds each call that begins afterwards
 * in the stock kernel.
 *
 * The way back is a work: with text_mutex held nobody is in the midst of patching, so if
 * all text is as it was reviewed, it stays so until the next call of __text_poke().
 *
 * text_poke_early() is not seen: it patches modules that are being loaded and what is
 * patched once at boot. kgdb patches through __text_poke() without text_mutex while all
 * other CPUs are stopped, where they cannot be interrupted: their turn comes when the
 * work runs, at once when the machine goes on.
 */
#include <linux/ftrace.h>
#include <linux/irq_work.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "glue.h"

static bool hooked;

/*
 * How often a byte of a watched function was about to be written, and how often it had
 * been when all of them were last seen to be clean. No vector may be loaded while the two
 * differ. At first nobody has looked. Both change under text_mutex, but for kgdb. The readers
 * on other CPUs are ordered by the barrier of synthjit_lstar_refresh_all(), which follows
 * each change.
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

/* Looks whether text is as it was reviewed. Process context. */
static void textwatch_check(void)
{
	long seen;

	mutex_lock(synthjit_kernel_text_mutex);
	seen = atomic_long_read(&pokes);
	if (synthjit_watched_clean())
		WRITE_ONCE(clean_at, seen);
	mutex_unlock(synthjit_kernel_text_mutex);
	/* Text may change again by now; then each CPU sees that when it looks. */
	synthjit_lstar_refresh_all();
}

static void textwatch_check_work(struct work_struct *work)
{
	textwatch_check();
}

static DECLARE_DELAYED_WORK(check_work, textwatch_check_work);

/*
 * Text was changed where other CPUs could not be interrupted. Set before check_irq is
 * raised and read by it, on the same CPU: program order suffices.
 */
static bool late;

/* A tick later, since one change of text is several calls of __text_poke(). */
static void textwatch_schedule_check(struct irq_work *work)
{
	schedule_delayed_work(&check_work, xchg(&late, false) ? 0 : 1);
}

static struct irq_work check_irq = IRQ_WORK_INIT_HARD(textwatch_schedule_check);

/*
 * static void *__text_poke(text_poke_f func, void *addr, const void *src, size_t len)
 *
 * Called at its entry, before it has done anything. Its callers hold text_mutex in process
 * context with interrupts on, but for kgdb.
 */
static void notrace textwatch_before_poke(unsigned long ip, unsigned long parent, struct ftrace_ops *op,
					  struct ftrace_regs *fregs)
{
	unsigned long addr = ftrace_regs_get_argument(fregs, 1);
	unsigned long len = ftrace_regs_get_argument(fregs, 3);

	if (!synthjit_watched(addr, len))
		return;
	atomic_long_inc(&pokes);
	if (irqs_disabled()) {
		WRITE_ONCE(late, true);
		synthjit_lstar_refresh();
	} else {
		lockdep_assert_held(synthjit_kernel_text_mutex);
		synthjit_lstar_refresh_all();
	}
	irq_work_queue(&check_irq);
}

/* Permanent: kernel.ftrace_enabled cannot switch it off. */
static struct ftrace_ops poke_ops = {
	.func = textwatch_before_poke,
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
	textwatch_check();
	return 0;
}

static void textwatch_off(void)
{
	if (!hooked)
		return;
	unregister_ftrace_function(&poke_ops);
	ftrace_free_filter(&poke_ops);
	irq_work_sync(&check_irq);
	cancel_delayed_work_sync(&check_work);
	hooked = false;
}

/* At load. -ENOENT: a function or a symbol that is needed is missing; -ENOMEM. */
int synthjit_textwatch_start(void)
{
	return synthjit_symbol("__text_poke") ? synthjit_watched_start() : -ENOENT;
}

/* No vector can be loaded any more. */
void synthjit_textwatch_stop(void)
{
	textwatch_off();
	synthjit_watched_stop();
}
