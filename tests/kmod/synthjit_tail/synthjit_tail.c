// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: calls the tail of paths with a thread flag set, as something that the tail wakes might leave it.
 *
 * Parameters:
 *   tail  address of synthjit_tail (in /proc/kallsyms), written first
 *   flag  number of the TIF flag; writing it makes one call. -1: none is set.
 * The call does nothing to a pipe. What interrupts it asks for have come when the write has returned.
 */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/thread_info.h>

/* rust/glue/synthjit.h, SYNTHJIT_TAIL_ONLY_UNLOCK: without SYNTHJIT_TAIL_UNLOCK nothing. */
#define NOTHING 4

static unsigned long tail;
module_param(tail, ulong, 0600);

static int set_flag(const char *text, const struct kernel_param *param)
{
	asmlinkage void (*call)(void *pipe, u32 bits) = (void *)tail;
	bool was_set;
	int flag, ret;

	ret = kstrtoint(text, 0, &flag);
	if (ret)
		return ret;
	if (!tail || flag >= BITS_PER_LONG)
		return -EINVAL;
	local_irq_disable();
	was_set = flag < 0 || test_and_set_thread_flag(flag);
	call(NULL, NOTHING);
	/* Nobody has work to do for it. */
	if (!was_set)
		clear_thread_flag(flag);
	local_irq_enable();
	return 0;
}

static const struct kernel_param_ops flag_ops = { .set = set_flag };
module_param_cb(flag, &flag_ops, NULL, 0200);

static int __init tail_init(void)
{
	return 0;
}
module_init(tail_init);

static void __exit tail_exit(void)
{
}
module_exit(tail_exit);

MODULE_DESCRIPTION("Calls the tail of paths with a thread flag set; for tests");
MODULE_LICENSE("GPL");
