// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: a live patch of a function that each system call passes on its way out. What the function does is a check for
 * debugging that never finds anything; what takes its place counts.
 *
 * Parameters:
 *   tgid   the process whose calls are counted
 *   calls  how many there were
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>

static int tgid;
module_param(tgid, int, 0600);
static atomic_long_t count;

static int get_calls(char *buf, const struct kernel_param *param)
{
	return scnprintf(buf, PAGE_SIZE, "%ld\n", atomic_long_read(&count));
}

static const struct kernel_param_ops calls_ops = { .get = get_calls };
module_param_cb(calls, &calls_ops, NULL, 0400);

static void counted_fpregs_assert_state_consistent(void)
{
	if (current->tgid == tgid)
		atomic_long_inc(&count);
}

static struct klp_func functions[] = {
	{
		.old_name = "fpregs_assert_state_consistent",
		.new_func = counted_fpregs_assert_state_consistent,
	},
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = functions },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init livepatch_init(void)
{
	return klp_enable_patch(&patch);
}
module_init(livepatch_init);

static void __exit livepatch_exit(void)
{
}
module_exit(livepatch_exit);

MODULE_DESCRIPTION("Live patch of a function that each call passes; for tests");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
